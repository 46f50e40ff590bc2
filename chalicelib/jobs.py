"""How a job moves on: what follows when a task ends. Idempotent, so that it can be repeated after a crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from chalicelib import excerpt, files, ledger, queues
from chalicelib.errors import SluiceError, Transient
from chalicelib.media import Coded
from chalicelib.plan import REMUX, Excerpt, Hls, Plan, Samples, Task
from chalicelib.queues import StartMessage, TaskMessage
from chalicelib.rows import (
    FAILED,
    FAILURE,
    PENDING,
    STARTED,
    TERMINAL,
    Job,
    Output,
    StepState,
    TaskRow,
)
from chalicelib.watch import MetricUnit, logger, metrics


def _plan_key(job_id: str, etag: str) -> str:
    """A plan is of one version of the source."""
    return f"work/{job_id}/plan-{etag}.json"


def store_plan(job_id: str, etag: str, plan: Plan) -> Plan:
    """Keep a plan; of two that are stored for the same source, the first counts, and is what is returned."""
    key = _plan_key(job_id, etag)
    if files.put_new_work(key, msgspec.json.encode(plan)):
        return plan
    return _load(key)


def load_plan(job: Job) -> Plan:
    """The plan that intake stored. Raises Transient where it is not there."""
    return _load(_plan_key(job.job_id, job.etag))


def recall_plan(job: Job) -> Plan:
    """The same, for those who ask again and again: a plan never changes."""
    return _recall(_plan_key(job.job_id, job.etag))


@contextmanager
def storing_samples(job_id: str, tracks: Sequence[Coded]) -> Iterator[None]:
    """Keep what excerpts are made of, while the plan is made: before that is stored."""
    with ThreadPoolExecutor() as pool:
        stored = [
            pool.submit(files.put_new_work, excerpt.samples_of(job_id, coded).rows, coded.rows)
            for coded in tracks
        ]
        yield
        for each in stored:
            each.result()


def load_samples(samples: Samples, wanted: Excerpt) -> bytes:
    """The rows of an excerpt. Raises Transient where they are not there."""
    rows = files.get_output(samples.rows, excerpt.rows_of(samples, wanted))
    if rows is None:
        raise Transient("samples_missing", "The job's table of samples is not there.")
    return rows


def may_run(job: Job, task_id: str) -> bool:
    """Whether it is a task's time: a copy is made before the job starts, all else after."""
    return job.status == (PENDING if task_id == REMUX else STARTED)


def plan_of(job: Job, task_id: str) -> Plan:
    """The plan that a task is in. Raises Transient where it is not there."""
    return _load(_remux_key(job.job_id, job.etag)) if task_id == REMUX else load_plan(job)


def _remux_key(job_id: str, etag: str) -> str:
    return f"work/{job_id}/remux-{etag}.json"


def begin_remux(job_id: str, etag: str, plan: Plan) -> None:
    """Have a copy of the source made; its end starts the job. Again, if that was done before."""
    files.put_new_work(_remux_key(job_id, etag), msgspec.json.encode(plan))
    if ledger.await_copy(job_id, etag):
        send_first(job_id, plan)


def after_remux(job_id: str) -> None:
    """What follows from a copy, or from there being none: intake plans."""
    queues.send("intake", StartMessage(job_id))


def _load(key: str) -> Plan:
    body = files.get_output(key)
    if body is None:
        raise Transient("plan_missing", "The job's plan is not there.")
    try:
        return msgspec.json.decode(body, type=Plan)
    except msgspec.ValidationError as error:  # deployed while the job was at work
        detail = "The job's plan is that of another version of this code."
        raise Transient("plan_missing", detail) from error


# Of films with a variable frame rate each has many megabytes.
_recall = lru_cache(maxsize=2)(_load)


def send_first(job_id: str, plan: Plan) -> None:
    """Send every task that needs no other."""
    queues.send_all([(task.queue, TaskMessage(job_id, task.id)) for task in plan.first()])


def failure(error: SluiceError) -> StepState:
    return StepState(FAILURE, error=error.detail, error_code=error.code)


def after_task(job_id: str, plan: Plan, row: TaskRow) -> None:
    """What follows from an ended task: the ends of its steps, the tasks that waited for it, the job's end."""
    task_id = row.task_id
    if task_id == REMUX:
        after_remux(job_id)
        return
    if row.state == FAILED:
        state = msgspec.convert(row.result, StepState)
        for failed in plan.steps_needing(task_id):
            _end_step(job_id, failed, state)
        return
    if plan.has_dependents(task_id):
        ended = ledger.add_ended(job_id, task_id)
        for task in plan.watchable_from(task_id, ended):
            ledger.list_early(job_id, task.id, _so_far(task))
        ready = plan.ready_after(task_id, ended)
        queues.send_all([(task.queue, TaskMessage(job_id, task.id)) for task in ready])
        return
    for step, state in msgspec.convert(row.result, dict[str, StepState]).items():
        _end_step(job_id, step, state)


def _so_far(task: Task) -> Output:
    """An HLS output that plays before it is complete."""
    assert isinstance(task.work, Hls)
    return Output(
        type=task.id,
        s3_key=f"{task.destination}master.m3u8",
        size=0,
        content_type=files.CONTENT_TYPES[".m3u8"],
        width=task.work.width,
        height=task.work.height,
        duration=round(task.work.seconds, 3),
        complete=False,
    )


def fail_open_steps(job: Job, state: StepState) -> None:
    """End every step that has not ended, and with them the job."""
    for step, current in job.step_states.items():
        if current.status not in TERMINAL:
            _end_step(job.job_id, step, state)
    _end_job(job)


def fail_unstarted(job_id: str, error: SluiceError) -> None:
    """End a job that has no steps yet."""
    if ledger.fail_job(job_id, error.code, error.detail):
        _announce(FAILURE, error.code)


def _end_step(job_id: str, step: str, state: StepState) -> None:
    row = ledger.end_step(job_id, step, state)
    if row is not None:
        _end_job(row)


def _end_job(row: Job) -> None:
    status = ledger.end_job(row)
    if status:
        _announce(status, "")


def _announce(status: str, code: str) -> None:
    logger.info("Job ended", status=status, error_code=code)
    metrics.add_metric(f"Jobs{status.title()}", MetricUnit.Count, 1)
