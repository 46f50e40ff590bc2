"""The description of the API, OpenAPI 3.1, from the shapes of requests and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from chalicelib.api.calls import (
    MOST_FORM_BYTES,
    MOST_JOBS,
    FromKeyRequest,
    PresignRequest,
    most_source_bytes,
)
from chalicelib.api.http import IDEMPOTENCY_KEY, Problem
from chalicelib.api.views import Accepted, JobPage, JobView, Presigned
from chalicelib.codes import FAILURES, GATEWAY, REFUSALS
from chalicelib.model.estimate import EstimateView
from chalicelib.model.job import STATUSES
from chalicelib.operations import STEPS
from chalicelib.settings import LEAST_DOLLARS, MOST_DOLLARS, settings

_REQUESTS = (PresignRequest, FromKeyRequest)
_ANSWERS = (Presigned, Accepted, EstimateView, JobView, JobPage, Problem)

_JOB = "d7b8f4bf-5809-4c62-97a4-c008686e881d"
_TOKEN = "WyJkN2I4ZjRiZiIsIm91dHB1dHMvMWY3ZmI4YTIiLDE3NjQ0NDMxMTNd.c2lnbmF0dXJl"
EXAMPLE_KEY = "uploads/53b571963c534cfe81fcfa972e8efee5_photo.jpg"
_TIME = "2026-11-29T18:06:18.752043Z"
_SIGNED = "https://sluice-upload.s3.us-east-1.amazonaws.com/{}?X-Amz-Signature=5f1c"
_CURSOR = "MjAyNi0xMS0yOVQxODowNjoxOC43NTIwNDNaI2Q3YjhmNGJmLTU4MDktNGM2Mi05N2E0LWMwMDg2ODZlODgxZA"

# Names of values that several shapes have.
_ENUMS: dict[str, tuple[str, list[str]]] = {
    "Step": ("What can be made of a file.", [step.name for step in STEPS]),
    "Status": ("Where a job or a step stands; SUCCESS and FAILURE are for good.", [*STATUSES]),
    "RefusalCode": (
        "Why a call was refused: docs/errors.md says what to do.",
        sorted({*REFUSALS, *GATEWAY, *FAILURES}),
    ),
    "FailureCode": (
        "Why a job or a step failed; empty where it did not. docs/errors.md says what to do.",
        ["", *sorted(FAILURES)],
    ),
}


def _is(description: str, example: Any, **schema: Any) -> dict[str, Any]:
    """What a property is, beside its type."""
    return {"description": description, "examples": [example], **schema}


_STEP = {"$ref": "#/components/schemas/Step"}
_STATUS = {"$ref": "#/components/schemas/Status"}
_FAILURE = {"$ref": "#/components/schemas/FailureCode"}
_COUNT = {"minimum": 0}

# Of every property of an answer; `Shape.name` where a name means more than one thing.
_PROPERTIES: dict[str, dict[str, Any]] = {
    "key": _is("The file's key in the upload bucket.", EXAMPLE_KEY),
    "filename": _is("The file's name, as the client gave it.", "Übergröße.jpg"),
    "job_id": _is("The id of the job.", _JOB, format="uuid"),
    "Presigned.job_id": _is(
        "The job that starts when the file arrives; only where a pipeline was named.",
        _JOB,
        format="uuid",
    ),
    "Presigned.url": _is(
        "Where to PUT the file, for an hour unless the stage says otherwise.",
        _SIGNED.format(EXAMPLE_KEY),
        format="uri",
    ),
    "headers": _is("Headers to send with the file.", {"Content-Type": "image/jpeg"}),
    "jobs": _is("At most `limit` of them.", []),
    "next_cursor": _is("The `cursor` of the next page; null on the last one.", _CURSOR),
    "JobView.id": _is("The id of the job.", _JOB, format="uuid"),
    "status": _is("Where it stands.", "SUCCESS", **_STATUS),
    "progress": _is("In percent; at most 99 before SUCCESS.", 100, minimum=0, maximum=100),
    "eta_seconds": _is(
        "How long it will still take at the speed it has had, once that can be told.", 12
    ),
    "outputs": _is("What has been made so far.", []),
    "OutputView.type": _is("The step that made it.", "thumbnail", **_STEP),
    "s3_key": _is("Its key in the output bucket.", "outputs/d7b8f4bf_photo_thumb.jpg"),
    "OutputView.url": _is(
        "A link that needs no credentials; that of HLS plays as it is.",
        _SIGNED.format("outputs/d7b8f4bf_photo_thumb.jpg"),
        format="uri",
    ),
    "expires_at": _is("When the link stops to work.", _TIME, format="date-time"),
    "size": _is("In bytes; of all files, for HLS.", 24816, **_COUNT),
    "content_type": _is("Its media type.", "image/jpeg"),
    "width": _is("In pixels.", 512, **_COUNT),
    "height": _is("In pixels.", 384, **_COUNT),
    "duration": _is("In seconds; null for pictures.", 60.5),
    "complete": _is("False while it still grows, as HLS does from its first seconds on.", True),
    "error": _is("What went wrong, in a sentence; empty where nothing did.", ""),
    "error_code": _is("The same for programs.", "", **_FAILURE),
    "pipeline": _is("The steps, in the order of their outputs.", ["thumbnail"], items=_STEP),
    "steps": _is("Each of them, as it stands.", []),
    "StepView.name": _is("Which step it is.", "thumbnail", **_STEP),
    "warnings": _is("What came out other than wished, in sentences.", []),
    "encoding": _is("How a film is encoded, and why so.", "In 12 chunks at once."),
    "usage": _is("What it used and cost; null before the end of a job.", None),
    "EstimateView.usage": _is("What it would use and cost.", None),
    "created_at": _is("When the job was asked for.", _TIME, format="date-time"),
    "updated_at": _is("When the job last changed.", _TIME, format="date-time"),
    "input_url": _is("A link to the original.", _SIGNED.format(EXAMPLE_KEY), format="uri"),
    "input_url_expires_at": _is(
        "When the link to the original stops to work.", _TIME, format="date-time"
    ),
    "kind": _is("What the file is, by its content.", "image", enum=["image", "video"]),
    "tasks": _is("How many tasks the job would have.", 1, **_COUNT),
    "functions": _is("By the Lambda that used it.", {}),
    "bytes_read": _is("Read from S3.", 121417, **_COUNT),
    "bytes_written": _is("Written to S3.", 616547, **_COUNT),
    "bytes_stored": _is("Of all outputs.", 616000, **_COUNT),
    "cost_usd": _is("In US dollars, at list prices.", 4.567e-05, **_COUNT),
    "cost_usd_by_service": _is("The same, by what is paid for.", None),
    "storage_usd_a_month": _is("What keeping the outputs costs.", 1.3195e-05, **_COUNT),
    "prices_of": _is("The day of the prices.", "2026-11-24"),
    "invocations": _is("How often it was invoked.", 1, **_COUNT),
    "gb_seconds": _is("Memory times time.", 0.641, **_COUNT),
    "requests": _is("How often it called each service.", None),
    "Requests.dynamodb": _is("Of DynamoDB.", 7, **_COUNT),
    "Requests.s3": _is("Of S3.", 4, **_COUNT),
    "Requests.sqs": _is("Of SQS.", 2, **_COUNT),
    "lambda": _is("Lambda, with its disk and invocations.", 1.4595e-05, **_COUNT),
    "dynamodb": _is("DynamoDB.", 1.2875e-05, **_COUNT),
    "s3": _is("S3, without storage.", 1.62e-05, **_COUNT),
    "sqs": _is("SQS.", 2e-06, **_COUNT),
    "Problem.type": _is("Always about:blank: `code` tells more.", "about:blank"),
    "title": _is("What the status means.", "Not Found"),
    "Problem.status": _is("The status of the answer.", 404, minimum=400, maximum=599),
    "detail": _is("What is wrong and what to do, in a sentence.", f"There is no job {_JOB}."),
    "code": _is(
        "The same for programs.", "job_not_found", **{"$ref": "#/components/schemas/RefusalCode"}
    ),
    "request_id": _is("To be told to whoever runs this.", "7139f063-80b4-486d-99b3-26a12c43a429"),
}

_TAGS = {
    "Uploads": "Files on their way in.",
    "Jobs": "What is made of a file, and how far it is.",
    "Streams": "HLS, by links that stand for themselves.",
    "API": "The API itself.",
}

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
        "paths": _paths(shapes),
        "components": {
            "schemas": shapes,
            "responses": {
                f"Problem{status}": _answer(
                    title, shapes, "Problem", "application/problem+json", status=int(status)
                )
                for status, title in _TITLES.items()
            },
            **({"securitySchemes": {auth: _SCHEMES[auth]}} if auth in _SCHEMES else {}),
        },
        "security": [{auth: []}] if auth in _SCHEMES else [],
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


def _shapes() -> dict[str, Any]:
    """The schemas of all bodies, with a description and an example of each property."""
    _, shapes = msgspec.json.schema_components(
        (*_REQUESTS, *_ANSWERS), ref_template="#/components/schemas/{name}"
    )
    requests = {shape.__name__ for shape in _REQUESTS}
    for name, shape in shapes.items():
        for field, schema in shape["properties"].items():
            if name not in requests:
                schema |= _PROPERTIES.get(f"{name}.{field}") or _PROPERTIES[field]
            if "$ref" in schema:
                schema.pop("type", None)
            # Not null, but left away: generated clients would send or want it.
            if schema.get("default", ...) is None:
                del schema["default"]
    for request in requests:
        for choice in shapes[request]["properties"]["pipeline"]["anyOf"]:
            # Read as any strings, so that a wrong one is refused with a sentence.
            if choice["type"] == "array":
                choice |= {"items": _STEP, "minItems": 1, "uniqueItems": True}
    whole, _ = shapes["PresignRequest"]["properties"]["size"]["anyOf"]
    whole["maximum"] = most_source_bytes()
    waits = shapes["Presigned"]["properties"]["job_id"]
    del waits["anyOf"]
    waits["type"] = "string"
    for name, (text, values) in _ENUMS.items():
        shapes[name] = {"type": "string", "description": text, "enum": values}
    return shapes


def _example(shapes: dict[str, Any], name: str) -> Any:
    """A value of this shape: of each property its example, or an example of what it refers to."""
    properties: dict[str, Any] = shapes[name]["properties"]
    return {field: _example_of(shapes, schema) for field, schema in properties.items()}


def _example_of(shapes: dict[str, Any], schema: dict[str, Any]) -> Any:
    for referred in _referred(schema):
        if referred in _ENUMS:
            continue
        made = _example(shapes, referred)
        if schema.get("type") == "array":
            return [made]
        return {"watermark": made} if schema.get("type") == "object" else made
    return schema["examples"][0]


def _referred(schema: dict[str, Any]) -> Iterator[str]:
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


def _paths(shapes: dict[str, Any]) -> dict[str, Any]:
    def answer(description: str, shape: str) -> dict[str, Any]:
        return _answer(description, shapes, shape)

    def body(shape: str) -> dict[str, Any]:
        return {"required": True, "content": _content(shapes, shape, "application/json")}

    job_id = _parameter(
        "job_id", "path", _is("The id of the job.", _JOB, type="string", format="uuid")
    )
    return {
        "/uploads/presign": {
            "post": _operation(
                "presign",
                "Uploads",
                "A URL to PUT a file to",
                "With a pipeline, a job that starts by itself when the file arrives; without, the upload "
                "waits for POST /jobs/from-key/.",
                {"200": answer("Where to send the file", "Presigned")},
                ("400", "413", "422"),
                body=body("PresignRequest"),
            )
        },
        "/jobs/from-key": {
            "post": _operation(
                "fromKey",
                "Jobs",
                "Start a job for a file that is there",
                "The same file and steps, in whatever order, give the same job, unless that one failed.",
                {"202": answer("The job", "Accepted")},
                ("400", "404", "409", "422"),
                body=body("FromKeyRequest"),
                parameters=[
                    _parameter(
                        "Idempotency-Key",
                        "header",
                        _is(
                            "Chosen by the caller, a random UUID for instance: who repeats a call with it "
                            "gets the same job. Another caller's is another one.",
                            "5e1b8f0a-43b6-4a0c-9d0e-0f4f3a1f6f57",
                            type="string",
                            pattern=f"^{IDEMPOTENCY_KEY}$",
                        ),
                        required=False,
                    )
                ],
            )
        },
        "/jobs/estimate": {
            "post": _operation(
                "estimate",
                "Jobs",
                "What a job would use and cost",
                "The file is looked at as for a job, and its work planned; nothing is started.",
                {"200": answer("About so much", "EstimateView")},
                ("400", "404", "409", "422"),
                body=body("FromKeyRequest"),
            )
        },
        "/jobs/upload": {
            "post": _operation(
                "upload",
                "Uploads",
                "Upload a small file as a form, and start its job",
                f"The whole form may have {MOST_FORM_BYTES} bytes; larger files want a presigned URL.",
                {"202": answer("The job", "Accepted")},
                ("400", "413", "415", "422"),
                body={
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": _FORM,
                            "example": {
                                "file": "…",
                                "pipeline": "thumbnail,watermark",
                                "max_usd": 0.5,
                            },
                        }
                    },
                },
            )
        },
        "/jobs": {
            "get": _operation(
                "listJobs",
                "Jobs",
                "The caller's jobs, newest first",
                "A page of them; `next_cursor` leads to the next one. A stage that does not ask who calls "
                "wants a `key`.",
                {"200": answer("A page of jobs", "JobPage")},
                ("400", "422"),
                parameters=[
                    _parameter(
                        "limit",
                        "query",
                        _is(
                            "How many at most.",
                            20,
                            type="integer",
                            minimum=1,
                            maximum=MOST_JOBS,
                            default=20,
                        ),
                        required=False,
                    ),
                    _parameter(
                        "cursor",
                        "query",
                        _is("The `next_cursor` of an earlier answer.", _CURSOR, type="string"),
                        required=False,
                    ),
                    _parameter(
                        "status", "query", _is("Only these.", "SUCCESS", **_STATUS), required=False
                    ),
                    _parameter(
                        "key",
                        "query",
                        _is("Only those of this file.", EXAMPLE_KEY, type="string", minLength=1),
                        required=False,
                    ),
                ],
            )
        },
        "/jobs/{job_id}": {
            "get": _operation(
                "getJob",
                "Jobs",
                "A job, its progress and its outputs",
                "Links in it work for an hour unless the stage says otherwise: ask again for fresh ones.",
                {"200": answer("The job", "JobView")},
                ("400", "404"),
                parameters=[job_id],
            )
        },
        "/jobs/{job_id}/hls/{token}/{name}": {
            "get": {
                **_operation(
                    "hlsFile",
                    "Streams",
                    "A playlist, or the way to a segment",
                    "The `url` of an output leads here. Its token stands for itself, for six hours or twice "
                    "the film.",
                    {
                        "200": {
                            "description": "A playlist (RFC 8216)",
                            "content": {
                                "application/vnd.apple.mpegurl": {
                                    "schema": {"type": "string"},
                                    "example": "#EXTM3U\n",
                                }
                            },
                        },
                        "302": {
                            "description": "Where the segment is",
                            "headers": {
                                "Location": {
                                    "description": "A link that needs no credentials.",
                                    "schema": {"type": "string", "format": "uri"},
                                }
                            },
                        },
                    },
                    ("403", "404"),
                    parameters=[
                        job_id,
                        _parameter(
                            "token",
                            "path",
                            _is("What the link allows.", _TOKEN, type="string"),
                        ),
                        _parameter(
                            "name",
                            "path",
                            _is("A file of the rendition.", "master.m3u8", type="string"),
                        ),
                    ],
                ),
                "security": [],
            }
        },
        "/openapi.json": {
            "get": {
                **_operation(
                    "openapi",
                    "API",
                    "This description",
                    "Of the stage that is asked.",
                    {
                        "200": {
                            "description": "OpenAPI 3.1",
                            "content": {
                                "application/json": {
                                    "schema": {"type": "object"},
                                    "example": {"openapi": "3.1.0"},
                                }
                            },
                        }
                    },
                    ("400",),
                ),
                "security": [],
            }
        },
    }


_ONE = f"({'|'.join(step.name for step in STEPS)})"
_STEPS = rf"^(?!.*\b(\w+)\b.*\b\1\b){_ONE}(,{_ONE})*$"

_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file, with its name."},
        "pipeline": {
            "type": "string",
            **_is(
                "Names of steps, with commas between them; each at most once.",
                "thumbnail,watermark",
                pattern=_STEPS,
            ),
        },
        "max_usd": {
            "type": "number",
            **_is(
                "What the job may cost, as it is estimated before it starts, in US dollars.",
                0.5,
                minimum=LEAST_DOLLARS,
                maximum=MOST_DOLLARS,
            ),
        },
    },
    "additionalProperties": False,
}


def _operation(
    name: str,
    tag: str,
    summary: str,
    description: str,
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
        "tags": [tag],
        "summary": summary,
        "description": description,
        "responses": {**answers, **refused},
        **({"requestBody": body} if body else {}),
        **({"parameters": parameters} if parameters else {}),
    }


def _parameter(
    name: str, where: str, schema: dict[str, Any], *, required: bool = True
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": schema["description"],
        "schema": schema,
    }


def _answer(
    description: str,
    shapes: dict[str, Any],
    shape: str,
    content_type: str = "application/json",
    **instead: Any,
) -> dict[str, Any]:
    return {
        "description": description,
        "content": _content(shapes, shape, content_type, **instead),
    }


def _content(
    shapes: dict[str, Any], shape: str, content_type: str, **instead: Any
) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {content_type: {"schema": schema, "example": _example(shapes, shape) | instead}}
