"""A worker: claims one task, runs it, writes what came of it, and does what follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.errors import JobError, TimedOut, Transient, defect
from chalicelib.invocation import Budget, Invocation, JobHasEnded, Later
from chalicelib.jobs import lifecycle
from chalicelib.model.job import Job, TaskRecord
from chalicelib.model.plan import GENERATION, REMUX, Plan, Task
from chalicelib.model.result import Failed, Result, failed
from chalicelib.model.work import Source
from chalicelib.settings import settings
from chalicelib.store import clients, jobs, plans, queues, tasks
from chalicelib.store.meter import meter
from chalicelib.store.progress import Ticker
from chalicelib.store.queues import TaskMessage
from chalicelib.store.tasks import Claim
from chalicelib.store.watch import Watch
from chalicelib.tasks.kinds import kind_of
from chalicelib.tasks.workbench import Workbench
from chalicelib.telemetry import MetricUnit, logger, metrics, tracer


def run_task(record: SQSRecord, invocation: Invocation) -> None:
    """Run the task of a message, once, however often its message comes.

    Nothing is done where the job has ended: a message of a canceled job costs one read. Where that ends while
    the task works, the task stops, and nothing more is written.

    Raises Later where somebody is at it already, where another version of this code has planned it, and where
    it failed and is to be tried again. A worker that dies, or whose result DynamoDB refuses to take, leaves
    the task leased: its message comes again, and once the lease is over the task is run anew, by `claim`.
    After `max_attempts` of them it ends as `attempts_exhausted`.
    """
    message = msgspec.json.decode(record.body, type=TaskMessage)
    job_id, task_id = message.job_id, message.task_id
    logger.append_keys(job_id=job_id, task_id=task_id)
    job = jobs.get(job_id)
    if job is None or not (message.generation == GENERATION and lifecycle.may_run(job, task_id)):
        if job is not None and lifecycle.is_foreign(job, message.generation):
            logger.info("Planned by another version", generation=job.generation)
            pause = 6 * settings().retry_seconds
            if jobs.look_soon(job_id, pause):  # one of a thousand messages tells intake
                queues.send_start(job_id)
            raise Later(pause)
        logger.info("Nothing to do: the task's time is over")
        return
    load_plan = cache(partial(plans.plan_of, job, task_id))
    claim, task = tasks.claim(
        job_id, task_id, invocation.request_id, invocation.remaining_seconds()
    )
    match claim:
        case Claim.LEASED:
            raise Later((task.lease_until or 0) - time.time() + 1)
        case Claim.ENDED:
            ended: TaskRecord | None = task
        case Claim.FREE:
            try:
                ended = _run_claimed(job, task, load_plan, invocation)
            except JobHasEnded:
                logger.info("Stopped: the job has ended")
                meter.lap()  # what it took is not the next message's
                return
    if ended is None:
        logger.warning("The lease was lost to another worker")
    else:
        _follow_up(job, ended, load_plan)


LoadPlan = Callable[[], Plan]


def _run_claimed(
    job: Job, task: TaskRecord, load_plan: LoadPlan, invocation: Invocation
) -> TaskRecord | None:
    """Run a task that is ours; the task once it has ended, or None where the lease was lost."""
    owner, task_id = invocation.request_id, task.task_id
    end = partial(tasks.end, job.job_id, task_id, owner)
    if task.attempts > 1:
        metrics.add_metric("Retries", MetricUnit.Count, 1)
    started = time.monotonic()
    try:
        if task.attempts > settings().max_attempts:
            raise _exhausted(task, task.last_error)
        plan = load_plan()
        result = _perform(job, plan, plan.task(task_id), invocation)
    except JobHasEnded:
        raise
    except Exception as error:
        again = isinstance(error, TimedOut) and not error.came_before(task.last_error)
        if isinstance(error, JobError) and not again:
            logger.warning("The task cannot be done", error_code=error.code, error=error.detail)
            return end(failed(error))
        if fault := defect(error):
            logger.exception("The task cannot be done: a fault of ours")
            return end(failed(fault))
        # Broken world, or a busy machine: tried again, and given up with this reason.
        reason = clients.explain(error)
        logger.exception("It will be tried again")
        if task.attempts >= settings().max_attempts:
            return end(failed(_exhausted(task, reason)))
        pause = queues.backoff(task.attempts)
        tasks.release(job.job_id, task_id, owner, reason, pause)
        raise Later(pause) from error
    seconds = round(time.monotonic() - started, 3)
    logger.info("Done", seconds=seconds)
    metrics.add_metric("TaskSeconds", MetricUnit.Seconds, seconds)
    return end(result)


@tracer.capture_method(capture_response=False)
def _perform(job: Job, plan: Plan, task: Task, invocation: Invocation) -> Result:
    """Carry a task out and store what it makes under its own keys.

    Raises JobError, Transient, JobHasEnded.
    """
    tracer.put_annotation("job_id", job.job_id)
    budget = Budget(invocation.work_seconds, invocation.spare_bytes, Watch(job.job_id))
    if task.id in plan.reused:
        from chalicelib.jobs import reusing

        if result := reusing.copied(job, plan, task, budget.check):
            return result
    bench = Workbench(
        plan,
        task,
        plan.source(task, Source(job.source_key, job.etag)),
        budget,
        partial(tasks.encoded_parts, job.job_id),
        Ticker(job.job_id, task.id, len(plan.tasks)),
    )
    return kind_of(task.work).run(bench)


def _exhausted(task: TaskRecord, last_error: str) -> JobError:
    """Why a task is given up: its last error, or that no worker could write one."""
    tries = min(task.attempts, settings().max_attempts)
    last = last_error or "No worker that tried it could say why."
    return JobError("attempts_exhausted", f"{task.task_id} was tried {tries} times. {last}")


def _follow_up(job: Job, ended: TaskRecord, load_plan: LoadPlan) -> None:
    """Do what follows from an ended task. Raises Transient where its plan is not there and it ended well."""
    try:
        plan = load_plan()
    except Transient:
        if not isinstance(ended.result, Failed) or ended.task_id == REMUX:
            raise
        # Without it nobody can tell what the task was for, and nothing else can run.
        lifecycle.fail(job, JobError(ended.result.code, ended.result.detail))
    else:
        lifecycle.after_task(job, plan, ended)
