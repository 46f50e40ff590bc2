"""The API as OpenAPI 3.1, from the same structs that read its requests and write its answers."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.api import MOST_FORM_BYTES, MOST_JOBS, FromKeyRequest, PresignRequest
from chalicelib.http import Problem
from chalicelib.rows import STATUSES
from chalicelib.settings import settings
from chalicelib.steps import STEPS
from chalicelib.views import Accepted, EstimateView, JobPage, JobView, Presigned

_SHAPES = (
    PresignRequest,
    FromKeyRequest,
    Presigned,
    Accepted,
    EstimateView,
    JobView,
    JobPage,
    Problem,
)
_TITLES = {
    "400": "The request cannot be read",
    "401": "No credentials",
    "403": "Not allowed, or the link has expired",
    "404": "There is no such thing",
    "409": "Not now: the upload is not complete",
    "413": "Too large",
    "415": "Not a form",
    "422": "Understood, but impossible",
    "429": "Too many requests",
    "500": "Something unexpected happened",
}


def document(base_url: str) -> dict[str, Any]:
    """The whole description, for the API at `base_url`."""
    _, shapes = msgspec.json.schema_components(_SHAPES, ref_template="#/components/schemas/{name}")
    shapes["Step"] = {"type": "string", "enum": [step.name for step in STEPS]}
    for request in ("PresignRequest", "FromKeyRequest"):
        _name_the_steps(shapes[request]["properties"]["pipeline"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": "0.1.0",
            "description": "Uploads images and videos, and turns them into what a page needs.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base_url}],
        "paths": _paths(),
        "components": {
            "schemas": shapes,
            "responses": {
                f"Problem{status}": _answer(title, "Problem", "application/problem+json")
                for status, title in _TITLES.items()
            },
            "securitySchemes": {
                "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "iam": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4",
                },
            },
        },
        "security": [] if settings().auth == "none" else [{settings().auth: []}],
    }


def _paths() -> dict[str, Any]:
    job_id = _parameter("job_id", "path", {"type": "string", "format": "uuid"})
    return {
        "/uploads/presign": {
            "post": _operation(
                "presign",
                "A URL to PUT a file to",
                {"200": _answer("Where to send the file", "Presigned")},
                ("400", "413", "422"),
                body=_json("PresignRequest"),
            )
        },
        "/jobs/from-key": {
            "post": _operation(
                "fromKey",
                "Start a job for a file that is there",
                {"202": _answer("The job", "Accepted")},
                ("400", "404", "409", "422"),
                body=_json("FromKeyRequest"),
                parameters=[
                    _parameter(
                        "Idempotency-Key", "header", {"type": "string", "maxLength": 255}, False
                    )
                ],
            )
        },
        "/jobs/estimate": {
            "post": _operation(
                "estimate",
                "What a job for a file that is there would use and cost; nothing is started",
                {"200": _answer("About so much", "EstimateView")},
                ("400", "404", "409", "422"),
                body=_json("FromKeyRequest"),
            )
        },
        "/jobs/upload": {
            "post": _operation(
                "upload",
                f"Upload a small file, at most {MOST_FORM_BYTES} bytes as a form, and start its job",
                {"202": _answer("The job", "Accepted")},
                ("400", "413", "415", "422"),
                body={"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
            )
        },
        "/jobs": {
            "get": _operation(
                "listJobs",
                "Jobs, newest first",
                {"200": _answer("A page of jobs", "JobPage")},
                ("400", "422"),
                parameters=[
                    _parameter(
                        "limit",
                        "query",
                        {"type": "integer", "minimum": 1, "maximum": MOST_JOBS, "default": 20},
                        False,
                    ),
                    _parameter("cursor", "query", {"type": "string"}, False),
                    _parameter("status", "query", {"type": "string", "enum": [*STATUSES]}, False),
                    _parameter("key", "query", {"type": "string"}, False),
                ],
            )
        },
        "/jobs/{job_id}": {
            "get": _operation(
                "getJob",
                "A job, its progress and its outputs",
                {"200": _answer("The job", "JobView")},
                ("404",),
                parameters=[job_id],
            )
        },
        "/jobs/{job_id}/hls/{token}/{name}": {
            "get": {
                **_operation(
                    "hlsFile",
                    "A playlist, or the way to a segment",
                    {
                        "200": {
                            "description": "A playlist (RFC 8216)",
                            "content": {
                                "application/vnd.apple.mpegurl": {"schema": {"type": "string"}}
                            },
                        },
                        "302": {
                            "description": "A segment is there",
                            "headers": {
                                "Location": {"schema": {"type": "string", "format": "uri"}}
                            },
                        },
                    },
                    ("403", "404"),
                    parameters=[
                        job_id,
                        _parameter("token", "path", {"type": "string"}),
                        _parameter("name", "path", {"type": "string"}),
                    ],
                ),
                "security": [],
            }
        },
        "/openapi.json": {
            "get": {
                **_operation(
                    "openapi",
                    "This description",
                    {
                        "200": {
                            "description": "OpenAPI 3.1",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                    (),
                ),
                "security": [],
            }
        },
    }


_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "pipeline": {"type": "string", "description": "Names of steps, with commas between them"},
    },
}


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    problems: tuple[str, ...],
    *,
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    refused = {
        status: {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted({*problems, "401", "403", "429", "500"})
    }
    return {
        "operationId": name,
        "summary": summary,
        "responses": {**answers, **refused},
        **({"requestBody": body} if body else {}),
        **({"parameters": parameters} if parameters else {}),
    }


def _parameter(
    name: str, where: str, schema: dict[str, Any], required: bool = True
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema}


def _answer(description: str, shape: str, content_type: str = "application/json") -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": description, "content": {content_type: {"schema": schema}}}


def _json(shape: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _name_the_steps(pipeline: dict[str, Any]) -> None:
    """A pipeline is read as any strings, so that a wrong one is refused with a sentence."""
    for choice in pipeline.get("anyOf", [pipeline]):
        if choice.get("type") == "array":
            choice |= {
                "items": {"$ref": "#/components/schemas/Step"},
                "minItems": 1,
                "uniqueItems": True,
            }
