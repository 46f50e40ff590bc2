"""The call that asks for a job for a file that is there."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

import msgspec

from chalicelib.api.descriptions import Answer, CallDescription, described, parameter
from chalicelib.api.http import IDEMPOTENCY_KEY
from chalicelib.api.recipes import book, check_asked
from chalicelib.api.requests import FromKeyRequest, check_key, check_metadata
from chalicelib.api.uploads import SourceFile, open_file
from chalicelib.api.views import Accepted
from chalicelib.errors import Malformed, Unprocessable
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.model import metadata
from chalicelib.model.job import Claimed, Job
from chalicelib.model.step import CANCELED, DELETED, FAILURE, PENDING
from chalicelib.operations.choosing import Asked, choose_if_known
from chalicelib.operations.pipelines import canonical
from chalicelib.store import identities, jobs, queues


def from_key(caller: str, request: FromKeyRequest, idempotency_key: str | None) -> Accepted:
    """The job for a file: an earlier one for the same file and pipeline, unless it failed or was canceled.

    With an Idempotency-Key, the earlier call with the same key decides alone: a new key asks for a new job.
    Raises Malformed, NotFound, Conflict, Unprocessable.
    """
    asked = check_asked(request.pipeline, request.recipe)
    check_metadata(request.metadata)
    check_key(request.key)
    fingerprint = _fingerprint(request)
    identity = f"idempotency {caller} {idempotency_key}"
    if idempotency_key is not None:
        if not 0 < len(idempotency_key) <= 255:
            raise Malformed("malformed_request", "Idempotency-Key has 1 to 255 characters.")
        claimed = identities.find(identity)
        earlier = claimed and jobs.get(_job_of_same_request(claimed, fingerprint))
        if earlier:
            return accepted(earlier)
    file = open_file(caller, request.key, HEAD_BYTES)
    asked = chosen(asked, file)
    steps = canonical(asked.pipeline)
    if idempotency_key is not None:
        claimed = identities.claim(identity, str(uuid.uuid4()), fingerprint=fingerprint)
        job_id = _job_of_same_request(claimed, fingerprint)
    else:
        job_id = identities.job_of_file(
            file.owner, request.key, file.original.etag, steps, candidate=_waiting_job(file, steps)
        )
    own, warning = _metadata(request, file)
    jobs.create(
        job_id,
        file.owner,
        request.key,
        asked.pipeline,
        recipe=asked.recipe,
        filename=file.ticket.filename if file.ticket else "",
        etag=file.original.etag,
        max_usd=request.max_usd,
        metadata=own,
        warning=warning,
    )
    job = jobs.get(job_id)
    return accepted(job) if job else Accepted(job_id)


def _metadata(request: FromKeyRequest, file: SourceFile) -> tuple[dict[str, str], str]:
    """The metadata of a new job: of the request, else those that came with the file; and a warning, or ""."""
    if request.metadata is not None:
        return request.metadata, ""
    return (file.ticket.metadata, "") if file.ticket else metadata.of_object(file.original.metadata)


def _fingerprint(request: FromKeyRequest) -> str:
    """Digest of a body. Fields that versions before them do not know are left out where they are not set."""
    fields = msgspec.to_builtins(request)
    for name in ("max_usd", "recipe", "metadata"):
        if fields[name] is None:
            del fields[name]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def _job_of_same_request(claimed: Claimed, fingerprint: str) -> str:
    """The job that a key was claimed for. Raises Unprocessable where it was claimed for another body."""
    if claimed.fingerprint != fingerprint:
        detail = "This Idempotency-Key came with another body before: use a new one."
        raise Unprocessable("idempotency_key_reused", detail)
    return claimed.job_id


def _waiting_job(file: SourceFile, steps: Sequence[str]) -> str:
    """The job that the upload starts by itself, if it makes these steps of this version; else ""."""
    if file.ticket is None or not file.ticket.ticket_job_id:
        return ""
    job = jobs.get(file.ticket.ticket_job_id)
    if job is None or job.status in (FAILURE, CANCELED, DELETED):
        return ""
    if job.etag not in ("", file.original.etag):
        return ""
    own = chosen(Asked(job.pipeline, job.recipe), file)
    return job.job_id if set(steps) == set(canonical(own.pipeline)) else ""


def chosen(asked: Asked, file: SourceFile) -> Asked:
    """What a job for a file is to make, as far as that can be told by now."""
    return choose_if_known(asked, file.original.metadata, file.key, file.head, book())


def accepted(job: Job) -> Accepted:
    """Send the job to intake, unless it has been there: an earlier call may have died before it sent it."""
    if job.status == PENDING:
        queues.send_start(job.job_id)
    return Accepted(job.job_id)


DESCRIPTIONS = {
    "from_key": CallDescription(
        "fromKey",
        "Jobs",
        "Start a job for a file that is there",
        "The same file and steps, in whatever order, give the same job, unless that one failed or was "
        "canceled.",
        {"202": Answer("The job", Accepted)},
        ("400", "404", "409", "422"),
        body=FromKeyRequest,
        parameters=(
            parameter(
                "Idempotency-Key",
                "header",
                described(
                    "Chosen by the caller, a random UUID for instance: who repeats a call with it "
                    "gets the same job. Another caller's is another one.",
                    "5e1b8f0a-43b6-4a0c-9d0e-0f4f3a1f6f57",
                    type="string",
                    pattern=f"^{IDEMPOTENCY_KEY}$",
                ),
                required=False,
            ),
        ),
    ),
}
