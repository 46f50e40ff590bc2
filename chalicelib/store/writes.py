"""What all verbs of the store are made of: conditional writes, keys, moments, conditions, entries of usage.

Every change is one verb, and every verb one conditional write whose condition has a name.
A lost race is a quiet answer, never an exception. Whatever else DynamoDB refuses, five tries of a throttled
request included, is raised: the message that led to the write comes again (`jobs/consumer.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from pynamodb.exceptions import PutError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.model.step import FAILURE, PENDING, STARTED, SUCCESS
from chalicelib.model.usage import Used
from chalicelib.settings import settings
from chalicelib.store.meter import meter
from chalicelib.store.table import JobRow, Row, TaskRow

DAY = 86400
# The sweep looks at a job that does not move after so long, then after three times as long, and so on.
LOOK_SECONDS = 300
_LOST = "ConditionalCheckFailedException"


def put(row: Row, condition: Condition) -> bool:
    """Write a whole item; False where the condition does not hold."""
    try:
        row.save(condition=condition)
    except PutError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True


def update(row: Row, actions: Sequence[Action], condition: Condition) -> bool:
    """Change an item, after which `row` has all of it; False where the condition does not hold.

    The class of `row` must be that of the item's kind.
    """
    try:
        row.update(actions=list(actions), condition=condition)
    except UpdateError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True


def update_any(key: tuple[str, str], actions: Sequence[Action], condition: Condition) -> bool:
    """Change an item of any kind, even one that cannot be read; False where the condition does not hold."""
    pk, sk = key
    try:
        Row._get_connection().update_item(pk, sk, actions=list(actions), condition=condition)
    except UpdateError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True


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
