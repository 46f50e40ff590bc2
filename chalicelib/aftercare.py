"""What happens when nothing happens any more: dead letters and the sweep end every job."""

from __future__ import annotations

import time

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib import handlers, intake, jobs, ledger, queues, worker
from chalicelib.errors import JobError
from chalicelib.handlers import Invocation
from chalicelib.queues import TaskMessage
from chalicelib.rows import PENDING, STARTED, Job, TaskRow
from chalicelib.settings import settings
from chalicelib.watch import MetricUnit, logger, metrics

# A task whose message was sent again is looked at again after this long.
_PATIENCE_SECONDS = 900


def bury(record: SQSRecord, _: Invocation) -> None:
    """End what a dead-lettered message was about, with its reason."""
    metrics.add_metric("DeadLetters", MetricUnit.Count, 1)
    if handlers.dead_queue(record) != "intake":
        worker.bury_task(msgspec.json.decode(record.body, type=TaskMessage))
        return
    tries = settings().max_receives
    error = JobError(
        "intake_failed", f"The file could not be looked at: {tries} tries were cut short."
    )
    for job_id in intake.job_ids(intake.decode(record.body)):
        logger.append_keys(job_id=job_id)
        jobs.fail_unstarted(job_id, error)


def sweep() -> None:
    """End jobs past their deadline, send tasks again whose worker and message are both gone."""
    for row in ledger.overdue(time.time()):
        logger.append_keys(job_id=row.job_id)
        if isinstance(row, Job):
            _end_overdue(row)
        else:
            _send_again(row)
    logger.remove_keys(["job_id"])
    metrics.add_metric("Sweeps", MetricUnit.Count, 1)
    metrics.flush_metrics()


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
    if job is None or job.status != STARTED:
        ledger.forget(task)
    elif ledger.postpone(task, _PATIENCE_SECONDS):
        logger.warning("The worker of a task is gone: sent again", task_id=task.task_id)
        metrics.add_metric("SweptTasks", MetricUnit.Count, 1)
        queues.send(task.queue, TaskMessage(task.job_id, task.task_id))
