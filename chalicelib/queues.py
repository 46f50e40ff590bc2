"""Messages between the functions: the only place that talks to SQS. A message carries ids, never state."""

from __future__ import annotations

import msgspec

from chalicelib.aws import sqs
from chalicelib.settings import queue_url, settings

QUEUES = ("intake", "thumbnail", "watermark", "encode", "transcode_720p", "hls_720p")

# The longest that SQS hides a message.
_MOST_SECONDS = 12 * 3600


class TaskMessage(msgspec.Struct, frozen=True):
    """To a step Lambda: run this task."""

    job_id: str
    task_id: str


class StartMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To intake: this job's object is there."""

    job_id: str


def send(queue: str, message: TaskMessage | StartMessage) -> None:
    sqs().send_message(QueueUrl=queue_url(queue), MessageBody=msgspec.json.encode(message).decode())


def hide(url: str, receipt: str, seconds: float) -> None:
    """Make a message that is not acknowledged visible again after `seconds`, not later."""
    sqs().change_message_visibility(
        QueueUrl=url,
        ReceiptHandle=receipt,
        VisibilityTimeout=min(_MOST_SECONDS, max(0, round(seconds))),
    )


def backoff(receives: int) -> int:
    """Seconds before the next try, after this many; none before the dead-letter queue."""
    if receives >= settings().max_receives:
        return 0
    return int(settings().retry_seconds * 3 ** (receives - 1))
