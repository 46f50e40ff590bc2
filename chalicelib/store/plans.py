"""Plans, and the tables of samples that belong to them, as objects in S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from chalicelib.errors import Transient
from chalicelib.formats import mp4_excerpt
from chalicelib.model.facts import Coded
from chalicelib.model.job import PENDING
from chalicelib.model.plan import GENERATION, REMUX, Plan, Samples, work_folder
from chalicelib.model.work import Excerpt
from chalicelib.store import objects
from chalicelib.store.table import Job


def _plan_key(job_id: str, etag: str, *, again: bool) -> str:
    """A plan is of one version of the source; where another generation started the job, under its own key."""
    return f"{work_folder(job_id)}{'replan' if again else 'plan'}-{etag}.json"


def is_planned_again(job: Job) -> bool:
    """Whether another generation has started a job, and has used the keys of its outputs."""
    return job.status != PENDING and job.started_by != GENERATION


def store_plan(job: Job, etag: str, plan: Plan) -> Plan:
    """Keep a plan; of two that are stored for the same source, the first counts, and is what is returned.

    So a generation that comes back to a job goes on with the plan that it had made.
    """
    key = _plan_key(job.job_id, etag, again=is_planned_again(job))
    if objects.put_new_work(key, msgspec.json.encode(plan)):
        return plan
    return _load(key)


def load_plan(job: Job) -> Plan:
    """The plan that a job follows. Raises Transient where it is not there."""
    return _load(_plan_key(job.job_id, job.etag, again=is_planned_again(job)))


def recall_plan(job: Job) -> Plan:
    """The same, for those who ask again and again: a plan never changes."""
    return _recall(_plan_key(job.job_id, job.etag, again=is_planned_again(job)))


@contextmanager
def storing_samples(job_id: str, tracks: Sequence[Coded]) -> Iterator[None]:
    """Keep what excerpts are made of, while the plan is made: before that is stored."""
    with ThreadPoolExecutor() as pool:
        stored = [
            pool.submit(
                objects.put_new_work, mp4_excerpt.samples_of(job_id, coded).rows, coded.rows
            )
            for coded in tracks
        ]
        yield
        for each in stored:
            each.result()


def load_samples(samples: Samples, wanted: Excerpt) -> bytes:
    """The rows of an excerpt. Raises Transient where they are not there."""
    rows = objects.get_output(samples.rows, mp4_excerpt.rows_of(samples, wanted))
    if rows is None:
        raise Transient("samples_missing", "The job's table of samples is not there.")
    return rows


def plan_of(job: Job, task_id: str) -> Plan:
    """The plan that a task is in. Raises Transient where it is not there."""
    return _load(remux_key(job.job_id, job.etag)) if task_id == REMUX else load_plan(job)


def remux_key(job_id: str, etag: str) -> str:
    return f"{work_folder(job_id)}remux-{etag}.json"


def _load(key: str) -> Plan:
    body = objects.get_output(key)
    if body is None:
        raise Transient("plan_missing", "The job's plan is not there.")
    try:
        return msgspec.json.decode(body, type=Plan)
    except msgspec.DecodeError as error:
        raise Transient("plan_unreadable", "The job's plan cannot be read.") from error


# Of films with a variable frame rate each has many megabytes.
_recall = lru_cache(maxsize=2)(_load)
