"""The secrets of endpoints. None is stored: each is derived from the stage's key and the endpoint's salt."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import cache

from aws_lambda_powertools.utilities.parameters import SecretsProvider

from chalicelib.model.event import Endpoint
from chalicelib.settings import settings

_PREFIX = "whsec_"
_KEPT_SECONDS = 300


def secret_of(owner: str, endpoint: Endpoint) -> str:
    """An endpoint's secret as Standard Webhooks writes it: `whsec_` and the Base64 of 32 bytes."""
    return _PREFIX + base64.b64encode(_key_of(owner, endpoint)).decode()


def sign(owner: str, endpoint: Endpoint, event_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of a body that is sent at `timestamp`, in Unix seconds."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_key_of(owner, endpoint), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _key_of(owner: str, endpoint: Endpoint) -> bytes:
    key = _provider().get(settings().webhook_secret_arn, max_age=_KEPT_SECONDS)
    encoded = key.encode() if isinstance(key, str) else bytes(key or b"")
    assert encoded
    name = f"webhook {owner} {endpoint.id} {endpoint.salt}"
    return hmac.digest(encoded, name.encode(), hashlib.sha256)


@cache
def _provider() -> SecretsProvider:
    return SecretsProvider()
