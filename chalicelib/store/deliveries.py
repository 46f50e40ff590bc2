"""Deliveries: one event on its way to one endpoint, each a row with what came of its last attempt."""

from __future__ import annotations

import time
import uuid
import zlib

from chalicelib.model.event import (
    DELIVERED,
    GIVEN_UP,
    SCHEDULE,
    WAITING,
    Delivery,
    Endpoint,
    Event,
    next_wait,
)
from chalicelib.model.job import Item
from chalicelib.store import outbox, queues, writes
from chalicelib.store.event_rows import DeliveryRow
from chalicelib.store.items import read_many
from chalicelib.store.queues import DeliveryMessage

# An attempt is over after so long, whatever became of its worker: it takes 10 s at most.
_ATTEMPT_SECONDS = 30
# How much later than its message should come the sweep sends a delivery again.
_LOST_SECONDS = 60
_KEPT_SECONDS = sum(SCHEDULE) + 14 * writes.DAY


def create(event: Event, owner: str, endpoint: Endpoint, body: bytes) -> None:
    """Write the delivery of an event to an endpoint, unless it is there."""
    now = int(time.time())
    row = DeliveryRow(
        f"webhook#{endpoint.id}",
        f"{event.job_id}#{event.position}",
        owner=f"webhook#{endpoint.id}",
        created=f"{writes.now_iso()}#{uuid.UUID(event.id[-32:])}",
        endpoint_owner=owner,
        event_id=event.id,
        type=event.type,
        packed=zlib.compress(body),
        state=WAITING,
        next_at=now,
        due_shard=event.job_id[0],
        due_at=now + _LOST_SECONDS,
        expires_at=now + _KEPT_SECONDS,
    )
    writes.put(row, DeliveryRow.pk.does_not_exist())


def of_job(endpoint_id: str, job_id: str) -> list[Delivery]:
    """The deliveries of a job's events to an endpoint, in the order of the job's states."""
    rows = DeliveryRow.query(
        f"webhook#{endpoint_id}", DeliveryRow.sk.startswith(f"{job_id}#"), consistent_read=True
    )
    return [row.value() for row in rows]


def newest(endpoint_id: str, limit: int, before: str | None) -> list[Delivery]:
    """At most `limit` deliveries to an endpoint, newest first, made before `before`, the `created` of one."""
    older = DeliveryRow.created < before if before else None
    entries = DeliveryRow.by_owner.query(
        f"webhook#{endpoint_id}", older, scan_index_forward=False, limit=limit
    )
    found = [item.value for item in read_many([(entry.pk, entry.sk) for entry in entries])]
    there = [each for each in found if isinstance(each, Delivery)]
    return sorted(there, key=lambda delivery: delivery.created, reverse=True)


def replay(endpoint_id: str, job_id: str, position: str) -> bool:
    """Begin a delivery anew, whatever came of it; False where there is none, or an attempt is under way."""
    now = int(time.time())
    row = DeliveryRow(f"webhook#{endpoint_id}", f"{job_id}#{position}")
    actions = [
        DeliveryRow.state.set(WAITING),
        DeliveryRow.attempts.set(0),
        DeliveryRow.next_at.set(now),
        DeliveryRow.due_shard.set(job_id[0]),
        DeliveryRow.due_at.set(now + _LOST_SECONDS),
        DeliveryRow.expires_at.set(now + _KEPT_SECONDS),
    ]
    rests = DeliveryRow.is_sent == False  # noqa: E712
    if not writes.update(row, actions, rests):
        return False
    queues.send_event(message_of(row.value()))
    return True


def claim(delivery: Delivery) -> bool:
    """Begin an attempt; False where it has changed since it was read."""
    until = int(time.time()) + _ATTEMPT_SECONDS
    actions = [
        DeliveryRow.attempts.add(1),
        DeliveryRow.is_sent.set(True),
        DeliveryRow.next_at.set(until),
        DeliveryRow.due_at.set(until + _LOST_SECONDS),
    ]
    unchanged = (DeliveryRow.state == WAITING) & (DeliveryRow.next_at == delivery.next_at)
    return writes.update(_row(delivery), actions, unchanged)


def end(delivery: Delivery, state: str, status: int | None, error: str) -> None:
    """Note that a delivery has ended, as DELIVERED or GIVEN_UP."""
    actions = [
        DeliveryRow.state.set(state),
        DeliveryRow.is_sent.set(False),
        *([DeliveryRow.status_code.set(status)] if status else []),
        DeliveryRow.error.set(error),
        DeliveryRow.tried_at.set(writes.now_iso()),
        DeliveryRow.due_shard.remove(),
        DeliveryRow.due_at.remove(),
    ]
    writes.update(_row(delivery), actions, DeliveryRow.state == WAITING)


def retry(delivery: Delivery, attempts: int, status: int | None, error: str) -> None:
    """Note a failed attempt, the one of number `attempts`, and have the next one made by the schedule.

    A wait that SQS can keep is a message's; longer ones end by the sweep, which finds the row.
    """
    wait = next_wait(attempts)
    if wait is None:
        end(delivery, GIVEN_UP, status, error)
        return
    at = int(time.time()) + wait
    is_short = wait <= queues.MOST_DELAY_SECONDS
    actions = [
        DeliveryRow.is_sent.set(False),
        *([DeliveryRow.status_code.set(status)] if status else [DeliveryRow.status_code.remove()]),
        DeliveryRow.error.set(error),
        DeliveryRow.tried_at.set(writes.now_iso()),
        DeliveryRow.next_at.set(at),
        DeliveryRow.due_at.set(at + _LOST_SECONDS if is_short else at),
    ]
    is_ours = (DeliveryRow.state == WAITING) & (DeliveryRow.attempts == attempts)
    if writes.update(_row(delivery), actions, is_ours) and is_short:
        queues.send_event(message_of(delivery), wait)


def succeed(delivery: Delivery, status: int) -> None:
    end(delivery, DELIVERED, status, "")


def send_again(delivery: Delivery, item: Item) -> None:
    """Have a delivery sent that is due, and look at it again later."""
    queues.send_event(message_of(delivery))
    outbox.look_later(item, _LOST_SECONDS)


def message_of(delivery: Delivery) -> DeliveryMessage:
    return DeliveryMessage(delivery.owner, delivery.endpoint_id, delivery.job_id)


def _row(delivery: Delivery) -> DeliveryRow:
    return DeliveryRow(f"webhook#{delivery.endpoint_id}", f"{delivery.job_id}#{delivery.position}")
