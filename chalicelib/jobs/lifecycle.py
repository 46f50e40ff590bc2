"""How a job moves on: what is sent and written when a task ends. All of it can be repeated after a crash.

A task whose worker dies does not end: its lease runs out, and another worker claims it (jobs/runner.py). The
one that has tried too often ends as a failure, which `after_task` makes its steps', and the job's.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from functools import partial

from chalicelib.errors import SluiceError
from chalicelib.model.job import FREE, RUNNING, Job, TaskRecord
from chalicelib.model.plan import GENERATION, REMUX, Plan, Task
from chalicelib.model.result import Failed, StepsEnded
from chalicelib.model.step import (
    FAILURE,
    PENDING,
    STARTED,
    TERMINAL,
    Output,
    StepState,
    format_of,
)
from chalicelib.model.work import Hls
from chalicelib.store import jobs, objects, progress, queues, steps, tasks
from chalicelib.tasks.sharing import parts_by_step
from chalicelib.telemetry import MetricUnit, logger, metrics


def may_run(job: Job, task_id: str) -> bool:
    """Whether a task may run now: the copy before this generation has planned the job, all others after."""
    if task_id == REMUX:
        return job.status in (PENDING, STARTED) and job.generation != GENERATION
    return job.status == STARTED and job.generation == GENERATION


def is_foreign(job: Job, generation: str) -> bool:
    """Whether a message, or its job, belongs to another version of this code.

    A deployment is under way: that version is about to go or to come. Intake plans the job again, if it must.
    """
    if job.status in TERMINAL or job.generation == GENERATION:
        return False
    return job.status == STARTED or generation != GENERATION


def send_first(job_id: str, plan: Plan) -> None:
    """Send every task that needs no other, the first of each pool ahead of all others.

    A queue has no order, and what a player waits for comes of the first.
    """
    first = plan.first()
    ahead: dict[str, Task] = {}
    for task in first:
        ahead.setdefault(task.pool, task)
    queues.send_tasks(job_id, list(ahead.values()))
    queues.send_tasks(job_id, [task for task in first if task is not ahead[task.pool]])


def resume(job: Job, plan: Plan) -> None:
    """Send what is due of a started job, whatever messages were lost. Tasks at work are left alone."""
    progress.write(job.job_id, plan)
    _, ended = progress.ended_of_job(job.job_id)
    records = tasks.get_many(job.job_id, [task.id for task in plan.tasks if task.id not in ended])
    opened = [name for name, status in job.step_statuses.items() if status not in TERMINAL]
    if opened:
        queues.send_tasks(job.job_id, due(plan, opened, ended, records, time.time()))
    else:
        _end_job(job, plan)


def due(
    plan: Plan,
    opened: Collection[str],
    ended: Collection[str],
    records: Mapping[str, TaskRecord],
    now: float,
) -> list[Task]:
    """The tasks that wait for nothing and that nobody works on, and those whose end was not followed up.

    `opened` are the steps that have not ended, `ended` the tasks that others wait for and that ended well,
    `records` all other tasks that were ever claimed; `now` in Unix seconds.
    """
    wanted = {task_id for step in opened for task_id in plan.closure(step)}
    ready = [task for task in plan.tasks if task.id in wanted and set(task.needs) <= set(ended)]
    return [
        task
        for task in ready
        if task.id not in ended and not (task.id in records and _is_at_work(records[task.id], now))
    ]


def _is_at_work(record: TaskRecord, now: float) -> bool:
    """Whether a worker has it, or its next try has to wait."""
    return record.state in (RUNNING, FREE) and (record.lease_until or 0) >= int(now)


def after_task(job: Job, plan: Plan, ended_task: TaskRecord) -> None:
    """Do what follows from an ended task: end its steps, send the tasks that waited for it, end the job.

    `job` may be as it was when the task began. Raises Transient where a queue did not take every message.
    """
    job_id, task_id = job.job_id, ended_task.task_id
    if task_id == REMUX:
        queues.send_start(job_id)  # whether there is a copy or none
        return
    result = ended_task.result
    if isinstance(result, Failed):
        state = StepState(FAILURE, error=result.detail, error_code=result.code)
        _end_steps(job, plan, dict.fromkeys(plan.steps_needing(task_id), state))
        return
    if plan.has_dependents(task_id):
        ended = tasks.add_ended(job_id, task_id)
        for task in plan.watchable_from(task_id, ended):
            steps.list_growing(job_id, task.id, _so_far(task))
        queues.send_tasks(job_id, plan.ready_after(task_id, ended))
        return
    if isinstance(result, StepsEnded):
        _end_steps(job, plan, result.steps)


def _so_far(task: Task) -> Output:
    """The output of an HLS packaging while it grows; `size` 0."""
    assert isinstance(task.work, Hls)
    key = f"{task.destination}master.m3u8"
    return Output(
        type=task.id,
        s3_key=key,
        size=0,
        content_type=objects.CONTENT_TYPES[".m3u8"],
        width=task.work.largest.width,
        height=task.work.largest.height,
        duration=round(task.work.seconds, 3),
        complete=False,
        format=format_of(key),
    )


def fail(job: Job, error: SluiceError, *, overdue: bool = False) -> None:
    """End a job, and every step of it that has not ended.

    With `overdue`, only where the job has been given no more time since it was read.
    """
    if job.status == PENDING:
        if jobs.fail_pending(job, error.code, error.detail, overdue=overdue):
            _announce(FAILURE, error.code)
        return
    failed = dict.fromkeys(job.step_statuses, StepState.failed(error))
    deadline = int(job.deadline_at) if overdue else None
    current = steps.end(job, failed, generation=job.generation, deadline=deadline)
    if current is not None:
        _end_job(current, None)


def _end_steps(job: Job, plan: Plan, states: Mapping[str, StepState]) -> None:
    current = steps.end(job, states)
    if current is not None:
        _end_job(current, plan)


def _end_job(job: Job, plan: Plan | None) -> None:
    status = jobs.end(job, partial(parts_by_step, plan) if plan else None)
    if status:
        _announce(status, "")


def _announce(status: str, code: str) -> None:
    logger.info("Job ended", status=status, error_code=code)
    metrics.add_metric(f"Jobs{status.title()}", MetricUnit.Count, 1)
