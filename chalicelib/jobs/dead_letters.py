"""Dead letters: the job of a message that came too often is looked at soon."""

from __future__ import annotations

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.invocation import Invocation
from chalicelib.jobs import s3_events
from chalicelib.store import jobs, objects
from chalicelib.store.queues import TaskMessage
from chalicelib.telemetry import MetricUnit, logger, metrics

# How soon the sweep looks at the job of a dead letter, whose message would not have been its last hope.
_AFTER_DEAD_LETTER_SECONDS = 600


def bury(record: SQSRecord, _: Invocation) -> None:
    """Have the job of a message that came too often looked at soon, and what is due of it sent anew.

    A job fails by the tries of its tasks, which the table counts: a message can come in vain without one.
    What is no message of ours is put aside, once.
    """
    metrics.add_metric("DeadLetters", MetricUnit.Count, 1)
    try:
        job_ids = _job_ids(record.body)
    except msgspec.DecodeError as error:
        key = f"work/dead_letters/{record.message_id}"
        logger.error("A dead letter that cannot be read is put aside", key=key, error=str(error))
        objects.put_new_work(key, record.body.encode())
        return
    for job_id in job_ids:
        logger.append_keys(job_id=job_id)
        logger.warning("Its message came too often")
        jobs.look_soon(job_id, _AFTER_DEAD_LETTER_SECONDS)


def _job_ids(body: str) -> list[str]:
    try:
        return [msgspec.json.decode(body, type=TaskMessage).job_id]
    except msgspec.ValidationError:
        return [job_id for job_id, _ in s3_events.arrivals(s3_events.decode(body))]
