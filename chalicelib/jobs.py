"""How a job moves on: what follows when a task ends. Idempotent, so that it can be repeated after a crash."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from chalicelib import excerpt, files, ledger, queues
from chalicelib.errors import SluiceError, Transient
from chalicelib.ledger import Charge
from chalicelib.media import Coded
from chalicelib.plan import GENERATION, REMUX, Excerpt, Hls, Plan, Samples, Task, work_folder
from chalicelib.rows import (
    FAILED,
    FAILURE,
    FREE,
    PENDING,
    RUNNING,
    STARTED,
    TERMINAL,
    Job,
    Output,
    StepState,
    TaskRow,
)
from chalicelib.watch import MetricUnit, logger, metrics


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
    if files.put_new_work(key, msgspec.json.encode(plan)):
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
    """Whether it is a task's time: a copy is made before this generation has planned, all else after."""
    if task_id == REMUX:
        return job.status in (PENDING, STARTED) and job.generation != GENERATION
    return job.status == STARTED and job.generation == GENERATION


def is_foreign(job: Job, generation: str) -> bool:
    """Whether a message, or the job that it is about, is for another version of this code.

    That one may be about to go, or about to come: intake plans the job again, if it must.
    """
    if job.status in TERMINAL or job.generation == GENERATION:
        return False
    return job.status == STARTED or generation != GENERATION


def plan_of(job: Job, task_id: str) -> Plan:
    """The plan that a task is in. Raises Transient where it is not there."""
    return _load(_remux_key(job.job_id, job.etag)) if task_id == REMUX else load_plan(job)


def _remux_key(job_id: str, etag: str) -> str:
    return f"{work_folder(job_id)}remux-{etag}.json"


def begin_remux(job: Job, etag: str, plan: Plan, charge: Charge) -> None:
    """Have a copy of the source made; its end has the job planned. Again, if that was done before.

    Raises JobError where its owner's budget has no room for the job.
    """
    files.put_new_work(_remux_key(job.job_id, etag), msgspec.json.encode(plan))
    if ledger.await_copy(job, etag, charge):
        send_first(job.job_id, plan)


def _load(key: str) -> Plan:
    body = files.get_output(key)
    if body is None:
        raise Transient("plan_missing", "The job's plan is not there.")
    try:
        return msgspec.json.decode(body, type=Plan)
    except msgspec.DecodeError as error:
        raise Transient("plan_unreadable", "The job's plan cannot be read.") from error


# Of films with a variable frame rate each has many megabytes.
_recall = lru_cache(maxsize=2)(_load)


def send_first(job_id: str, plan: Plan) -> None:
    """Send every task that needs no other."""
    queues.send_tasks(job_id, plan.first())


def resume(job: Job, plan: Plan) -> None:
    """Send what is due of a started job, whatever was lost on the way; what is at work is left alone."""
    ledger.write_progress(job.job_id, plan)
    _, ended = ledger.get_ended(job.job_id)
    rows = ledger.get_tasks(job.job_id, [task.id for task in plan.tasks if task.id not in ended])
    opened = [name for name, state in job.step_states.items() if state.status not in TERMINAL]
    if opened:
        queues.send_tasks(job.job_id, due(plan, opened, ended, rows, time.time()))
    else:
        _end_job(job)


def due(
    plan: Plan,
    opened: Collection[str],
    ended: Collection[str],
    rows: Mapping[str, TaskRow],
    now: float,
) -> list[Task]:
    """The tasks that somebody should be at, or whose end was not followed up.

    `opened` are the steps that have not ended, `ended` the tasks that others wait for and that ended well,
    `rows` those of all other tasks that were ever claimed.
    """
    wanted = {task_id for step in opened for task_id in plan.closure(step)}
    ready = [task for task in plan.tasks if task.id in wanted and set(task.needs) <= set(ended)]
    return [
        task
        for task in ready
        if task.id not in ended and not (task.id in rows and _is_at_work(rows[task.id], now))
    ]


def _is_at_work(row: TaskRow, now: float) -> bool:
    """Whether somebody has it, or its next try is still to wait."""
    return row.state in (RUNNING, FREE) and (row.lease_until or 0) >= int(now)


def failure(error: SluiceError) -> StepState:
    return StepState(FAILURE, error=error.detail, error_code=error.code)


def after_task(job_id: str, plan: Plan, row: TaskRow) -> None:
    """What follows from an ended task: the ends of its steps, the tasks that waited for it, the job's end."""
    task_id = row.task_id
    if task_id == REMUX:
        queues.send_start(job_id)  # whether there is a copy or none
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
        queues.send_tasks(job_id, plan.ready_after(task_id, ended))
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


def fail(job: Job, error: SluiceError, *, overdue: bool = False) -> None:
    """End a job, and with it every step of it that has not ended.

    With `overdue`, only where it has been given no more time since it was read.
    """
    if job.status == PENDING:
        if ledger.fail_job(job, error.code, error.detail, overdue=overdue):
            _announce(FAILURE, error.code)
        return
    deadline = int(job.deadline_at) if overdue else None
    for step, current in job.step_states.items():
        if current.status not in TERMINAL:
            row = ledger.end_step(
                job.job_id,
                step,
                failure(error),
                generation=job.generation or "",
                deadline=deadline,
            )
            if row is not None:
                _end_job(row)
    if all(state.status in TERMINAL for state in job.step_states.values()):
        _end_job(job)


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
