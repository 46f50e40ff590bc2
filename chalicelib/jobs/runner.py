"""A step Lambda: claims one task, does its work, says what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.errors import JobError, TimedOut, Transient, defect
from chalicelib.invocation import Budget, Invocation, Later
from chalicelib.jobs import lifecycle
from chalicelib.model.plan import GENERATION, REMUX, Plan, Task
from chalicelib.model.result import Encoded, Failed, Result, failed
from chalicelib.model.work import Source
from chalicelib.settings import settings
from chalicelib.store import clients, ledger, plans, queues
from chalicelib.store.ledger import Claim
from chalicelib.store.progress import Ticker
from chalicelib.store.queues import TaskMessage
from chalicelib.store.table import Job, TaskRow
from chalicelib.tasks.kinds import kind_of
from chalicelib.tasks.workbench import Workbench
from chalicelib.telemetry import MetricUnit, logger, metrics, tracer


def run_task(record: SQSRecord, invocation: Invocation) -> None:
    """Run a task once, however often its message comes. Raises Later where somebody is at it already."""
    message = msgspec.json.decode(record.body, type=TaskMessage)
    job_id, task_id = message.job_id, message.task_id
    logger.append_keys(job_id=job_id, task_id=task_id)
    job = ledger.get_job(job_id)
    if job is None or not (message.generation == GENERATION and lifecycle.may_run(job, task_id)):
        if job is not None and lifecycle.is_foreign(job, message.generation):
            logger.info("Planned by another version", generation=job.generation)
            pause = 6 * settings().retry_seconds
            if ledger.hasten(job_id, pause):  # one of a thousand messages tells intake
                queues.send_start(job_id)
            raise Later(pause)
        logger.info("Nothing to do: the task's time is over")
        return
    load_plan = cache(partial(plans.plan_of, job, task_id))
    claim, row = ledger.claim_task(
        job_id, task_id, invocation.request_id, invocation.remaining_seconds()
    )
    match claim:
        case Claim.LEASED:
            raise Later((row.lease_until or 0) - time.time() + 1)
        case Claim.ENDED:
            ended: TaskRow | None = row
        case Claim.FREE:
            ended = _run_claimed(job, row, load_plan, invocation)
    if ended is None:
        logger.warning("The lease was lost to another worker")
    else:
        _follow_up(job, ended, load_plan)


LoadPlan = Callable[[], Plan]


def _run_claimed(
    job: Job, row: TaskRow, load_plan: LoadPlan, invocation: Invocation
) -> TaskRow | None:
    """Run a task that is ours; its row once it has ended, or None where the lease was lost."""
    owner, task_id = invocation.request_id, row.task_id
    if row.attempts > 1:
        metrics.add_metric("Retries", MetricUnit.Count, 1)
    started = time.monotonic()
    try:
        if row.attempts > settings().max_attempts:
            raise _exhausted(row)
        plan = load_plan()
        result = _perform(job, plan, plan.task(task_id), invocation)
    except Exception as error:
        again = isinstance(error, TimedOut) and not error.came_before(row.last_error)
        if isinstance(error, JobError) and not again:
            logger.warning("The task cannot be done", error_code=error.code, error=error.detail)
            return ledger.end_task(job.job_id, task_id, owner, failed(error))
        if fault := defect(error):
            logger.exception("The task cannot be done: a fault of ours")
            return ledger.end_task(job.job_id, task_id, owner, failed(fault))
        # Broken world, or a busy machine: tried again, and given up with this reason.
        row.last_error = clients.explain(error)
        logger.exception("It will be tried again")
        if row.attempts >= settings().max_attempts:
            return ledger.end_task(job.job_id, task_id, owner, failed(_exhausted(row)))
        pause = queues.backoff(int(row.attempts))
        ledger.release_task(job.job_id, task_id, owner, row.last_error, pause)
        raise Later(pause) from error
    seconds = round(time.monotonic() - started, 3)
    logger.info("Done", seconds=seconds)
    metrics.add_metric("TaskSeconds", MetricUnit.Seconds, seconds)
    return ledger.end_task(job.job_id, task_id, owner, result)


@tracer.capture_method(capture_response=False)
def _perform(job: Job, plan: Plan, task: Task, invocation: Invocation) -> Result:
    """Carry a task out and store what it makes under its own keys. Raises JobError, Transient."""
    tracer.put_annotation("job_id", job.job_id)
    bench = Workbench(
        plan,
        task,
        plan.copy or Source(job.source_key, job.etag),
        Budget(invocation.work_seconds, invocation.spare_bytes),
        partial(_encoded, job.job_id),
        Ticker(job.job_id, task.id, len(plan.tasks)),
    )
    return kind_of(task.work).run(bench)


def _encoded(job_id: str, task_ids: Sequence[str]) -> dict[str, Encoded]:
    """What tasks that make parts of a film have ended with."""
    rows = ledger.get_tasks(job_id, task_ids)
    results = {task_id: row.ended_with() for task_id, row in rows.items()}
    return {task_id: each for task_id, each in results.items() if isinstance(each, Encoded)}


def _exhausted(row: TaskRow) -> JobError:
    """Why a task is given up: what was last said of it, or that nobody lived to say it."""
    tries = min(int(row.attempts), settings().max_attempts)
    last = row.last_error or "Every worker that tried it died."
    return JobError("attempts_exhausted", f"{row.task_id} was tried {tries} times. {last}")


def _follow_up(job: Job, ended: TaskRow, load_plan: LoadPlan) -> None:
    try:
        plan = load_plan()
    except Transient:
        result = ended.ended_with()
        if not isinstance(result, Failed) or ended.task_id == REMUX:
            raise
        # Without it nobody can tell what the task was for, and nothing else can run.
        lifecycle.fail(job, JobError(result.code, result.detail))
    else:
        lifecycle.after_task(job.job_id, plan, ended)
