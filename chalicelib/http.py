"""What every route does around its one function: problem+json for errors, CORS for browsers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from chalice.app import Chalice, Request, Response

from chalicelib.errors import Malformed, RequestError
from chalicelib.settings import settings
from chalicelib.watch import logger

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location,Retry-After",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,POST,OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization,Content-Type,Idempotency-Key,Range,X-Amz-Content-Sha256,X-Amz-Date,"
        "X-Amz-Security-Token,X-Api-Key"
    ),
    "Access-Control-Max-Age": "600",
}


class Problem(msgspec.Struct):
    """An error, after RFC 9457; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def views_of(app: Chalice) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Decorates the routes of `app`: each is given the request, and its errors become answers."""

    def view(route: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(route)
        def answered(**parameters: str) -> Response:
            request = app.current_request
            assert request is not None
            return _answer(route, request, parameters)

        return answered

    return view


def _answer(
    route: Callable[..., Response], request: Request, parameters: dict[str, str]
) -> Response:
    request_id = request.context.get("requestId", "")
    # The path is never logged: that of HLS holds a token.
    logger.append_keys(request_id=request_id, route=route.__name__)
    if "job_id" in parameters:
        logger.append_keys(job_id=parameters["job_id"])
    try:
        response = route(request, **parameters)
    except RequestError as error:
        logger.info("Refused", code=error.code, detail=error.detail)
        response = problem(error.status, error.code, error.detail, request_id)
    except Exception:
        logger.exception("A request failed")
        detail = "Something unexpected happened here; the request id helps to find it."
        response = problem(500, "internal_error", detail, request_id)
    else:
        logger.info("Answered", status=response.status_code)
    finally:
        logger.remove_keys(["request_id", "route", "job_id"])
    response.headers.update(CORS)
    return response


def problem(status: int, code: str, detail: str, request_id: str) -> Response:
    body = Problem("about:blank", HTTPStatus(status).phrase, status, detail, code, request_id)
    return json(body, status, "application/problem+json")


def json(body: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """An answer in JSON."""
    encoded = msgspec.json.encode(body).decode()
    return Response(encoded, {"Content-Type": content_type, "Cache-Control": "no-store"}, status)


def preflight(**_: str) -> Response:
    """What a browser asks before it calls."""
    return Response("", {**CORS, **_PREFLIGHT}, 204)


def read[T](request: Request, shape: type[T]) -> T:
    """The body of a request; raises Malformed, which says what is wrong and where."""
    try:
        return msgspec.json.decode(request.raw_body, type=shape)
    except msgspec.ValidationError as error:
        raise Malformed("malformed_request", f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("malformed_json", f"The body is not JSON: {error}.") from None


def query(request: Request) -> dict[str, str]:
    """The parameters after the question mark; of a repeated one, the last."""
    return dict(request.query_params or {})


def base_url(request: Request) -> str:
    """The public base of the API: as it was set, or as API Gateway tells it."""
    if settings().api_url:
        return settings().api_url.rstrip("/")
    # The route as it is declared ends the path as it was called: /jobs/{job_id}, /api/jobs/1b2c….
    depth = request.path.strip("/").count("/") + 1
    path = request.context["path"].rstrip("/").rsplit("/", depth)[0]
    return f"https://{request.context['domainName']}{path}"
