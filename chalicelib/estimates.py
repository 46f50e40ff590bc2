"""What the API asks of the Lambda `estimate`, and what that answers: the only place that calls a Lambda.

That one decodes what strangers have sent, so that what it says is bounded, and read as nothing but this.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from msgspec import Meta

from chalicelib.aws import lambdas
from chalicelib.errors import Busy, Unprocessable
from chalicelib.settings import settings
from chalicelib.views import EstimateView
from chalicelib.watch import logger

_MOST_BYTES = 64 * 1024


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


def ask(wanted: Wanted) -> EstimateView:
    """What a job would use and cost. Raises Unprocessable, Busy."""
    try:
        answer = lambdas().invoke(
            FunctionName=settings().estimate_function, Payload=msgspec.json.encode(wanted)
        )
        told = answer["Payload"].read(_MOST_BYTES)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 429:
            raise
        detail = (
            "Too many files are looked at for estimates at this moment: ask again in some seconds."
        )
        raise Busy("estimates_busy", detail) from error
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        raise _not_looked_at("it took too long") from error
    if "FunctionError" in answer:
        logger.warning(
            "The function that estimates has failed", told=told[:1000].decode(errors="replace")
        )
        raise _not_looked_at("it took too long, or the file is odd")
    try:
        found = msgspec.json.decode(told, type=Estimated | Refusal)
    except msgspec.DecodeError as error:
        raise _not_looked_at("the answer about it cannot be read") from error
    if isinstance(found, Refusal):
        raise Unprocessable(found.code, found.detail)
    return found.estimate


def _not_looked_at(why: str) -> Unprocessable:
    return Unprocessable(
        "not_looked_at", f"The file could not be looked at within this call: {why}."
    )
