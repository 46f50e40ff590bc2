"""AWS resources for the fast tests, under moto; the real ones come from infra/stack/template.py."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse

import app
from chalicelib.api.hls_tokens import tokens
from chalicelib.settings import settings
from chalicelib.store import clients, queues
from infra.stack import storage
from infra.stack.targets import EMULATOR
from testing.pump import Context


class Throttled(Exception):
    """Raised by a function that Lambda does not start: too many of it run."""


class _Body(io.BytesIO):
    """Of an answer, as urllib3 has it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _invoke_here(request: Any, **_: Any) -> AWSResponse:
    """What stands in for Lambda, whose functions moto would run in Docker: this process runs them."""
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
    """The table, both buckets, every queue and the secret."""
    for cached in (clients.s3, clients.sqs, clients.lambdas, tokens):
        cached.cache_clear()
    # Of the product's own client; others in this process talk to functions that are deployed.
    events: Any = clients.lambdas().meta.events
    events.register_first("before-send.lambda.Invoke", _invoke_here)
    make_table()
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    for bucket in (settings().upload_bucket, settings().output_bucket):
        s3.create_bucket(Bucket=bucket)
    for queue in (*queues.QUEUES, queues.DEAD_LETTERS):
        made = sqs.create_queue(QueueName=f"sluice-{queue}".replace("_", "-"))
        os.environ[f"SLUICE_QUEUE_URL_{queue.upper()}"] = made["QueueUrl"]
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name=settings().hls_secret_arn, SecretString="first " * 8)


def make_table() -> None:
    resource: Any = storage.table(EMULATOR)["JobsTable"]
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    boto3.client("dynamodb").create_table(
        TableName=settings().jobs_table, **{name: resource["Properties"][name] for name in names}
    )
