"""What clients send: the shapes of bodies, and the checks that a shape cannot express."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from posixpath import normpath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib.api.descriptions import EXAMPLE_CURSOR, EXAMPLE_KEY, described, parameter
from chalicelib.errors import Malformed, TooLarge, Unprocessable
from chalicelib.model import metadata
from chalicelib.settings import LEAST_DOLLARS, MOST_DOLLARS, settings

MOST_PUT_BYTES = 5 * 1024**3  # of S3, for one PUT
MOST_KEY_BYTES = 1024  # of S3
MOST_PARTS = 10_000  # of S3, for one object
MOST_JOBS = 100  # of a page
MOST_OUTPUTS = (
    1000  # of a page of several jobs: a link has 2 KB, and a Lambda's answer at most 6 MB
)

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$(?!\n)"
Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MOST_KEY_BYTES,
        description="Of a file in the upload bucket.",
        examples=[EXAMPLE_KEY],
    ),
]
# Its items are read by operations/pipelines.py, which tells of all that is wrong at once.
Pipeline = Annotated[
    list[Any] | None,
    Meta(
        description="What to make: names of presets, and objects that say what to `make`, with parameters. "
        "Without it, a recipe says so.",
        examples=[
            ["thumbnail", {"make": "image", "widths": [320, 640], "formats": ["avif", "jpeg"]}]
        ],
    ),
]
RecipeName = Annotated[
    Annotated[str, Meta(min_length=1, max_length=32)] | None,
    Meta(
        description="Of a recipe, instead of a `pipeline`; GET /recipes/ lists them. The default is the one "
        "for the file's key, else `default`.",
        examples=["web"],
    ),
]
MaxUsd = Annotated[
    Annotated[float, Meta(ge=LEAST_DOLLARS, le=MOST_DOLLARS)] | None,
    Meta(
        description="What the job may cost, as it is estimated before it starts, in US dollars. A job that "
        "is there already keeps its own.",
        examples=[0.5],
    ),
]


Metadata = Annotated[
    dict[str, str] | None,
    Meta(
        description="What the client wants to be told of the job again: names of letters, digits, `_`, `.` "
        f"and `-`, and any values, together at most {metadata.MOST_BYTES} bytes.",
        examples=[{"order": "4711"}],
        extra_json_schema={
            "maxProperties": metadata.MOST_NAMES,
            "propertyNames": {"pattern": f"^{metadata.NAME}$"},
        },
    ),
]


class PresignRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A file that a client wants to upload. With `pipeline` or `recipe`, its job starts when it arrives."""

    filename: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            pattern=_NO_CONTROLS,
            description="The file's own name, without control characters.",
            examples=["Übergröße.jpg"],
        ),
    ]
    content_type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=r"^[ -~]+$(?!\n)",
            description="The file's media type, in ASCII; what it is is found by its content.",
            examples=["image/jpeg"],
        ),
    ]
    pipeline: Pipeline = None
    recipe: RecipeName = None
    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="In bytes; signed, so that no other size is accepted.", examples=[121417]),
    ] = None
    max_usd: MaxUsd = None
    metadata: Metadata = None


class SignRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A request to S3 that is to be signed; `key` to `expiresIn` are those of Uppy's `signRequest`.

    The fields from `filename` on are of the first request of an upload, and mean what they do for presign.
    """

    method: Annotated[
        Literal["PUT", "POST", "GET", "DELETE"],
        Meta(description="Of the request to S3.", examples=["POST"]),
    ]
    key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MOST_KEY_BYTES,
            pattern=_NO_CONTROLS,
            description="Of the upload; of its first request any, which is not used but for the file's name.",
            examples=["film.mp4"],
        ),
    ]
    upload_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[!-~]+$(?!\n)")] | None,
        Meta(description="That S3 gave to the upload in parts.", examples=["VXBsb2FkIElE"]),
    ] = None
    part_number: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_PARTS)] | None,
        Meta(description="Of a part of it.", examples=[1]),
    ] = None
    content_type: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[ -~]+$(?!\n)")] | None,
        Meta(description="The file's media type, in ASCII.", examples=["video/mp4"]),
    ] = None
    expires_in: Annotated[
        Annotated[int, Meta(ge=1, le=604800)] | None,
        Meta(
            description="How long the signature is to be valid, in seconds; the stage may say less.",
            examples=[3600],
        ),
    ] = None
    filename: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024, pattern=_NO_CONTROLS)] | None,
        Meta(description="The file's own name, without control characters.", examples=["film.mp4"]),
    ] = None
    pipeline: Pipeline = None
    recipe: RecipeName = None
    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="In bytes; a file of another size is refused.", examples=[7340032]),
    ] = None
    max_usd: MaxUsd = msgspec.field(default=None, name="max_usd")
    metadata: Metadata = None


class FromKeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A file that is there. Without `pipeline` and `recipe`, the recipe for its key, else `default`."""

    key: Key
    pipeline: Pipeline = None
    max_usd: MaxUsd = None
    recipe: RecipeName = None
    metadata: Metadata = None


class RetryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be made again of a job that has ended."""

    steps: Annotated[
        Literal["failed", "all"],
        Meta(
            description="`failed`: what is whole of the job is used again. `all`: everything is made anew.",
            examples=["failed"],
        ),
    ] = "failed"
    recipe: Annotated[
        Literal["as_it_was", "latest"],
        Meta(
            description="`latest`: the job's recipe as it is now; a job that had a pipeline keeps it.",
            examples=["as_it_was"],
        ),
    ] = "as_it_was"


def most_put_bytes() -> int:
    """The largest file that this stage takes by one PUT."""
    return min(MOST_PUT_BYTES, settings().max_source_bytes)


def check_size(size: int | None, most: int) -> None:
    """Raises Unprocessable where the stage wants a `size` (bytes), TooLarge where it is above `most`."""
    if size is None and settings().require_size:
        raise Unprocessable("size_required", "Say the file's `size` in bytes.")
    if size is not None and size > most:
        way = "in parts" if most == settings().max_source_bytes else "by one PUT"
        detail = f"A file may have {most} bytes {way}: a `size` of {size} is too large."
        raise TooLarge("source_too_large", detail)


def check_metadata(given: dict[str, str] | None) -> None:
    """Raises Unprocessable where metadata are more than a job keeps, or have a name that none may have."""
    if wrong := metadata.fault(given or {}):
        raise Unprocessable("invalid_metadata", f"`metadata` {wrong}.")


def check_key(key: str) -> None:
    """Raises Malformed where S3 or DynamoDB would refuse the key: no object can have it."""
    if not 0 < len(key.encode(errors="replace")) <= MOST_KEY_BYTES:
        detail = (
            f"`key` has 1 to {MOST_KEY_BYTES} bytes: it is that of an object in the upload bucket."
        )
        raise Malformed("malformed_request", detail)
    if re.search("[\0\ud800-\udfff]", key) or normpath(key).split("/")[0] == "..":
        detail = (
            "`key` is that of an object in the upload bucket: no object's leaves it, or has a NUL."
        )
        raise Malformed("malformed_request", detail)


def parse_limit(text: str) -> int:
    """The size of a page. Raises Malformed."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_JOBS:
        raise Malformed("malformed_request", f"`limit` is a number from 1 to {MOST_JOBS}.")
    return int(text)


def parse_flag(name: str, parameters: Mapping[str, str]) -> bool:
    """The parameter `name`, false where it is not there. Raises Malformed."""
    text = parameters.get(name, "false")
    if text not in ("true", "false"):
        raise Malformed("malformed_request", f"`{name}` is `true` or `false`.")
    return text == "true"


def parse_instant(name: str, text: str | None) -> str:
    """An instant of RFC 3339 as jobs have it, in UTC; "" where there is none. Raises Malformed."""
    if text is None:
        return ""
    try:
        # A "+" that was not encoded arrives as a space.
        instant = msgspec.convert(text.replace(" ", "+"), datetime).astimezone(UTC)
        if "Z" not in text.upper() and not re.search(r"[ +-][0-9]{2}:[0-9]{2}$", text):
            raise ValueError(text)
    except (msgspec.ValidationError, ValueError, OverflowError):
        detail = f"`{name}` is an instant with its time zone, like 2026-11-29T18:06:18Z."
        raise Malformed("malformed_request", detail) from None
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


_POSITION = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}Z#[0-9a-f-]{36}")


def encode_opaque(text: str) -> str:
    """Text as clients are given it, who need not read it."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_opaque(encoded: str) -> str:
    """The text of `encode_opaque`; "" where it is none."""
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:  # not base64, or not of ASCII
        return ""


def encode_cursor(position: str) -> str:
    """The `next_cursor` for the page after `position`: a job's time of creation, `#`, and its id."""
    return encode_opaque(position)


def parse_cursor(cursor: str) -> str:
    """The position in a cursor of `encode_cursor`. Raises Malformed."""
    position = decode_opaque(cursor)
    if not _POSITION.fullmatch(position):
        detail = "`cursor` is a `next_cursor` of an earlier answer; the first page has none."
        raise Malformed("malformed_cursor", detail)
    return position


# The parameters of every list.
PAGE = (
    parameter(
        "limit",
        "query",
        described(
            "How many at most.", 20, type="integer", minimum=1, maximum=MOST_JOBS, default=20
        ),
        required=False,
    ),
    parameter(
        "cursor",
        "query",
        described("The `next_cursor` of an earlier answer.", EXAMPLE_CURSOR, type="string"),
        required=False,
    ),
)
