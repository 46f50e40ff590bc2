"""Takes the place of botocore's HTTP: at every request of a worker, others may run, and it may fail."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Protocol, cast

import botocore.handlers
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

import chalicelib.store.meter  # noqa: F401  # registers its hook before ours, which answers requests
from testing.chaos import rights
from testing.chaos.faults import Fault
from testing.chaos.world import Died, Worker, World

# Seconds that a request takes: (least, most).
_SECONDS = {"s3": (0.012, 0.035)}
_OTHER_SECONDS = (0.003, 0.010)
# The number of refusals after which a client gives up: PynamoDB's, and the product's others.
_TRIES = {"dynamodb": 6}
_OTHER_TRIES = 5
_WRITES = ("PutItem", "UpdateItem", "TransactWriteItems")
_CODES = {
    ("dynamodb", Fault.THROTTLED): (
        400,
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    ),
    ("dynamodb", Fault.BROKEN): (500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
    ("sqs", Fault.THROTTLED): (403, "com.amazonaws.sqs#RequestThrottled"),
    ("sqs", Fault.BROKEN): (500, "com.amazonaws.sqs#InternalError"),
    ("s3", Fault.THROTTLED): (503, "SlowDown"),
    ("s3", Fault.BROKEN): (500, "InternalError"),
    ("secrets-manager", Fault.THROTTLED): (400, "ThrottlingException"),
    ("secrets-manager", Fault.BROKEN): (500, "InternalServiceError"),
    ("lambda", Fault.THROTTLED): (429, "TooManyRequestsException"),
    ("lambda", Fault.BROKEN): (500, "ServiceException"),
}


class Cloud(Protocol):
    """The interface of a cloud that answers in place of AWS."""

    def answer(self, event_name: str, request: Any) -> AWSResponse: ...
    def changed(self, service: str, operation: str, request: Any) -> None:
        """Called after a request has had its effect."""
        ...


class Boundary:
    """Answers all requests of this process to AWS, from the first client on."""

    def __init__(self) -> None:
        self.cloud: Cloud | None = None
        self.world: World | None = None
        self.checks_signatures = False

    def signer(self, context: dict[str, Any], **_: Any) -> Any:
        """Skip signatures, which nobody checks here and which take longer than the answer; not in URLs."""
        needs_one = self.checks_signatures or context.get("is_presign_request")
        return None if needs_one else UNSIGNED

    def __call__(self, event_name: str, request: Any, **_: Any) -> AWSResponse:
        assert self.cloud is not None, "no cloud, and nothing may leave this machine"
        world = self.world
        if world is None or world.current is None:
            if world is not None and world.looks_as is not None:
                _check_rights(world, world.looks_as, event_name, request)
            return self.cloud.answer(event_name, request)
        return self._of_worker(world, world.current, event_name, request)

    def _of_worker(
        self, world: World, worker: Worker, event_name: str, request: Any
    ) -> AWSResponse:
        if world.over or worker.dead:
            raise Died
        assert self.cloud is not None
        _, service, operation = event_name.split(".")
        _check_rights(world, worker.function, event_name, request)
        world.requests += 1
        world.sent[worker.function, service] += 1
        least, most = _SECONDS.get(service, _OTHER_SECONDS)
        seconds = world.random.uniform(least, most)
        if world.random.random() < world.faults.slow:
            seconds += world.random.choice((0.05, 0.3, 2.0))
        there = world.random.uniform(0.2, 0.8) * seconds
        world.pause(there)
        fault = _chosen(world, worker, service, event_name, request)
        if fault is Fault.DIES_BEFORE:
            world.die()
        if fault in (Fault.STALLS, Fault.OUTLIVES):
            worker.outlives = fault is Fault.OUTLIVES
            left = worker.deadline - world.now
            world.pause(left * world.random.uniform(1.0, 1.6) + 1)
        if fault in (Fault.THROTTLED, Fault.BROKEN):
            return _refusal(service, request, fault)
        if fault is Fault.CONFLICT and operation in _WRITES:
            return _conflict(operation, request)
        if fault is Fault.UNREACHABLE:
            raise EndpointConnectionError(endpoint_url=request.url)
        answer = self.cloud.answer(event_name, request)
        self.cloud.changed(service, operation, request)
        if world.traces:
            world.note(f"#{world.requests}", about(event_name, request), answer.status_code)
        if fault is Fault.DIES_AFTER:
            world.die()
        if fault is Fault.ANSWER_LOST:
            raise ReadTimeoutError(endpoint_url=request.url)
        world.pause(seconds - there)
        return answer


def _check_rights(world: World, function: str, event_name: str, request: Any) -> None:
    for action, resource in rights.asked(event_name, request):
        right = rights.right_to(function, action, resource)
        if right is None:
            what = f"{function}: {action} of {resource}"
            world.violate("a function does what its role does not let it", what)
        else:
            world.used.add(right)


def _chosen(
    world: World, worker: Worker, service: str, event_name: str, request: Any
) -> Fault | None:
    """The fault of this request, if any."""
    if worker.refused and worker.refused[0] == event_name:
        worker.refused = (event_name, worker.refused[1] - 1) if worker.refused[1] > 1 else None
        return Fault.THROTTLED
    fault = (
        world.design(worker, event_name, request)
        or world.faults.at.get(world.requests)
        or _by_chance(world, service)
    )
    if fault is None:
        return None
    what = f"{fault.name} at {world.requests}, {worker.function}: {about(event_name, request)}"
    world.had.append(what)
    world.note("FAULT", what)
    if fault is Fault.REFUSED:
        worker.refused = event_name, _TRIES.get(service, _OTHER_TRIES) - 1
        return Fault.THROTTLED
    return fault


def _by_chance(world: World, service: str) -> Fault | None:
    if not world.is_faulty:
        return None
    for outage in world.faults.outages:
        if outage.service == service and outage.begin <= world.elapsed < outage.end:
            return outage.fault
    at = world.random.random()
    for fault, rate in world.faults.rates.items():
        if at < rate:
            return fault
        at -= rate
    return None


def about(event_name: str, request: Any) -> str:
    """A short description of a request."""
    _, service, operation = event_name.split(".")
    if service == "s3":
        return f"{operation} {request.url.partition('.amazonaws.com/')[2].partition('?')[0][-60:]}"
    body = json.loads(request.body)
    key = body.get("Key") or body.get("Item")
    if key:
        return f"{operation} {key['pk']['S'][:12]} {key['sk']['S']}"
    return f"{operation} {body.get('QueueUrl', body.get('IndexName', '')).rpartition('/')[2]}"


def _refusal(service: str, request: Any, fault: Fault) -> AWSResponse:
    status, code = _CODES[service, fault]
    if service == "s3":
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>-</Message></Error>"
        return response(request, status, {"content-type": "application/xml"}, body.encode())
    return json_response(request, status, {"__type": code, "message": "refused"})


def _conflict(operation: str, request: Any) -> AWSResponse:
    name, reasons = "TransactionConflictException", {}
    if operation == "TransactWriteItems":
        name = "TransactionCanceledException"
        others = [{"Code": "None"} for _ in json.loads(request.body)["TransactItems"][1:]]
        reasons = {"CancellationReasons": [{"Code": "TransactionConflict"}, *others]}
    code = f"com.amazonaws.dynamodb.v20120810#{name}"
    return json_response(request, 400, {"__type": code, "message": "refused", **reasons})


class _Raw(io.BytesIO):
    """The body of a response, with urllib3's methods."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        while block := self.read():
            yield block


def response(request: Any, status: int, headers: dict[str, str], body: bytes) -> AWSResponse:
    return AWSResponse(request.url, status, cast(Any, headers), _Raw(body))


def json_response(request: Any, status: int, body: Any) -> AWSResponse:
    headers = {"content-type": "application/x-amz-json-1.0"}
    return response(request, status, headers, json.dumps(body).encode())


boundary = Boundary()
botocore.handlers.BUILTIN_HANDLERS += [
    ("before-send", boundary),
    ("choose-signer", boundary.signer),
]
