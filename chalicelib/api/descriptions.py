"""How a call is described for OpenAPI 3.1. Each module of calls has a table `DESCRIPTIONS` of its own.

A table's keys are the names of the routes' functions in app.py; path and method come from the route.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

Json = dict[str, Any]

# Values that the examples share.
EXAMPLE_JOB_ID = "d7b8f4bf-5809-4c62-97a4-c008686e881d"
EXAMPLE_KEY = "uploads/53b571963c534cfe81fcfa972e8efee5_photo.jpg"
EXAMPLE_CURSOR = (
    "MjAyNi0xMS0yOVQxODowNjoxOC43NTIwNDNaI2Q3YjhmNGJmLTU4MDktNGM2Mi05N2E0LWMwMDg2ODZlODgxZA"
)


class Answer(NamedTuple):
    """A good answer: JSON of `shape`, or `content` by media type, or the `headers` of a redirect."""

    description: str
    shape: type[msgspec.Struct] | None = None
    content: Json = {}
    headers: Json = {}


class CallDescription(NamedTuple):
    """An Operation Object, without what every call has."""

    operation_id: str
    tag: str
    summary: str
    description: str
    answers: dict[str, Answer]  # by status
    refusals: tuple[str, ...]  # statuses, beside 401, 403, 429 and 500, which every call can answer
    body: type[msgspec.Struct] | Json | None = None  # JSON of a shape, or content by media type
    parameters: tuple[Json, ...] = ()
    needs_body: bool = True  # if it takes one
    needs_credentials: bool = True


def described(description: str, example: Any, **schema: Any) -> Json:
    """A schema with a description and an example; `schema` is the rest of it."""
    return {"description": description, "examples": [example], **schema}


def reference(name: str) -> Json:
    """A reference to a schema that the document has by this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str, place: str, schema: Json, *, required: bool = True) -> Json:
    """A Parameter Object; `place` is path, query or header."""
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": schema["description"],
        "schema": schema,
    }


JOB_ID = parameter(
    "job_id",
    "path",
    described("The id of the job.", EXAMPLE_JOB_ID, type="string", format="uuid"),
)
