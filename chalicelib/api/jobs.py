"""Calls about one job: shown, canceled, deleted."""

from __future__ import annotations

import re
import time
from functools import partial

from chalicelib.api.descriptions import (
    JOB_ID,
    Answer,
    CallDescription,
    described,
    parameter,
)
from chalicelib.api.hls_tokens import tokens
from chalicelib.api.requests import (
    parse_flag,
)
from chalicelib.api.views import JobView, job_view
from chalicelib.errors import Conflict, Forbidden, Gone, NotFound
from chalicelib.model import filenames
from chalicelib.model.job import Job, JobProgress
from chalicelib.model.step import (
    CANCELED,
    DELETED,
    PENDING,
    STARTED,
    TERMINAL,
    Output,
)
from chalicelib.settings import settings
from chalicelib.store import jobs, lists, objects, progress
from chalicelib.store.objects import Link
from chalicelib.tasks.pricing import cost
from chalicelib.telemetry import logger

_JOB_ID_FORM = re.compile(r"[0-9a-f-]{36}")


def get_job(caller: str, job_id: str, base_url: str) -> JobView:
    """A job of the caller with its progress and its links. Raises NotFound."""
    return view_of(*own_job(caller, job_id), base_url)


def cancel_job(caller: str, job_id: str, base_url: str) -> JobView:
    """Cancel a job of the caller, whatever it is at; the job then. One that is canceled is left as it is.

    Raises NotFound, and Conflict where it has ended otherwise.
    """
    while True:
        job, standing = own_job(caller, job_id)
        view = view_of(job, standing, base_url)
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
            _cancel(job, view_of(job, standing, ""))
            continue
        if takes_original and _others_at_work(job):
            detail = "Another job is at work on the same file: delete the file with that one."
            raise Conflict("original_in_use", detail)
        if jobs.delete(job, takes_original=takes_original):
            logger.info("Job deleted", takes_original=takes_original)
            return


def _others_at_work(job: Job) -> bool:
    wanted = lists.Wanted([job.owner], (PENDING, STARTED), job.source_key)
    page = lists.newest(1, None, wanted)
    while not page.jobs and page.after:
        page = lists.newest(1, page.after, wanted)
    return bool(page.jobs)


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


def outputs_of(standing: JobProgress) -> list[Output]:
    return [output for state in standing.states.values() for output in state.outputs]


def view_of(job: Job, standing: JobProgress, base_url: str) -> JobView:
    stored = sum(output.size for output in outputs_of(standing))
    used = job.usage
    return job_view(
        job,
        standing,
        time.time(),
        objects.original_link(job.source_key, job.shown_name),
        partial(_output_link, base_url),
        None if used is None else cost(used, stored, job.parts),
    )


def _output_link(base_url: str, job: Job, output: Output) -> Link:
    """A signed link to S3; of what names files beside it, like HLS, a path of this API with a token in it."""
    folder, _, name = output.s3_key.rpartition("/")
    if not name.endswith(objects.TEXTS):
        saved_as = filenames.of_output(output.s3_key, job.job_id, job.source_key, job.shown_name)
        return objects.output_link(output.s3_key, saved_as)
    token, expires_at = tokens().issue(job.job_id, folder, float(job.duration or 0))
    return Link(f"{base_url}/jobs/{job.job_id}/hls/{token}/{name}", expires_at)


_POLLED = {
    "ETag": {
        "description": "Of the job as it is shown.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which to look again, while the job runs.",
        "schema": {"type": "integer"},
    },
}

DESCRIPTIONS = {
    "get_job": CallDescription(
        "getJob",
        "Jobs",
        "A job, its progress and its outputs",
        "Links in it work for an hour unless the stage says otherwise: ask again for fresh ones. With the "
        "`ETag` of an earlier answer in `If-None-Match` it is a 304 as long as that is still right, but for "
        "`eta_seconds`. `Retry-After` says when to look again.",
        {
            "200": Answer("The job", JobView, headers=_POLLED),
            "304": Answer("Nothing has changed", headers=_POLLED),
        },
        ("400", "404", "410"),
        parameters=(
            JOB_ID,
            parameter(
                "If-None-Match",
                "header",
                described("An `ETag`.", 'W/"6f1ed002ab5595859014ebf0"', type="string"),
                required=False,
            ),
        ),
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
