"""The call that asks what a job would cost. It invokes the Lambda `estimate`; no other call invokes one.

That Lambda decodes what strangers have sent. Its answer is read as data of one shape and of bounded size.
"""

from __future__ import annotations

import msgspec
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from chalicelib.api.descriptions import Answer, CallDescription
from chalicelib.api.recipes import book, check_asked
from chalicelib.api.requests import FromKeyRequest, check_key, check_metadata
from chalicelib.api.uploads import open_file
from chalicelib.errors import Busy, Unprocessable
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.model.estimate import Estimated, EstimateView, Refusal, Wanted
from chalicelib.operations.choosing import Asked, choose_if_known
from chalicelib.operations.pipelines import find_steps
from chalicelib.settings import settings
from chalicelib.store import identities
from chalicelib.store.clients import lambdas
from chalicelib.telemetry import logger

_MOST_ANSWER_BYTES = 64 * 1024


def estimate(caller: str, request: FromKeyRequest) -> EstimateView:
    """What a job for a file would use and cost; nothing is started.

    Raises Malformed, NotFound, Conflict, Unprocessable, Busy.
    """
    asked = check_asked(request.pipeline, request.recipe)
    check_metadata(request.metadata)
    check_key(request.key)
    file = open_file(caller, request.key, HEAD_BYTES)
    original = file.original
    chosen = choose_if_known(asked, original.metadata, file.key, file.head, book())
    return _invoke(
        Wanted(
            request.key,
            original.etag,
            original.size,
            original.metadata,
            list(asked.pipeline),
            asked.recipe,
            request.max_usd,
            [key for key in _sidecars(chosen) if identities.may_read(caller, key)],
        )
    )


def _sidecars(chosen: Asked) -> list[str]:
    """Keys of the files of captions that a job for this would read; the Lambda refuses what is wrong."""
    steps = find_steps(chosen.pipeline, Unprocessable) if chosen.pipeline else ()
    return sorted({key for step in steps for key in step.sidecars})


def _invoke(wanted: Wanted) -> EstimateView:
    """The answer of the Lambda. Raises Unprocessable, Busy."""
    try:
        answer = lambdas().invoke(
            FunctionName=settings().estimate_function, Payload=msgspec.json.encode(wanted)
        )
        payload = answer["Payload"].read(_MOST_ANSWER_BYTES)
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
            "The function that estimates has failed", told=payload[:1000].decode(errors="replace")
        )
        raise _not_looked_at("it took too long, or the file is odd")
    try:
        result = msgspec.json.decode(payload, type=Estimated | Refusal)
    except msgspec.DecodeError as error:
        raise _not_looked_at("the answer about it cannot be read") from error
    if isinstance(result, Refusal):
        raise Unprocessable(result.code, result.detail)
    return result.estimate


def _not_looked_at(why: str) -> Unprocessable:
    return Unprocessable(
        "not_looked_at", f"The file could not be looked at within this call: {why}."
    )


DESCRIPTIONS = {
    "estimate_job": CallDescription(
        "estimate",
        "Jobs",
        "What a job would use and cost",
        "The file is looked at as for a job, and its work planned; nothing is started.",
        {"200": Answer("About so much", EstimateView)},
        ("400", "404", "409", "422"),
        body=FromKeyRequest,
    ),
}
