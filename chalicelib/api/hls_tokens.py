"""Tokens that stand for themselves in the paths of HLS: one job's files, until a time. Never logged."""

from __future__ import annotations

import time
from functools import cache
from math import ceil
from typing import NamedTuple

import msgspec
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.exceptions import ClientError
from itsdangerous import BadSignature, URLSafeSerializer

from chalicelib.errors import Forbidden
from chalicelib.settings import settings

# In this order: of a key that is replaced between the two, the one that all links were made with is known.
_STAGES = ("AWSCURRENT", "AWSPREVIOUS")
_LEAST_SECONDS = 6 * 3600
# How long a process may not know of a key that was put in a moment ago, unless it meets a token of it.
_KEY_SECONDS = 300
_REFRESH_SECONDS = 30


class Grant(NamedTuple):
    """What a token allows: reading what lies in `folder` of the output bucket."""

    job_id: str
    folder: str
    expires_at: int


class Tokens:
    """Signs with the current key; verifies with that and its predecessor."""

    def __init__(self, secret_id: str) -> None:
        self._secret_id = secret_id
        self._provider = SecretsProvider()
        self._keys: list[str] = []
        self._stale_at = 0.0
        self._refreshed_at = 0.0

    def issue(self, job_id: str, folder: str, duration: float) -> tuple[str, int]:
        """A token for a film of `duration` seconds, and when it expires: for a while it is the same."""
        lifetime = ceil(max(_LEAST_SECONDS, 2 * duration))
        grid = lifetime // 2
        expires_at = ceil((time.time() + lifetime) / grid) * grid
        return self._sign([job_id, folder, expires_at]), expires_at

    def check(self, token: str, job_id: str) -> Grant:
        """What the token allows; raises Forbidden where it is forged, another job's, or expired."""
        if not token.isascii():
            raise _invalid()
        grant = msgspec.convert(self._verify(token), Grant)
        if grant.job_id != job_id:
            raise _invalid()
        if grant.expires_at < time.time():
            raise Forbidden("token_expired", "This link has expired: ask for the job again.")
        return grant

    def _sign(self, payload: list[str | int]) -> str:
        signed = self._serializer(refresh=False).dumps(payload)
        return signed if isinstance(signed, str) else signed.decode()

    def _verify(self, token: str) -> object:
        try:
            payload = self._serializer(refresh=False).loads(token)
        except BadSignature:
            if time.monotonic() - self._refreshed_at < _REFRESH_SECONDS:
                raise _invalid() from None
            # It may be signed with a key that this process has not met yet.
            self._refreshed_at = time.monotonic()
            try:
                payload = self._serializer(refresh=True).loads(token)
            except BadSignature:
                raise _invalid() from None
        return payload

    def _serializer(self, *, refresh: bool) -> URLSafeSerializer:
        now = time.monotonic()
        if refresh or now >= self._stale_at:
            keys = [key for stage in _STAGES if (key := self._fetch(stage))]
            self._keys = keys[::-1]  # the last one signs, each verifies
            self._stale_at = now + _KEY_SECONDS
        return URLSafeSerializer(self._keys, salt="hls")

    def _fetch(self, stage: str) -> str:
        try:
            # Its cache knows a secret by its name alone, and not that a stage of it is absent.
            found = self._provider.get(self._secret_id, force_fetch=True, VersionStage=stage)
        except Exception as error:
            if stage == "AWSPREVIOUS" and _is_absent(error):
                return ""  # a key that was never replaced has no predecessor
            raise
        return found if isinstance(found, str) else ""


def _is_absent(error: Exception) -> bool:
    cause = error.__cause__ or error.__context__ or error
    return (
        isinstance(cause, ClientError)
        and cause.response["Error"]["Code"] == "ResourceNotFoundException"
    )


def _invalid() -> Forbidden:
    return Forbidden("token_invalid", "This link is not valid: ask for the job again.")


@cache
def tokens() -> Tokens:
    """The tokens of this process."""
    return Tokens(settings().hls_secret_arn)
