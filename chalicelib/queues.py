"""Messages between the functions: the only place that talks to SQS. A message carries ids, never state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched
from typing import TYPE_CHECKING

import msgspec

from chalicelib.aws import sqs
from chalicelib.errors import Transient
from chalicelib.settings import queue_url, settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

QUEUES = ("intake", "thumbnail", "watermark", "encode", "transcode_720p", "hls_720p")

# Where each of them puts a message that failed every time; of the function that buries it, too.
DEAD_LETTERS = "dead_letters"

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


def send_all(messages: Sequence[tuple[str, TaskMessage]]) -> None:
    """Send many, ten at a time and in order. Raises Transient where SQS did not take one."""
    by_queue: dict[str, list[TaskMessage]] = {}
    for queue, message in messages:
        by_queue.setdefault(queue, []).append(message)
    for queue, waiting in by_queue.items():
        for batch in batched(waiting, 10, strict=False):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": str(number), "MessageBody": msgspec.json.encode(message).decode()}
                for number, message in enumerate(batch)
            ]
            answer = sqs().send_message_batch(QueueUrl=queue_url(queue), Entries=entries)
            if answer.get("Failed"):
                raise Transient("not_sent", "The queue did not take every message.")


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
