"""The call that lists jobs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from chalicelib.api.descriptions import (
    EXAMPLE_KEY,
    Answer,
    CallDescription,
    Json,
    described,
    parameter,
    reference,
)
from chalicelib.api.jobs import outputs_of, view_of
from chalicelib.api.requests import (
    MOST_OUTPUTS,
    PAGE,
    check_key,
    encode_cursor,
    parse_cursor,
    parse_instant,
    parse_limit,
)
from chalicelib.api.views import JobPage, JobView
from chalicelib.errors import Malformed, Unprocessable
from chalicelib.model.job import Job, JobProgress
from chalicelib.model.step import STATUSES
from chalicelib.settings import ANYBODY, DROPS, settings
from chalicelib.store import identities, lists, progress
from chalicelib.telemetry import logger


def list_jobs(caller: str, parameters: dict[str, str], base_url: str) -> JobPage:
    """A page of the caller's jobs, newest first; `parameters` are those of the query.

    Raises Malformed, Unprocessable.
    """
    limit = parse_limit(parameters.get("limit", "20"))
    cursor = parameters.get("cursor")
    before = None if cursor is None else parse_cursor(cursor)
    wanted = _wanted(caller, parameters)
    page = lists.newest(limit, before, wanted) if wanted.owners else lists.Page([], None)
    standings = progress.of_jobs(page.jobs)
    fitting = page.jobs[: _fitting([len(outputs_of(standings[job.job_id])) for job in page.jobs])]
    views = (_view_if_readable(job, standings[job.job_id], base_url) for job in fitting)
    after = page.after if len(fitting) == len(page.jobs) else fitting[-1].created
    return JobPage(
        [view for view in views if view], None if after is None else encode_cursor(after)
    )


def _wanted(caller: str, parameters: dict[str, str]) -> lists.Wanted:
    """Which jobs are asked for. Raises Malformed, Unprocessable."""
    status, key = parameters.get("status"), parameters.get("key")
    if status is not None and status not in STATUSES:
        detail = f"There is no such `status`; there are {', '.join(STATUSES)}."
        raise Unprocessable("unknown_status", detail)
    since, until = (
        parse_instant(name, parameters.get(name)) for name in ("created_after", "created_before")
    )
    if since and until and until <= since:
        raise Malformed("malformed_request", "`created_before` is later than `created_after`.")
    return lists.Wanted(
        _owners_listed(caller, key),
        [status] if status else STATUSES,
        key,
        parameters.get("recipe"),
        since,
        until,
    )


def _fitting(outputs: Sequence[int]) -> int:
    """How many jobs fit into a page, the first of those that have so many outputs each; at least one."""
    totals = list(accumulate(outputs))
    return max(1, bisect_right(totals, MOST_OUTPUTS))


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


def _view_if_readable(job: Job, standing: JobProgress, base_url: str) -> JobView | None:
    """None where this version cannot show the row: the page still shows the others."""
    try:
        return view_of(job, standing, base_url)
    except Exception:
        logger.exception("A job cannot be shown", job_id=job.job_id)
        return None


def _filter(name: str, schema: Json) -> Json:
    return parameter(name, "query", schema, required=False)


_INSTANT = {"type": "string", "format": "date-time"}

DESCRIPTIONS = {
    "list_jobs": CallDescription(
        "listJobs",
        "Jobs",
        "The caller's jobs, newest first",
        "A page of them; `next_cursor` leads to the next one. It has fewer than `limit` where they have more "
        f"than {MOST_OUTPUTS} outputs together, and may be empty where a filter leaves out thousands: only a "
        "page without `next_cursor` is the last. A stage that does not ask who calls wants a `key`.",
        {"200": Answer("A page of jobs", JobPage)},
        ("400", "422"),
        parameters=(
            *PAGE,
            _filter("status", described("Only these.", "SUCCESS", **reference("Status"))),
            _filter(
                "key",
                described("Only those of this file.", EXAMPLE_KEY, type="string", minLength=1),
            ),
            _filter(
                "recipe",
                described(
                    "Only those by this recipe, of any version unless it is named: `web@3f2a9c`.",
                    "web",
                    type="string",
                ),
            ),
            _filter(
                "created_after",
                described(
                    "Only those that were created at this moment or later.",
                    "2026-11-29T00:00:00Z",
                    **_INSTANT,
                ),
            ),
            _filter(
                "created_before",
                described(
                    "Only those that were created before this moment.",
                    "2026-11-30T00:00:00Z",
                    **_INSTANT,
                ),
            ),
        ),
    ),
}
