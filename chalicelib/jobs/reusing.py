"""Retried jobs: what is whole of the earlier job is found while planning, and copied by workers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from chalicelib.errors import JobError, Transient
from chalicelib.model.job import Job
from chalicelib.model.plan import GENERATION, Plan, Task, outputs_prefix, work_prefix
from chalicelib.model.result import Result
from chalicelib.model.step import DELETED
from chalicelib.model.work import Join
from chalicelib.planning import reusing
from chalicelib.store import jobs, listings, objects, plans, tasks
from chalicelib.telemetry import logger


def without_what_is_whole(job: Job, plan: Plan, etag: str) -> Plan:
    """The plan of a job that retries another, whose source has this ETag: nothing whole is made again."""
    if not job.retry_of or job.anew:
        return plan
    former = jobs.get(job.retry_of)
    if former is None or former.status == DELETED:
        return plan
    if former.generation != GENERATION or former.etag != etag:
        return plan
    try:
        its_plan = plans.load_plan(former)
    except Transient:  # work files are kept for two weeks
        return plan
    prefixes = (outputs_prefix(former.job_id), work_prefix(former.job_id))
    keys = {key for prefix in prefixes for key in listings.list_outputs(prefix)}
    results = tasks.results_of(former.job_id)
    made = reusing.reuse(plan, job.job_id, reusing.Former(former.job_id, its_plan, results, keys))
    logger.info("Retried", reused=len(made.reused), of=len(plan.tasks))
    return made


def copied(job: Job, plan: Plan, task: Task, check: Callable[[], None]) -> Result | None:
    """What a task of an earlier job ended with, its files copied; None where that is not whole any more.

    `check` is called between files, and may raise. Raises JobError where the task cannot be carried out
    instead, as its parts are not made.
    """
    record = tasks.get(plan.retry_of, task.id)
    found = record.result if record else None
    result = found and reusing.rebased(found, plan.retry_of, job.job_id)
    keys = reusing.files_of(task, plan, result) if result else None

    def copy(key: str) -> bool:
        check()
        return objects.copy_output(reusing.moved(key, job.job_id, plan.retry_of), key)

    if keys is not None:
        with ThreadPoolExecutor(objects.READERS) as pool:
            if all(pool.map(copy, keys)):
                return result
    if isinstance(task.work, Join):
        detail = "What the retried job had made was deleted while it was copied. Retry it again."
        raise JobError("reused_missing", detail)
    logger.warning("It is made again: what was to be copied is gone")
    return None
