"""The description of the API, OpenAPI 3.1: from the routes, the tables of calls, and the shapes of bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from chalice.app import RouteEntry

from chalicelib.api import (
    estimates,
    hls,
    job_lists,
    jobs,
    recipes,
    retries,
    signed_uploads,
    submissions,
    uploads,
    webhooks,
)
from chalicelib.api.descriptions import Answer, CallDescription, Json, reference
from chalicelib.api.properties import PROPERTIES
from chalicelib.api.recipes import EITHER, RecipesView
from chalicelib.api.requests import (
    FromKeyRequest,
    PresignRequest,
    RetryRequest,
    SignRequest,
    most_put_bytes,
)
from chalicelib.api.views import Accepted, JobPage, JobView, Presigned, Signed
from chalicelib.api.webhooks import (
    DeliveryPage,
    DeliveryView,
    WebhookRequest,
    WebhooksView,
    WebhookView,
)
from chalicelib.codes import FAILURES, GATEWAY, REFUSALS
from chalicelib.errors import PROBLEM_JSON, Problem
from chalicelib.model.estimate import EstimateView
from chalicelib.model.step import STATUSES
from chalicelib.settings import settings

_REQUESTS = (PresignRequest, SignRequest, FromKeyRequest, RetryRequest, WebhookRequest)
_ANSWERS = (
    Presigned,
    Signed,
    Accepted,
    EstimateView,
    JobView,
    JobPage,
    RecipesView,
    WebhookView,
    WebhooksView,
    DeliveryView,
    DeliveryPage,
    Problem,
)

# Fields of answers that may be left out, and are never null.
_LEFT_OUT = (
    ("Presigned", "job_id"),
    ("Signed", "key"),
    ("Signed", "headers"),
    ("Signed", "job_id"),
)

# By the names of the routes' functions.
DESCRIPTIONS: Mapping[str, CallDescription] = {
    **uploads.DESCRIPTIONS,
    **signed_uploads.DESCRIPTIONS,
    **submissions.DESCRIPTIONS,
    **estimates.DESCRIPTIONS,
    **job_lists.DESCRIPTIONS,
    **jobs.DESCRIPTIONS,
    **retries.DESCRIPTIONS,
    **hls.DESCRIPTIONS,
    **recipes.DESCRIPTIONS,
    **webhooks.DESCRIPTIONS,
    "openapi": CallDescription(
        "openapi",
        "API",
        "This description",
        "Of the stage that is asked.",
        {
            "200": Answer(
                "OpenAPI 3.1",
                content={
                    "application/json": {
                        "schema": {"type": "object"},
                        "example": {"openapi": "3.1.0"},
                    }
                },
            )
        },
        ("400",),
        needs_credentials=False,
    ),
}

# Schemas of values that several shapes share: description, values.
_ENUMS: dict[str, tuple[str, list[str]]] = {
    "Status": (
        "Where a job or a step stands; SUCCESS, FAILURE and CANCELED are for good.",
        [*STATUSES],
    ),
    "RefusalCode": (
        "Why a call was refused: docs/errors.md says what to do.",
        sorted({*REFUSALS, *GATEWAY, *FAILURES}),
    ),
    "FailureCode": (
        "Why a job or a step failed; empty where it did not. docs/errors.md says what to do.",
        ["", *sorted(FAILURES)],
    ),
}

_TAGS = {
    "Uploads": "Files on their way in.",
    "Jobs": "What is made of a file, and how far it is.",
    "Webhooks": "Who is told of what becomes of jobs.",
    "Streams": "HLS, by links that stand for themselves.",
    "API": "The API itself.",
}

_TITLES = {
    "400": "The request cannot be read",
    "401": "No credentials",
    "403": "Not allowed, or the link has expired",
    "404": "There is no such thing",
    "409": "Not now: the upload is not complete, or the job has ended",
    "410": "It is not there any more",
    "413": "Too large",
    "415": "Not a form",
    "422": "Understood, but impossible",
    "429": "Too many requests",
    "500": "Something unexpected happened",
}

_SCHEMES = {
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "A key of API Gateway.",
    },
    "iam": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4, of the service execute-api.",
    },
}

# Routes of an app by path and method, as Chalice has them.
Routes = Mapping[str, Mapping[str, RouteEntry]]


def document(routes: Routes, base_url: str) -> Json:
    """The whole description of these routes, for the API at `base_url`."""
    shapes = _shapes()
    auth = settings().auth
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": "0.1.0",
            "description": "Uploads images and videos, and turns them into what a page needs.",
            "contact": {"name": "Sluice"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base_url}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _paths(routes, shapes),
        "components": {
            "schemas": shapes,
            "responses": {
                f"Problem{status}": {
                    "description": title,
                    "content": _content(shapes, Problem, PROBLEM_JSON, status=int(status)),
                }
                for status, title in _TITLES.items()
            },
            **({"securitySchemes": {auth: _SCHEMES[auth]}} if auth in _SCHEMES else {}),
        },
        "security": [{auth: []}] if auth in _SCHEMES else [],
    }


def _paths(routes: Routes, shapes: Json) -> Json:
    """Each route that has a description; HEAD is understood with GET, and has none of its own."""
    paths: Json = {}
    for path, methods in routes.items():
        for method, entry in methods.items():
            if method != "HEAD" and entry.view_name in DESCRIPTIONS:
                operation = _operation(DESCRIPTIONS[entry.view_name], shapes)
                paths.setdefault(path, {})[method.lower()] = operation
    return paths


def _operation(call: CallDescription, shapes: Json) -> Json:
    operation: Json = {
        "operationId": call.operation_id,
        "tags": [call.tag],
        "summary": call.summary,
        "description": call.description,
        "responses": {
            **{status: _response(answer, shapes) for status, answer in call.answers.items()},
            **{
                status: {"$ref": f"#/components/responses/Problem{status}"}
                for status in sorted({*call.refusals, "401", "403", "429", "500"})
            },
        },
    }
    if call.body is not None:
        content = call.body if isinstance(call.body, dict) else _content(shapes, call.body)
        operation["requestBody"] = {"required": call.needs_body, "content": content}
    if call.parameters:
        operation["parameters"] = list(call.parameters)
    if not call.needs_credentials:
        operation["security"] = []
    return operation


def _response(answer: Answer, shapes: Json) -> Json:
    response: Json = {"description": answer.description}
    content = _content(shapes, answer.shape) if answer.shape else answer.content
    if content:
        response["content"] = content
    if answer.headers:
        response["headers"] = answer.headers
    return response


def _content(
    shapes: Json,
    shape: type[msgspec.Struct],
    media_type: str = "application/json",
    **values: Any,
) -> Json:
    """Content by media type; `values` replace some of the example's."""
    name = shape.__name__
    return {media_type: {"schema": reference(name), "example": _example(shapes, name) | values}}


def _shapes() -> Json:
    """The schemas of all bodies, with a description and an example of each property."""
    _, shapes = msgspec.json.schema_components(
        (*_REQUESTS, *_ANSWERS), ref_template="#/components/schemas/{name}"
    )
    requests = {shape.__name__ for shape in _REQUESTS}
    for name, shape in shapes.items():
        for field, schema in shape["properties"].items():
            if name not in requests:
                schema |= PROPERTIES.get(f"{name}.{field}") or PROPERTIES[field]
            if "$ref" in schema:
                schema.pop("type", None)
            # It may be left out, but not be null: generated clients would send null. What an answer leaves
            # out is not there.
            schema.pop("default", None)
    for request in requests - {RetryRequest.__name__, WebhookRequest.__name__}:
        # The code reads anything, so that it can refuse what is wrong with sentences.
        shapes[request]["properties"]["pipeline"]["anyOf"][0] = reference("Pipeline")
        shapes[request]["not"] = EITHER
    for request, most in (
        ("PresignRequest", most_put_bytes()),
        ("SignRequest", settings().max_source_bytes),
    ):
        size, _null = shapes[request]["properties"]["size"]["anyOf"]
        size["maximum"] = most
    for name, field in _LEFT_OUT:
        schema = shapes[name]["properties"][field]
        schema |= schema.pop("anyOf")[0]
    template = "#/components/schemas/{name}"
    shapes["Pipeline"] = {
        "description": "What to make of a file.",
        **recipes.pipeline_schema(template),
    }
    shapes |= recipes.operation_schemas(template)
    for name, (text, values) in _ENUMS.items():
        shapes[name] = {"type": "string", "description": text, "enum": values}
    return shapes


def _example(shapes: Json, name: str) -> Any:
    """An example of a shape: of its properties' examples, or of examples of the shapes that they refer to."""
    properties: Json = shapes[name]["properties"]
    left_out = "recipe" if "not" in shapes[name] else None  # there is a pipeline
    return {
        field: _example_of(shapes, schema)
        for field, schema in properties.items()
        if field != left_out
    }


def _example_of(shapes: Json, schema: Json) -> Any:
    for referred in _referred(schema):
        if "properties" not in shapes[referred]:
            continue
        example = _example(shapes, referred)
        if schema.get("type") == "array":
            return [example]
        return {"watermark": example} if schema.get("type") == "object" else example
    return schema["examples"][0]


def _referred(schema: Json) -> Iterator[str]:
    """The shapes that a property refers to."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    for inner in (
        *schema.get("anyOf", ()),
        schema.get("items"),
        schema.get("additionalProperties"),
    ):
        if isinstance(inner, dict):
            yield from _referred(inner)
