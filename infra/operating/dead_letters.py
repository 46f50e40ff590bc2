"""Dead letters of a stage: listed with their jobs, sent back to their queues, or dropped.

They are in the queue `dead_letters` for as long as its function cannot run; what it could not read it put
aside in S3. SQS's own move (StartMessageMoveTask) is not used: it moves all, also those of jobs that have
ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from chalicelib.jobs.s3_events import S3Event
from chalicelib.model.step import TERMINAL
from chalicelib.store.queues import DEAD_LETTERS, EVENTS, QUEUES, StartMessage, TaskMessage
from infra.deploying.account import Account
from infra.deploying.cloudformation import stack_name
from infra.stack.catalogue import JOBS_TABLE, OUTPUT_BUCKET, dashed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

ASIDE = "work/dead_letters/"
# How long a message that is looked at is hidden from others, in seconds; after that it is there again.
_HIDDEN_SECONDS = 120
_MOST_MESSAGES = 10  # of SQS, of a request

SENT, DROPPED, LEFT = "sent", "dropped", "left"


class Stage(NamedTuple):
    """Where a stage's messages, jobs and objects are."""

    stack: str
    table: str
    bucket: str
    sqs: SQSClient
    dynamodb: DynamoDBClient
    s3: S3Client


class DeadLetter(msgspec.Struct, frozen=True):
    """A message. `queue` is where it was, empty where SQS does not tell; `age_seconds` since it was sent.

    `status` is that of its job now, empty where there is no such job. A message of S3 has a `key`.
    """

    queue: str
    message_id: str
    job_id: str
    task_id: str
    key: str
    age_seconds: int
    receives: int
    status: str


class Aside(msgspec.Struct, frozen=True):
    """A message that nobody could read, as an object of the output bucket."""

    key: str
    age_seconds: int
    size: int


class Listing(msgspec.Struct, frozen=True):
    letters: list[DeadLetter]
    aside: list[Aside]


class Redriven(msgspec.Struct, frozen=True):
    """What became of a message: SENT to `to`, DROPPED as its job has ended, or LEFT where it is."""

    letter: DeadLetter
    fate: str
    to: str = ""


Told = DeadLetter | Aside | Redriven


def of_stage(stage: str, account: Account) -> Stage:
    """A stage of an account whose region is known."""
    stack = stack_name(stage)
    session, url = account.session(), account.endpoint_url
    bucket = OUTPUT_BUCKET.replace("${AWS::AccountId}", account.number())
    bucket = bucket.replace("${AWS::Region}", str(account.region))
    return Stage(
        stack,
        JOBS_TABLE.replace("${AWS::StackName}", stack),
        bucket.replace("${AWS::StackName}", stack),
        session.client("sqs", endpoint_url=url),
        session.client("dynamodb", endpoint_url=url),
        account.s3(),
    )


def listing(stage: Stage, queue: str | None = None) -> Listing:
    """All dead letters, or those of one queue, which are there again afterwards; and what was put aside."""
    url = _url(stage, DEAD_LETTERS)
    receipts: dict[str, str] = {}
    try:
        letters = [_letter(stage, message) for message in _messages(stage, url, receipts)]
    finally:
        _show_again(stage, url, receipts)
    return Listing(
        [letter for letter in letters if queue in (None, letter.queue)],
        list(_aside(stage)) if queue is None else [],
    )


def redrive(stage: Stage, queue: str | None = None) -> Iterator[Redriven]:
    """Send each message whose job is at work back, and delete it; drop those of jobs that are not.

    It is deleted after it was sent: killed in between, it is sent twice, which harms no job. A message that
    nobody can read is left, and so are those of other queues than `queue`.
    """
    url = _url(stage, DEAD_LETTERS)
    receipts: dict[str, str] = {}
    try:
        for message in _messages(stage, url, receipts):
            letter = _letter(stage, message)
            if queue not in (None, letter.queue) or not (letter.job_id or letter.key):
                yield Redriven(letter, LEFT)
                continue
            # Events are told after a job's end, too.
            of_work = bool(letter.job_id) and letter.queue != EVENTS
            has_ended = of_work and (not letter.status or letter.status in TERMINAL)
            to = "" if has_ended else _send_back(stage, letter, message["Body"])
            stage.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            del receipts[letter.message_id]
            yield Redriven(letter, DROPPED if has_ended else SENT, to)
    finally:
        _show_again(stage, url, receipts)


def sentence(told: Told) -> str:
    """One of the above, as a line for people."""
    if isinstance(told, Redriven):
        to = f" to {told.to}" if told.to else ""
        return f"{told.fate}{to}: {sentence(told.letter)}"
    if isinstance(told, Aside):
        return f"put aside: {told.key}, {told.size} bytes, {told.age_seconds} s old"
    parts = [
        told.message_id,
        f"of {told.queue or 'an unknown queue'}",
        f"job {told.job_id} ({told.status or 'gone'})" if told.job_id else "no job",
        told.task_id and f"task {told.task_id}",
        told.key and f"object {told.key}",
        f"{told.age_seconds} s old",
        f"received {told.receives} times",
    ]
    return ", ".join(filter(None, parts))


def _send_back(stage: Stage, letter: DeadLetter, body: str) -> str:
    """Send a message to its queue, and return that. Where that is not known, intake sends the job's tasks."""
    to = letter.queue or "intake"
    if letter.task_id and not letter.queue:
        body = msgspec.json.encode(StartMessage(letter.job_id, resume=True)).decode()
    group: Any = {"MessageGroupId": letter.job_id} if letter.job_id else {}
    stage.sqs.send_message(QueueUrl=_url(stage, to), MessageBody=body, **group)
    return to


def _messages(stage: Stage, url: str, receipts: dict[str, str]) -> Iterator[MessageTypeDef]:
    """Each message, once. They are hidden; `receipts` gets the newest receipt of each, by its id."""
    while True:
        answer = stage.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=_MOST_MESSAGES,
            VisibilityTimeout=_HIDDEN_SECONDS,
            WaitTimeSeconds=1,  # so that all of SQS's servers are asked
            MessageSystemAttributeNames=["All"],
        )
        received = answer.get("Messages")
        if not received:
            return
        new = [message for message in received if message["MessageId"] not in receipts]
        receipts.update({each["MessageId"]: each["ReceiptHandle"] for each in received})
        yield from new


def _show_again(stage: Stage, url: str, receipts: dict[str, str]) -> None:
    for receipt in receipts.values():
        stage.sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0
        )


def _letter(stage: Stage, message: MessageTypeDef) -> DeadLetter:
    attributes: Any = message["Attributes"]
    job_id, task_id, key = _meant(message["Body"])
    source = attributes.get("DeadLetterQueueSourceArn", "").rpartition(":")[2]
    names = {_queue_name(stage, queue): queue for queue in QUEUES}
    return DeadLetter(
        names.get(source, ""),
        message["MessageId"],
        job_id,
        task_id,
        key,
        max(0, int(time.time() - int(attributes["SentTimestamp"]) / 1000)),
        int(attributes["ApproximateReceiveCount"]),
        _status(stage, job_id) if job_id else "",
    )


def _meant(body: str) -> tuple[str, str, str]:
    """The job and the task of a message of ours, or the key of one of S3's; nothing of any other."""
    for shape in (TaskMessage, StartMessage, S3Event):
        try:
            message: Any = msgspec.json.decode(body, type=shape)
        except msgspec.DecodeError:
            continue
        if isinstance(message, S3Event):
            return "", "", next((created.key for created in message.created()), "")
        return message.job_id, getattr(message, "task_id", ""), ""
    return "", "", ""


def _status(stage: Stage, job_id: str) -> str:
    answer = stage.dynamodb.get_item(
        TableName=stage.table,
        Key={"pk": {"S": f"job#{job_id}"}, "sk": {"S": "job"}},
        ConsistentRead=True,
        ProjectionExpression="#status",
        ExpressionAttributeNames={"#status": "status"},
    )
    return answer.get("Item", {}).get("status", {}).get("S", "")


def _aside(stage: Stage) -> Iterator[Aside]:
    pages = stage.s3.get_paginator("list_objects_v2").paginate(Bucket=stage.bucket, Prefix=ASIDE)
    for page in pages:
        for item in page.get("Contents", ()):
            age = time.time() - item["LastModified"].timestamp()
            yield Aside(item["Key"], max(0, int(age)), item["Size"])


def _queue_name(stage: Stage, queue: str) -> str:
    return f"{stage.stack}-{dashed(queue)}"


def _url(stage: Stage, queue: str) -> str:
    return stage.sqs.get_queue_url(QueueName=_queue_name(stage, queue))["QueueUrl"]
