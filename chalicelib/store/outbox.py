"""The outbox: what an owner is to be told of a job is written by the transaction that makes it so.

No event is lost: its row stays until it has become deliveries, and is due, so that the sweep finds what
nobody has told. A job whose owner had no endpoint when it was created has none, and costs nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.model.event import Event, EventType
from chalicelib.model.job import Item
from chalicelib.store import queues, writes
from chalicelib.store.event_rows import EventRow
from chalicelib.store.queues import TellMessage
from chalicelib.store.table import JobRow, Row
from chalicelib.store.writes import Change
from chalicelib.telemetry import logger

# The sweep tells what was not told within so long, and again after as long.
_TELL_SECONDS = 60


def note(job_id: str, kind: EventType, step: str = "") -> Change:
    """The change that notes an event, to be made together with what it tells of."""
    return Change(
        EventRow(f"event#{job_id}", f"{kind}#{step}"),
        [
            EventRow.row.set(EventRow),  # PynamoDB's update() does not write it into a new item
            EventRow.type.set(kind),
            EventRow.step.set(step),
            EventRow.at.set(writes.now_iso()),
            EventRow.due_shard.set(job_id[0]),
            EventRow.due_at.set(int(time.time()) + _TELL_SECONDS),
            EventRow.expires_at.set(writes.subitem_expiry()),
        ],
    )


def put(row: JobRow, condition: Condition, notes: Sequence[Change]) -> bool:
    """Write a job's whole row with its notes, as `writes.put` does."""
    if not notes:
        return writes.put(row, condition)
    return _written(row, None, condition, notes)


def update(
    row: JobRow, actions: Sequence[Action], condition: Condition, notes: Sequence[Change]
) -> bool:
    """Change a job's row with its notes, as `writes.update` does."""
    if not notes:
        return writes.update(row, actions, condition)
    return _written(row, actions, condition, notes)


def _written(
    row: JobRow, actions: Sequence[Action] | None, condition: Condition, notes: Sequence[Change]
) -> bool:
    if writes.transact(Change(row, actions, condition), *notes):
        return False
    tell(notes)
    return True


def tell(notes: Sequence[Change]) -> None:
    """Have events told that were just written. Where that fails, the sweep does it."""
    for job_id in {change.row.pk.partition("#")[2] for change in notes}:
        try:
            queues.send_event(TellMessage(job_id))
        except Exception:
            logger.exception("An event waits for the sweep", job_id=job_id)


def untold(job_id: str) -> list[Event]:
    """What is still to be told of a job, in the order of its states."""
    rows = EventRow.query(f"event#{job_id}", consistent_read=True)
    return sorted((row.value() for row in rows), key=lambda event: event.position)


def forget(event: Event) -> None:
    """Note that an event has become deliveries. Where another has noted that, nothing changes."""
    key = f"event#{event.job_id}", f"{event.type}#{event.step}"
    writes.delete(EventRow(*key), EventRow.at == event.at)


def tell_again(event: Event, item: Item) -> None:
    """Have an event told that is due, and look at it again later."""
    queues.send_event(TellMessage(event.job_id))
    look_later(item, _TELL_SECONDS)


def look_later(item: Item, seconds: int) -> None:
    """Look at a row again after `seconds`, unless it has changed since it was read."""
    unchanged = Row.due_at == item.due_at
    writes.update_any(item.key, [Row.due_at.set(int(time.time()) + seconds)], unchanged)
