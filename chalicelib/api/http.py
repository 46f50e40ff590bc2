"""What every route does around its one function: read the request; answer with problem+json and CORS."""

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

from chalicelib.errors import (
    PROBLEM_JSON,
    Fault,
    Forbidden,
    Malformed,
    Problem,
    RequestError,
)
from chalicelib.settings import ANYBODY, settings
from chalicelib.telemetry import logger

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag,Location,Retry-After",
}
# No browser guesses what an answer is, or tells another site the path it came from: HLS paths hold tokens.
_SAFETY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,HEAD,POST,DELETE,OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization,Content-Type,Idempotency-Key,If-None-Match,Range,X-Amz-Content-Sha256,X-Amz-Date,"
        "X-Amz-Security-Token,X-Api-Key"
    ),
    "Access-Control-Max-Age": "600",
}


IDEMPOTENCY_KEY = "[ -~]{1,255}"  # printable ASCII

Route = Callable[..., Response]
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def endpoint_of(
    app: Chalice, query: Sequence[str] | None = ()
) -> Callable[[Route], Callable[..., Response]]:
    """Decorator of a route of `app`: the route is given the request, and its errors become problem+json.

    Query parameters other than `query` are refused; None takes any.
    """

    def decorate(route: Route) -> Callable[..., Response]:
        @functools.wraps(route)
        def answer(**path_parameters: str) -> Response:
            request = app.current_request
            assert request is not None
            return _answer(route, query, request, path_parameters)

        return answer

    return decorate


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
        )(endpoint_of(app, query=None)(_refusal_of_methods(", ".join(allowed))))


def _refusal_of_methods(allowed: str) -> Route:
    def other_method(request: Request, **_: str) -> Response:
        detail = f"This path has no {request.method}; it has {allowed}."
        refusal = _refuse(405, "method_not_allowed", detail, request.context.get("requestId", ""))
        refusal.headers["Allow"] = allowed
        return refusal

    return other_method


def _answer(
    route: Route, query: Sequence[str] | None, request: Request, path_parameters: dict[str, str]
) -> Response:
    request_id = request.context.get("requestId", "")
    # The path is never logged: that of HLS holds a token.
    logger.append_keys(request_id=request_id, route=route.__name__)
    if "job_id" in path_parameters:
        path_parameters["job_id"] = path_parameters["job_id"].lower()
    try:
        if query is not None:
            _check_query(request, query)
        response = route(request, **path_parameters)
    except RequestError as error:
        logger.info("Refused", code=error.code, detail=error.detail)
        response = _refuse(error.status, error.code, error.detail, request_id, error.faults)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
    except Exception:
        logger.exception("A request failed")
        detail = "Something unexpected happened here; the request id helps to find it."
        response = _refuse(500, "internal_error", detail, request_id)
    else:
        logger.info("Answered", status=response.status_code)
    finally:
        logger.remove_keys(["request_id", "route", "job_id"])
    response.headers.update(CORS)
    response.headers.update(_SAFETY)
    if request.method == "HEAD":
        response.body = ""
    return response


def _refuse(
    status: int, code: str, detail: str, request_id: str, faults: Sequence[Fault] = ()
) -> Response:
    title = HTTPStatus(status).phrase
    errors = [Fault(_plain(fault.pointer), _plain(fault.detail)) for fault in faults]
    return respond(
        Problem("about:blank", title, status, _plain(detail), code, request_id, errors),
        status,
        PROBLEM_JSON,
    )


def _plain(text: str) -> str:
    """Text that may quote lone surrogates, which JSON's UTF-8 cannot have."""
    return text.encode(errors="backslashreplace").decode()


def respond(body: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """An answer in JSON."""
    encoded = msgspec.json.encode(body).decode()
    return Response(encoded, {"Content-Type": content_type, "Cache-Control": "no-store"}, status)


def preflight(**_: str) -> Response:
    """The answer to a browser that asks whether it may call."""
    return Response("", {**CORS, **_PREFLIGHT}, 204)


def parse_body[T](request: Request, shape: type[T], empty: str = "") -> T:
    """The body of a request; `empty` where it has none. Raises Malformed: what is wrong, and where."""
    try:
        body = request.raw_body or empty
        parsed = msgspec.json.decode(body, type=shape)
        # Readers differ in which value of a repeated name counts: such bodies are refused.
        refuse_repeated_names(body if isinstance(body, str) else body.decode())
    except msgspec.ValidationError as error:
        raise malformed(error, shape) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Malformed("malformed_json", f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise Malformed("malformed_json", "The body is nested too deeply.") from None
    return parsed


def malformed(error: msgspec.ValidationError, shape: type[Any]) -> Malformed:
    """The error of a value that is not of this shape: what is wrong, where, and what belongs there."""
    _, schemas = msgspec.json.schema_components([shape], ref_template="{name}")
    fields: dict[str, Any] = schemas[shape.__name__]["properties"]
    where = re.search(r"\$\.(\w+)", str(error))
    hint = fields.get(where[1], {}).get("description", "") if where else ""
    if "unknown field" in str(error):
        hint = f"The fields are {_quoted(fields)}."
    return Malformed("malformed_request", f"{_cut(str(error))}. {hint}".rstrip())


def refuse_others(code: str, kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raises Malformed where one of `names` is not known, or comes more than once; `kind` is the noun."""
    other = set(names).difference(known)
    if other:
        there_are = f"there are {_quoted(known)}" if known else "this call takes none"
        raise Malformed(code, f"There is no {kind} {_quoted(sorted(other))}: {there_are}.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        detail = f"The {kind} {_quoted(repeated)} comes more than once: send it once."
        raise Malformed(code, detail)


def _refuse_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    refuse_others("malformed_request", "field", names, names)
    return dict(pairs)


_JSON = JSONDecoder(object_pairs_hook=_refuse_repeated)


def refuse_repeated_names(text: str) -> None:
    """Raises Malformed where an object in JSON, of a bounded depth, has a name more than once."""
    _JSON.decode(text)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{_cut(name)}`" for name in names)


def _cut(text: str) -> str:
    """Text of a client, short enough to be quoted."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def _check_query(request: Request, known: Sequence[str]) -> None:
    given = request.query_params
    names = [name for name in given or () for _ in given.getlist(name)] if given else []
    refuse_others("malformed_request", "parameter", names, known)


def query_parameters(request: Request) -> dict[str, str]:
    """The parameters after the question mark."""
    return dict(request.query_params or {})


def caller(request: Request) -> str:
    """The caller, who owns what he makes: the id of his API key, or the ARN of his IAM identity.

    Without authentication, everyone is ANYBODY. Raises Forbidden where API Gateway does not say who calls.
    """
    auth = settings().auth
    if auth == "none":
        return ANYBODY
    identity = request.context.get("identity") or {}
    caller = (
        identity.get("apiKeyId") if auth == "api_key" else _principal(identity.get("userArn") or "")
    )
    if not caller:
        raise Forbidden("unknown_caller", "API Gateway does not say who calls.")
    return str(caller)


def _principal(arn: str) -> str:
    """The user, or the role without its session: whoever assumes a role chooses the session's name."""
    return "/".join(arn.split("/")[:2]) if ":assumed-role/" in arn else arn


def idempotency_key(request: Request) -> str | None:
    """The header Idempotency-Key, if it was sent. Raises Malformed."""
    given = request.headers.get("idempotency-key")
    if given is not None and not re.fullmatch(IDEMPOTENCY_KEY, given):
        detail = (
            "The header Idempotency-Key has 1 to 255 characters of ASCII: a random UUID is right."
        )
        raise Malformed("malformed_request", detail)
    return given


def base_url(request: Request) -> str:
    """The public address of the API, without a slash at its end: as it was set, or as API Gateway says."""
    if settings().api_url:
        return settings().api_url.rstrip("/")
    # Of the called path (/api/jobs/1b2c…), the last parts are the route's (/jobs/{job_id}).
    depth = request.path.strip("/").count("/") + 1
    path = request.context["path"].rstrip("/").rsplit("/", depth)[0]
    return f"https://{request.context['domainName']}{path}"
