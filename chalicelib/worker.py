"""A step Lambda: claims one task, does its work, says what came of it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pynamodb.exceptions import PynamoDBException

from chalicelib import aws, files, jobs, ledger, works
from chalicelib.errors import JobError, Transient
from chalicelib.handlers import Invocation, Later
from chalicelib.ledger import Claim
from chalicelib.plan import Plan, Task, Video
from chalicelib.queues import TaskMessage
from chalicelib.rows import STARTED, Job, Output, TaskRow
from chalicelib.scratch import scratch_folder
from chalicelib.settings import settings
from chalicelib.watch import MetricUnit, logger, metrics, tracer


def run_task(record: SQSRecord, invocation: Invocation) -> None:
    """Run a task once, however often its message comes. Raises Later where somebody is at it already."""
    message = msgspec.json.decode(record.body, type=TaskMessage)
    job_id, task_id = message.job_id, message.task_id
    logger.append_keys(job_id=job_id, task_id=task_id)
    job = ledger.get_job(job_id)
    if job is None or job.status != STARTED:
        logger.info("Nothing to do: the job has ended")
        return
    plan = jobs.load_plan(job)
    task = plan.task(task_id)
    claim, row = ledger.claim_task(
        job_id, task_id, task.queue, invocation.request_id, invocation.remaining_seconds()
    )
    match claim:
        case Claim.LEASED:
            raise Later((row.lease_until or 0) - time.time() + 1)
        case Claim.ENDED:
            ended: TaskRow | None = row
        case Claim.FREE:
            ended = _run_claimed(job, plan, task, row, invocation)
    if ended is None:
        logger.warning("The lease was lost to another worker")
    else:
        jobs.after_task(job_id, plan, ended)


def _run_claimed(
    job: Job, plan: Plan, task: Task, row: TaskRow, invocation: Invocation
) -> TaskRow | None:
    owner = invocation.request_id
    if row.attempts > 1:
        metrics.add_metric("Retries", MetricUnit.Count, 1)
    started = time.monotonic()
    try:
        if row.attempts > settings().max_receives:
            raise exhausted(task.id, row)
        output = _perform(job, task, invocation)
    except JobError as error:
        logger.warning("The task cannot be done", error_code=error.code, error=error.detail)
        return ledger.fail_task(job.job_id, task.id, owner, jobs.failure(error))
    except Exception as error:
        # Broken world, or our own mistake: tried again soon, and dead-lettered with this reason.
        ledger.release_task(job.job_id, task.id, owner, aws.explain(error))
        raise
    seconds = round(time.monotonic() - started, 3)
    logger.info("Done", s3_key=output.s3_key, seconds=seconds)
    metrics.add_metric("TaskSeconds", MetricUnit.Seconds, seconds)
    listed = output if plan.ended_by(task.id) else None
    return ledger.finish_task(job.job_id, task.id, owner, listed)


@tracer.capture_method(capture_response=False)
def _perform(job: Job, task: Task, invocation: Invocation) -> Output:
    """Fetch, work, publish: outputs under deterministic keys, the one that is listed last."""
    tracer.put_annotation("job_id", job.job_id)
    budget = works.Budget(invocation.work_seconds, invocation.memory_bytes)
    with scratch_folder() as folder:
        (folder / "out").mkdir()
        if task.source:
            files.fetch_original(job.source_key, job.etag, folder / "source")
        for local, key in task.inputs.items():
            files.fetch_output(key, folder / local)
        length = task.work.seconds if isinstance(task.work, Video) else None
        made = works.perform(task.work, folder, budget, _Ticker(job.job_id, task.id, length))
        others = sorted(p for p in (folder / "out").iterdir() if p.name != made.main)
        size = 0
        for path in (*others, folder / "out" / made.main):
            size += files.publish(path, task.destination + path.name)
        return Output(
            type=task.id,
            s3_key=task.destination + made.main,
            size=size,
            content_type=files.CONTENT_TYPES[Path(made.main).suffix],
            width=made.width,
            height=made.height,
            duration=made.duration,
            warning=made.warning,
        )


class _Ticker:
    """Writes how far an encode is, at most once a second; losing such a write loses nothing."""

    def __init__(self, job_id: str, task_id: str, length: float | None) -> None:
        self._job_id = job_id
        self._task_id = task_id
        self._length = length
        self._next = 0.0

    def __call__(self, seconds: float) -> None:
        if self._length is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1.0
        percent = min(99, int(100 * seconds / self._length))
        try:
            ledger.advance(self._job_id, self._task_id, percent)
        except PynamoDBException:
            logger.warning("Progress was not written", exc_info=True)


def bury_task(message: TaskMessage) -> None:
    """End a task whose message was received too often. Raises Later where somebody is at it."""
    job_id, task_id = message.job_id, message.task_id
    logger.append_keys(job_id=job_id, task_id=task_id)
    job = ledger.get_job(job_id)
    if job is None or job.status != STARTED:
        return
    row = ledger.get_task(job_id, task_id)
    ended = ledger.fail_task(job_id, task_id, None, jobs.failure(exhausted(task_id, row)))
    if ended is None:
        raise Later(60)
    try:
        plan = jobs.load_plan(job)
    except Transient:  # without it nobody can tell what the task was for, and nothing else can run
        jobs.fail_open_steps(job, jobs.failure(exhausted(task_id, row)))
    else:
        jobs.after_task(job_id, plan, ended)


def exhausted(task_id: str, row: TaskRow | None) -> JobError:
    """Why a task is given up: what was last said of it, or that nobody lived to say it."""
    last = (row and row.last_error) or "Every worker that tried it died."
    tries = settings().max_receives
    return JobError("attempts_exhausted", f"{task_id} was tried {tries} times. {last}")
