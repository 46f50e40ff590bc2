"""The call that signs requests to S3 for an upload, one by one, as `signRequest` of Uppy 6 asks for them.

The first request of an upload, a PUT of the whole or the POST that begins one in parts, makes our key and a
ticket. Later ones name that key: they are signed for the ticket's owner, until its time is over or the file
has arrived.
"""

from __future__ import annotations

import time

from chalicelib.api.descriptions import Answer, CallDescription
from chalicelib.api.requests import SignRequest, most_put_bytes
from chalicelib.api.uploads import Wanted, expect_upload
from chalicelib.api.views import Signed
from chalicelib.errors import Conflict, Forbidden, Malformed, NotFound
from chalicelib.model import filenames
from chalicelib.model.job import Ticket
from chalicelib.settings import settings
from chalicelib.store import identities, upload_urls

_REQUESTS = (
    "PUT sends a whole file, POST begins an upload in parts; and with its `uploadId`, PUT with `partNumber` "
    "sends a part, GET lists the parts, POST completes the upload, DELETE aborts it."
)


def sign(caller: str, request: SignRequest) -> Signed:
    """A presigned request to S3. Raises Malformed, Forbidden, NotFound, Conflict, TooLarge, Unprocessable."""
    key = request.key
    match request.method, request.upload_id, request.part_number:
        case "PUT" | "POST", None, None:
            return _begin(caller, request)
        case "DELETE", None, None:
            raise Forbidden("delete_refused", "A file cannot be deleted by a signed request.")
        case "PUT", str(upload), int(number):
            return Signed(upload_urls.part_url(key, upload, number, _seconds_left(caller, request)))
        case "GET", str(upload), None:
            return Signed(upload_urls.list_url(key, upload, _seconds_left(caller, request)))
        case "POST", str(upload), None:
            return Signed(upload_urls.complete_url(key, upload, _seconds_left(caller, request)))
        case "DELETE", str(upload), None:
            _ticket(caller, key)  # of one whose time is over, too: what is left of it goes
            return Signed(upload_urls.abort_url(key, upload, _seconds(request)))
    raise Malformed("malformed_request", f"There is no such request: {_REQUESTS}")


def _begin(caller: str, request: SignRequest) -> Signed:
    """The first request of an upload, with its new key; and the job that waits for the file, if any."""
    in_parts = request.method == "POST"
    wanted = Wanted(
        filename=request.filename or filenames.base(request.key),
        size=request.size,
        pipeline=request.pipeline,
        recipe=request.recipe,
        max_usd=request.max_usd,
        metadata=request.metadata,
    )
    open_until = int(time.time()) + settings().multipart_upload_seconds if in_parts else None
    most = settings().max_source_bytes if in_parts else most_put_bytes()
    key, job_id = expect_upload(caller, wanted, most, open_until)
    seconds = _seconds(request)
    url = (
        upload_urls.create_url(key, seconds)
        if in_parts
        else upload_urls.put_url(key, request.size, seconds)
    )
    headers = {"Content-Type": request.content_type} if request.content_type else None
    return Signed(url, key, headers, job_id)


def _ticket(caller: str, key: str) -> tuple[Ticket, int]:
    """The ticket of the caller's upload in parts, and until when (Unix seconds) parts of it are signed.

    Raises NotFound: another's is as none.
    """
    ticket = identities.get_ticket(key)
    if ticket is None or ticket.owner != caller or ticket.open_until is None:
        raise NotFound("key_not_found", f"You have begun no upload in parts to the key {key}.")
    return ticket, ticket.open_until


def _seconds_left(caller: str, request: SignRequest) -> int:
    """How long a request of an upload in parts that is under way is valid. Raises NotFound, Conflict."""
    ticket, open_until = _ticket(caller, request.key)
    if ticket.arrived is not None:
        raise Conflict("upload_closed", "The upload is complete: nothing more of it is signed.")
    left = open_until - int(time.time())
    if left <= 0:
        detail = "The time for this upload is over: begin a new one."
        raise Conflict("upload_closed", detail)
    return min(left, _seconds(request))


def _seconds(request: SignRequest) -> int:
    """How long a signature is valid: as asked for, and at most as the stage allows."""
    most = settings().upload_url_seconds
    return most if request.expires_in is None else min(most, request.expires_in)


DESCRIPTIONS = {
    "sign_upload": CallDescription(
        "signUpload",
        "Uploads",
        "Sign a request to S3, of an upload by one PUT or in parts",
        "The body is that of `signRequest` of Uppy 6. "
        f"{_REQUESTS} The first request gets a new `key`, which later ones name; the one that it brings "
        "gives the file's name, unless `filename` does. With a pipeline or a recipe, a job starts by itself "
        "when the file arrives.",
        {"200": Answer("The request to send", Signed)},
        ("400", "403", "404", "409", "413", "422"),
        body=SignRequest,
    ),
}
