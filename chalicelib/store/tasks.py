"""Tasks: claimed, ended, given back; and the set of those that have ended well."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from enum import Enum

from pynamodb.exceptions import DoesNotExist

from chalicelib.model.job import DONE, FAILED, FREE, RUNNING, TaskRecord
from chalicelib.model.result import Encoded, Failed, Result
from chalicelib.model.usage import Used, read
from chalicelib.store import writes
from chalicelib.store.table import EndedRow, TaskRow


class Claim(Enum):
    """The answer to claiming a task: what the caller is to do."""

    FREE = "run it"
    ENDED = "repeat the fan-in and the next sends, then acknowledge"
    LEASED = "make the message visible again when the lease ends; do not acknowledge"


def claim(job_id: str, task_id: str, owner: str, lease_seconds: float) -> tuple[Claim, TaskRecord]:
    """Take a task for as long as the invocation `owner` can last, in seconds; the task as it is then."""
    row = _row(job_id, task_id)
    now = time.time()
    lease_until = int(now + lease_seconds) + 1
    never_claimed = TaskRow.state.does_not_exist()
    given_back = (TaskRow.state == FREE) & (
        TaskRow.lease_until.does_not_exist() | (TaskRow.lease_until <= int(now))
    )
    worker_is_dead = (TaskRow.state == RUNNING) & (TaskRow.lease_until < int(now))
    claimed = writes.update(
        row,
        [
            TaskRow.row.set(TaskRow),  # PynamoDB's update() does not write it into a new item
            TaskRow.state.set(RUNNING),
            TaskRow.owner.set(owner),
            TaskRow.lease_until.set(lease_until),
            TaskRow.attempts.add(1),
            TaskRow.expires_at.set(writes.subitem_expiry()),
        ],
        never_claimed | given_back | worker_is_dead,
    )
    if claimed:
        return Claim.FREE, row.value()
    row.refresh(consistent_read=True)
    # Ours: the answer to this very claim was lost on its way, and it was sent again.
    if row.state == RUNNING and row.owner == owner:
        return Claim.FREE, row.value()
    return (Claim.ENDED if row.state in (DONE, FAILED) else Claim.LEASED), row.value()


def _row(job_id: str, task_id: str) -> TaskRow:
    return TaskRow(writes.job_key(job_id), TaskRow.sk_of(task_id))


def get(job_id: str, task_id: str) -> TaskRecord | None:
    """The task as it is now; None where it was never claimed."""
    try:
        row = TaskRow.get(writes.job_key(job_id), TaskRow.sk_of(task_id), consistent_read=True)
    except DoesNotExist:
        return None
    return row.value()


def get_many(job_id: str, task_ids: Collection[str]) -> dict[str, TaskRecord]:
    """Those of many tasks that were ever claimed, by their ids."""
    keys = [(writes.job_key(job_id), TaskRow.sk_of(task_id)) for task_id in task_ids]
    records = (row.value() for row in TaskRow.batch_get(keys, consistent_read=True))
    return {record.task_id: record for record in records}


def results_of(job_id: str) -> dict[str, Result]:
    """What the tasks of a job have ended with that ended well, by their ids; those of this generation."""
    rows = TaskRow.query(
        writes.job_key(job_id), TaskRow.sk.startswith(TaskRow.sk_of("")), consistent_read=True
    )
    records = (row.value() for row in rows)
    return {
        record.task_id: record.result
        for record in records
        if record.state == DONE and record.result is not None
    }


def encoded_parts(job_id: str, task_ids: Collection[str]) -> dict[str, Encoded]:
    """The parts of films that tasks have ended with, by their ids; those that ended well."""
    results = {task_id: task.result for task_id, task in get_many(job_id, task_ids).items()}
    return {task_id: each for task_id, each in results.items() if isinstance(each, Encoded)}


def end(job_id: str, task_id: str, owner: str, result: Result) -> TaskRecord | None:
    """Write what a task has ended with, once; the task then, or None where its lease was lost to another."""
    state = FAILED if isinstance(result, Failed) else DONE
    row = _row(job_id, task_id)
    not_ended = TaskRow.state.does_not_exist() | ~TaskRow.state.is_in(DONE, FAILED)
    still_ours = TaskRow.owner == owner
    ended = writes.update(
        row,
        [
            TaskRow.row.set(TaskRow),
            TaskRow.state.set(state),
            TaskRow.ended(result),
            *writes.add_used(TaskRow, writes.lap()),
            TaskRow.expires_at.set(writes.subitem_expiry()),
            TaskRow.lease_until.remove(),
        ],
        not_ended & still_ours,
    )
    if ended:
        return row.value()
    # The answer to our own write may have been lost: who finds a task ended does what follows.
    current = get(job_id, task_id)
    return current if current and current.state in (DONE, FAILED) else None


def release(job_id: str, task_id: str, owner: str, reason: str, pause: int) -> None:
    """Give a task back to be tried again, in `pause` seconds and not before, by whatever message.

    The reason is kept for the day when it has been tried once too often.
    """
    still_ours = (TaskRow.state == RUNNING) & (TaskRow.owner == owner)
    writes.update(
        _row(job_id, task_id),
        [
            TaskRow.state.set(FREE),
            TaskRow.last_error.set(reason),
            *writes.add_used(TaskRow, writes.lap()),
            TaskRow.lease_until.set(int(time.time()) + pause),
        ],
        still_ours,
    )


def add_ended(job_id: str, task_id: str) -> frozenset[str]:
    """Add a task to the set of those that have ended well (fan-in); the set, this one included."""
    row = EndedRow(writes.job_key(job_id), EndedRow.SK)
    row.update(
        [
            EndedRow.row.set(EndedRow),  # PynamoDB's update() does not write it into a new item
            EndedRow.tasks.add({task_id}),
            EndedRow.expires_at.set(writes.subitem_expiry()),
        ]
    )
    return row.value()


def used_by(job_id: str) -> Iterator[tuple[str, Used]]:
    """The id of each task of a job, of whatever generation, with what each of its tries has used."""
    rows = TaskRow.query(
        writes.job_key(job_id),
        TaskRow.sk.startswith("task#"),
        consistent_read=True,
        attributes_to_get=["sk", "row", "used"],
    )
    for row in rows:
        for used in read(row.used or ()):
            yield row.task_id, used
