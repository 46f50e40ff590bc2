"""What the sweep reads and writes: the rows that it is to look at, and when it looks at them next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from pynamodb.exceptions import DoesNotExist

from chalicelib.model.job import Item, Job
from chalicelib.model.step import DELETED, PENDING, TERMINAL
from chalicelib.store import writes
from chalicelib.store.items import read_many
from chalicelib.store.table import EndedRow, JobRow, Row

# Its index has as many partitions as the first digit of a job's id has values.
SHARDS = "0123456789abcdef"
_MOST_LOOK_SECONDS = 16 * 3600
# How long the sweep leaves a row that this version cannot look after.
_UNKNOWN_SECONDS = 3600


def pages(shard: str, now: float) -> Iterator[list[Item]]:
    """The rows of a shard that are due at `now` (Unix seconds), as they are now, oldest first."""
    # The index is asked for keys alone: a row of a kind that this version does not know is no obstacle.
    hits = Row.by_due.query(
        shard, Row.due_at < int(now), attributes_to_get=["pk", "sk"], page_size=100
    )
    keys = ((hit.pk, hit.sk) for hit in hits)
    while page := list(islice(keys, 100)):
        yield read_many(page, consistent=True)


def count_ended(job: Job) -> int:
    """How much of a job has ended, tasks and steps: grows while it moves."""
    try:
        row = EndedRow.get(writes.job_key(job.job_id), EndedRow.SK, consistent_read=True)
        ended = len(row.value())
    except DoesNotExist:
        ended = 0
    return ended + sum(status in TERMINAL for status in job.step_statuses.values())


def postpone(job: Job, *, looks: int, seen: int) -> bool:
    """Look at a job again later, `looks` having found no progress; False where it has changed since."""
    pause = min(writes.LOOK_SECONDS * 3**looks, _MOST_LOOK_SECONDS)
    due = min(int(time.time()) + pause, int(job.deadline_at))
    unchanged = JobRow.due_at == job.due_at
    changes = [JobRow.due_at.set(due), JobRow.looks.set(looks), JobRow.seen.set(seen)]
    return writes.update(writes.job_row(job.job_id), changes, unchanged & writes.NOT_ENDED)


def await_intake(job: Job) -> bool:
    """Give a job whose upload has come as long as any other; False where it has changed since it was read."""
    waits_for_upload = (JobRow.status == PENDING) & (JobRow.awaits_upload == True)  # noqa: E712
    unchanged = JobRow.due_at == job.due_at
    changes = [JobRow.awaits_upload.set(False), *writes.more_time()]
    return writes.update(writes.job_row(job.job_id), changes, waits_for_upload & unchanged)


def look_once_more(job: Job) -> bool:
    """Look at a tombstone again when no worker can be at its job any more; False where it has changed."""
    unchanged = (JobRow.status == DELETED) & (JobRow.due_at == job.due_at)
    changes = [JobRow.due_at.set(int(job.deadline_at))]
    return writes.update(writes.job_row(job.job_id), changes, unchanged)


def put_off(item: Item) -> None:
    """Leave a row for an hour that this version cannot look after."""
    is_due = Row.due_at.exists()
    later = int(time.time()) + _UNKNOWN_SECONDS
    writes.update_any(item.key, [Row.due_at.set(later)], is_due)


def forget(item: Item) -> None:
    """Look at a row no more, unless it was changed since it was read."""
    unchanged = Row.due_at == item.due_at
    writes.update_any(item.key, [Row.due_shard.remove(), Row.due_at.remove()], unchanged)
