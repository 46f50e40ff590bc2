"""Tokens in the paths of HLS. Whoever has one may read one rendition until it expires. They are never logged.

A player sends no header, so that the path itself must say what it may read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from math import ceil
from typing import NamedTuple

import msgspec
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.exceptions import ClientError
from itsdangerous import BadSignature, URLSafeSerializer

from chalicelib.errors import Forbidden
from chalicelib.settings import settings

# Fetched in this order: where the key is replaced in between, the old one is found at least once, and it has
# signed all links so far.
_STAGES = ("AWSCURRENT", "AWSPREVIOUS")
_LEAST_SECONDS = 6 * 3600
# Keys are fetched again after this time, or for a token that no known key has signed, but then not more often
# than every _REFRESH_SECONDS.
_KEY_SECONDS = 300
_REFRESH_SECONDS = 30


class Grant(NamedTuple):
    """What a token allows: to read `folder` of the output bucket until `expires_at`, in Unix seconds."""

    job_id: str
    folder: str
    expires_at: int


class Tokens:
    """Signs with the current key of a secret; verifies with that and its predecessor.

    `monotonic` gives seconds that only ever grow.
    """

    def __init__(
        self,
        secret_id: str,
        provider: SecretsProvider,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret_id = secret_id
        self._provider = provider
        self._monotonic = monotonic
        self._keys: list[str] = []
        self._stale_at = 0.0
        self._refreshed_at = 0.0

    def issue(self, job_id: str, folder: str, duration: float) -> tuple[str, int]:
        """A token for a film of `duration` seconds, and its expiry in Unix seconds.

        The expiry lies on a grid, so that for a while the same film has the same token.
        """
        lifetime = ceil(max(_LEAST_SECONDS, 2 * duration))
        grid = lifetime // 2
        expires_at = ceil((time.time() + lifetime) / grid) * grid
        return self.sign(Grant(job_id, folder, expires_at)), expires_at

    def sign(self, grant: Grant) -> str:
        """The token of a grant."""
        signed = self._serializer(refresh=False).dumps(grant)
        return signed if isinstance(signed, str) else signed.decode()

    def check(self, token: str, job_id: str) -> Grant:
        """What the token allows. Raises Forbidden where it is forged, another job's, or expired."""
        if not token.isascii():
            raise _invalid()
        grant = msgspec.convert(self._verify(token), Grant)
        if grant.job_id != job_id:
            raise _invalid()
        if grant.expires_at < time.time():
            raise Forbidden("token_expired", "This link has expired: ask for the job again.")
        return grant

    def _verify(self, token: str) -> object:
        try:
            payload = self._serializer(refresh=False).loads(token)
        except BadSignature:
            if self._monotonic() - self._refreshed_at < _REFRESH_SECONDS:
                raise _invalid() from None
            # It may be signed with a key that this process has not fetched yet.
            self._refreshed_at = self._monotonic()
            try:
                payload = self._serializer(refresh=True).loads(token)
            except BadSignature:
                raise _invalid() from None
        return payload

    def _serializer(self, *, refresh: bool) -> URLSafeSerializer:
        now = self._monotonic()
        if refresh or now >= self._stale_at:
            keys = [key for stage in _STAGES if (key := self._fetch(stage))]
            self._keys = keys[::-1]  # the last one signs, each verifies
            self._stale_at = now + _KEY_SECONDS
        return URLSafeSerializer(self._keys, salt="hls")

    def _fetch(self, stage: str) -> str:
        try:
            # The provider's cache is keyed by the name alone, without the stage, and does not keep absence.
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
    return Tokens(settings().hls_secret_arn, SecretsProvider())
