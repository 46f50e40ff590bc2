"""Plans, and the tables of samples that belong to them, as objects in S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from chalicelib.errors import Transient
from chalicelib.formats import mp4_excerpt
from chalicelib.model.facts import TrackSamples
from chalicelib.model.job import Job
from chalicelib.model.plan import GENERATION, REMUX, Plan, Samples, work_folder
from chalicelib.model.step import PENDING
from chalicelib.model.work import Excerpt
from chalicelib.store import objects


def _plan_key(job: Job, etag: str) -> str:
    """The ETag is part of the key: one plan per version of the source.

    Where another generation has started the job, the plan has a key of its own.
    """
    name = "replan" if is_planned_again(job) else "plan"
    return f"{work_folder(job.job_id)}{name}-{etag}.json"


def is_planned_again(job: Job) -> bool:
    """Whether another generation has started a job, and has used the keys of its outputs."""
    return job.status != PENDING and job.started_by != GENERATION


def store_plan(job: Job, etag: str, plan: Plan) -> Plan:
    """Store a plan, unless there is one for this job and source; the stored plan.

    So a generation that comes back to a job goes on with the plan that it had made.
    """
    key = _plan_key(job, etag)
    if objects.put_new_work(key, msgspec.json.encode(plan)):
        return plan
    return _load(key)


def load_plan(job: Job) -> Plan:
    """The plan that a job follows. Raises Transient where it is not there."""
    return _load(_plan_key(job, job.etag))


def recall_plan(job: Job) -> Plan:
    """`load_plan`, cached in this process: a stored plan never changes."""
    return _recall(_plan_key(job, job.etag))


def store_copy_plan(job_id: str, etag: str, plan: Plan) -> None:
    """Store the plan of the task that makes a copy, before there is a plan of all others."""
    objects.put_new_work(_copy_plan_key(job_id, etag), msgspec.json.encode(plan))


def plan_of(job: Job, task_id: str) -> Plan:
    """The plan that a task is in. Raises Transient where it is not there."""
    if task_id == REMUX:
        return _load(_copy_plan_key(job.job_id, job.etag))
    return load_plan(job)


def _copy_plan_key(job_id: str, etag: str) -> str:
    return f"{work_folder(job_id)}remux-{etag}.json"


@contextmanager
def storing_samples(job_id: str, tracks: Sequence[TrackSamples]) -> Iterator[None]:
    """Upload the sample tables in threads while the body runs.

    On exit they are stored, so that the plan that names them may be.
    """
    with ThreadPoolExecutor() as pool:
        uploads = [
            pool.submit(
                objects.put_new_work, mp4_excerpt.samples_of(job_id, coded).rows, coded.rows
            )
            for coded in tracks
        ]
        yield
        for upload in uploads:
            upload.result()


def load_samples(samples: Samples, wanted: Excerpt) -> bytes:
    """The rows of an excerpt's samples. Raises Transient where they are not there."""
    rows = objects.read_object(samples.rows, mp4_excerpt.rows_of(samples, wanted))
    if rows is None:
        raise Transient("samples_missing", "The job's table of samples is not there.")
    return rows


def _load(key: str) -> Plan:
    body = objects.read_object(key)
    if body is None:
        raise Transient("plan_missing", "The job's plan is not there.")
    try:
        return msgspec.json.decode(body, type=Plan)
    except msgspec.DecodeError as error:
        raise Transient("plan_unreadable", "The job's plan cannot be read.") from error


# Two: plans of films with a variable frame rate have many megabytes each.
_recall = lru_cache(maxsize=2)(_load)
