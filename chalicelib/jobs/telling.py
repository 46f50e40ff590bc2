"""The Lambda `events`: events of the outbox become deliveries, and deliveries are sent to their endpoints.

All of it can be repeated after a crash. An event has the same id whenever it is told, so that a receiver that
is told twice can know it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.invocation import Invocation, Later
from chalicelib.jobs import posting
from chalicelib.model.event import GIVEN_UP, Delivery, Endpoint, Event
from chalicelib.store import deliveries, endpoints, outbox, queues, webhook_secrets
from chalicelib.store.queues import DeliveryMessage, TellMessage
from chalicelib.telemetry import logger

# From a job's id to its owner and the job as the API tells it without links; None where there is none.
Describe = Callable[[str], tuple[str, dict[str, Any]] | None]

_GONE = 410


class Payload(msgspec.Struct):
    """The body of a webhook."""

    type: str
    timestamp: str
    data: dict[str, Any]


def handle(describe: Describe, record: SQSRecord, invocation: Invocation) -> None:
    """Carry out a message of the queue."""
    try:
        message = msgspec.json.decode(record.body, type=DeliveryMessage)
    except msgspec.ValidationError:
        _tell(describe, msgspec.json.decode(record.body, type=TellMessage).job_id)
    else:
        _send(message, invocation)


def _tell(describe: Describe, job_id: str) -> None:
    """Make a delivery of each event of a job to each endpoint that wants it."""
    logger.append_keys(job_id=job_id)
    events = outbox.untold(job_id)
    if not events:
        return
    found = describe(job_id)
    told = endpoints.told_of(found[0]) if found else []
    waiting: dict[str, DeliveryMessage] = {}
    for event in events:
        for owner, endpoint in told:
            if found and endpoint.wants(event.type):
                deliveries.create(event, owner, endpoint, _body(event, found[1]))
                waiting[endpoint.id] = DeliveryMessage(owner, endpoint.id, job_id)
    # One message for each endpoint: a receiver that hangs holds up nobody but itself.
    for message in waiting.values():
        queues.send_event(message)
    for event in events:
        outbox.forget(event)


def _body(event: Event, job: dict[str, Any]) -> bytes:
    data = {**job, "step": event.step} if event.step else job
    return msgspec.json.encode(Payload(event.type, event.at, data))


def _send(message: DeliveryMessage, invocation: Invocation) -> None:
    """Send what is due of a job to an endpoint, in the order of the job's states.

    An attempt that failed does not hold up those after it; one that is under way does.
    """
    logger.append_keys(job_id=message.job_id)
    endpoint = endpoints.get(message.owner, message.endpoint_id)
    for delivery in deliveries.of_job(message.endpoint_id, message.job_id):
        if delivery.is_under_way(time.time()):
            raise Later(posting.SECONDS / 2)
        if not delivery.is_due(time.time()):
            continue
        if endpoint is None or endpoint.disabled:
            reason = endpoint.disabled if endpoint else "The endpoint was deleted."
            deliveries.end(delivery, GIVEN_UP, None, reason)
            continue
        if invocation.is_half_over():
            raise Later(0)
        headers = _headers(delivery, endpoint)
        if not deliveries.claim(delivery):
            raise Later(1)
        endpoint = _attempt(delivery, endpoint, headers)


def _headers(delivery: Delivery, endpoint: Endpoint) -> dict[str, str]:
    now = int(time.time())
    return {
        "Content-Type": "application/json",
        "User-Agent": "Sluice",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": webhook_secrets.sign(
            delivery.owner, endpoint, delivery.event_id, now, delivery.body
        ),
    }


def _attempt(delivery: Delivery, endpoint: Endpoint, headers: dict[str, str]) -> Endpoint:
    """Send a delivery that was claimed, and note what came of it; the endpoint as it is then."""
    status, error = posting.post(endpoint.url, headers, delivery.body)
    logger.info(
        "Delivered" if status and status // 100 == 2 else "Not delivered",
        endpoint=endpoint.id,
        event_type=delivery.type,
        attempt=delivery.attempts + 1,
        status=status,
        error=error,
    )
    if status and status // 100 == 2:
        deliveries.succeed(delivery, status)
    elif status == _GONE:
        reason = "The receiver answered 410: it wants to be told no more."
        endpoints.disable(delivery.owner, endpoint.id, reason)
        deliveries.end(delivery, GIVEN_UP, status, reason)
        return msgspec.structs.replace(endpoint, disabled=reason)
    else:
        said = error or f"The receiver answered {status}."
        deliveries.retry(delivery, delivery.attempts + 1, status, said)
    return endpoint
