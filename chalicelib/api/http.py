"""What every route does around its one function: problem+json for errors, CORS for browsers."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from json import JSONDecoder
from typing import Any

import msgspec
from chalice.app import Chalice, Request, Response

from chalicelib.errors import Forbidden, Malformed, RequestError
from chalicelib.settings import ANYBODY, settings
from chalicelib.telemetry import logger

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location,Retry-After",
}
# No browser guesses what an answer is, or tells another site of a path: those of HLS hold tokens.
_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,HEAD,POST,OPTIONS",
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


Route = Callable[..., Response]
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def views_of(app: Chalice) -> Callable[..., Callable[[Route], Route]]:
    """Decorates the routes of `app`: each is given the request, and its errors become answers.

    Other parameters after the question mark than `known` are refused; None: any are taken.
    """

    def view(known: Sequence[str] | None = ()) -> Callable[[Route], Route]:
        def decorate(route: Route) -> Route:
            @functools.wraps(route)
            def answered(**parameters: str) -> Response:
                request = app.current_request
                assert request is not None
                return _answer(route, known, request, parameters)

            return answered

        return decorate

    return view


def answer_all_methods(app: Chalice) -> None:
    """Give each path of `app` an answer to every method: a browser's preflight, and 405 where it has none."""
    for path, methods in list(app.routes.items()):
        entry = next(iter(methods.values()))
        allowed = [*methods, "OPTIONS"]
        app.route(path, methods=["OPTIONS"], content_types=["*/*"])(preflight)
        app.route(
            path,
            methods=[method for method in _METHODS if method not in allowed],
            content_types=["*/*"],
            api_key_required=entry.api_key_required,
            authorizer=entry.authorizer,
        )(views_of(app)(None)(_refusal_of_methods(", ".join(allowed))))


def _refusal_of_methods(allowed: str) -> Route:
    def other_method(request: Request, **_: str) -> Response:
        detail = f"This path has no {request.method}; it has {allowed}."
        answer = problem(405, "method_not_allowed", detail, request.context.get("requestId", ""))
        answer.headers["Allow"] = allowed
        return answer

    return other_method


def _answer(
    route: Route, known: Sequence[str] | None, request: Request, parameters: dict[str, str]
) -> Response:
    request_id = request.context.get("requestId", "")
    # The path is never logged: that of HLS holds a token.
    logger.append_keys(request_id=request_id, route=route.__name__)
    if "job_id" in parameters:
        parameters["job_id"] = parameters["job_id"].lower()
    try:
        if known is not None:
            _check_query(request, known)
        response = route(request, **parameters)
    except RequestError as error:
        logger.info("Refused", code=error.code, detail=error.detail)
        response = problem(error.status, error.code, error.detail, request_id)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
    except Exception:
        logger.exception("A request failed")
        detail = "Something unexpected happened here; the request id helps to find it."
        response = problem(500, "internal_error", detail, request_id)
    else:
        logger.info("Answered", status=response.status_code)
    finally:
        logger.remove_keys(["request_id", "route", "job_id"])
    response.headers.update(CORS)
    response.headers.update(_SAFE)
    if request.method == "HEAD":
        response.body = ""
    return response


def problem(status: int, code: str, detail: str, request_id: str) -> Response:
    detail = detail.encode(errors="backslashreplace").decode()  # it may quote what is no text
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
        body = request.raw_body
        found = msgspec.json.decode(body, type=shape)
        # Only now, for a body of this shape is not nested without end. What counts for one reader of a
        # name that comes twice does not count for the next.
        _JSON.decode(body if isinstance(body, str) else body.decode())
    except msgspec.ValidationError as error:
        raise malformed(error, shape) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Malformed("malformed_json", f"The body is not JSON: {error}.") from None
    return found


def malformed(error: msgspec.ValidationError, shape: type[Any]) -> Malformed:
    """What is wrong with a value of this shape, where, and what it should be."""
    _, schemas = msgspec.json.schema_components([shape], ref_template="{name}")
    fields: dict[str, Any] = schemas[shape.__name__]["properties"]
    where = re.search(r"\$\.(\w+)", str(error))
    described = fields.get(where[1], {}).get("description", "") if where else ""
    if "unknown field" in str(error):
        described = f"The fields are {_quoted(fields)}."
    return Malformed("malformed_request", f"{_cut(str(error))}. {described}".rstrip())


def refuse_others(code: str, kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise Malformed where a name is not known, or comes more than once."""
    other = set(names).difference(known)
    if other:
        there_are = f"there are {_quoted(known)}" if known else "this call takes none"
        raise Malformed(code, f"There is no {kind} {_quoted(sorted(other))}: {there_are}.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        detail = f"The {kind} {_quoted(repeated)} comes more than once: send it once."
        raise Malformed(code, detail)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    refuse_others("malformed_request", "field", names, names)
    return dict(pairs)


_JSON = JSONDecoder(object_pairs_hook=_once)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{_cut(name)}`" for name in names)


def _cut(text: str) -> str:
    """What a client sent, as a sentence can quote it."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def _check_query(request: Request, known: Sequence[str]) -> None:
    given = request.query_params
    names = [name for name in given or () for _ in given.getlist(name)] if given else []
    refuse_others("malformed_request", "parameter", names, known)


def query(request: Request) -> dict[str, str]:
    """The parameters after the question mark."""
    return dict(request.query_params or {})


def caller(request: Request) -> str:
    """Who calls, as API Gateway tells it: the owner of what is asked for. Raises Forbidden where it does not.

    It is the id of the API key, or the ARN of the IAM identity; where nobody is asked, all are ANYBODY.
    """
    auth = settings().auth
    if auth == "none":
        return ANYBODY
    told = request.context.get("identity") or {}
    found = told.get("apiKeyId") if auth == "api_key" else _principal(told.get("userArn") or "")
    if not found:
        raise Forbidden("unknown_caller", "API Gateway does not say who calls.")
    return str(found)


def _principal(arn: str) -> str:
    """Who has the rights: of a session the role, for whoever takes a role names the session as he likes."""
    return "/".join(arn.split("/")[:2]) if ":assumed-role/" in arn else arn


def idempotency_key(request: Request) -> str | None:
    """The header, if it was sent; raises Malformed."""
    given = request.headers.get("idempotency-key")
    if given is not None and not re.fullmatch(IDEMPOTENCY_KEY, given):
        detail = (
            "The header Idempotency-Key has 1 to 255 characters of ASCII: a random UUID is right."
        )
        raise Malformed("malformed_request", detail)
    return given


IDEMPOTENCY_KEY = "[ -~]{1,255}"


def base_url(request: Request) -> str:
    """The public base of the API: as it was set, or as API Gateway tells it."""
    if settings().api_url:
        return settings().api_url.rstrip("/")
    # The route as it is declared ends the path as it was called: /jobs/{job_id}, /api/jobs/1b2c….
    depth = request.path.strip("/").count("/") + 1
    path = request.context["path"].rstrip("/").rsplit("/", depth)[0]
    return f"https://{request.context['domainName']}{path}"
