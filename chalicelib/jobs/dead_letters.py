"""Dead letters: messages that were delivered too often. The sweep looks at their jobs soon."""

from __future__ import annotations

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.invocation import Invocation
from chalicelib.jobs import s3_events
from chalicelib.store import jobs, objects
from chalicelib.store.queues import TaskMessage
from chalicelib.telemetry import MetricUnit, logger, metrics

# How soon the sweep looks at the job of a dead letter. Another message may still move that on.
_AFTER_DEAD_LETTER_SECONDS = 600


def bury(record: SQSRecord, _: Invocation) -> None:
    """Have the sweep look at the job of a dead letter soon, and send what is due of it anew.

    Nothing fails here: a job fails by the tries of its tasks, which the table counts, and a message can come
    in vain without a try. What is no message of ours is stored under work/dead_letters/, once.
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
    """The jobs of a message of any queue. Raises msgspec.DecodeError where it is none of ours."""
    try:
        return [msgspec.json.decode(body, type=TaskMessage).job_id]
    except msgspec.ValidationError:
        return [job_id for job_id, _ in s3_events.arrivals(s3_events.decode(body))]
