"""The stack's table, queues, buckets and secret under moto, made from the template's parts."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse

import app
from chalicelib.api.hls_tokens import tokens
from chalicelib.settings import settings
from chalicelib.store import clients, queues
from infra.stack import storage
from infra.stack.catalogue import queue_id
from infra.stack.targets import EMULATOR
from testing.environment import TIMEOUTS
from testing.pump import Context


class Throttled(Exception):
    """Raised in place of a function that Lambda does not start, because too many of it run."""


class _Body(io.BytesIO):
    """The body of a response, with urllib3's method `stream`."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _invoke_here(request: Any, **_: Any) -> AWSResponse:
    """Run a function in this process; moto would run it in Docker."""
    name = urlsplit(request.url).path.split("/")[3].removeprefix("sluice-")
    headers: Any = {}
    status = 200
    try:
        answer = getattr(app, name)(json.loads(request.body), Context(25))
    except Throttled:
        status, answer = 429, {"Type": "User", "message": "Rate exceeded"}
        headers["x-amzn-ErrorType"] = "TooManyRequestsException"
    except Exception as error:
        answer = {"errorType": type(error).__name__}
        headers["X-Amz-Function-Error"] = "Unhandled"
    return AWSResponse(request.url, status, headers, _Body(json.dumps(answer).encode()))


def make_cloud() -> None:
    """Make the table, both buckets, every queue and the secret, and tell the process where they are."""
    for cached in (clients.s3, clients.sqs, clients.lambdas, tokens):
        cached.cache_clear()
    # Only the product's client: other clients in this process call deployed functions.
    events: Any = clients.lambdas().meta.events
    events.register_first("before-send.lambda.Invoke", _invoke_here)
    make_table()
    s3 = _client("s3")
    for bucket in (settings().upload_bucket, settings().output_bucket):
        s3.create_bucket(Bucket=bucket)
    _make_queues()
    secrets = _client("secretsmanager")
    secrets.create_secret(Name=settings().hls_secret_arn, SecretString="first " * 8)
    secrets.create_secret(Name=settings().webhook_secret_arn, SecretString="webhooks " * 8)


@cache
def _client(service: Any) -> Any:
    """One client makes what is in all of moto's clouds."""
    return boto3.client(service)


def before_put(part: str, act: Callable[[], object]) -> None:
    """Call `act` once, directly before the product PUTs an object with `part` in its key."""
    waiting = [act]

    def look(request: Any, **_: Any) -> None:
        if part in request.url and waiting:
            waiting.pop()()

    events: Any = clients.s3().meta.events  # Any: its type stub lacks register_first
    events.register_first("before-send.s3.PutObject", look)


def _make_queues() -> None:
    """Make the template's queues and set the variables that name them.

    They have no redrive policy: tests bury dead letters themselves.
    """
    sqs = _client("sqs")
    resources: Any = storage.queues(TIMEOUTS, settings().max_receives)
    for queue in (*queues.QUEUES, queues.DEAD_LETTERS):
        properties = resources[queue_id(queue)]["Properties"]
        created = sqs.create_queue(
            QueueName=properties["QueueName"]["Fn::Sub"].replace("${AWS::StackName}", "sluice"),
            Attributes={
                "VisibilityTimeout": str(properties["VisibilityTimeout"]),
                "MessageRetentionPeriod": str(properties["MessageRetentionPeriod"]),
            },
        )
        os.environ[f"SLUICE_QUEUE_URL_{queue.upper()}"] = created["QueueUrl"]


def make_table() -> None:
    """Make the table that the settings name, with the keys and indexes of the template's."""
    resource: Any = storage.table(EMULATOR)["JobsTable"]
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    boto3.client("dynamodb").create_table(
        TableName=settings().jobs_table, **{name: resource["Properties"][name] for name in names}
    )
