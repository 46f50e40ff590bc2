"""Progress: how far the tasks of a job are, written at most once a second by each."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from pynamodb.exceptions import PynamoDBException

from chalicelib.model.job import Job, JobProgress, Progress, Value
from chalicelib.model.plan import GENERATION, Plan
from chalicelib.store import writes
from chalicelib.store.table import EndedRow, JobRow, ProgressRow, read_many
from chalicelib.telemetry import logger


def write(job_id: str, plan: Plan) -> None:
    """Write what a started job's progress is counted by, unless it is there."""
    of_no_plan_or_another = ~(ProgressRow.generation == GENERATION)
    writes.put(
        ProgressRow(
            writes.job_key(job_id),
            ProgressRow.SK,
            generation=GENERATION,
            started_at=time.time(),
            shares=plan.shares(),
            sizes=plan.sizes(),
            percents={},
            expires_at=writes.subitem_expiry(),
        ),
        of_no_plan_or_another,
    )


def advance(job_id: str, task_id: str, percent: int) -> None:
    """Note how far a task is; never backwards, also not after a retry."""
    path = ProgressRow.percents[task_id]
    further = path.does_not_exist() | (path < percent)
    of_this_plan = ProgressRow.generation == GENERATION
    writes.update(
        ProgressRow(writes.job_key(job_id), ProgressRow.SK),
        [path.set(percent)],
        of_this_plan & further,
    )


class Ticker:
    """Called with how far a task is, from 0 to 1, writes it at most once a second.

    A lost write loses nothing. In a plan of many tasks each writes less often: their ends tell enough.
    """

    def __init__(self, job_id: str, task_id: str, tasks: int) -> None:
        self._job_id = job_id
        self._task_id = task_id
        self._pause = max(1.0, tasks / 25)
        self._next = time.monotonic() + self._pause

    def __call__(self, part: float) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        try:
            advance(self._job_id, self._task_id, min(99, int(100 * part)))
        except PynamoDBException:
            logger.warning("Progress was not written", exc_info=True)


def of_job(job_id: str) -> tuple[Job, JobProgress] | None:
    """A job and its progress, in one request."""
    values = _read(job_id, (JobRow.SK, ProgressRow.SK, EndedRow.SK))
    job = values.get(JobRow.SK)
    return (job, _progress(values)) if isinstance(job, Job) else None


def of_jobs(job_ids: Collection[str]) -> dict[str, JobProgress]:
    """The progress of many jobs, by their ids."""
    subkeys = (ProgressRow.SK, EndedRow.SK)
    keys = [(writes.job_key(job_id), sk) for job_id in job_ids for sk in subkeys]
    values = {item.key: item.value for item in read_many(keys)}
    return {
        job_id: _progress({sk: values.get((writes.job_key(job_id), sk)) for sk in subkeys})
        for job_id in job_ids
    }


def ended_of_job(job_id: str) -> tuple[Job | None, frozenset[str]]:
    """A job and those of its tasks that others wait for and that have ended well, in one request."""
    values = _read(job_id, (JobRow.SK, EndedRow.SK))
    job = values.get(JobRow.SK)
    return job if isinstance(job, Job) else None, _progress(values).ended


def _read(job_id: str, subkeys: Sequence[str]) -> dict[str, Value | None]:
    keys = [(writes.job_key(job_id), sk) for sk in subkeys]
    return {item.key[1]: item.value for item in read_many(keys, consistent=True)}


def _progress(values: Mapping[str, Value | None]) -> JobProgress:
    progress, ended = values.get(ProgressRow.SK), values.get(EndedRow.SK)
    if not isinstance(progress, Progress) or progress.generation != GENERATION:
        progress = None
    return JobProgress(progress, ended if isinstance(ended, frozenset) else frozenset())
