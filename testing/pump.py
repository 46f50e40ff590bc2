"""Drives the queue Lambdas in this process: takes messages from moto's queues, and calls the handlers."""

from __future__ import annotations

import json
import os
import time
import uuid
from functools import cache
from typing import Any

import boto3
from moto.backends import get_backend

import app
from chalicelib.settings import settings
from chalicelib.store.queues import QUEUES


class Context:
    """The context that Lambda gives a handler; `seconds` is the function's timeout."""

    memory_limit_in_mb = 3072
    function_name = "tests"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:tests"

    def __init__(self, seconds: float = 60) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._deadline = time.monotonic() + seconds

    def pass_time(self, seconds: float) -> None:
        self._deadline -= seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def deliver(
    queue: str, *bodies: str, receives: int = 1, seconds: float = 60, first: int = 0
) -> list[str]:
    """Invoke a queue's Lambda as SQS would. Returns the messages that it did not acknowledge.

    Ids of messages are numbers from `first` on; a message that is delivered again needs the same id.
    """
    event = {
        "Records": [
            record_of(queue, number, body, receives) for number, body in enumerate(bodies, first)
        ]
    }
    answer = getattr(app, queue)(event, Context(seconds))
    failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
    return [body for number, body in enumerate(bodies, first) if str(number) in failed]


def record_of(queue: str, number: int, body: str, receives: int) -> dict[str, Any]:
    """A message as a Lambda receives it."""
    url = os.environ[f"SLUICE_QUEUE_URL_{queue.upper()}"]
    return {
        "messageId": str(number),
        "receiptHandle": _receipt(url),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": str(int(time.time() * 1000)),
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{url.rsplit('/', 1)[-1]}",
        "awsRegion": "us-east-1",
    }


def _receipt(url: str) -> str:
    """A receipt handle of the queue, of a message that stands for the delivered one."""
    sqs = _sqs()
    sqs.send_message(QueueUrl=url, MessageBody="stands for the one that is delivered")
    real, receipt = [], ""
    while not receipt:
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        if message["Body"].startswith("stands for"):
            receipt = message["ReceiptHandle"]
        else:
            real.append(message["ReceiptHandle"])
    for handle in real:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return receipt


def drain(times: int = 1) -> None:
    """Deliver messages, each `times` times, until all queues are empty."""
    while True:
        waiting = [(queue, body) for queue in QUEUES for body in take(queue)]
        if not waiting:
            return
        for queue, body in waiting:
            for _ in range(times):
                assert deliver(queue, body) == []


def take(*queues: str) -> list[str]:
    """Take all visible messages from some queues. Returns their bodies."""
    sqs = _sqs()
    bodies: list[str] = []
    for queue in queues:
        url = os.environ[f"SLUICE_QUEUE_URL_{queue.upper()}"]
        if not _visible(url):
            continue
        while received := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                bodies.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [body for body in bodies if not body.startswith("stands for")]


def _visible(url: str) -> int:
    """The number of visible messages in a queue, from moto's state; an empty receive takes far longer."""
    account, name = url.split("/")[-2:]
    queue = get_backend("sqs")[account]["us-east-1"].queues[name]
    return int(queue.approximate_number_of_messages)


# One client serves all of moto's clouds, also those that are made later.
@cache
def _sqs() -> Any:
    return boto3.client("sqs")


@cache
def _s3() -> Any:
    return boto3.client("s3")


def drop(key: str, body: bytes, **metadata: str) -> str:
    """Put an object into the upload bucket. Returns S3's event."""
    put = _s3().put_object(Bucket=settings().upload_bucket, Key=key, Body=body, Metadata=metadata)
    return event_of(key, size=len(body), etag=put["ETag"].strip('"'))


def event_of(
    key: str, *, size: int, etag: str, sequencer: str = "", name: str = "ObjectCreated:Put"
) -> str:
    """An event as S3 writes it (version 2.1), with its key quoted as S3 quotes it."""
    from urllib.parse import quote_plus

    return json.dumps(
        {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventName": name,
                    "s3": {
                        "bucket": {"name": settings().upload_bucket},
                        "object": {
                            "key": quote_plus(key),
                            "size": size,
                            "eTag": etag,
                            "sequencer": sequencer or f"{time.time_ns():018X}",
                        },
                    },
                }
            ]
        }
    )
