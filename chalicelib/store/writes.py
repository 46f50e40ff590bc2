"""What all verbs of the store are made of: conditional writes, keys, moments, conditions, entries of usage.

Every change is one verb, and every verb one conditional write, or one transaction of several. Its condition
has a name. A lost race is a quiet answer, never an exception. Whatever else DynamoDB refuses, five tries of a
throttled request included, is raised: the message that led to the write comes again (`jobs/consumer.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from pynamodb.exceptions import (
    CancellationReason,
    DeleteError,
    PutError,
    TransactWriteError,
    UpdateError,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.model.step import FAILURE, PENDING, STARTED, SUCCESS
from chalicelib.model.usage import Used
from chalicelib.settings import settings
from chalicelib.store.meter import meter
from chalicelib.store.table import JobRow, Row, TaskRow

DAY = 86400
# The sweep looks at a job that does not move after so long, then after three times as long, and so on.
LOOK_SECONDS = 300
# DynamoDB refuses a write that meets a transaction at its item, and cancels a transaction that meets either.
# botocore sends such a request no second time.
_TRIES = 40
_LOST, _MET = "ConditionalCheckFailedException", "TransactionConflictException"
# Why it cancels a transaction, for each write.
NOT_MET, _CONFLICT = "ConditionalCheckFailed", "TransactionConflict"


def put(row: Row, condition: Condition) -> bool:
    """Write a whole item; False where the condition does not hold."""
    return _is_written(lambda: row.save(condition=condition))


def update(row: Row, actions: Sequence[Action], condition: Condition) -> bool:
    """Change an item, after which `row` has all of it; False where the condition does not hold.

    The class of `row` must be that of the item's kind.
    """
    return _is_written(lambda: row.update(actions=list(actions), condition=condition))


def update_any(key: tuple[str, str], actions: Sequence[Action], condition: Condition) -> bool:
    """Change an item of any kind, even one that cannot be read; False where the condition does not hold."""
    connection = Row._get_connection()
    return _is_written(
        lambda: connection.update_item(*key, actions=list(actions), condition=condition)
    )


def delete(row: Row, condition: Condition) -> bool:
    """Delete an item; False where the condition does not hold."""
    return _is_written(lambda: row.delete(condition=condition))


def _is_written(write: Callable[[], object]) -> bool:
    """Write; False where the condition does not hold."""
    for tries_left in reversed(range(_TRIES)):
        try:
            write()
        except (PutError, UpdateError, DeleteError) as error:
            if error.cause_response_code == _LOST:
                return False
            if error.cause_response_code != _MET or not tries_left:
                raise
            _pause()
        else:
            break
    return True


class Change(NamedTuple):
    """A change of one item in a transaction."""

    row: Row
    actions: Sequence[Action] | None  # None: the whole item is written
    condition: Condition | None = None


def transact(*changes: Change) -> list[CancellationReason | None]:
    """Change several items, all of them or none; [] where that was done.

    Else for each change None, or with NOT_MET as `code` that its condition does not hold for the `raw_item`
    that is there. No item has been read for that: it comes with the answer.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            with TransactWrite(
                connection=Row._get_connection().connection, return_consumed_capacity="TOTAL"
            ) as write:
                for row, actions, condition in changes:
                    if actions is None:
                        write.save(row, condition, return_values="ALL_OLD")
                    else:
                        write.update(row, list(actions), condition, return_values="ALL_OLD")
        except TransactWriteError as error:
            reasons = error.cancellation_reasons
            codes = {reason.code for reason in reasons if reason}
            if NOT_MET in codes:
                return reasons
            if _CONFLICT not in codes or not tries_left:
                raise
            _pause()
        else:
            break
    return []


def _pause() -> None:
    time.sleep(random.uniform(0.02, 0.2))


# ── keys and moments ────────────────────────────────────────────────────────────────────────────


def job_key(job_id: str) -> str:
    return f"job#{job_id}"


def job_row(job_id: str) -> JobRow:
    """The row of a job, not read, to be changed."""
    return JobRow(job_key(job_id), JobRow.SK)


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def subitem_expiry() -> int:
    """When a job's other items may go: well after the latest moment at which the job can end."""
    chosen = settings()
    return int(time.time()) + chosen.job_deadline_seconds + chosen.retention_days * DAY


def more_time() -> list[Action]:
    """The changes that give a job as long as any other, from now on."""
    now = int(time.time())
    return [
        JobRow.deadline_at.set(now + settings().job_deadline_seconds),
        JobRow.due_at.set(now + LOOK_SECONDS),
        JobRow.looks.set(0),
        JobRow.seen.set(0),
    ]


# ── conditions ──────────────────────────────────────────────────────────────────────────────────

NOT_ENDED: Condition = JobRow.status.is_in(PENDING, STARTED)


def follows(generation: str) -> Condition:
    """Whether a job follows the plan of a generation; "" is that of rows from before there were any."""
    is_older: Condition = JobRow.generation.does_not_exist()
    is_this: Condition = JobRow.generation == generation
    return is_this if generation else is_this | is_older


def step_is_open(step: str) -> Condition:
    """Whether a step has not ended."""
    is_open: Condition = ~JobRow.steps[step]["status"].is_in(SUCCESS, FAILURE)
    return is_open


# ── usage ───────────────────────────────────────────────────────────────────────────────────────


def lap() -> list[str]:
    """Usage since the last lap, the write that stores it included; [] outside a metered invocation."""
    return usage_entries(meter.lap(writes=1))


def usage_entries(used: Sequence[Used]) -> list[str]:
    """As rows keep them: JSON of each."""
    return [msgspec.json.encode(one).decode() for one in used]


def add_used(kind: type[JobRow | TaskRow], entries: list[str]) -> list[Action]:
    return [kind.used.set((kind.used | []).append(entries))] if entries else []
