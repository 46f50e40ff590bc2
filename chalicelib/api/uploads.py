"""Calls about files on their way in: a URL to PUT one to, a form with one in it; and who may use a file."""

from __future__ import annotations

import time
import uuid
from io import BytesIO
from typing import Any, NamedTuple

import msgspec
from multipart import MultipartError, MultipartParser, parse_options_header

from chalicelib.api.descriptions import Answer, CallDescription, Json, described
from chalicelib.api.http import malformed, refuse_others, refuse_repeated_names
from chalicelib.api.recipes import EITHER, check_asked
from chalicelib.api.requests import PresignRequest, check_metadata, check_size, most_put_bytes
from chalicelib.api.views import Accepted, Presigned
from chalicelib.errors import (
    Conflict,
    Malformed,
    NotFound,
    TooLarge,
    Unprocessable,
    UnsupportedType,
)
from chalicelib.model import filenames
from chalicelib.model.job import Ticket
from chalicelib.operations.choosing import Asked, items_of
from chalicelib.settings import DROPS, LEAST_DOLLARS, MOST_DOLLARS, settings
from chalicelib.store import identities, jobs, objects, upload_urls
from chalicelib.store.objects import Original

# API Gateway hands a Lambda at most 6 MB, in which a binary body is Base64.
MOST_FORM_BYTES = 4 * 1024**2
# An upload that began before its URL expired may end after that.
_UPLOAD_GRACE_SECONDS = 3600
_FORM_FIELDS = ("file", "pipeline", "recipe", "max_usd", "metadata")


def presign(caller: str, request: PresignRequest) -> Presigned:
    """A URL to PUT a file to; with a pipeline, also the job that waits for the file.

    Raises Unprocessable, TooLarge.
    """
    key, job_id = expect_upload(caller, _wanted(request), most_put_bytes())
    return Presigned(
        key=key,
        url=upload_urls.put_url(key, request.size, settings().upload_url_seconds),
        headers={"Content-Type": request.content_type},
        job_id=job_id,
    )


def upload(caller: str, content_type: str, body: bytes | str) -> Accepted:
    """Store the file of a form. Its job starts when S3 tells of the object, as after any other upload.

    Raises UnsupportedType, TooLarge, Malformed, Unprocessable.
    """
    body = body.encode() if isinstance(body, str) else body
    media_type, options = parse_options_header(content_type)
    if media_type != "multipart/form-data" or not options.get("boundary"):
        detail = "Send multipart/form-data with a field `file`."
        raise UnsupportedType("unsupported_type", detail)
    if len(body) > MOST_FORM_BYTES:
        detail = "A form may have 4 MB. For larger files, ask POST /uploads/presign/ for a URL to PUT to."
        raise TooLarge("form_too_large", detail)
    request, content = _read_form(body, options["boundary"])
    asked = check_asked(request.pipeline, request.recipe)
    check_metadata(request.metadata)
    key, job_id = new_key(request.filename), str(uuid.uuid4())
    _write_ticket(caller, key, job_id, _wanted(request), asked)
    objects.put_original(key, content, request.content_type)
    return Accepted(job_id)


def new_key(filename: str) -> str:
    """A key that nobody can guess or choose; it ends with the name in harmless ASCII."""
    tail = filenames.plain(filenames.base(filename))[-100:]
    return f"uploads/{uuid.uuid4().hex}_{tail or 'file'}"


class SourceFile(NamedTuple):
    """An object in the upload bucket, and whose it is."""

    key: str
    owner: str  # DROPS, where nobody asked for a URL to upload it to
    ticket: Ticket | None
    original: Original
    head: bytes  # its first bytes


def open_file(caller: str, key: str, length: int) -> SourceFile:
    """A file that the caller may use, with its first `length` bytes.

    Raises NotFound, Conflict, Unprocessable. The owner is checked first: S3 is not asked whether another
    owner's file exists.
    """
    ticket = identities.get_ticket(key)
    owner = ticket.owner if ticket else DROPS
    may_use = owner in settings().owners_seen_by(caller)
    opened = objects.open_original(key, length) if may_use else None
    if opened is None:
        if ticket and may_use:
            detail = f"The file {key} has not been uploaded yet: PUT it first."
            raise Conflict("upload_incomplete", detail)
        raise NotFound("key_not_found", f"There is no file {key} of yours in the upload bucket.")
    file = SourceFile(key, owner, ticket, *opened)
    if ticket and ticket.size not in (None, file.original.size):
        detail = f"The file has {file.original.size} bytes, but {ticket.size} were announced: upload it anew."
        raise Unprocessable("size_differs", detail)
    return file


class Wanted(NamedTuple):
    """What a client says of a file before it uploads it."""

    filename: str
    size: int | None
    pipeline: list[Any] | None
    recipe: str | None
    max_usd: float | None
    metadata: dict[str, str] | None


def _wanted(request: PresignRequest) -> Wanted:
    return Wanted(
        request.filename,
        request.size,
        request.pipeline,
        request.recipe,
        request.max_usd,
        request.metadata,
    )


def expect_upload(
    owner: str, wanted: Wanted, most_bytes: int, open_until: int | None = None
) -> tuple[str, str | None]:
    """A new key, whose ticket is written, and the id of the job that waits for the file, if one is asked for.

    `open_until` (Unix seconds) is of an upload in parts. Raises Unprocessable, TooLarge.
    """
    check_size(wanted.size, most_bytes)
    asked = check_asked(wanted.pipeline, wanted.recipe)
    check_metadata(wanted.metadata)
    starts_job = asked != Asked()
    if wanted.max_usd is not None and not starts_job:
        detail = "`max_usd` is of a job: name its `pipeline` or `recipe`, or send it to POST /jobs/from-key/."
        raise Unprocessable("pipeline_required", detail)
    key = new_key(wanted.filename)
    job_id = str(uuid.uuid4()) if starts_job else None
    _write_ticket(owner, key, job_id, wanted, asked, open_until)
    return key, job_id


def _write_ticket(
    owner: str,
    key: str,
    job_id: str | None,
    wanted: Wanted,
    asked: Asked,
    open_until: int | None = None,
) -> None:
    """Write the ticket, and the job that waits, before anybody can upload."""
    # The last request may be signed as an upload in parts closes.
    begun = open_until or int(time.time())
    deadline = begun + settings().upload_url_seconds + _UPLOAD_GRACE_SECONDS
    name = filenames.shortened(filenames.base(wanted.filename))
    if job_id:
        jobs.create(
            job_id,
            owner,
            key,
            asked.pipeline,
            recipe=asked.recipe,
            filename=name,
            upload_deadline=deadline,
            announced_size=wanted.size,
            max_usd=wanted.max_usd,
            metadata=wanted.metadata,
        )
    identities.write_ticket(
        key,
        owner,
        job_id,
        deadline,
        name,
        wanted.metadata,
        size=wanted.size,
        open_until=open_until,
    )


def _read_form(body: bytes, boundary: str) -> tuple[PresignRequest, bytes]:
    """The request in a form, with the checks of a presigned upload's, and the bytes of its file.

    Raises Malformed, Unprocessable.
    """
    try:
        form = MultipartParser(
            BytesIO(body), boundary, content_length=len(body), memory_limit=2 * MOST_FORM_BYTES
        )
        names = [part.name for part in form.parts()]
        file, pipeline, recipe, max_usd, metadata = map(form.get, _FORM_FIELDS)
        items = items_of(pipeline.value, Unprocessable) if pipeline else None
    except (MultipartError, UnicodeError, LookupError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise Malformed("malformed_form", f"The form cannot be read: {reason}.") from None
    if file is None or not file.filename:
        raise Malformed("file_missing", "The form has no field `file` with a file in it.")
    refuse_others("malformed_form", "field", names, _FORM_FIELDS)
    fields = {
        "filename": file.filename,
        "content_type": file.content_type or "application/octet-stream",
        "pipeline": items,
        "recipe": recipe.value if recipe else None,
        "max_usd": max_usd.value if max_usd else None,
        "metadata": _metadata_in(metadata.value) if metadata else None,
    }
    try:
        return msgspec.convert(fields, PresignRequest, strict=False), file.raw
    except msgspec.ValidationError as error:
        raise malformed(error, PresignRequest) from None


def _metadata_in(text: str) -> dict[str, str]:
    """The metadata in a field of a form. Raises Malformed."""
    try:
        found = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        detail = f"The field `metadata` is an object of strings in JSON: {error}."
        raise Malformed("malformed_form", detail) from None
    refuse_repeated_names(text)
    return found


_FORM: Json = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file, with its name."},
        "pipeline": {
            "type": "string",
            **described(
                "Names of presets, with commas between them; or a pipeline in JSON, which begins with [.",
                "thumbnail,watermark",
            ),
        },
        "recipe": {
            "type": "string",
            **described("Of a recipe, instead of a pipeline.", "web"),
        },
        "max_usd": {
            "type": "number",
            **described(
                "What the job may cost, as it is estimated before it starts, in US dollars.",
                0.5,
                minimum=LEAST_DOLLARS,
                maximum=MOST_DOLLARS,
            ),
        },
        "metadata": {
            "type": "string",
            **described(
                "What the client wants to be told of the job again, an object of strings in JSON.",
                '{"order": "4711"}',
                contentMediaType="application/json",
            ),
        },
    },
    "additionalProperties": False,
    "not": EITHER,
}

DESCRIPTIONS = {
    "presign": CallDescription(
        "presign",
        "Uploads",
        "A URL to PUT a file to",
        "With a pipeline, a job that starts by itself when the file arrives; without, the upload "
        "waits for POST /jobs/from-key/.",
        {"200": Answer("Where to send the file", Presigned)},
        ("400", "413", "422"),
        body=PresignRequest,
    ),
    "upload": CallDescription(
        "upload",
        "Uploads",
        "Upload a small file as a form, and start its job",
        f"The whole form may have {MOST_FORM_BYTES} bytes; larger files want a presigned URL.",
        {"202": Answer("The job", Accepted)},
        ("400", "413", "415", "422"),
        body={
            "multipart/form-data": {
                "schema": _FORM,
                "example": {"file": "…", "pipeline": "thumbnail,watermark", "max_usd": 0.5},
            }
        },
    ),
}
