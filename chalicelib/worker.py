"""A step Lambda: claims one task, does its work, says what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pynamodb.exceptions import PynamoDBException

from chalicelib import aws, excerpt, files, jobs, ledger, queues, works
from chalicelib.errors import JobError, TimedOut, Transient, defect
from chalicelib.handlers import Invocation, Later
from chalicelib.ledger import Claim
from chalicelib.plan import (
    GENERATION,
    REMUX,
    Chunk,
    Drawn,
    Excerpt,
    Hls,
    Join,
    Parts,
    Pictures,
    Plan,
    Refused,
    Remux,
    Sound,
    Source,
    Task,
)
from chalicelib.queues import TaskMessage
from chalicelib.rows import FAILED, SUCCESS, Job, Output, StepState, TaskRow
from chalicelib.scratch import scratch_folder
from chalicelib.settings import settings
from chalicelib.watch import MetricUnit, logger, metrics, tracer


def run_task(record: SQSRecord, invocation: Invocation) -> None:
    """Run a task once, however often its message comes. Raises Later where somebody is at it already."""
    message = msgspec.json.decode(record.body, type=TaskMessage)
    job_id, task_id = message.job_id, message.task_id
    logger.append_keys(job_id=job_id, task_id=task_id)
    job = ledger.get_job(job_id)
    if job is None or not (message.generation == GENERATION and jobs.may_run(job, task_id)):
        if job is not None and jobs.is_foreign(job, message.generation):
            logger.info("Planned by another version", generation=job.generation)
            pause = 6 * settings().retry_seconds
            if ledger.hasten(job_id, pause):  # one of a thousand messages tells intake
                queues.send_start(job_id)
            raise Later(pause)
        logger.info("Nothing to do: the task's time is over")
        return
    load_plan = cache(partial(jobs.plan_of, job, task_id))
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
        made = _perform(job, plan, plan.task(task_id), invocation)
    except Exception as error:
        again = isinstance(error, TimedOut) and not error.came_before(row.last_error)
        if isinstance(error, JobError) and not again:
            logger.warning("The task cannot be done", error_code=error.code, error=error.detail)
            return ledger.fail_task(job.job_id, task_id, owner, jobs.failure(error))
        if failure := defect(error):
            logger.exception("The task cannot be done: a fault of ours")
            return ledger.fail_task(job.job_id, task_id, owner, jobs.failure(failure))
        # Broken world, or a busy machine: tried again, and given up with this reason.
        row.last_error = aws.explain(error)
        logger.exception("It will be tried again")
        if row.attempts >= settings().max_attempts:
            return ledger.fail_task(job.job_id, task_id, owner, jobs.failure(_exhausted(row)))
        pause = queues.backoff(int(row.attempts))
        ledger.release_task(job.job_id, task_id, owner, row.last_error, pause)
        raise Later(pause) from error
    seconds = round(time.monotonic() - started, 3)
    logger.info("Done", seconds=seconds)
    metrics.add_metric("TaskSeconds", MetricUnit.Seconds, seconds)
    return ledger.finish_task(job.job_id, task_id, owner, made)


def _exhausted(row: TaskRow) -> JobError:
    """Why a task is given up: what was last said of it, or that nobody lived to say it."""
    tries = min(int(row.attempts), settings().max_attempts)
    last = row.last_error or "Every worker that tried it died."
    return JobError("attempts_exhausted", f"{row.task_id} was tried {tries} times. {last}")


def _follow_up(job: Job, ended: TaskRow, load_plan: LoadPlan) -> None:
    try:
        plan = load_plan()
    except Transient:
        if ended.state != FAILED or ended.task_id == REMUX:
            raise
        # Without it nobody can tell what the task was for, and nothing else can run.
        state = msgspec.convert(ended.result, StepState)
        jobs.fail(job, JobError(state.error_code, state.error))
    else:
        jobs.after_task(job.job_id, plan, ended)


@tracer.capture_method(capture_response=False)
def _perform(
    job: Job, plan: Plan, task: Task, invocation: Invocation
) -> Parts | Source | dict[str, StepState]:
    """Fetch, work, publish under deterministic keys; a part, or what the steps that end here came to."""
    tracer.put_annotation("job_id", job.job_id)
    ticker = _Ticker(job.job_id, task.id, len(plan.tasks))
    if isinstance(task.work, Join | Hls):
        return {task.id: StepState(SUCCESS, output=_package(job, plan, task, ticker))}
    budget = works.Budget(invocation.work_seconds, invocation.spare_bytes)
    with scratch_folder() as folder:
        (folder / "out").mkdir()
        source = plan.copy or Source(job.source_key, job.etag)
        fetch = partial(_fetch_excerpt, plan, task, source, folder / "source")
        if task.excerpt is None:
            files.fetch(source, folder / "source")
        if isinstance(task.work, Remux):
            copy = works.remux(task.work, folder, budget)
            return files.publish_copy(copy, task.destination + copy.name)
        if isinstance(task.work, Chunk | Sound):
            length = task.work.seconds
            made = works.encode(
                task.work,
                plan.commands[task.work.command],
                folder,
                budget,
                lambda at: ticker(at / length),
                fetch,
            )
            for path in sorted((folder / "out").iterdir()):
                files.publish(path, task.destination + path.name)
            return made
        if isinstance(task.work, Pictures):
            drawn = works.draw(task.work, folder, budget)
        else:
            drawn = {task.id: works.poster(task.work, folder, budget, fetch)}
        return {
            step: _picture(step, picture, folder / "out", task.destination)
            for step, picture in drawn.items()
        }


def _fetch_excerpt(plan: Plan, task: Task, source: Source, target: Path, wanted: Excerpt) -> None:
    samples = plan.samples(task)
    made = excerpt.make(samples, wanted, jobs.load_samples(samples, wanted))
    files.fetch_parts(source, target, made.head, made.parts)


def _picture(step: str, picture: Drawn, folder: Path, destination: str) -> StepState:
    if isinstance(picture, Refused):
        return jobs.failure(JobError(picture.code, picture.detail))
    key = destination + picture.name
    output = Output(
        type=step,
        s3_key=key,
        size=files.publish(folder / picture.name, key),
        content_type=files.CONTENT_TYPES[Path(key).suffix],
        width=picture.width,
        height=picture.height,
        warning=picture.warning,
    )
    return StepState(SUCCESS, output=output)


def _package(job: Job, plan: Plan, task: Task, ticker: _Ticker) -> Output:
    from chalicelib import packaging

    rows = ledger.get_tasks(job.job_id, task.needs)
    pictures, sound = (
        [
            packaging.Stored(msgspec.convert(rows[part.id].result, Parts), part.destination)
            for part in parts
        ]
        for parts in plan.parts(task)
    )
    return packaging.package(task, pictures, sound, ticker)


class _Ticker:
    """Writes how far a task is, at most once a second; losing such a write loses nothing.

    Of many tasks each writes less often: their ends alone tell enough.
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
            ledger.advance(self._job_id, self._task_id, min(99, int(100 * part)))
        except PynamoDBException:
            logger.warning("Progress was not written", exc_info=True)
