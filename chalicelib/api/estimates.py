"""The API asks the Lambda `estimate`: the only place that calls a Lambda.

That one decodes what strangers have sent, so that what it says is bounded, and read as nothing but this.
"""

from __future__ import annotations

import msgspec
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from chalicelib.errors import Busy, Unprocessable
from chalicelib.model.estimate import Estimated, EstimateView, Refusal, Wanted
from chalicelib.settings import settings
from chalicelib.store.clients import lambdas
from chalicelib.telemetry import logger

_MOST_BYTES = 64 * 1024


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
