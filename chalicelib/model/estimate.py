"""Request and answers of the Lambda `estimate`: all that the API and that Lambda share."""

from __future__ import annotations

from typing import Annotated, Any

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
    pipeline: list[str | dict[str, Any]]
    recipe: str
    tasks: int
    encoding: str
    usage: Usage


class Wanted(msgspec.Struct, frozen=True):
    """The request: a version of a file, and the job that it would be for."""

    key: str
    etag: str
    size: int
    metadata: dict[str, str]
    pipeline: list[str | dict[str, Any]]
    recipe: str = ""
    max_usd: float | None = None
    sidecars: list[str] = []  # files of captions that it asks for, and the caller may read


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """The answer if there would be no job: code and detail of the JobError."""

    code: Annotated[str, Meta(pattern="^[a-z_0-9]{1,40}$")]
    detail: Annotated[str, Meta(max_length=1000)]


class Estimated(msgspec.Struct, frozen=True, tag="estimate"):
    """The answer if there would be a job."""

    estimate: EstimateView
