"""What the calls of the API do. Routes in app.py parse a request, call one of these, and present it."""

from __future__ import annotations

import base64
import hashlib
import re
import time
import uuid
from collections.abc import Sequence
from io import BytesIO
from posixpath import normpath
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from multipart import MultipartError, MultipartParser, parse_options_header

from chalicelib.api.hls_tokens import Grant, tokens
from chalicelib.api.http import malformed, refuse_others
from chalicelib.api.views import Accepted, JobPage, JobView, Presigned, job_view
from chalicelib.errors import (
    Conflict,
    Malformed,
    NotFound,
    TooLarge,
    Unprocessable,
    UnsupportedType,
)
from chalicelib.formats import playlists
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.model import filenames
from chalicelib.model.estimate import EstimateView
from chalicelib.model.job import (
    FAILURE,
    PENDING,
    STARTED,
    STATUSES,
    Claimed,
    Job,
    JobProgress,
    Output,
    Ticket,
)
from chalicelib.model.plan import GENERATION, Hls, Parts
from chalicelib.operations import find_steps, names_for
from chalicelib.settings import ANYBODY, DROPS, LEAST_DOLLARS, MOST_DOLLARS, settings
from chalicelib.store import identities, jobs, objects, plans, progress, queues, tasks
from chalicelib.store.objects import Link, Original
from chalicelib.tasks.pricing import cost
from chalicelib.telemetry import logger

# A single PUT to S3 takes no more; neither does API Gateway through Lambda, of the other.
MOST_PUT_BYTES = 5 * 1024**3
MOST_FORM_BYTES = 4 * 1024**2
MOST_JOBS = 100
# An upload that began before its URL expired may end after.
_UPLOAD_GRACE_SECONDS = 3600

MOST_KEY_BYTES = 1024  # of S3
Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MOST_KEY_BYTES,
        description="Of a file in the upload bucket.",
        examples=["uploads/53b571963c534cfe81fcfa972e8efee5_photo.jpg"],
    ),
]
Pipeline = Annotated[
    list[str] | None,
    Meta(
        description="Names of steps, each at most once; the default is for the kind of media.",
        examples=[["thumbnail", "watermark"]],
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


class PresignRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A file that a client wants to upload. With `pipeline`, its job starts when the file arrives."""

    filename: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
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
    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="In bytes; signed, so that no other size is accepted.", examples=[121417]),
    ] = None
    max_usd: MaxUsd = None


class FromKeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A file that is there. Without `pipeline`, the default of its kind of media."""

    key: Key
    pipeline: Pipeline = None
    max_usd: MaxUsd = None


def presign(caller: str, request: PresignRequest) -> Presigned:
    """A URL to PUT a file to; and the job that waits for it, if a pipeline is named."""
    if request.size is None and settings().require_size:
        raise Unprocessable("size_required", "Say the file's `size` in bytes.")
    _check_size(request.size)
    _check_pipeline(request.pipeline)
    if request.max_usd is not None and not request.pipeline:
        detail = "`max_usd` is of a job: name its `pipeline`, or send it to POST /jobs/from-key/."
        raise Unprocessable("pipeline_required", detail)
    key = new_key(request.filename)
    job_id = str(uuid.uuid4()) if request.pipeline else None
    _expect(caller, key, job_id, request)
    return Presigned(
        key=key,
        url=objects.upload_url(key, request.size),
        headers={"Content-Type": request.content_type},
        job_id=job_id,
    )


def _expect(owner: str, key: str, job_id: str | None, request: PresignRequest) -> None:
    """Write down that an upload comes, before anybody can send it."""
    deadline = int(time.time()) + settings().upload_url_seconds + _UPLOAD_GRACE_SECONDS
    name = filenames.shortened(filenames.base(request.filename))
    if job_id:
        jobs.create(
            job_id,
            owner,
            key,
            request.pipeline or [],
            filename=name,
            upload_deadline=deadline,
            max_usd=request.max_usd,
        )
    identities.write_ticket(key, owner, job_id, deadline, name)


def from_key(caller: str, request: FromKeyRequest, idempotency_key: str | None) -> Accepted:
    """The job for a file that is there: the same for the same file and pipeline, unless that one failed.

    With an Idempotency-Key: the same for that key alone, so that a new one asks for a new job.
    """
    _check_pipeline(request.pipeline)
    _check_key(request.key)
    fingerprint = _fingerprint(request)
    identity = f"idempotency {caller} {idempotency_key}"
    if idempotency_key is not None:
        if not 0 < len(idempotency_key) <= 255:
            raise Malformed("malformed_request", "Idempotency-Key has 1 to 255 characters.")
        before = identities.find(identity)
        told = before and jobs.get(_same_request(before, fingerprint))
        if told:
            return _started(told)
    ticket, original, head = _open(caller, request.key, HEAD_BYTES)
    names = names_for(request.pipeline or (), original.metadata, head)
    owner = ticket.owner if ticket else DROPS
    if idempotency_key is not None:
        claimed = identities.claim(identity, str(uuid.uuid4()), fingerprint=fingerprint)
        job_id = _same_request(claimed, fingerprint)
    else:
        waiting = _waiting_job(ticket, original, head, names) if ticket else ""
        job_id = identities.job_of_file(owner, request.key, original.etag, names, candidate=waiting)
    jobs.create(
        job_id,
        owner,
        request.key,
        names,
        filename=ticket.filename if ticket else "",
        etag=original.etag,
        max_usd=request.max_usd,
    )
    job = jobs.get(job_id)
    return _started(job) if job else Accepted(job_id)


def _fingerprint(request: FromKeyRequest) -> str:
    """Of a body: the same for every version of this code, of which some do not know all fields."""
    told = msgspec.to_builtins(request)
    if request.max_usd is None:
        del told["max_usd"]
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


def _started(job: Job) -> Accepted:
    """Tell intake of a job, unless it has had its turn: whoever asked before may have died before that."""
    if job.status == PENDING:
        queues.send_start(job.job_id)
    return Accepted(job.job_id)


def _open(caller: str, key: str, length: int) -> tuple[Ticket | None, Original, bytes]:
    """A file of the caller's, with its first bytes. Raises NotFound, Conflict.

    Whose it is comes first: of another's, S3 is not even asked whether it is there.
    """
    ticket = identities.get_ticket(key)
    is_seen = (ticket.owner if ticket else DROPS) in settings().owners_seen_by(caller)
    opened = objects.open_original(key, length) if is_seen else None
    if opened is None:
        if ticket and is_seen:
            detail = f"The file {key} has not been uploaded yet: PUT it first."
            raise Conflict("upload_incomplete", detail)
        raise NotFound("key_not_found", f"There is no file {key} of yours in the upload bucket.")
    return ticket, *opened


def _waiting_job(ticket: Ticket, original: Original, head: bytes, names: Sequence[str]) -> str:
    """The job that an upload starts by itself, if it makes these steps of this file; else ""."""
    job = jobs.get(ticket.ticket_job_id) if ticket.ticket_job_id else None
    if job is None or job.status == FAILURE or job.etag not in ("", original.etag):
        return ""
    asked = names_for(job.pipeline, original.metadata, head)
    return job.job_id if set(names) == set(asked) else ""


def estimate(caller: str, request: FromKeyRequest) -> EstimateView:
    """What a job for a file that is there would use and cost; nothing is started."""
    from chalicelib.api import estimates
    from chalicelib.model.estimate import Wanted

    _check_pipeline(request.pipeline)
    _check_key(request.key)
    _, original, _ = _open(caller, request.key, 1)
    return estimates.ask(
        Wanted(
            request.key,
            original.etag,
            original.size,
            original.metadata,
            request.pipeline or [],
            request.max_usd,
        )
    )


def _same_request(claimed: Claimed, fingerprint: str) -> str:
    """The job of a claim, if it was for the same request."""
    if claimed.fingerprint != fingerprint:
        detail = "This Idempotency-Key came with another body before: use a new one."
        raise Unprocessable("idempotency_key_reused", detail)
    return claimed.job_id


def upload(caller: str, content_type: str, body: bytes | str) -> Accepted:
    """Take a small file from a form, store it, and start its job as any other upload's."""
    body = body.encode() if isinstance(body, str) else body
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        detail = "Send multipart/form-data with a field `file`."
        raise UnsupportedType("unsupported_type", detail)
    if len(body) > MOST_FORM_BYTES:
        detail = "A form may have 4 MB. For larger files, ask POST /uploads/presign/ for a URL to PUT to."
        raise TooLarge("form_too_large", detail)
    wanted, content = _read_form(body, options["boundary"])
    _check_pipeline(wanted.pipeline)
    key, job_id = new_key(wanted.filename), str(uuid.uuid4())
    _expect(caller, key, job_id, wanted)
    objects.put_original(key, content, wanted.content_type)
    return Accepted(job_id)


_FORM_FIELDS = ("file", "pipeline", "max_usd")


def _read_form(body: bytes, boundary: str) -> tuple[PresignRequest, bytes]:
    """What a form asks for, as a presigned upload would be asked for, and the file in it."""
    try:
        form = MultipartParser(
            BytesIO(body), boundary, content_length=len(body), memory_limit=2 * MOST_FORM_BYTES
        )
        names = [part.name for part in form.parts()]
        file, named, max_usd = map(form.get, _FORM_FIELDS)
        pipeline = [name.strip() for name in named.value.split(",")] if named else None
    except (MultipartError, UnicodeError, LookupError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise Malformed("malformed_form", f"The form cannot be read: {reason}.") from None
    if file is None or not file.filename:
        raise Malformed("file_missing", "The form has no field `file` with a file in it.")
    refuse_others("malformed_form", "field", names, _FORM_FIELDS)
    described = {
        "filename": file.filename,
        "content_type": file.content_type or "application/octet-stream",
        "pipeline": pipeline,
        "max_usd": max_usd.value if max_usd else None,
    }
    try:
        return msgspec.convert(described, PresignRequest, strict=False), file.raw
    except msgspec.ValidationError as error:
        raise malformed(error, PresignRequest) from None


def get_job(caller: str, job_id: str, base_url: str) -> JobView:
    """A job of the caller's with its progress and its links."""
    found = progress.of_job(job_id) if _JOB_ID.fullmatch(job_id) else None
    if found is None or found[0].owner not in settings().owners_seen_by(caller):
        # The id is not repeated: it would be logged, and found by whoever looks for that job's lines.
        raise NotFound("job_not_found", "There is no such job of yours; GET /jobs/ lists them.")
    logger.append_keys(job_id=job_id)
    return _view(*found, base_url)


def _view(job: Job, standing: JobProgress, base_url: str) -> JobView:
    input_link = objects.original_link(job.source_key, job.shown_name)
    used = job.usage
    stored = sum(state.output.size for state in job.step_states.values() if state.output)
    return job_view(
        job,
        standing,
        time.time(),
        input_link,
        _links(base_url),
        None if used is None else cost(used, stored),
    )


def list_jobs(caller: str, parameters: dict[str, str], base_url: str) -> JobPage:
    """A page of the caller's jobs, newest first."""
    limit = _limit(parameters.get("limit", "20"))
    status = parameters.get("status")
    if status is not None and status not in STATUSES:
        detail = f"There is no such `status`; there are {', '.join(STATUSES)}."
        raise Unprocessable("unknown_status", detail)
    key, cursor = parameters.get("key"), parameters.get("cursor")
    before = None if cursor is None else _from_cursor(cursor)
    owners: Sequence[str] = settings().owners_seen_by(caller)
    if key is not None:
        _check_key(key)
        ticket = identities.get_ticket(key)
        owners = [owner for owner in owners if owner == (ticket.owner if ticket else DROPS)]
    elif caller == ANYBODY and DROPS not in owners:
        detail = "This stage does not know who calls: it lists the jobs of one `key`. Name it."
        raise Unprocessable("key_required", detail)
    statuses = [status] if status else STATUSES
    found = jobs.newest(limit, before, owners, statuses, key) if owners else []
    standings = progress.of_jobs([job.job_id for job in found])
    views = (_view_if_readable(job, standings[job.job_id], base_url) for job in found)
    next_cursor = _to_cursor(found[-1].created) if len(found) == limit else None
    return JobPage([view for view in views if view], next_cursor)


def _view_if_readable(job: Job, standing: JobProgress, base_url: str) -> JobView | None:
    """A row that this version cannot show does not keep a page from the others."""
    try:
        return _view(job, standing, base_url)
    except Exception:
        logger.exception("A job cannot be shown", job_id=job.job_id)
        return None


class _links:
    """Links to outputs: signed for S3; for HLS, a path of the API with a token in it."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def __call__(self, job: Job, output: Output) -> Link:
        folder, _, name = output.s3_key.rpartition("/")
        if not name.endswith(".m3u8"):
            saved_as = filenames.of_output(
                output.s3_key, job.job_id, job.source_key, job.shown_name
            )
            return objects.output_link(output.s3_key, saved_as)
        token, expires_at = tokens().issue(job.job_id, folder, job.duration or 0.0)
        return Link(f"{self._base_url}/jobs/{job.job_id}/hls/{token}/{name}", expires_at)


_JOB_ID = re.compile(r"[0-9a-f-]{36}")
HLS_FILE = re.compile(r"[a-z0-9_]{1,64}\.(m3u8|m4s|mp4)")
# A signature may end before its time, with the credentials that made it: whoever keeps an address asks again.
_REDIRECT_SECONDS = 300


class HlsFile(NamedTuple):
    """A playlist, or where a file of media is: a signed address."""

    content_type: str
    found: bytes | str
    kept_seconds: int  # how long whoever has got it may keep it; 0 where it changes


def hls_file(job_id: str, token: str, name: str) -> HlsFile:
    """What a token's folder has by this name. Raises Forbidden, NotFound."""
    grant = tokens().check(token, job_id)
    logger.append_keys(job_id=job_id)
    if not HLS_FILE.fullmatch(name):
        raise _no_such_file()
    key = f"{grant.folder}/{name}"
    content_type = objects.CONTENT_TYPES[name[name.rindex(".") :]]
    if not name.endswith(".m3u8"):
        # A redirect is kept for a while: none leads to where nothing is.
        if not objects.has_output(key):
            raise _no_such_file()
        link = objects.output_link(key, until=grant.expires_at)
        return HlsFile(content_type, link.url, min(_REDIRECT_SECONDS, _seconds_until(link)))
    whole = objects.read_object(key)
    if whole is None and (growing := _growing(job_id, grant.folder, name)):
        return HlsFile(content_type, growing, 0)
    # The job may have ended since the first look: then all of it is there.
    whole = whole or objects.read_object(key)
    if whole is None:
        raise _no_such_file()
    return HlsFile(content_type, whole, _seconds_until(grant))


def _seconds_until(granted: Link | Grant) -> int:
    return max(0, int(granted.expires_at - time.time()))


def _no_such_file() -> NotFound:
    return NotFound("file_not_found", "There is no such file in this rendition.")


def _growing(job_id: str, folder: str, name: str) -> bytes | None:
    """A playlist so far, while its job is at work."""
    track = name.removesuffix(".m3u8")
    job, ended = progress.ended_of_job(job_id)
    if job is None or job.status != STARTED or track not in playlists.NAMES:
        return None
    if job.generation != GENERATION:  # another version's, until intake has planned it again
        return None
    plan = plans.recall_plan(job)
    growing = (task for task in plan.tasks if isinstance(task.work, Hls))
    task = next((task for task in growing if task.destination == f"{folder}/"), None)
    if task is None:  # it grew by a plan that is not followed any more
        return None
    pictures, sound = plan.parts(task)
    if track == playlists.MASTER:
        first = pictures[0].id
        if first not in ended:
            return None
        assert isinstance(task.work, Hls)
        return playlists.growing_master(task.work, _made(job_id, [first])[first].codec).encode()
    told = [p.id for p in (*pictures, *sound) if p.id in ended and not playlists.is_planned(p)]
    made = _made(job_id, told)
    segments = playlists.so_far(pictures, sound, ended, made)[track]
    longest = playlists.longest(pictures) if track == playlists.VIDEO else 0.0
    return playlists.media(track, segments, longest, complete=False).encode()


def _made(job_id: str, task_ids: Sequence[str]) -> dict[str, Parts]:
    """What tasks have made that have ended well."""
    return {
        task_id: msgspec.convert(row.result, Parts)
        for task_id, row in tasks.get_many(job_id, task_ids).items()
    }


def new_key(filename: str) -> str:
    """A key that nobody can guess or choose; the name survives as a harmless tail."""
    tail = filenames.plain(filenames.base(filename))[-100:]
    return f"uploads/{uuid.uuid4().hex}_{tail or 'file'}"


def most_source_bytes() -> int:
    """What this stage takes by one PUT."""
    return min(MOST_PUT_BYTES, settings().max_source_bytes)


def _check_size(size: int | None) -> None:
    limit = most_source_bytes()
    if size is not None and size > limit:
        raise TooLarge(
            "source_too_large", f"A file may have {limit} bytes: a `size` of {size} is too large."
        )


def _check_pipeline(pipeline: Sequence[str] | None) -> None:
    if pipeline is not None:
        find_steps(pipeline, Unprocessable)


def _check_key(key: str) -> None:
    """Refuse what S3 or DynamoDB would: no object can have such a key."""
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


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_JOBS:
        raise Malformed("malformed_request", f"`limit` is a number from 1 to {MOST_JOBS}.")
    return int(text)


_POSITION = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}Z#[0-9a-f-]{36}")


def _to_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:  # not in base64, or of something that is not text
        position = ""
    if not _POSITION.fullmatch(position):
        detail = "`cursor` is a `next_cursor` of an earlier answer; the first page has none."
        raise Malformed("malformed_cursor", detail)
    return position
