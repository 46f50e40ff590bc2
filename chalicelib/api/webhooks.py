"""Calls about webhooks: an owner's endpoints, made, listed, shown and removed."""

from __future__ import annotations

import ipaddress
import re
import secrets
import time
import uuid
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from chalicelib.api.descriptions import (
    Answer,
    CallDescription,
    described,
    parameter,
)
from chalicelib.api.requests import (
    PAGE,
    decode_opaque,
    encode_cursor,
    encode_opaque,
    parse_cursor,
    parse_limit,
)
from chalicelib.api.views import iso
from chalicelib.errors import Conflict, NotFound, Unprocessable
from chalicelib.model.event import WAITING, Delivery, Endpoint, EventType
from chalicelib.settings import settings
from chalicelib.store import deliveries, endpoints, webhook_secrets
from chalicelib.telemetry import logger

EXAMPLE_URL = "https://shop.example/sluice"
EXAMPLE_DELIVERY = "ZDdiOGY0YmYtNTgwOS00YzYyLTk3YTQtYzAwODY4NmU4ODFkIzM"


class WebhookRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to tell, and of what."""

    url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2048,
            pattern=r"^https?://[!-~]+$(?!\n)",
            description="Where to POST events: an address of https in ASCII.",
            examples=[EXAMPLE_URL],
        ),
    ]
    events: Annotated[
        list[Literal[EventType, "job.*"]],
        Meta(
            min_length=1,
            max_length=8,
            description="Types of events, or `job.*` for every one.",
            examples=[["job.*"]],
        ),
    ]


class WebhookView(msgspec.Struct, omit_defaults=True):
    """An endpoint. `secret` is only in the answer that made it; `disabled` says why it is told no more."""

    id: str
    url: str
    events: list[str]
    created_at: str
    disabled: str
    secret: str = ""


class WebhooksView(msgspec.Struct):
    """All endpoints of the caller, the first one first."""

    webhooks: list[WebhookView]


class DeliveryView(msgspec.Struct):
    """One event on its way to an endpoint. `status_code` is that of the last answer, if there was one."""

    id: str
    event_id: str
    type: str
    job_id: str
    state: str
    attempts: int
    status_code: int | None
    error: str
    created_at: str
    tried_at: str | None
    next_at: str | None


class DeliveryPage(msgspec.Struct):
    """Deliveries, newest first; `next_cursor` is null on the last page."""

    deliveries: list[DeliveryView]
    next_cursor: str | None


def create_webhook(caller: str, request: WebhookRequest) -> WebhookView:
    """A new endpoint of the caller, with its secret. Raises Unprocessable, Conflict."""
    _check_url(request.url)
    now = iso(int(time.time()))
    wanted: list[str] = [*dict.fromkeys(request.events)]
    endpoint = Endpoint(str(uuid.uuid4()), request.url, wanted, secrets.token_hex(16), now)
    secret = webhook_secrets.secret_of(caller, endpoint)
    if not endpoints.add(caller, endpoint):
        detail = f"There are {endpoints.MOST} endpoints already: delete one first."
        raise Conflict("too_many_webhooks", detail)
    logger.info("Webhook created", endpoint=endpoint.id)
    return msgspec.structs.replace(_view(endpoint), secret=secret)


def list_webhooks(caller: str) -> WebhooksView:
    return WebhooksView([_view(endpoint) for endpoint in endpoints.of_owner(caller)])


def get_webhook(caller: str, webhook_id: str) -> WebhookView:
    """An endpoint of the caller. Raises NotFound."""
    endpoint = endpoints.get(caller, webhook_id)
    if endpoint is None:
        raise _not_found()
    return _view(endpoint)


def delete_webhook(caller: str, webhook_id: str) -> None:
    """Remove an endpoint of the caller: it is told nothing more. Raises NotFound."""
    if not endpoints.remove(caller, webhook_id):
        raise _not_found()
    logger.info("Webhook deleted", endpoint=webhook_id)


def list_deliveries(caller: str, webhook_id: str, parameters: dict[str, str]) -> DeliveryPage:
    """A page of what was sent, or waits to be, newest first. Raises Malformed, NotFound."""
    limit = parse_limit(parameters.get("limit", "20"))
    cursor = parameters.get("cursor")
    before = None if cursor is None else parse_cursor(cursor)
    get_webhook(caller, webhook_id)
    found = deliveries.newest(webhook_id, limit, before)
    next_cursor = encode_cursor(found[-1].created) if len(found) == limit else None
    return DeliveryPage([_delivery_view(delivery) for delivery in found], next_cursor)


def replay_delivery(caller: str, webhook_id: str, delivery_id: str) -> None:
    """Send an event once more, by the whole schedule. Raises NotFound, Conflict."""
    if get_webhook(caller, webhook_id).disabled:
        raise Conflict("webhook_disabled", "The endpoint is told no more: make a new one.")
    job_id, _, position = decode_opaque(delivery_id).partition("#")
    if not job_id or not deliveries.replay(webhook_id, job_id, position):
        detail = "There is no such delivery to this endpoint, or an attempt is under way."
        raise NotFound("delivery_not_found", detail)


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=encode_opaque(f"{delivery.job_id}#{delivery.position}"),
        event_id=delivery.event_id,
        type=delivery.type,
        job_id=delivery.job_id,
        state=delivery.state,
        attempts=delivery.attempts,
        status_code=delivery.status_code,
        error=delivery.error,
        created_at=delivery.created.partition("#")[0],
        tried_at=delivery.tried_at or None,
        next_at=iso(delivery.next_at) if delivery.state == WAITING else None,
    )


def _not_found() -> NotFound:
    return NotFound("webhook_not_found", "There is no such endpoint; GET /webhooks/ lists them.")


def _view(endpoint: Endpoint) -> WebhookView:
    return WebhookView(
        endpoint.id, endpoint.url, endpoint.events, endpoint.created_at, endpoint.disabled
    )


# The characters of RFC 3986: a name or an address in brackets, perhaps a port, a path and a query.
_URI = re.compile(
    r"[a-z]+://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:[/?](?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)


def _check_url(url: str) -> None:
    """Raises Unprocessable where nothing can be sent there. What its name means is checked each time."""
    is_open = settings().webhook_targets == "any"
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    schemes = ("https", "http") if is_open else ("https",)
    if (
        not _URI.fullmatch(url)
        or not host
        or address.scheme not in schemes
        or "@" in address.netloc
        or port == 0
    ):
        detail = "`url` is an address of https with a host, and without a user."
        raise Unprocessable("webhook_url_refused", detail)
    if not is_open and (host == "localhost" or _is_private_literal(host)):
        detail = "`url` does not lead into the public internet."
        raise Unprocessable("webhook_url_refused", detail)


def _is_private_literal(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


_WEBHOOK_ID = parameter(
    "webhook_id",
    "path",
    described(
        "The id of the endpoint.",
        "1f0f6f0e-5a0d-4f0e-8a57-3a1f6f6c2f55",
        type="string",
        format="uuid",
    ),
)

DESCRIPTIONS = {
    "create_webhook": CallDescription(
        "createWebhook",
        "Webhooks",
        "Be told of events of jobs",
        "Events of jobs that the caller creates from now on are POSTed to `url` by Standard Webhooks 1.0. "
        f"The `secret` that signs them is told this once. An owner has at most {endpoints.MOST} endpoints.",
        {"201": Answer("The endpoint", WebhookView)},
        ("400", "409", "422"),
        body=WebhookRequest,
    ),
    "list_webhooks": CallDescription(
        "listWebhooks",
        "Webhooks",
        "The caller's endpoints",
        "All of them.",
        {"200": Answer("The endpoints", WebhooksView)},
        ("400",),
    ),
    "get_webhook": CallDescription(
        "getWebhook",
        "Webhooks",
        "An endpoint",
        "Without its secret.",
        {"200": Answer("The endpoint", WebhookView)},
        ("400", "404"),
        parameters=(_WEBHOOK_ID,),
    ),
    "list_deliveries": CallDescription(
        "listDeliveries",
        "Webhooks",
        "What was sent to an endpoint, newest first",
        "Or waits to be, with the answer to the last attempt. Kept for 17 days.",
        {"200": Answer("A page of deliveries", DeliveryPage)},
        ("400", "404"),
        parameters=(
            _WEBHOOK_ID,
            *PAGE,
        ),
    ),
    "replay_delivery": CallDescription(
        "replayDelivery",
        "Webhooks",
        "Send an event once more",
        "With the same `webhook-id` and body, by the whole schedule.",
        {"202": Answer("It is sent")},
        ("400", "404", "409"),
        parameters=(
            _WEBHOOK_ID,
            parameter(
                "delivery_id",
                "path",
                described("The id of the delivery.", EXAMPLE_DELIVERY, type="string"),
            ),
        ),
    ),
    "delete_webhook": CallDescription(
        "deleteWebhook",
        "Webhooks",
        "Be told no more",
        "Events that were not delivered yet are given up.",
        {"204": Answer("It is deleted")},
        ("400", "404"),
        parameters=(_WEBHOOK_ID,),
    ),
}
