"""What is asked of the Lambda `estimate`, and what it answers: the API and that Lambda share no more."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from chalicelib.model.usage import Usage


class EstimateView(msgspec.Struct):
    """What a job would be, use and cost: about so much. `duration` in seconds, null for pictures.

    Each function is taken to be warm once, and every request to be made once.
    """

    key: str
    kind: str
    duration: float | None
    pipeline: list[str]
    tasks: int
    encoding: str
    usage: Usage


class Wanted(msgspec.Struct, frozen=True):
    """A version of a file, and what a job for it would be asked for."""

    key: str
    etag: str
    size: int
    metadata: dict[str, str]
    pipeline: list[str]
    max_usd: float | None = None


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Why there would be no job; as in a JobError."""

    code: Annotated[str, Meta(pattern="^[a-z_0-9]{1,40}$")]
    detail: Annotated[str, Meta(max_length=1000)]


class Estimated(msgspec.Struct, frozen=True, tag="estimate"):
    estimate: EstimateView
