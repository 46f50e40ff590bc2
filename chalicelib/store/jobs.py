"""Jobs: created, read, ended, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pynamodb.exceptions import DoesNotExist
from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.update import Action

from chalicelib.model.event import OF_END
from chalicelib.model.job import Job
from chalicelib.model.step import (
    CANCELED,
    DELETED,
    ENDED,
    FAILURE,
    PENDING,
    STARTED,
    SUCCESS,
    TERMINAL,
    StepState,
)
from chalicelib.model.usage import Used, read, total
from chalicelib.settings import settings
from chalicelib.store import endpoints, outbox, steps, tasks, writes
from chalicelib.store.items import read_many
from chalicelib.store.table import JobRow, MetadataRow, Row

# By then nobody works on a job any more that has ended: Lambda stops every function after 900 s.
_NOBODY_WORKS_SECONDS = 1200
# How long files are kept that an ended job does not list: whoever retries it uses them again.
_KEPT_SECONDS = writes.DAY


def create(
    job_id: str,
    owner: str,
    source_key: str,
    pipeline: Sequence[str | dict[str, Any]],
    *,
    recipe: str = "",
    filename: str = "",
    metadata: Mapping[str, str] | None = None,
    warning: str = "",
    etag: str = "",
    upload_deadline: int | None = None,
    announced_size: int | None = None,
    max_usd: float | None = None,
    retry_of: str | None = None,
    anew: bool | None = None,
) -> None:
    """Write a PENDING job, unless there is one with this id.

    With `upload_deadline` (Unix seconds) it waits until then for its upload, of `announced_size` bytes. With
    `retry_of` it uses again what is whole of that job, unless it is to be made `anew`.
    """
    created_at = writes.now_iso()
    now = int(time.time())
    row = JobRow(
        writes.job_key(job_id),
        JobRow.SK,
        status=PENDING,
        owner=owner,
        source_key=source_key,
        filename=filename,
        warning=warning or None,
        created=f"{created_at}#{job_id}",
        created_at=created_at,
        updated_at=created_at,
        pipeline=list(pipeline),
        recipe=recipe,
        etag=etag,
        announced_size=announced_size,
        max_usd=max_usd,
        retry_of=retry_of,
        anew=anew,
        is_told=bool(endpoints.told_of(owner)) or None,
        awaits_upload=upload_deadline is not None,
        deadline_at=upload_deadline or now + settings().job_deadline_seconds,
        due_shard=job_id[0],
        due_at=now + writes.LOOK_SECONDS,
    )
    not_created_before = JobRow.pk.does_not_exist()
    if metadata and not read_many([(row.pk, row.sk)], consistent=True):
        waits = upload_deadline - now if upload_deadline else 0
        expires_at = writes.subitem_expiry() + waits + writes.DAY
        theirs = MetadataRow(row.pk, MetadataRow.SK, metadata=dict(metadata), expires_at=expires_at)
        writes.put(theirs, not_created_before)
    notes = [outbox.note(job_id, "job.created")] if row.is_told else []
    outbox.put(row, not_created_before, notes)


def get(job_id: str) -> Job | None:
    """The job as it is now."""
    try:
        row = JobRow.get(writes.job_key(job_id), JobRow.SK, consistent_read=True)
    except DoesNotExist:
        return None
    return row.value()


# From what each try of a task used, with the task's id, to the part of each step in what the job used.
Divide = Callable[[Collection[tuple[str, Used]]], dict[str, float]]


def end(job: Job, divide: Divide | None = None) -> str | None:
    """End a job of which every step has ended; its terminal status, or None where that is not so.

    None, too, where another has ended it. The same write stores what the whole job has used: rows of its
    tasks are read for that only now. Without a plan, which could `divide` that, it is told of the job alone.
    """
    statuses = job.step_statuses
    if not statuses or any(status not in TERMINAL for status in statuses.values()):
        return None
    failed = [name for name, status in statuses.items() if status == FAILURE]
    error, code = _first_error(job, failed[0]) if failed else ("", "")
    status = FAILURE if failed else SUCCESS
    tried = list(tasks.used_by(job.job_id))  # before the lap, which has this request in it
    by_tasks = [used for _, used in tried]
    parts = divide(tried) if divide else {}
    last = list(read(writes.lap()))
    # Files of an output that was never finished, or of a plan that was left: nobody lists them.
    tidy = bool(failed) or job.replanned
    current: Job | None = job
    while current is not None and current.status == STARTED:
        used = total([*(current.used or ()), *by_tasks, *last])
        usage_actions = [JobRow.used.set(writes.usage_entries(used))]
        if parts:
            usage_actions.append(JobRow.parts.set([parts[name] for name in job.step_statuses]))
        every_step_ended = (JobRow.status == STARTED) & _has_used(current)
        if _end(job, status, error, code, usage_actions, every_step_ended, tidy=tidy):
            return status
        current = get(job.job_id)
    return None


def _first_error(job: Job, step: str) -> tuple[str, str]:
    """The sentence and the code of a step that has failed."""
    states = steps.states(job)
    state = states[step] if states else StepState(FAILURE)
    return f"{step}: {state.error}", state.error_code


def _has_used(job: Job) -> Condition:
    """Whether nothing was added to what a job has used since it was read: entries are only added."""
    if job.used is None:
        none_yet: Condition = JobRow.used.does_not_exist()
        return none_yet
    as_many: Condition = size(JobRow.used) == len(job.used)  # type: ignore[no-untyped-call]
    return as_many


def fail_pending(job: Job, code: str, error: str, *, overdue: bool = False) -> bool:
    """End a job that never started, with its reason; False where it has started or ended.

    With `overdue`: also where it has been given more time since it was read.
    """
    never_started = JobRow.status == PENDING
    if overdue:
        never_started &= JobRow.deadline_at == job.deadline_at
    by_tasks = [used for _, used in tasks.used_by(job.job_id)] if job.awaits_copy else []
    entries = [*writes.usage_entries(by_tasks), *writes.lap()]
    usage_actions = [JobRow.used.set((JobRow.used | []).append(entries))]
    return _end(job, FAILURE, error, code, usage_actions, never_started, tidy=False)


def cancel(job: Job, reached: Sequence[int]) -> bool:
    """End a job as CANCELED, whatever it is at; False where its status has changed since it was read.

    `reached` is its progress in percent, and that of each of its steps: what its tasks tell from now on,
    until their workers learn of the end, changes nothing. What those tries use is not in its usage.
    """
    as_read = JobRow.status == job.status
    has_worked = job.status == STARTED or job.awaits_copy
    by_tasks = [used for _, used in tasks.used_by(job.job_id)] if has_worked else []
    entries = writes.usage_entries(total(by_tasks))
    actions = [
        JobRow.used.set((JobRow.used | []).append(entries)),
        JobRow.reached.set(list(reached)),
    ]
    # Files of steps that were at work: nobody lists them.
    return _end(job, CANCELED, "", "", actions, as_read, tidy=job.status == STARTED)


def keep_files(job_id: str) -> None:
    """Keep the files that an ended job does not list for a day from now on."""
    later = int(time.time()) + _KEPT_SECONDS
    are_to_go = JobRow.status.is_in(*ENDED) & (JobRow.due_at < later)
    writes.update(writes.job_row(job_id), [JobRow.due_at.set(later)], are_to_go)


def delete(job: Job, *, takes_original: bool) -> bool:
    """Replace the row of an ended job by a tombstone; False where it has changed since it was read.

    The tombstone has nothing of the job but its owner, its charge, its file and its times. It lives as long
    as the row of a job that ends now. The sweep finds it, and deletes all that the job has left.
    """
    now = int(time.time())
    tombstone = JobRow(
        writes.job_key(job.job_id),
        JobRow.SK,
        status=DELETED,
        owner=job.owner,
        source_key=job.source_key,
        etag=job.etag,
        created=job.created,
        created_at=job.created_at,
        updated_at=writes.now_iso(),
        charged_usd=job.charged_usd,
        takes_original=takes_original,
        deadline_at=now + _NOBODY_WORKS_SECONDS,
        due_shard=job.job_id[0],
        due_at=now,
        expires_at=now + settings().retention_days * writes.DAY,
    )
    has_ended = JobRow.status.is_in(*ENDED)
    notes = [outbox.note(job.job_id, "job.deleted")] if job.is_told else []
    return outbox.put(tombstone, has_ended & (JobRow.updated_at == job.updated_at), notes)


def forget_items(job_id: str) -> None:
    """Delete all items of a deleted job but its tombstone."""
    key = writes.job_key(job_id)
    with Row.batch_write() as batch:
        for row in Row.query(key, consistent_read=True, attributes_to_get=["pk", "sk"]):
            if row.sk != JobRow.SK:
                batch.delete(Row(row.pk, row.sk))


def has_ended(job_id: str) -> bool:
    """Whether a job has ended, perhaps a second ago: by half a read unit."""
    try:
        row = JobRow.get(writes.job_key(job_id), JobRow.SK, attributes_to_get=["row", "status"])
    except DoesNotExist:
        return False
    return row.status in TERMINAL


def _end(
    job: Job,
    status: str,
    error: str,
    code: str,
    own_actions: Sequence[Action],
    condition: Condition,
    *,
    tidy: bool,
) -> bool:
    now = int(time.time())
    changes = [
        JobRow.status.set(status),
        JobRow.error.set(error),
        JobRow.error_code.set(code),
        *own_actions,
        JobRow.updated_at.set(writes.now_iso()),
        JobRow.expires_at.set(now + settings().retention_days * writes.DAY),
    ]
    if tidy:
        changes.append(JobRow.due_at.set(now + _KEPT_SECONDS))
    else:
        changes += [JobRow.due_shard.remove(), JobRow.due_at.remove()]
    notes = [outbox.note(job.job_id, OF_END[status])] if job.is_told else []
    return outbox.update(writes.job_row(job.job_id), changes, condition, notes)


def look_soon(job_id: str, seconds: int) -> bool:
    """Have the sweep look at a job within `seconds`; False where it would anyway, or the job has ended."""
    at = int(time.time()) + seconds
    would_look_later = JobRow.due_at > at
    return writes.update(
        writes.job_row(job_id), [JobRow.due_at.set(at)], would_look_later & writes.NOT_ENDED
    )
