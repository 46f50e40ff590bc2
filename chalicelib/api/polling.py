"""Polling: what a job's answer says of itself, so that a client that has it need not be sent it again."""

from __future__ import annotations

import re
from hashlib import sha256
from math import ceil

import msgspec
from chalice.app import Request, Response

from chalicelib.api.http import respond
from chalicelib.api.views import JobView
from chalicelib.model.step import TERMINAL

# Answers to one client alone, who asks before he uses his copy.
_CACHE = "private, no-cache"
_LEAST_SECONDS, _MOST_SECONDS = 1, 10
# An entity-tag of RFC 9110 §8.8.3, of a list of them.
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def answer(request: Request, job: JobView) -> Response:
    """The job; or 304, without a body, where `If-None-Match` says that the client has it (RFC 9110)."""
    tag = entity_tag(job)
    response = respond(job)
    if _has(request.headers.get("if-none-match", ""), tag):
        response = Response("", {}, 304)
    # §15.4.5: a 304 has those headers of the 200 that say what a cache may do.
    response.headers |= {"ETag": tag, "Cache-Control": _CACHE}
    if job.status not in TERMINAL:
        response.headers["Retry-After"] = str(pause(job.eta_seconds))
    return response


def entity_tag(job: JobView) -> str:
    """A weak tag of all that a job shows but its links' signatures and `eta_seconds`.

    Signatures differ between two Lambdas at one moment, as their credentials do, and the eta from second to
    second. When links expire is in it: that changes when they are signed anew, after half of their lifetime,
    so that the links of a copy with this tag work for as long as those of a new answer would.
    """
    outputs = [msgspec.structs.replace(output, url="", dash_url="") for output in job.outputs]
    shown = msgspec.structs.replace(job, outputs=outputs, input_url="", eta_seconds=None)
    return f'W/"{sha256(msgspec.json.encode(shown)).hexdigest()[:32]}"'


def pause(eta_seconds: int | None) -> int:
    """Seconds until it is worth asking again: a tenth of what is left, or one where that is not known."""
    return min(_MOST_SECONDS, max(_LEAST_SECONDS, ceil((eta_seconds or 0) / 10)))


def _has(if_none_match: str, tag: str) -> bool:
    """Whether the header names the tag, by the weak comparison of §8.8.3.2, or anything at all."""
    if if_none_match.strip() == "*":
        return True
    return tag.removeprefix("W/") in _TAG.findall(if_none_match)
