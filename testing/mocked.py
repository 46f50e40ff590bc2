"""moto in the place of AWS, for tests in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import boto3
from moto import mock_aws


@contextmanager
def mocked() -> Iterator[None]:
    """A new account of moto's. Clients are new for each; they share a session, which takes longer to make."""
    with mock_aws():
        boto3.DEFAULT_SESSION = _session()  # moto removes it again
        yield


@cache
def _session() -> boto3.Session:
    return boto3.Session()
