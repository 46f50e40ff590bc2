"""Calls that show jobs, one and a page of them, and the calls that cancel and delete one."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from chalicelib.api.descriptions import (
    EXAMPLE_CURSOR,
    EXAMPLE_KEY,
    JOB_ID,
    Answer,
    CallDescription,
    described,
    parameter,
    reference,
)
from chalicelib.api.hls_tokens import tokens
from chalicelib.api.requests import (
    MOST_JOBS,
    MOST_OUTPUTS,
    check_key,
    encode_cursor,
    parse_cursor,
    parse_flag,
    parse_limit,
)
from chalicelib.api.views import JobPage, JobView, job_view
from chalicelib.errors import Conflict, Forbidden, Gone, NotFound, Unprocessable
from chalicelib.model import filenames
from chalicelib.model.job import Job, JobProgress
from chalicelib.model.step import (
    CANCELED,
    DELETED,
    PENDING,
    STARTED,
    STATUSES,
    TERMINAL,
    Output,
)
from chalicelib.settings import ANYBODY, DROPS, settings
from chalicelib.store import identities, jobs, objects, progress
from chalicelib.store.objects import Link
from chalicelib.tasks.pricing import cost
from chalicelib.telemetry import logger

_JOB_ID_FORM = re.compile(r"[0-9a-f-]{36}")


def get_job(caller: str, job_id: str, base_url: str) -> JobView:
    """A job of the caller with its progress and its links. Raises NotFound."""
    return _view(*own_job(caller, job_id), base_url)


def cancel_job(caller: str, job_id: str, base_url: str) -> JobView:
    """Cancel a job of the caller, whatever it is at; the job then. One that is canceled is left as it is.

    Raises NotFound, and Conflict where it has ended otherwise.
    """
    while True:
        job, standing = own_job(caller, job_id)
        view = _view(job, standing, base_url)
        if job.status == CANCELED:
            return view
        if job.status in TERMINAL:
            detail = f"The job has ended as {job.status}: there is nothing to cancel."
            raise Conflict("job_ended", detail)
        # Where that fails its status has changed, which it does twice at most.
        _cancel(job, view)


def _cancel(job: Job, view: JobView) -> None:
    if jobs.cancel(job, [view.progress, *(step.progress for step in view.steps)]):
        logger.info("Job ended", status=CANCELED)


def delete_job(caller: str, job_id: str, parameters: dict[str, str]) -> None:
    """Delete a job of the caller that has ended, and all that it has made; once more changes nothing.

    With `cancel` it is canceled first where it has not ended. With `original` its source goes, too. Raises
    Malformed, NotFound, Conflict, Forbidden.
    """
    cancels, takes_original = (parse_flag(name, parameters) for name in ("cancel", "original"))
    if takes_original and not settings().delete_originals:
        detail = "This stage keeps originals: its operator may set SLUICE_DELETE_ORIGINALS."
        raise Forbidden("original_kept", detail)
    while True:
        job, standing = own_job(caller, job_id, is_deleted=True)
        if job.status == DELETED:
            return
        if job.status not in TERMINAL:
            if not cancels:
                detail = f"The job is {job.status}: cancel it first, or call with `cancel=true`."
                raise Conflict("job_not_ended", detail)
            _cancel(job, _view(job, standing, ""))
            continue
        if takes_original and _others_at_work(job):
            detail = "Another job is at work on the same file: delete the file with that one."
            raise Conflict("original_in_use", detail)
        if jobs.delete(job, takes_original=takes_original):
            logger.info("Job deleted", takes_original=takes_original)
            return


def _others_at_work(job: Job) -> bool:
    return bool(jobs.newest(1, None, [job.owner], (PENDING, STARTED), job.source_key))


def own_job(caller: str, job_id: str, *, is_deleted: bool = False) -> tuple[Job, JobProgress]:
    """A job of the caller and how far it is. Raises NotFound; Gone where it was deleted, unless told to."""
    found = progress.of_job(job_id) if _JOB_ID_FORM.fullmatch(job_id) else None
    if found is None or found[0].owner not in settings().owners_seen_by(caller):
        # The detail is logged: with the id in it, a search for that job's lines would find this one.
        raise NotFound("job_not_found", "There is no such job of yours; GET /jobs/ lists them.")
    logger.append_keys(job_id=job_id)
    if found[0].status == DELETED and not is_deleted:
        raise Gone("job_deleted", "The job was deleted.")
    return found


def list_jobs(caller: str, parameters: dict[str, str], base_url: str) -> JobPage:
    """A page of the caller's jobs, newest first; `parameters` are those of the query.

    Raises Malformed, Unprocessable.
    """
    limit = parse_limit(parameters.get("limit", "20"))
    status = parameters.get("status")
    if status is not None and status not in STATUSES:
        detail = f"There is no such `status`; there are {', '.join(STATUSES)}."
        raise Unprocessable("unknown_status", detail)
    key, cursor = parameters.get("key"), parameters.get("cursor")
    before = None if cursor is None else parse_cursor(cursor)
    owners = _owners_listed(caller, key)
    statuses = [status] if status else STATUSES
    found = jobs.newest(limit, before, owners, statuses, key) if owners else []
    standings = progress.of_jobs(found)
    fitting = found[: _fitting([len(_outputs(standings[job.job_id])) for job in found])]
    views = (_view_if_readable(job, standings[job.job_id], base_url) for job in fitting)
    is_last = len(found) < limit and len(fitting) == len(found)
    next_cursor = None if is_last else encode_cursor(fitting[-1].created)
    return JobPage([view for view in views if view], next_cursor)


def _fitting(outputs: Sequence[int]) -> int:
    """How many jobs fit into a page, the first of those that have so many outputs each; at least one."""
    totals = list(accumulate(outputs))
    return max(1, bisect_right(totals, MOST_OUTPUTS))


def _outputs(standing: JobProgress) -> list[Output]:
    return [output for state in standing.states.values() for output in state.outputs]


def _owners_listed(caller: str, key: str | None) -> Sequence[str]:
    """The owners whose jobs a caller may list: of one key, or of all. Raises Malformed, Unprocessable."""
    owners = settings().owners_seen_by(caller)
    if key is not None:
        check_key(key)
        ticket = identities.get_ticket(key)
        return [owner for owner in owners if owner == (ticket.owner if ticket else DROPS)]
    if caller == ANYBODY and DROPS not in owners:
        detail = "This stage does not know who calls: it lists the jobs of one `key`. Name it."
        raise Unprocessable("key_required", detail)
    return owners


def _view(job: Job, standing: JobProgress, base_url: str) -> JobView:
    stored = sum(output.size for output in _outputs(standing))
    used = job.usage
    return job_view(
        job,
        standing,
        time.time(),
        objects.original_link(job.source_key, job.shown_name),
        partial(_output_link, base_url),
        None if used is None else cost(used, stored, job.parts),
    )


def _view_if_readable(job: Job, standing: JobProgress, base_url: str) -> JobView | None:
    """None where this version cannot show the row: the page still shows the others."""
    try:
        return _view(job, standing, base_url)
    except Exception:
        logger.exception("A job cannot be shown", job_id=job.job_id)
        return None


def _output_link(base_url: str, job: Job, output: Output) -> Link:
    """A signed link to S3; of what names files beside it, like HLS, a path of this API with a token in it."""
    folder, _, name = output.s3_key.rpartition("/")
    if not name.endswith(objects.TEXTS):
        saved_as = filenames.of_output(output.s3_key, job.job_id, job.source_key, job.shown_name)
        return objects.output_link(output.s3_key, saved_as)
    token, expires_at = tokens().issue(job.job_id, folder, float(job.duration or 0))
    return Link(f"{base_url}/jobs/{job.job_id}/hls/{token}/{name}", expires_at)


DESCRIPTIONS = {
    "list_jobs": CallDescription(
        "listJobs",
        "Jobs",
        "The caller's jobs, newest first",
        "A page of them; `next_cursor` leads to the next one. It has fewer than `limit` where they have more "
        f"than {MOST_OUTPUTS} outputs together. A stage that does not ask who calls wants a `key`.",
        {"200": Answer("A page of jobs", JobPage)},
        ("400", "422"),
        parameters=(
            parameter(
                "limit",
                "query",
                described(
                    "How many at most.",
                    20,
                    type="integer",
                    minimum=1,
                    maximum=MOST_JOBS,
                    default=20,
                ),
                required=False,
            ),
            parameter(
                "cursor",
                "query",
                described("The `next_cursor` of an earlier answer.", EXAMPLE_CURSOR, type="string"),
                required=False,
            ),
            parameter(
                "status",
                "query",
                described("Only these.", "SUCCESS", **reference("Status")),
                required=False,
            ),
            parameter(
                "key",
                "query",
                described("Only those of this file.", EXAMPLE_KEY, type="string", minLength=1),
                required=False,
            ),
        ),
    ),
    "get_job": CallDescription(
        "getJob",
        "Jobs",
        "A job, its progress and its outputs",
        "Links in it work for an hour unless the stage says otherwise: ask again for fresh ones.",
        {"200": Answer("The job", JobView)},
        ("400", "404", "410"),
        parameters=(JOB_ID,),
    ),
    "cancel_job": CallDescription(
        "cancelJob",
        "Jobs",
        "Cancel a job",
        "It ends as CANCELED, whatever it is at, and its work stops within seconds. Steps that have ended "
        "keep their outputs. Canceling it again changes nothing.",
        {"202": Answer("The job as it is", JobView)},
        ("400", "404", "409", "410"),
        parameters=(JOB_ID,),
    ),
    "delete_job": CallDescription(
        "deleteJob",
        "Jobs",
        "Delete a job and all that it has made",
        "Of an ended job nothing is told from now on. Its outputs, its work files and its records are gone "
        "within minutes, links to them included. Deleting it again changes nothing.",
        {"204": Answer("It is deleted")},
        ("400", "404", "409"),
        parameters=(
            JOB_ID,
            parameter(
                "cancel",
                "query",
                described("Cancel it first where it has not ended.", False, type="boolean"),
                required=False,
            ),
            parameter(
                "original",
                "query",
                described(
                    "Delete its file, too, where the stage allows it.", False, type="boolean"
                ),
                required=False,
            ),
        ),
    ),
}
