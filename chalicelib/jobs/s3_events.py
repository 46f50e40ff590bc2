"""Messages of the intake queue, ours and S3's, and the jobs that they start."""

from __future__ import annotations

from urllib.parse import unquote_plus

import msgspec

from chalicelib.engines import sandbox_child
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.model import metadata
from chalicelib.operations.choosing import Asked, choose_if_known
from chalicelib.operations.pipelines import canonical
from chalicelib.operations.recipes import read_book
from chalicelib.settings import DROPS, recipes
from chalicelib.store import identities, jobs, objects
from chalicelib.store.objects import Original
from chalicelib.store.queues import StartMessage
from chalicelib.telemetry import logger


class _Object(msgspec.Struct, rename="camel"):
    key: str
    size: int = 0
    e_tag: str = ""
    sequencer: str = ""


class _S3(msgspec.Struct):
    object: _Object


class _Record(msgspec.Struct, rename="camel"):
    event_name: str
    s3: _S3


class S3Event(msgspec.Struct):
    """S3's message about objects that were created. Its test event, on set-up, has no records."""

    records: list[_Record] | None = msgspec.field(name="Records", default=None)
    event: str = msgspec.field(name="Event", default="")

    def __post_init__(self) -> None:
        if self.records is None and self.event != "s3:TestEvent":
            raise ValueError("neither a message of ours nor an event of S3")

    def created(self) -> list[_Object]:
        """The objects, with their keys decoded: S3 quotes them as forms do."""
        return [
            msgspec.structs.replace(record.s3.object, key=unquote_plus(record.s3.object.key))
            for record in self.records or ()
            if record.event_name.startswith("ObjectCreated:")
        ]


def decode(body: str) -> StartMessage | S3Event:
    """A message of the intake queue. Raises msgspec.DecodeError where it is neither ours nor S3's."""
    try:
        return msgspec.json.decode(body, type=StartMessage)
    except msgspec.ValidationError:
        return msgspec.json.decode(body, type=S3Event)


# A source with its first bytes, where it has been opened.
Opened = tuple[Original, bytes] | None


def arrivals(message: StartMessage | S3Event) -> list[tuple[str, Opened]]:
    """The ids of the jobs that a message starts; jobs of drops are created here, once for each event."""
    if isinstance(message, StartMessage):
        return [(message.job_id, None)]
    found = [_job_of(created) for created in message.created()]
    return [arrival for arrival in found if arrival]


def _job_of(created: _Object) -> tuple[str, Opened] | None:
    """The job of an object; None where it starts none."""
    if created.key.endswith("/") and created.size == 0:
        logger.info("A folder marker", key=created.key)
        return None
    ticket, job_id = identities.find_arrival(created.key, created.e_tag, created.sequencer)
    if ticket is not None:
        if not identities.claim_upload(ticket, created.key, created.e_tag, created.sequencer):
            logger.info("Another upload to a URL that has been used", key=created.key)
            return None
        # Without a job, the upload waits for POST /jobs/from-key.
        return (ticket.ticket_job_id, None) if ticket.ticket_job_id else None
    # Where the event came before, the job's row may still be missing.
    opened = objects.open_original(created.key, sandbox_child.BLOCK_BYTES)
    asked, own, warning = Asked(), dict[str, str](), ""
    if opened and opened[0].etag == created.e_tag:
        original, head = opened
        book = read_book(recipes())
        asked = choose_if_known(asked, original.metadata, created.key, head[:HEAD_BYTES], book)
        own, warning = metadata.of_object(original.metadata)
    if job_id is None:
        job_id = identities.job_of_file(
            DROPS,
            created.key,
            created.e_tag,
            canonical(asked.pipeline),
            sequencer=created.sequencer,
        )
        job_id = identities.claim_event(created.key, created.e_tag, created.sequencer, job_id)
    jobs.create(
        job_id,
        DROPS,
        created.key,
        asked.pipeline,
        recipe=asked.recipe,
        etag=created.e_tag,
        metadata=own,
        warning=warning,
    )
    return job_id, opened
