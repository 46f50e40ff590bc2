"""What happens when nothing happens any more: dead letters and the sweep end every job."""

from __future__ import annotations

import time

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib import files, intake, jobs, ledger, queues, worker
from chalicelib.errors import JobError, Transient
from chalicelib.handlers import Invocation
from chalicelib.queues import StartMessage, TaskMessage
from chalicelib.rows import PENDING, TERMINAL, Job, TaskRow
from chalicelib.settings import settings
from chalicelib.watch import MetricUnit, logger, metrics

# A task whose message was sent again is looked at again after this long.
_PATIENCE_SECONDS = 900


def bury(record: SQSRecord, _: Invocation) -> None:
    """End what a dead-lettered message was about, with its reason.

    The message says what it is: all queues share one for their dead letters.
    """
    metrics.add_metric("DeadLetters", MetricUnit.Count, 1)
    try:
        task = msgspec.json.decode(record.body, type=TaskMessage)
    except msgspec.ValidationError:
        for job_id in intake.job_ids(intake.decode(record.body)):
            logger.append_keys(job_id=job_id)
            _end_unstarted(job_id)
    else:
        worker.bury_task(task)


def _end_unstarted(job_id: str) -> None:
    """End a job that intake gave up: before it was started, or with none of its tasks sent."""
    job = ledger.get_job(job_id)
    if job is None or job.status in TERMINAL:
        return
    last = job.last_error or "Every worker that tried it died."
    tries = settings().max_receives
    error = JobError("intake_failed", f"The file was looked at {tries} times in vain. {last}")
    if job.status == PENDING:
        jobs.fail_unstarted(job_id, error)
        return
    try:
        plan = jobs.load_plan(job)
    except Transient:
        jobs.fail_open_steps(job, jobs.failure(error))
    else:
        jobs.send_first(job_id, plan)


def sweep() -> None:
    """End jobs past their deadline, send tasks again whose worker and message are both gone.

    What goes wrong with one does not keep it from the others: it is raised in the end.
    """
    errors: list[Exception] = []
    try:
        for row in ledger.overdue(time.time()):
            logger.append_keys(job_id=row.job_id)
            try:
                _look_after(row)
            except Exception as error:
                logger.exception("It could not be looked after")
                errors.append(error)
    finally:
        logger.remove_keys(["job_id"])
        # No metric of each run: it would be there, and be paid for, all month; and Lambda counts runs.
        if metrics.metric_set:
            metrics.flush_metrics()
    if errors:
        raise ExceptionGroup("Some rows could not be looked after", errors)


def _look_after(row: Job | TaskRow) -> None:
    if isinstance(row, TaskRow):
        _send_again(row)
    elif row.status == PENDING and row.awaits_upload and files.find_original(row.source_key):
        # It came, and intake has not yet had its turn. A queue's backlog is no failure.
        if ledger.await_intake(row.job_id):
            queues.send("intake", StartMessage(row.job_id))
    else:
        _end_overdue(row)


def _end_overdue(job: Job) -> None:
    if job.status == PENDING and job.awaits_upload:
        detail = "No file was uploaded before the upload's URL expired."
        jobs.fail_unstarted(job.job_id, JobError("upload_expired", detail))
        return
    error = JobError("deadline_exceeded", "The job did not end in the time that it was given.")
    if job.status == PENDING:
        jobs.fail_unstarted(job.job_id, error)
    else:
        jobs.fail_open_steps(job, jobs.failure(error))


def _send_again(task: TaskRow) -> None:
    job = ledger.get_job(task.job_id)
    if job is None or not jobs.may_run(job, task.task_id):
        ledger.forget(task)
    elif ledger.postpone(task, _PATIENCE_SECONDS):
        logger.warning("The worker of a task is gone: sent again", task_id=task.task_id)
        metrics.add_metric("SweptTasks", MetricUnit.Count, 1)
        queues.send(task.queue, TaskMessage(task.job_id, task.task_id))
