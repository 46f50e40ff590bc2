"""Progress: how far the tasks of a job are, written at most once a second by each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pynamodb.exceptions import PynamoDBException

from chalicelib.model.job import Job, JobProgress, Progress, StepStates, Value
from chalicelib.model.plan import GENERATION, Plan
from chalicelib.store import steps, writes
from chalicelib.store.items import read_many
from chalicelib.store.table import EndedRow, JobRow, MetadataRow, ProgressRow, StepsRow
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
    values = _read(job_id, (JobRow.SK, *_subkeys()))
    job = values.get(JobRow.SK)
    return (job, _standings([job], {job_id: values})[job_id]) if isinstance(job, Job) else None


def of_jobs(jobs: Sequence[Job]) -> dict[str, JobProgress]:
    """The progress of many jobs, by their ids."""
    values: dict[str, _Values] = {job.job_id: {} for job in jobs}
    keys = [(writes.job_key(job_id), sk) for job_id in values for sk in _subkeys()]
    for item in read_many(keys):
        values[_job_id(item.key)][item.key[1]] = item.value
    return _standings(jobs, values)


def ended_of_job(job_id: str) -> tuple[Job | None, frozenset[str]]:
    """A job and those of its tasks that others wait for and that have ended well, in one request."""
    values = _read(job_id, (JobRow.SK, EndedRow.SK))
    job = values.get(JobRow.SK)
    return job if isinstance(job, Job) else None, _ended(values)


def _subkeys() -> tuple[str, ...]:
    # Looked up each time: chaos has two generations in one process.
    return ProgressRow.SK, EndedRow.SK, StepsRow.SK, MetadataRow.SK


_Values = dict[str, Value | None]  # of one job's rows, by their sort keys


def _read(job_id: str, subkeys: Sequence[str]) -> _Values:
    keys = [(writes.job_key(job_id), sk) for sk in subkeys]
    return {item.key[1]: item.value for item in read_many(keys, consistent=True)}


def _standings(jobs: Sequence[Job], values: Mapping[str, _Values]) -> dict[str, JobProgress]:
    told = {job.job_id: _told(values[job.job_id]) for job in jobs}
    # Rows of one request are not of one moment. Without this, a job could be seen to have ended, and nobody
    # would ask again, without the outputs of its last step.
    behind = [job.job_id for job in jobs if steps.is_behind(job, told[job.job_id])]
    if behind:
        keys = [(writes.job_key(job_id), StepsRow.SK) for job_id in behind]
        for item in read_many(keys, consistent=True):
            told[_job_id(item.key)] = _told({StepsRow.SK: item.value})
    return {
        job.job_id: JobProgress(
            _progress(values[job.job_id]),
            _ended(values[job.job_id]),
            steps.merged(job, told[job.job_id]),
            _metadata(values[job.job_id]),
        )
        for job in jobs
    }


def _job_id(key: tuple[str, str]) -> str:
    return key[0].partition("#")[2]


def _progress(values: _Values) -> Progress | None:
    progress = values.get(ProgressRow.SK)
    is_ours = isinstance(progress, Progress) and progress.generation == GENERATION
    return progress if isinstance(progress, Progress) and is_ours else None


def _ended(values: _Values) -> frozenset[str]:
    ended = values.get(EndedRow.SK)
    return ended if isinstance(ended, frozenset) else frozenset()


def _metadata(values: _Values) -> dict[str, str]:
    metadata = values.get(MetadataRow.SK)
    return metadata if isinstance(metadata, dict) else {}


def _told(values: _Values) -> StepStates:
    told = values.get(StepsRow.SK)
    return told if isinstance(told, StepStates) else StepStates()
