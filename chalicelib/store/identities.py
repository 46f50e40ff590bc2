"""Which job is meant: by an upload's ticket, an S3 event, a file and its pipeline, or an Idempotency-Key."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Collection, Mapping
from typing import NamedTuple

from pynamodb.exceptions import DoesNotExist

from chalicelib.model.job import Claimed, Job, Ticket
from chalicelib.model.step import CANCELED, DELETED, FAILURE
from chalicelib.settings import DROPS, settings
from chalicelib.store import jobs, writes
from chalicelib.store.items import read_many
from chalicelib.store.table import ClaimRow, TicketRow

# ── uploads ─────────────────────────────────────────────────────────────────────────────────────


def write_ticket(
    key: str,
    owner: str,
    job_id: str | None,
    expires_at: int,
    filename: str = "",
    metadata: Mapping[str, str] | None = None,
    size: int | None = None,
    open_until: int | None = None,
) -> None:
    """Remember that a URL for `key` is handed out, and to whom: its upload is never taken for a drop.

    The ticket is kept as long as the job that waits for the upload, which `expires_at` (Unix seconds) ends.
    That is longer than its event can be late: dead letters are kept for two weeks.
    """
    TicketRow(
        _ticket_key(key),
        TicketRow.SK,
        owner=owner,
        ticket_job_id=job_id,
        filename=filename,
        metadata=dict(metadata) if metadata else None,
        size=size,
        open_until=open_until,
        expires_at=expires_at + settings().retention_days * writes.DAY,
    ).save()


def get_ticket(key: str) -> Ticket | None:
    """The ticket of the URL that was handed out for `key`; None where none was."""
    try:
        row = TicketRow.get(_ticket_key(key), TicketRow.SK, consistent_read=True)
    except DoesNotExist:
        return None
    return row.value()


def may_read(caller: str, key: str) -> bool:
    """Whether a file of this key, if there is one, is of an owner whose files the caller sees."""
    ticket = get_ticket(key)
    return (ticket.owner if ticket else DROPS) in settings().owners_seen_by(caller)


def _ticket_key(key: str) -> str:
    return f"upload#{key}"


class Arrival(NamedTuple):
    """What is known of an object that an S3 event tells of."""

    ticket: Ticket | None  # where a URL was handed out for its key
    job_id: str | None  # the job of this very event, which came before


def find_arrival(key: str, etag: str, sequencer: str) -> Arrival:
    """What is known of an object, by one request."""
    event_key = _claim_key(_event(key, etag, sequencer))
    items = read_many([(_ticket_key(key), TicketRow.SK), (event_key, ClaimRow.SK)], consistent=True)
    values = {item.key[1]: item.value for item in items}
    ticket, event = values.get(TicketRow.SK), values.get(ClaimRow.SK)
    return Arrival(
        ticket if isinstance(ticket, Ticket) else None,
        event.job_id if isinstance(event, Claimed) else None,
    )


def claim_upload(ticket: Ticket, key: str, etag: str, sequencer: str) -> bool:
    """Whether an S3 event is the first of an upload's key. Whatever is PUT to its URL after that is none.

    From then on the ticket says whose the object is, for as long as there is one.
    """
    event = _claim_key(_event(key, etag, sequencer))
    if ticket.arrived:
        return ticket.arrived == event
    days = settings().original_days
    expiry = (
        TicketRow.expires_at.remove()
        if days is None
        else TicketRow.expires_at.set(
            int(time.time()) + (days + settings().retention_days) * writes.DAY
        )
    )
    # Ours, too: the answer to this very claim may have been lost.
    nothing_came_before = TicketRow.arrived.does_not_exist() | (TicketRow.arrived == event)
    is_there = TicketRow.pk.exists()
    return writes.update(
        TicketRow(_ticket_key(key), TicketRow.SK),
        [TicketRow.arrived.set(event), expiry],
        is_there & nothing_came_before,
    )


# ── events and files ────────────────────────────────────────────────────────────────────────────


def claim_event(key: str, etag: str, sequencer: str, job_id: str) -> str:
    """The job of an S3 event: `job_id`, unless the event was claimed for another one before."""
    return claim(_event(key, etag, sequencer), job_id).job_id


def _event(key: str, etag: str, sequencer: str) -> str:
    # The ETag, too: LocalStack has one sequencer for all events.
    return f"event {sequencer} {etag} {key}"


def job_of_file(
    owner: str,
    key: str,
    etag: str,
    pipeline: Collection[str],
    *,
    sequencer: str = "",
    candidate: str = "",
) -> str:
    """The job for a version of a file and a set of steps: one, unless it failed, was canceled or deleted.

    An S3 event names its `sequencer`: that of a later upload of the same bytes asks for another job, and one
    that came before asks for none. `candidate` is the job that waits for the file, if there is one.
    """
    identity = _file(owner, key, etag, pipeline)
    ours = candidate or str(uuid.uuid4())
    claimed = claim(identity, ours, sequencer=sequencer)
    if claimed.job_id == ours or _is_as_late(claimed.sequencer, sequencer):
        return claimed.job_id
    job = jobs.get(claimed.job_id)
    # A late event of a file for which a job was canceled, or deleted, is no wish for another one.
    is_over = job is not None and (
        job.status == FAILURE or (job.status in (CANCELED, DELETED) and not sequencer)
    )
    if is_over or (claimed.sequencer and sequencer):
        ours = str(uuid.uuid4())
    elif sequencer:  # the request that came before it had none
        ours = claimed.job_id
    else:
        return claimed.job_id
    return claim(identity, ours, sequencer=sequencer, instead_of=claimed).job_id


def _file(owner: str, key: str, etag: str, pipeline: Collection[str]) -> str:
    return f"file {owner} {key} {etag} {','.join(sorted(pipeline))}"


def job_of_retry(job: Job, etag: str, pipeline: Collection[str], *, anew: bool) -> str:
    """The job that retries another with these steps: one, unless it failed, was canceled or deleted.

    From then on it stands for the file and the steps, too, where the retried job did.
    """
    identity = f"retry {job.job_id} {anew} {','.join(sorted(pipeline))}"
    claimed = claim(identity, str(uuid.uuid4()))
    former = [job.job_id]
    earlier = jobs.get(claimed.job_id)
    if earlier and earlier.status in (FAILURE, CANCELED, DELETED):
        former.append(earlier.job_id)
        claimed = claim(identity, str(uuid.uuid4()), instead_of=claimed)
    of_file = _file(job.owner, job.source_key, etag, pipeline)
    before = find(of_file)
    if before and before.job_id in former:
        claim(of_file, claimed.job_id, instead_of=before)
    return claimed.job_id


def _is_as_late(sequencer: str, other: str) -> bool:
    """Whether the S3 event of `sequencer` is the `other` one or came after it; False where one is "".

    S3's rule: the shorter of two is filled up with zeros at its right end, then they compare as text.
    """
    length = max(len(sequencer), len(other))
    return bool(sequencer and other) and sequencer.ljust(length, "0") >= other.ljust(length, "0")


# ── identities ──────────────────────────────────────────────────────────────────────────────────


def claim(
    identity: str,
    job_id: str,
    *,
    fingerprint: str = "",
    sequencer: str = "",
    instead_of: Claimed | None = None,
) -> Claimed:
    """Have `job_id` stand for `identity`, unless another was there first; which one does.

    With `instead_of`, that one is replaced.
    """
    row = ClaimRow(
        _claim_key(identity),
        ClaimRow.SK,
        claimed_job_id=job_id,
        fingerprint=fingerprint,
        sequencer=sequencer or (instead_of.sequencer if instead_of else ""),
        # Before the row of a job that it may have started, which lives as long from its end on.
        expires_at=int(time.time()) + settings().retention_days * writes.DAY,
    )
    free = ClaimRow.pk.does_not_exist() | (ClaimRow.expires_at < int(time.time()))
    if instead_of:
        free |= (ClaimRow.claimed_job_id == instead_of.job_id) & (
            ClaimRow.sequencer == instead_of.sequencer
        )
    if not writes.put(row, free):
        row.refresh(consistent_read=True)
    return row.value()


def find(identity: str) -> Claimed | None:
    """The job that stands for `identity`, if it was claimed."""
    try:
        row = ClaimRow.get(_claim_key(identity), ClaimRow.SK, consistent_read=True)
    except DoesNotExist:
        return None
    return row.value()


def _claim_key(identity: str) -> str:
    return f"claim#{hashlib.sha256(identity.encode()).hexdigest()}"
