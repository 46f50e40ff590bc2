"""The shape and the headers of every refusal: of the API's own, and of API Gateway's before it.

It imports no web framework, so that infra can write the gateway's answers from it.
"""

from __future__ import annotations

import msgspec

PROBLEM_JSON = "application/problem+json"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location,Retry-After",
}


class Problem(msgspec.Struct):
    """An error, after RFC 9457; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
