"""The rights of each function by the template's policies, and the rights that a request needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from chalicelib.settings import settings
from infra.stack import functions
from infra.stack.catalogue import FUNCTIONS, OUTPUT_BUCKET, UPLOAD_BUCKET, queue_id
from infra.stack.targets import AWS
from testing.chaos import stack


class Right(NamedTuple):
    """The right of a function to an action on a resource; in a policy, the resource is a pattern."""

    function: str
    action: str
    resource: str


# Rights that the simulation cannot use: Lambda itself reads queues and writes logs; traces go to a daemon.
_LAMBDAS_OWN = (
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)
# Rights of requests that a function signs and clients send, which the simulation has none of.
_SIGNED = {("api", "s3:AbortMultipartUpload"), ("api", "s3:ListMultipartUploadParts")}
# Only jobs of owners with endpoints are told of, which the simulation has none of: tests/moto/test_events.py.
_OF_WEBHOOKS = ("queue/events", "${WebhookSecret.Id}")
# Parts of resources, for which only steps with parameters need a right of a function.
_OF_PARAMETERS = {
    "estimate": ("/watermarks/",),
    "intake": ("/watermarks/",),
    "encode": ("/watermarks/", "queue/pictures"),
    "pictures": ("/watermarks/",),
}
# Actions of S3's operations whose names differ, by AWS's documentation of S3's permissions.
_S3_ACTIONS = {
    "HeadObject": "GetObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
}


@cache
def given() -> frozenset[Right]:
    """Every right of every function, without those that Lambda itself or a client uses, or no preset needs.

    Presets name no watermark: tests/stack/test_recipes.py uses these rights.
    """
    rights = (
        Right(function.name, action, _pattern(resource))
        for function in FUNCTIONS
        for statement in functions.statements(function, AWS)
        for action in statement["Action"]
        for resource in statement["Resource"]
    )
    return frozenset(
        right
        for right in rights
        if right.action not in _LAMBDAS_OWN
        and (right.function, right.action) not in _SIGNED
        and not _is_for_parameters(right)
        and not _is_for_webhooks(right)
    )


def _is_for_webhooks(right: Right) -> bool:
    # The function postpones what it cannot read, as all do.
    if right == Right("events", "sqs:ChangeMessageVisibility", "queue/events"):
        return False
    return right.function == "events" or right.resource in _OF_WEBHOOKS


def _is_for_parameters(right: Right) -> bool:
    if right == Right("pictures", "dynamodb:BatchGetItem", "table"):
        return True
    is_put = right.action in ("s3:PutObject", "s3:AbortMultipartUpload")
    parts = _OF_PARAMETERS.get(right.function, ())
    return not is_put and any(part in right.resource for part in parts)


def _pattern(resource: Any) -> str:
    """A resource of a policy with the simulation's names in place of references."""
    text = resource["Fn::Sub"] if isinstance(resource, dict) else resource
    for theirs, ours in (
        (UPLOAD_BUCKET, settings().upload_bucket),
        (OUTPUT_BUCKET, settings().output_bucket),
        ("${JobsTable.Arn}", "table"),
        ("${HlsSecret.Id}", "secret"),
        *((f"${{{queue_id(queue)}.Arn}}", f"queue/{queue}") for queue in stack.queues()),
    ):
        text = text.replace(theirs, ours)
    assert isinstance(text, str)
    return text.rpartition(":::")[2]


def asked(event_name: str, request: Any) -> Iterator[tuple[str, str]]:
    """(action, resource) of each right that a request needs."""
    _, service, operation = event_name.split(".")
    if service == "s3":
        action = f"s3:{_S3_ACTIONS.get(operation, operation)}"
        address = urlsplit(request.url)
        bucket, key = address.netloc.partition(".s3")[0], unquote(address.path).lstrip("/")
        if operation == "DeleteObjects":
            keys = re.findall("<Key>(.*?)</Key>", request.body.decode(), re.DOTALL)
            yield from ((action, f"{bucket}/{key}") for key in keys)
        else:
            yield action, f"{bucket}/{key}" if key else bucket
        if operation == "CopyObject":
            source = request.headers["x-amz-copy-source"]
            told = source.decode() if isinstance(source, bytes) else source
            yield "s3:GetObject", unquote(told).lstrip("/")
        return
    body = json.loads(request.body)
    match service:
        case "dynamodb":
            index = body.get("IndexName")
            resource = f"table/index/{index}" if index else "table"
            if operation == "TransactWriteItems":
                for each in body["TransactItems"]:
                    (kind,) = each
                    action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
                    yield f"dynamodb:{action}", resource
            else:
                yield f"dynamodb:{operation}", resource
        case "sqs":
            name = operation.removesuffix("Batch")
            yield f"sqs:{name}", f"queue/{stack.name_of(body['QueueUrl'])}"
        case "lambda":
            yield f"lambda:{operation}Function", "${Estimate.Arn}"
        case "secrets-manager":
            yield f"secretsmanager:{operation}", "secret"
        case _:
            raise NotImplementedError(event_name)


def right_to(function: str, action: str, resource: str) -> Right | None:
    """The function's right to an action on a resource; None if it has none."""
    return next(
        (
            right
            for right in given()
            if (right.function, right.action) == (function, action)
            and (right.resource == resource or fnmatchcase(resource, right.resource))
        ),
        None,
    )
