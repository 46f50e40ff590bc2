"""Messages between the functions: the only module that talks to SQS. A message carries ids, never state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched, zip_longest
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from chalicelib.errors import Transient
from chalicelib.model.plan import GENERATION, Task
from chalicelib.model.pools import POOLS
from chalicelib.settings import queue_url, settings
from chalicelib.store.clients import sqs

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

EVENTS = "events"
QUEUES = ("intake", *POOLS, EVENTS)

# The queue to which SQS moves a message of any other that was delivered too often.
DEAD_LETTERS = "dead_letters"

# The longest that SQS hides a message.
_MOST_SECONDS = 12 * 3600
_MOST_BACKOFF_SECONDS = 900
# The longest that SQS delays a message.
MOST_DELAY_SECONDS = 900


class TaskMessage(msgspec.Struct, frozen=True):
    """To a worker: run this task of a plan of this generation."""

    job_id: str
    task_id: str
    generation: str = ""


class StartMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """To intake: plan this job and send its first messages; with `resume`, send what is due of it at work."""

    job_id: str
    resume: bool = False


class TellMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To events: tell what is to be told of this job."""

    job_id: str


class DeliveryMessage(msgspec.Struct, frozen=True):
    """To events: send what is due of this job to this endpoint."""

    owner: str
    endpoint_id: str
    job_id: str


def send_event(message: TellMessage | DeliveryMessage, seconds: int = 0) -> None:
    """Send a message that arrives in `seconds`, at most MOST_DELAY_SECONDS."""
    # So SQS prefers receivers that answer to those that hang (`_send_batch`).
    group = message.endpoint_id if isinstance(message, DeliveryMessage) else message.job_id
    sqs().send_message(
        QueueUrl=queue_url(EVENTS),
        MessageBody=msgspec.json.encode(message).decode(),
        DelaySeconds=seconds,
        MessageGroupId=group,
    )


def send_start(job_id: str, *, resume: bool = False) -> None:
    body = msgspec.json.encode(StartMessage(job_id, resume)).decode()
    sqs().send_message(QueueUrl=queue_url("intake"), MessageBody=body)


def send_tasks(job_id: str, tasks: Sequence[Task]) -> None:
    """Send messages for tasks, ten at a time, in order within each queue.

    The queues take turns: a film's first audio does not wait for hundreds of chunks to be sent. Raises
    Transient where SQS did not take a message.
    """
    by_queue: dict[str, list[TaskMessage]] = {}
    for task in tasks:
        message = TaskMessage(job_id, task.id, GENERATION)
        by_queue.setdefault(task.pool, []).append(message)
    batches = (
        [(q, b) for b in batched(waiting, 10, strict=False)] for q, waiting in by_queue.items()
    )
    for turn in zip_longest(*batches):
        for queue, batch in filter(None, turn):
            _send_batch(queue, batch)


def _send_batch(queue: str, batch: Sequence[TaskMessage]) -> None:
    # A group of a queue that is not FIFO: SQS prefers messages of groups of which few are at work, so that
    # small jobs do not wait for a film of hundreds of chunks ("fair queues"). It orders nothing.
    entries: list[SendMessageBatchRequestEntryTypeDef] = [
        {
            "Id": str(number),
            "MessageBody": msgspec.json.encode(message).decode(),
            "MessageGroupId": message.job_id,
        }
        for number, message in enumerate(batch)
    ]
    answer = sqs().send_message_batch(QueueUrl=queue_url(queue), Entries=entries)
    if answer.get("Failed"):
        raise Transient("not_sent", "The queue did not take every message.")


def hide(url: str, receipt: str, seconds: float) -> None:
    """Make a message that is not acknowledged visible again after `seconds`, rounded up."""
    sqs().change_message_visibility(
        QueueUrl=url,
        ReceiptHandle=receipt,
        VisibilityTimeout=min(_MOST_SECONDS, max(0, ceil(seconds))),
    )


def backoff(tries: int) -> int:
    """Seconds to wait before the next try, after `tries` of them."""
    return min(_MOST_BACKOFF_SECONDS, settings().retry_seconds * int(3 ** (tries - 1)))
