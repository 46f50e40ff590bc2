"""The state of jobs and tasks: the only place that writes the table.

Every change is one verb, and every verb one conditional write whose condition has a name.
Losing a race is a quiet answer, never an exception.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import groupby, islice
from typing import NamedTuple

import msgspec
from pynamodb.exceptions import DoesNotExist, PutError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.plan import Parts, Plan, Source
from chalicelib.rows import (
    DONE,
    FAILED,
    FAILURE,
    FREE,
    PENDING,
    RUNNING,
    STARTED,
    SUCCESS,
    TERMINAL,
    Ended,
    Identity,
    Job,
    Output,
    Progress,
    Row,
    StepState,
    TaskRow,
    Ticket,
)
from chalicelib.settings import settings
from chalicelib.usage import Used, meter, total

_DAY = 86400
# SQS makes a dead worker's message visible again soon after the lease; after that long it is lost.
_REDELIVERY_SECONDS = 60
_LOST = "ConditionalCheckFailedException"
# The sweep's index has as many partitions as a job id's first digit has values.
SHARDS = "0123456789abcdef"


class Claim(Enum):
    """What claiming a task answers."""

    FREE = "run it"
    ENDED = "repeat the fan-in and the next sends, then acknowledge"
    LEASED = "make the message visible again when the lease ends; do not acknowledge"


class Standing(NamedTuple):
    """How far a job is: as its tasks say, and those of them that have ended well."""

    progress: Progress | None
    ended: set[str]


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _job_key(job_id: str) -> str:
    return f"job#{job_id}"


def _subitem_expiry() -> int:
    """When a job's other items may go: well after the latest moment at which the job can end."""
    chosen = settings()
    return int(time.time()) + chosen.job_deadline_seconds + chosen.retention_days * _DAY


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────


def create_job(
    job_id: str,
    source_key: str,
    pipeline: Sequence[str],
    *,
    etag: str = "",
    upload_deadline: int | None = None,
) -> None:
    """Write PENDING. With `upload_deadline` (Unix seconds) the job waits until then for its upload."""
    created_at = now_iso()
    deadline = upload_deadline or int(time.time()) + settings().job_deadline_seconds
    row = Job(
        _job_key(job_id),
        Job.SK,
        status=PENDING,
        source_key=source_key,
        created=f"{created_at}#{job_id}",
        created_at=created_at,
        updated_at=created_at,
        pipeline=list(pipeline),
        etag=etag,
        awaits_upload=upload_deadline is not None,
        deadline_at=deadline,
        due_shard=job_id[0],
        due_at=deadline,
    )
    not_created_before = Job.pk.does_not_exist()
    _put(row, not_created_before)


def get_job(job_id: str) -> Job | None:
    """The row as it is now."""
    try:
        return Job.get(_job_key(job_id), Job.SK, consistent_read=True)
    except DoesNotExist:
        return None


def start_job(
    job_id: str,
    *,
    kind: str,
    duration: float | None,
    pipeline: Sequence[str],
    etag: str,
    plan: Plan,
) -> bool:
    """PENDING → STARTED, once; the progress item is there before. False where it was not PENDING."""
    _put(
        Progress(
            _job_key(job_id),
            Progress.SK,
            started_at=time.time(),
            shares=plan.shares(),
            sizes=plan.sizes(),
            percents={},
            expires_at=_subitem_expiry(),
        ),
        Progress.pk.does_not_exist(),
    )
    deadline = int(time.time()) + settings().job_deadline_seconds
    still_pending = Job.status == PENDING
    return _update(
        Job(_job_key(job_id), Job.SK),
        [
            Job.status.set(STARTED),
            Job.kind.set(kind),
            *([Job.duration.set(duration)] if duration is not None else []),
            Job.pipeline.set(list(pipeline)),
            Job.steps.set({name: {"status": PENDING} for name in pipeline}),
            Job.etag.set(etag),
            Job.encoding.set(plan.encoding),
            Job.deadline_at.set(deadline),
            Job.due_at.set(deadline),
            Job.updated_at.set(now_iso()),
            *_add_used(Job, _lap()),
        ],
        still_pending,
    )


def note_failed_try(job_id: str, reason: str) -> None:
    """Keep why a job could not be started, for the day when it has been tried once too often."""
    used = _lap()
    condition = Job.status == PENDING
    for entry in used:  # of a write whose answer was lost, and that is sent again
        condition &= ~Job.used.contains(entry)
    _update(
        Job(_job_key(job_id), Job.SK),
        [Job.last_error.set(reason), *_add_used(Job, used)],
        condition,
    )


def await_intake(job_id: str) -> bool:
    """Give a job whose upload has come as long as any other; False where it has started or ended."""
    deadline = int(time.time()) + settings().job_deadline_seconds
    waits_for_upload = (Job.status == PENDING) & (Job.awaits_upload == True)  # noqa: E712
    return _update(
        Job(_job_key(job_id), Job.SK),
        [Job.awaits_upload.set(False), Job.deadline_at.set(deadline), Job.due_at.set(deadline)],
        waits_for_upload,
    )


def await_copy(job_id: str, etag: str) -> bool:
    """Pin the source that a job is to have a copy of, and give it as long as any other, once.

    False where it has another source, has started or ended.
    """
    deadline = int(time.time()) + settings().job_deadline_seconds
    had_no_copy_in_mind = (Job.status == PENDING) & ~(Job.awaits_copy == True)  # noqa: E712
    changes: list[Action] = [
        Job.etag.set(etag),
        Job.awaits_copy.set(True),
        Job.awaits_upload.set(False),
        Job.deadline_at.set(deadline),
        Job.due_at.set(deadline),
    ]
    if _update(Job(_job_key(job_id), Job.SK), changes, had_no_copy_in_mind):
        return True
    current = get_job(job_id)
    return current is not None and current.status == PENDING and current.etag == etag


def end_step(job_id: str, step: str, state: StepState) -> Job | None:
    """Write a step's end, once; the row as it is then, or None where the job has ended already."""
    path = Job.steps[step]
    job_runs = Job.status == STARTED
    step_open = ~Job.steps[step]["status"].is_in(SUCCESS, FAILURE)
    row = Job(_job_key(job_id), Job.SK)
    changes = [path.set(msgspec.to_builtins(state)), Job.updated_at.set(now_iso())]
    if _update(row, changes, job_runs & step_open):
        return row
    current = get_job(job_id)
    return current if current and current.status == STARTED else None


def list_early(job_id: str, step: str, output: Output) -> None:
    """List an output that grows, while its step has not ended."""
    path = Job.steps[step]["output"]
    step_open = ~Job.steps[step]["status"].is_in(SUCCESS, FAILURE)
    _update(
        Job(_job_key(job_id), Job.SK),
        [path.set(msgspec.to_builtins(output)), Job.updated_at.set(now_iso())],
        (Job.status == STARTED) & step_open & path.does_not_exist(),
    )


def end_job(row: Job) -> str | None:
    """The terminal status, if every step of this row has ended and nobody wrote it before.

    With it goes what the whole job has used; the tasks are read for that only now.
    """
    states = row.step_states
    if not states or any(state.status not in TERMINAL for state in states.values()):
        return None
    failed = {name: state for name, state in states.items() if state.status == FAILURE}
    error, code = "", ""
    if failed:
        name, first = next(iter(failed.items()))
        error, code = f"{name}: {first.error}", first.error_code
    status = FAILURE if failed else SUCCESS
    entries = [*(row.used or ()), *_used_by_tasks(row.job_id), *_lap()]
    used = total(msgspec.json.decode(entry, type=Used) for entry in entries)
    every_step_ended = Job.status == STARTED
    told = Job.used.set(_entries(used))
    return status if _end(row.job_id, status, error, code, told, every_step_ended) else None


def fail_job(job_id: str, code: str, error: str) -> bool:
    """End a job that never started, with its reason; False where it has started or ended."""
    never_started = Job.status == PENDING
    told = Job.used.set((Job.used | []).append(_lap()))
    return _end(job_id, FAILURE, error, code, told, never_started)


def _end(
    job_id: str, status: str, error: str, code: str, told: Action, condition: Condition
) -> bool:
    expires = int(time.time()) + settings().retention_days * _DAY
    return _update(
        Job(_job_key(job_id), Job.SK),
        [
            Job.status.set(status),
            Job.error.set(error),
            Job.error_code.set(code),
            told,
            Job.updated_at.set(now_iso()),
            Job.expires_at.set(expires),
            Job.due_shard.remove(),
            Job.due_at.remove(),
        ],
        condition,
    )


def list_jobs(
    limit: int, before: str | None, statuses: Collection[str], source_key: str | None
) -> list[Job]:
    """At most `limit` jobs with one of `statuses`, newest first, created before the position `before`."""
    # A job that changes its status between two queries may show up in both.
    merged = heapq.merge(*_newest_first(limit, before, statuses, source_key), reverse=True)
    positions = (position for position, _ in groupby(merged))
    found: list[Job] = []
    while len(found) < limit:
        page = list(islice(positions, limit - len(found)))
        if not page:
            break
        keys = [(_job_key(position.partition("#")[2]), Job.SK) for position in page]
        rows = sorted(Job.batch_get(keys), key=lambda row: row.created, reverse=True)
        found += [row for row in rows if row.status in statuses]
    return found


def _newest_first(
    limit: int, before: str | None, statuses: Collection[str], source_key: str | None
) -> list[Iterator[str]]:
    older = Job.created < before if before else None
    queries = (
        [(Job.by_key, source_key)]
        if source_key is not None
        else [(Job.by_status, status) for status in statuses]
    )
    return [
        (
            row.created
            for row in index.query(value, older, scan_index_forward=False, page_size=limit)
        )
        for index, value in queries
    ]


# ── progress ────────────────────────────────────────────────────────────────────────────────────


def get_job_and_progress(job_id: str) -> tuple[Job, Standing] | None:
    """Both in one request."""
    rows = _by_kind(job_id, (Job.SK, Progress.SK, Ended.SK))
    job = rows.get(Job.SK)
    return (job, _standing(rows)) if isinstance(job, Job) else None


def get_progress(job_ids: Collection[str]) -> dict[str, Standing]:
    """The progress of many jobs."""
    keys = [(_job_key(job_id), sk) for job_id in job_ids for sk in (Progress.SK, Ended.SK)]
    found: dict[str, dict[str, Row]] = {job_id: {} for job_id in job_ids}
    for row in Row.batch_get(keys):
        found[row.job_id][row.sk] = row
    return {job_id: _standing(rows) for job_id, rows in found.items()}


def get_ended(job_id: str) -> tuple[Job | None, set[str]]:
    """A job and those of its tasks that have ended well, in one request."""
    rows = _by_kind(job_id, (Job.SK, Ended.SK))
    job = rows.get(Job.SK)
    return job if isinstance(job, Job) else None, _standing(rows).ended


def _by_kind(job_id: str, kinds: Sequence[str]) -> dict[str, Row]:
    keys = [(_job_key(job_id), kind) for kind in kinds]
    return {row.sk: row for row in Row.batch_get(keys, consistent_read=True)}


def _standing(rows: Mapping[str, Row]) -> Standing:
    progress, ended = rows.get(Progress.SK), rows.get(Ended.SK)
    return Standing(
        progress if isinstance(progress, Progress) else None,
        set(ended.tasks or ()) if isinstance(ended, Ended) else set(),
    )


def advance(job_id: str, task_id: str, percent: int) -> None:
    """Note how far a task is; never backwards, also not after a retry."""
    path = Progress.percents[task_id]
    further = path.does_not_exist() | (path < percent)
    _update(Progress(_job_key(job_id), Progress.SK), [path.set(percent)], further)


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────


def claim_task(
    job_id: str, task_id: str, queue: str, owner: str, lease_seconds: float
) -> tuple[Claim, TaskRow]:
    """Take a task for as long as this invocation can last; what it answers is for the caller to do."""
    row = TaskRow(_job_key(job_id), f"task#{task_id}")
    now = time.time()
    lease_until = int(now + lease_seconds) + 1
    never_claimed = TaskRow.state.does_not_exist()
    given_back = TaskRow.state == FREE
    worker_is_dead = (TaskRow.state == RUNNING) & (TaskRow.lease_until < int(now))
    claimed = _update(
        row,
        [
            TaskRow.row.set(TaskRow),  # an update that creates does not say what it creates
            TaskRow.state.set(RUNNING),
            TaskRow.queue.set(queue),
            TaskRow.owner.set(owner),
            TaskRow.lease_until.set(lease_until),
            TaskRow.attempts.add(1),
            TaskRow.due_shard.set(job_id[0]),
            TaskRow.due_at.set(lease_until + _REDELIVERY_SECONDS),
            TaskRow.expires_at.set(_subitem_expiry()),
        ],
        never_claimed | given_back | worker_is_dead,
    )
    if claimed:
        return Claim.FREE, row
    row.refresh(consistent_read=True)
    # Ours: the answer to this very claim was lost on its way, and it was sent again.
    if row.state == RUNNING and row.owner == owner:
        return Claim.FREE, row
    return (Claim.ENDED if row.state in (DONE, FAILED) else Claim.LEASED), row


def get_task(job_id: str, task_id: str) -> TaskRow | None:
    try:
        return TaskRow.get(_job_key(job_id), f"task#{task_id}", consistent_read=True)
    except DoesNotExist:
        return None


def get_tasks(job_id: str, task_ids: Collection[str]) -> dict[str, TaskRow]:
    """Rows of many tasks, by their ids; those that are there."""
    keys = [(_job_key(job_id), f"task#{task_id}") for task_id in task_ids]
    return {row.task_id: row for row in TaskRow.batch_get(keys, consistent_read=True)}


def finish_task(
    job_id: str, task_id: str, owner: str, made: Parts | Source | dict[str, StepState]
) -> TaskRow | None:
    """Write that a task is done; the row once it has ended, or None where its lease was lost to another."""
    result = TaskRow.result.set(msgspec.to_builtins(made))
    return _end_task(job_id, task_id, DONE, TaskRow.owner == owner, result)


def fail_task(job_id: str, task_id: str, owner: str | None, state: StepState) -> TaskRow | None:
    """Write that a task cannot be done; the row once it has ended, or None where another is at it.

    Without an `owner`: unless somebody is at it.
    """
    if owner:
        ours = TaskRow.owner == owner
    else:
        ours = TaskRow.state.does_not_exist() | ~(
            (TaskRow.state == RUNNING) & (TaskRow.lease_until >= int(time.time()))
        )
    result = TaskRow.result.set(msgspec.to_builtins(state))
    return _end_task(job_id, task_id, FAILED, ours, result)


def _end_task(
    job_id: str, task_id: str, state: str, ours: Condition, result: Action
) -> TaskRow | None:
    row = TaskRow(_job_key(job_id), f"task#{task_id}")
    not_ended = TaskRow.state.does_not_exist() | ~TaskRow.state.is_in(DONE, FAILED)
    ended = _update(
        row,
        [
            TaskRow.row.set(TaskRow),
            TaskRow.state.set(state),
            result,
            *_add_used(TaskRow, _lap()),
            TaskRow.expires_at.set(_subitem_expiry()),
            TaskRow.lease_until.remove(),
            TaskRow.due_shard.remove(),
            TaskRow.due_at.remove(),
        ],
        not_ended & ours,
    )
    if ended:
        return row
    # The answer to our own write may have been lost: who finds a task ended does what follows.
    current = get_task(job_id, task_id)
    return current if current and current.state in (DONE, FAILED) else None


def release_task(job_id: str, task_id: str, owner: str, reason: str) -> None:
    """Give a task back to be tried again; the reason is kept for the day when it has been once too often."""
    _update(
        TaskRow(_job_key(job_id), f"task#{task_id}"),
        [
            TaskRow.state.set(FREE),
            TaskRow.last_error.set(reason),
            *_add_used(TaskRow, _lap()),
            TaskRow.lease_until.remove(),
            TaskRow.due_shard.remove(),
            TaskRow.due_at.remove(),
        ],
        (TaskRow.state == RUNNING) & (TaskRow.owner == owner),
    )


def add_ended(job_id: str, task_id: str) -> set[str]:
    """Fan-in: the tasks that have ended well, this one included."""
    row = Ended(_job_key(job_id), Ended.SK)
    row.update(
        [
            Ended.row.set(Ended),  # an update that creates does not say what it creates
            Ended.tasks.add({task_id}),
            Ended.expires_at.set(_subitem_expiry()),
        ]
    )
    return set(row.tasks or ())


# ── usage ───────────────────────────────────────────────────────────────────────────────────────


def _lap() -> list[str]:
    """What was used up to the write that tells it; nothing where nobody is billed for a message."""
    return _entries(meter.lap(writes=1))


def _entries(used: Sequence[Used]) -> list[str]:
    return [msgspec.json.encode(one).decode() for one in used]


def _add_used(kind: type[Job | TaskRow], entries: list[str]) -> list[Action]:
    return [kind.used.set((kind.used | []).append(entries))] if entries else []


def _used_by_tasks(job_id: str) -> Iterator[str]:
    rows = TaskRow.query(
        _job_key(job_id),
        TaskRow.sk.startswith("task#"),
        consistent_read=True,
        attributes_to_get=["row", "used"],
    )
    for row in rows:
        yield from row.used or ()


# ── identities ──────────────────────────────────────────────────────────────────────────────────


def write_ticket(key: str, job_id: str | None, expires_at: int) -> None:
    """Remember that a URL for `key` is handed out, so that its upload is never taken for a drop."""
    Ticket(
        f"upload#{key}",
        Ticket.SK,
        ticket_job_id=job_id,
        expires_at=expires_at + 7 * _DAY,
    ).save()


def get_ticket(key: str) -> tuple[bool, str | None]:
    """Whether a URL was handed out for `key`, and the job that waits for it, if any."""
    try:
        return True, Ticket.get(f"upload#{key}", Ticket.SK, consistent_read=True).ticket_job_id
    except DoesNotExist:
        return False, None


def claim_identity(
    identity: str, job_id: str, *, fingerprint: str = "", instead_of: str | None = None
) -> tuple[str, str]:
    """The job that stands for `identity`, and its fingerprint: `job_id`, unless another was there first.

    With `instead_of`, that job may be replaced.
    """
    row = Identity(
        _claim_key(identity),
        Identity.SK,
        claimed_job_id=job_id,
        fingerprint=fingerprint,
        # Before the row of a job that it may have started, which lives as long from its end on.
        expires_at=int(time.time()) + settings().retention_days * _DAY,
    )
    free = Identity.pk.does_not_exist() | (Identity.expires_at < int(time.time()))
    if instead_of:
        free |= Identity.claimed_job_id == instead_of
    if _put(row, free):
        return job_id, fingerprint
    row.refresh(consistent_read=True)
    return row.claimed_job_id, row.fingerprint


def find_identity(identity: str) -> tuple[str, str] | None:
    """The job that stands for `identity`, and its fingerprint, if it was claimed."""
    try:
        row = Identity.get(_claim_key(identity), Identity.SK, consistent_read=True)
    except DoesNotExist:
        return None
    return row.claimed_job_id, row.fingerprint


def _claim_key(identity: str) -> str:
    return f"claim#{hashlib.sha256(identity.encode()).hexdigest()}"


# ── the sweep ───────────────────────────────────────────────────────────────────────────────────


def overdue(now: float) -> Iterator[Job | TaskRow]:
    """Jobs past their deadline, and tasks whose worker died and whose message did not come back."""
    for shard in SHARDS:
        keys = [(hit.pk, hit.sk) for hit in Row.by_due.query(shard, Row.due_at < int(now))]
        for row in Row.batch_get(keys, consistent_read=True) if keys else ():
            if isinstance(row, (Job, TaskRow)):
                yield row


def postpone(row: TaskRow, seconds: int) -> bool:
    """Look at this task again later; False where it has changed since it was read."""
    unchanged = TaskRow.due_at == row.due_at
    return _update(row, [TaskRow.due_at.set(int(time.time()) + seconds)], unchanged)


def forget(row: TaskRow) -> None:
    """Look at this task no more: its job has ended."""
    still_there = TaskRow.state.exists()
    _update(row, [TaskRow.due_shard.remove(), TaskRow.due_at.remove()], still_there)


# ── conditional writes ──────────────────────────────────────────────────────────────────────────


def _put(row: Row, condition: Condition) -> bool:
    try:
        row.save(condition=condition)
    except PutError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True


def _update(row: Row, actions: list[Action], condition: Condition) -> bool:
    try:
        row.update(actions=actions, condition=condition)
    except UpdateError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True
