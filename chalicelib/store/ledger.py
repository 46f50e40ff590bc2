"""The state of jobs and tasks: the only place that writes the table.

Every change is one verb, and every verb one conditional write whose condition has a name.
Losing a race is a quiet answer, never an exception.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import islice
from typing import NamedTuple

import msgspec
from pynamodb.exceptions import (
    DoesNotExist,
    PutError,
    PynamoDBException,
    TransactWriteError,
    UpdateError,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex
from pynamodb.transactions import TransactWrite

from chalicelib.errors import JobError
from chalicelib.model.job import (
    DONE,
    FAILED,
    FAILURE,
    FREE,
    PENDING,
    RUNNING,
    STARTED,
    STATUSES,
    SUCCESS,
    TERMINAL,
    Output,
    StepState,
)
from chalicelib.model.plan import GENERATION, Plan
from chalicelib.model.result import Failed, Result
from chalicelib.model.usage import Used, dollars, read, total
from chalicelib.settings import settings
from chalicelib.store.meter import meter
from chalicelib.store.table import Budget, Ended, Identity, Job, Progress, Row, TaskRow, Ticket
from chalicelib.telemetry import MetricUnit, logger, metrics

_DAY = 86400
# The sweep looks at a job that does not move after so long, then after three times as long, and so on.
LOOK_SECONDS = 300
_MOST_LOOK_SECONDS = 16 * 3600
# Of an index's entries, what DynamoDB reads at once at the most.
_MOST_INDEXED = 1000
# By then nobody works on a job any more that has ended: Lambda stops every function after 900 s.
_TIDY_SECONDS = 1200
_LOST = "ConditionalCheckFailedException"
# Why a transaction is cancelled: a condition of one of its writes, or another transaction on the same row.
_NOT_MET, _CONFLICT = "ConditionalCheckFailed", "TransactionConflict"
_CONFLICTS = 40
# The sweep's index has as many partitions as a job id's first digit has values.
SHARDS = "0123456789abcdef"


class Claim(Enum):
    """What claiming a task answers."""

    FREE = "run it"
    ENDED = "repeat the fan-in and the next sends, then acknowledge"
    LEASED = "make the message visible again when the lease ends; do not acknowledge"


class Claimed(NamedTuple):
    """Which job an identity stands for, and what tells apart the request or S3 event that asked for it."""

    job_id: str
    fingerprint: str
    sequencer: str


class Charge(NamedTuple):
    """What a job is estimated to cost in US dollars, and what its owner was charged for it before."""

    owner: str
    usd: float
    before: float


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
    owner: str,
    source_key: str,
    pipeline: Sequence[str],
    *,
    filename: str = "",
    etag: str = "",
    upload_deadline: int | None = None,
    max_usd: float | None = None,
) -> None:
    """Write PENDING. With `upload_deadline` (Unix seconds) the job waits until then for its upload."""
    created_at = now_iso()
    now = int(time.time())
    row = Job(
        _job_key(job_id),
        Job.SK,
        status=PENDING,
        owner=owner,
        source_key=source_key,
        filename=filename,
        created=f"{created_at}#{job_id}",
        created_at=created_at,
        updated_at=created_at,
        pipeline=list(pipeline),
        etag=etag,
        max_usd=max_usd,
        awaits_upload=upload_deadline is not None,
        deadline_at=upload_deadline or now + settings().job_deadline_seconds,
        due_shard=job_id[0],
        due_at=now + LOOK_SECONDS,
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
    etag: str,
    plan: Plan,
    starter: str,
    charge: Charge,
) -> bool:
    """PENDING → STARTED, once, by the message `starter`. False where it was not PENDING.

    Its owner is charged by the same write. Raises JobError as `_charge`.
    """
    still_pending = Job.status == PENDING
    return _charge(
        charge,
        Job(_job_key(job_id), Job.SK),
        [
            Job.status.set(STARTED),
            Job.kind.set(kind),
            *([Job.duration.set(duration)] if duration is not None else []),
            Job.pipeline.set(list(plan.steps)),
            Job.steps.set({name: {"status": PENDING} for name in plan.steps}),
            Job.etag.set(etag),
            Job.started_by.set(GENERATION),
            *_follow(plan, starter),
            *_add_used(Job, _lap()),
        ],
        still_pending,
    )


def restart_job(row: Job, plan: Plan, starter: str) -> bool:
    """Have a STARTED job follow a plan of this generation, by the message `starter`; what has ended stays.

    False where it has ended, follows another plan by now, or a step has ended since `row` was read.
    """
    unchanged = (Job.status == STARTED) & _follows(row.generation)
    opened = []
    for name, state in row.step_states.items():
        if state.status not in TERMINAL:
            unchanged &= _is_open(name)
            opened.append(Job.steps[name].set({"status": PENDING}))
    return _update(
        Job(_job_key(row.job_id), Job.SK),
        [*opened, Job.replanned.set(True), *_follow(plan, starter), *_add_used(Job, _lap())],
        unchanged,
    )


def _follow(plan: Plan, starter: str) -> list[Action]:
    now = int(time.time())
    return [
        Job.generation.set(GENERATION),
        Job.starter.set(starter),
        Job.encoding.set(plan.encoding),
        *_more_time(now),
        Job.updated_at.set(now_iso()),
    ]


def _more_time(now: int) -> list[Action]:
    return [
        Job.deadline_at.set(now + settings().job_deadline_seconds),
        Job.due_at.set(now + LOOK_SECONDS),
        Job.looks.set(0),
        Job.seen.set(0),
    ]


def _follows(generation: str) -> Condition:
    """Whether a job follows the plan of a generation; "" is that of rows from before there were any."""
    is_older: Condition = Job.generation.does_not_exist()
    follows: Condition = Job.generation == generation
    return follows if generation else follows | is_older


def _is_open(step: str) -> Condition:
    is_open: Condition = ~Job.steps[step]["status"].is_in(SUCCESS, FAILURE)
    return is_open


def write_progress(job_id: str, plan: Plan) -> None:
    """Write what a started job's progress is counted by, unless it is there."""
    of_no_plan_or_another = ~(Progress.generation == GENERATION)
    _put(
        Progress(
            _job_key(job_id),
            Progress.SK,
            generation=GENERATION,
            started_at=time.time(),
            shares=plan.shares(),
            sizes=plan.sizes(),
            percents={},
            expires_at=_subitem_expiry(),
        ),
        of_no_plan_or_another,
    )


def count_try(row: Job) -> int:
    """Count a look of intake at a job by a message that came before; how many of those there were already.

    By one that comes for the first time it is not counted: hardly any job has another.
    """
    return int(row.tries) - 1 if _update(row, [Job.tries.add(1)], _OPEN) else 0


def note_failed_try(job_id: str, reason: str) -> None:
    """Keep why a job could not be started, for the day when it has been tried once too often."""
    used = _lap()
    condition = _OPEN
    for entry in used:  # of a write whose answer was lost, and that is sent again
        condition &= ~Job.used.contains(entry)
    _update(
        Job(_job_key(job_id), Job.SK),
        [Job.last_error.set(reason), *_add_used(Job, used)],
        condition,
    )


def await_intake(row: Job) -> bool:
    """Give a job whose upload has come as long as any other; False where it has changed since it was read."""
    waits_for_upload = (Job.status == PENDING) & (Job.awaits_upload == True)  # noqa: E712
    return _update(
        Job(row.pk, row.sk),
        [Job.awaits_upload.set(False), *_more_time(int(time.time()))],
        waits_for_upload & (Job.due_at == row.due_at),
    )


def await_copy(row: Job, etag: str, charge: Charge) -> bool:
    """Pin the source that a job is to have a copy of, and give it as long as any other, once.

    False where it has another source, has started or ended. Its owner is charged by the same write. Raises
    JobError as `_charge`.
    """
    no_copy_requested = (Job.status == PENDING) & ~(Job.awaits_copy == True)  # noqa: E712
    changes: list[Action] = [
        Job.etag.set(etag),
        Job.awaits_copy.set(True),
        Job.awaits_upload.set(False),
        *_more_time(int(time.time())),
        *_add_used(Job, _lap()),
    ]
    if _charge(charge, Job(row.pk, row.sk), changes, no_copy_requested):
        return True
    current = get_job(row.job_id)
    return current is not None and current.status not in TERMINAL and current.etag == etag


def end_step(
    job_id: str,
    step: str,
    state: StepState,
    *,
    generation: str | None = None,
    deadline: int | None = None,
) -> Job | None:
    """Write a step's end, once; the row as it is then, or None where the job has ended already.

    Only while the job follows the plan of that `generation`, else of ours: what a worker of another one comes
    to does not count any more. With `deadline`, only where that is still the job's.
    """
    path = Job.steps[step]
    job_runs = (Job.status == STARTED) & _follows(GENERATION if generation is None else generation)
    if deadline is not None:
        job_runs &= Job.deadline_at == deadline
    step_open = _is_open(step)
    row = Job(_job_key(job_id), Job.SK)
    changes = [path.set(msgspec.to_builtins(state)), Job.updated_at.set(now_iso())]
    if _update(row, changes, job_runs & step_open):
        return row
    current = get_job(job_id)
    return current if current and current.status == STARTED else None


def list_early(job_id: str, step: str, output: Output) -> None:
    """List an output that grows, while its step has not ended."""
    path = Job.steps[step]["output"]
    follows_this_plan = (Job.status == STARTED) & _follows(GENERATION)
    _update(
        Job(_job_key(job_id), Job.SK),
        [path.set(msgspec.to_builtins(output)), Job.updated_at.set(now_iso())],
        follows_this_plan & _is_open(step) & path.does_not_exist(),
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
    every_step_ended = Job.status == STARTED
    usage = Job.used.set(_entries(total(read(entries))))
    # Files of an output that was never finished, or of a plan that was left: nobody lists them.
    tidy = bool(failed) or bool(row.replanned)
    ended = _end(row, status, error, code, usage, every_step_ended, tidy=tidy)
    return status if ended else None


def fail_job(row: Job, code: str, error: str, *, overdue: bool = False) -> bool:
    """End a job that never started, with its reason; False where it has started or ended.

    With `overdue`: also where it has been given more time since it was read.
    """
    never_started = Job.status == PENDING
    if overdue:
        never_started &= Job.deadline_at == row.deadline_at
    entries = [*(_used_by_tasks(row.job_id) if row.awaits_copy else ()), *_lap()]
    usage = Job.used.set((Job.used | []).append(entries))
    return _end(row, FAILURE, error, code, usage, never_started, tidy=False)


def _end(
    row: Job,
    status: str,
    error: str,
    code: str,
    usage: Action,
    condition: Condition,
    *,
    tidy: bool,
) -> bool:
    now = int(time.time())
    changes = [
        Job.status.set(status),
        Job.error.set(error),
        Job.error_code.set(code),
        usage,
        Job.updated_at.set(now_iso()),
        Job.expires_at.set(now + settings().retention_days * _DAY),
    ]
    if tidy:
        changes.append(Job.due_at.set(now + _TIDY_SECONDS))
    else:
        changes += [Job.due_shard.remove(), Job.due_at.remove()]
    return _update(Job(row.pk, row.sk), changes, condition)


def list_jobs(
    limit: int,
    before: str | None,
    owners: Collection[str],
    statuses: Collection[str],
    source_key: str | None,
) -> list[Job]:
    """At most `limit` jobs of `owners` with one of `statuses`, newest first, created before `before`."""
    if source_key is not None:
        positions = (row.created for row in _newest(Job.by_key, source_key, before, limit))
    else:
        each = (_of_owner(owner, statuses, before, limit) for owner in owners)
        positions = heapq.merge(*each, reverse=True)
    found: list[Job] = []
    while len(found) < limit:
        page = list(islice(positions, limit - len(found)))
        if not page:
            break
        keys = [(_job_key(position.partition("#")[2]), Job.SK) for position in page]
        rows = [row for row in _read_each(keys) if isinstance(row, Job)]
        rows.sort(key=lambda row: row.created, reverse=True)
        found += [row for row in rows if row.status in statuses and row.owner in owners]
    return found


def _of_owner(
    owner: str, statuses: Collection[str], before: str | None, limit: int
) -> Iterator[str]:
    # Of few statuses there may be few jobs among many: the more of the index is read at once.
    size = limit if set(STATUSES) <= set(statuses) else _MOST_INDEXED
    return (
        row.created for row in _newest(Job.by_owner, owner, before, size) if row.status in statuses
    )


def _newest(
    index: GlobalSecondaryIndex[Job], value: str, before: str | None, size: int
) -> Iterator[Job]:
    older = Job.created < before if before else None
    return index.query(value, older, scan_index_forward=False, page_size=size)


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
    for row in _read_each(keys):
        if isinstance(row, Row):
            found[row.job_id][row.sk] = row
    return {job_id: _standing(rows) for job_id, rows in found.items()}


def get_ended(job_id: str) -> tuple[Job | None, set[str]]:
    """A job and those of its tasks that have ended well, in one request."""
    rows = _by_kind(job_id, (Job.SK, Ended.SK))
    job = rows.get(Job.SK)
    return job if isinstance(job, Job) else None, _standing(rows).ended


def _by_kind(job_id: str, kinds: Sequence[str]) -> dict[str, Row]:
    keys = [(_job_key(job_id), kind) for kind in kinds]
    rows = _read_each(keys, consistent=True)
    return {row.sk: row for row in rows if isinstance(row, Row)}


def _standing(rows: Mapping[str, Row]) -> Standing:
    progress, ended = rows.get(Progress.SK), rows.get(Ended.SK)
    if not isinstance(progress, Progress) or progress.generation != GENERATION:
        progress = None
    return Standing(
        progress,
        set(ended.tasks or ()) if isinstance(ended, Ended) else set(),
    )


def advance(job_id: str, task_id: str, percent: int) -> None:
    """Note how far a task is; never backwards, also not after a retry."""
    path = Progress.percents[task_id]
    further = path.does_not_exist() | (path < percent)
    of_this_plan = Progress.generation == GENERATION
    _update(Progress(_job_key(job_id), Progress.SK), [path.set(percent)], of_this_plan & further)


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────


def claim_task(
    job_id: str, task_id: str, owner: str, lease_seconds: float
) -> tuple[Claim, TaskRow]:
    """Take a task for as long as this invocation can last; what it answers is for the caller to do."""
    row = _task(job_id, task_id)
    now = time.time()
    lease_until = int(now + lease_seconds) + 1
    never_claimed = TaskRow.state.does_not_exist()
    given_back = (TaskRow.state == FREE) & (
        TaskRow.lease_until.does_not_exist() | (TaskRow.lease_until <= int(now))
    )
    worker_is_dead = (TaskRow.state == RUNNING) & (TaskRow.lease_until < int(now))
    claimed = _update(
        row,
        [
            TaskRow.row.set(TaskRow),  # an update that creates does not say what it creates
            TaskRow.state.set(RUNNING),
            TaskRow.owner.set(owner),
            TaskRow.lease_until.set(lease_until),
            TaskRow.attempts.add(1),
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


def _task(job_id: str, task_id: str) -> TaskRow:
    return TaskRow(_job_key(job_id), TaskRow.sk_of(task_id))


def get_task(job_id: str, task_id: str) -> TaskRow | None:
    try:
        return TaskRow.get(_job_key(job_id), TaskRow.sk_of(task_id), consistent_read=True)
    except DoesNotExist:
        return None


def get_tasks(job_id: str, task_ids: Collection[str]) -> dict[str, TaskRow]:
    """Rows of many tasks, by their ids; those that are there."""
    keys = [(_job_key(job_id), TaskRow.sk_of(task_id)) for task_id in task_ids]
    return {row.task_id: row for row in TaskRow.batch_get(keys, consistent_read=True)}


def end_task(job_id: str, task_id: str, owner: str, result: Result) -> TaskRow | None:
    """Write what a task has ended with, once; its row then, or None where the lease was lost to another."""
    state = FAILED if isinstance(result, Failed) else DONE
    stored = TaskRow.result.set(msgspec.to_builtins(result))
    return _end_task(job_id, task_id, state, TaskRow.owner == owner, stored)


def _end_task(
    job_id: str, task_id: str, state: str, ours: Condition, result: Action
) -> TaskRow | None:
    row = _task(job_id, task_id)
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
        ],
        not_ended & ours,
    )
    if ended:
        return row
    # The answer to our own write may have been lost: who finds a task ended does what follows.
    current = get_task(job_id, task_id)
    return current if current and current.state in (DONE, FAILED) else None


def release_task(job_id: str, task_id: str, owner: str, reason: str, pause: int) -> None:
    """Give a task back to be tried again, in `pause` seconds and not before, by whatever message.

    The reason is kept for the day when it has been tried once too often.
    """
    _update(
        _task(job_id, task_id),
        [
            TaskRow.state.set(FREE),
            TaskRow.last_error.set(reason),
            *_add_used(TaskRow, _lap()),
            TaskRow.lease_until.set(int(time.time()) + pause),
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


def write_ticket(
    key: str, owner: str, job_id: str | None, expires_at: int, filename: str = ""
) -> None:
    """Remember that a URL for `key` is handed out, and to whom: its upload is never taken for a drop.

    For as long as the job that waits for it is there. That is longer than its event can be late: dead letters
    are kept for two weeks.
    """
    Ticket(
        _ticket_key(key),
        Ticket.SK,
        owner=owner,
        ticket_job_id=job_id,
        filename=filename,
        expires_at=expires_at + settings().retention_days * _DAY,
    ).save()


def get_ticket(key: str) -> Ticket | None:
    """What is known of the URL that was handed out for `key`; None where none was."""
    try:
        return Ticket.get(_ticket_key(key), Ticket.SK, consistent_read=True)
    except DoesNotExist:
        return None


def _ticket_key(key: str) -> str:
    return f"upload#{key}"


class Arrival(NamedTuple):
    """What is known of an object that an S3 event tells of."""

    ticket: Ticket | None  # where a URL was handed out for its key
    job_id: str | None  # the job of this very event, which came before


def find_arrival(key: str, etag: str, sequencer: str) -> Arrival:
    """In one request."""
    event_key = _claim_key(_event(key, etag, sequencer))
    keys = [(_ticket_key(key), Ticket.SK), (event_key, Identity.SK)]
    rows = {row.sk: row for row in _read_each(keys, consistent=True) if isinstance(row, Row)}
    ticket, event = rows.get(Ticket.SK), rows.get(Identity.SK)
    return Arrival(
        ticket if isinstance(ticket, Ticket) else None,
        event.claimed_job_id if isinstance(event, Identity) else None,
    )


def claim_upload(ticket: Ticket, key: str, etag: str, sequencer: str) -> bool:
    """Whether an S3 event is the first of an upload's key. Whatever is PUT to its URL after that is none.

    From then on the ticket says whose the object is, for as long as there is one.
    """
    event = _claim_key(_event(key, etag, sequencer))
    if ticket.arrived:
        return bool(ticket.arrived == event)
    days = settings().original_days
    expiry = (
        Ticket.expires_at.remove()
        if days is None
        else Ticket.expires_at.set(int(time.time()) + (days + settings().retention_days) * _DAY)
    )
    # Ours, too: the answer to this very claim may have been lost.
    nothing_came_before = Ticket.arrived.does_not_exist() | (Ticket.arrived == event)
    is_there = Ticket.pk.exists()
    return _update(
        Ticket(ticket.pk, Ticket.SK),
        [Ticket.arrived.set(event), expiry],
        is_there & nothing_came_before,
    )


def claim_event(key: str, etag: str, sequencer: str, job_id: str) -> str:
    """The job of an S3 event: `job_id`, unless the event was claimed for another one before."""
    return claim_identity(_event(key, etag, sequencer), job_id).job_id


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
    """The job for a version of a file and a set of steps: the same for the same, unless that one failed.

    An S3 event names its `sequencer`: that of a later upload of the same bytes asks for another job, and one
    that came before asks for none. `candidate` is the job that waits for the file, if there is one.
    """
    identity = f"file {owner} {key} {etag} {','.join(sorted(pipeline))}"
    ours = candidate or str(uuid.uuid4())
    claimed = claim_identity(identity, ours, sequencer=sequencer)
    if claimed.job_id == ours or _is_as_late(claimed.sequencer, sequencer):
        return claimed.job_id
    job = get_job(claimed.job_id)
    if (job and job.status == FAILURE) or (claimed.sequencer and sequencer):
        ours = str(uuid.uuid4())
    elif sequencer:  # the request that came before it had none
        ours = claimed.job_id
    else:
        return claimed.job_id
    return claim_identity(identity, ours, sequencer=sequencer, instead_of=claimed).job_id


def _is_as_late(sequencer: str, other: str) -> bool:
    """Whether an S3 event is the `other` one or came after it; false where there is no such event.

    As S3 tells it: the shorter of two is filled up with zeros at its right end, then they compare as text.
    """
    length = max(len(sequencer), len(other))
    return bool(sequencer and other) and sequencer.ljust(length, "0") >= other.ljust(length, "0")


def claim_identity(
    identity: str,
    job_id: str,
    *,
    fingerprint: str = "",
    sequencer: str = "",
    instead_of: Claimed | None = None,
) -> Claimed:
    """The job that stands for `identity`: `job_id`, unless another was there first.

    With `instead_of`, that one is replaced.
    """
    row = Identity(
        _claim_key(identity),
        Identity.SK,
        claimed_job_id=job_id,
        fingerprint=fingerprint,
        sequencer=sequencer or (instead_of.sequencer if instead_of else ""),
        # Before the row of a job that it may have started, which lives as long from its end on.
        expires_at=int(time.time()) + settings().retention_days * _DAY,
    )
    free = Identity.pk.does_not_exist() | (Identity.expires_at < int(time.time()))
    if instead_of:
        free |= (Identity.claimed_job_id == instead_of.job_id) & (
            Identity.sequencer == instead_of.sequencer
        )
    if not _put(row, free):
        row.refresh(consistent_read=True)
    return Claimed(row.claimed_job_id, row.fingerprint, row.sequencer)


def find_identity(identity: str) -> Claimed | None:
    """The job that stands for `identity`, if it was claimed."""
    try:
        row = Identity.get(_claim_key(identity), Identity.SK, consistent_read=True)
    except DoesNotExist:
        return None
    return Claimed(row.claimed_job_id, row.fingerprint, row.sequencer)


def _claim_key(identity: str) -> str:
    return f"claim#{hashlib.sha256(identity.encode()).hexdigest()}"


# ── the sweep ───────────────────────────────────────────────────────────────────────────────────


class Unreadable(NamedTuple):
    """A row that this version cannot read, and why."""

    pk: str
    sk: str
    error: Exception


def overdue(shard: str, now: float) -> Iterator[list[Row | Unreadable]]:
    """The rows of a shard that are to be looked at, as they are now, oldest first, page by page."""
    # The index is asked for keys alone: a row of a kind that this version does not know is no obstacle.
    hits = Row.by_due.query(
        shard, Row.due_at < int(now), attributes_to_get=["pk", "sk"], page_size=100
    )
    keys = ((hit.pk, hit.sk) for hit in hits)
    while page := list(islice(keys, 100)):
        yield _read_each(page, consistent=True)


def _read_each(keys: list[tuple[str, str]], *, consistent: bool = False) -> list[Row | Unreadable]:
    try:
        return list(Row.batch_get(keys, consistent_read=consistent))
    except PynamoDBException:
        raise
    except Exception:  # one of them cannot be read: which?
        return [_read(key) for key in keys]


def _read(key: tuple[str, str]) -> Row | Unreadable:
    try:
        return Row.get(*key, consistent_read=True)
    except PynamoDBException:
        raise
    except Exception as error:
        logger.warning("A row cannot be read", row=" ".join(key), error=str(error))
        return Unreadable(*key, error)


def count_ended(row: Job) -> int:
    """How much of a job has ended: grows while it moves."""
    try:
        ended = len(Ended.get(row.pk, Ended.SK, consistent_read=True).tasks or ())
    except DoesNotExist:
        ended = 0
    return ended + sum(state.status in TERMINAL for state in row.step_states.values())


def postpone(row: Job, *, looks: int, seen: int) -> bool:
    """Look at a job again later, `looks` having found no progress; False where it has changed since."""
    pause = min(LOOK_SECONDS * 3**looks, _MOST_LOOK_SECONDS)
    due = min(int(time.time()) + pause, int(row.deadline_at))
    unchanged = Job.due_at == row.due_at
    changes = [Job.due_at.set(due), Job.looks.set(looks), Job.seen.set(seen)]
    return _update(Job(row.pk, row.sk), changes, unchanged & _OPEN)


def hasten(job_id: str, seconds: int) -> bool:
    """Have the sweep look at a job within `seconds`; False where it would anyway, or the job has ended."""
    at = int(time.time()) + seconds
    would_look_later = Job.due_at > at
    return _update(Job(_job_key(job_id), Job.SK), [Job.due_at.set(at)], would_look_later & _OPEN)


_OPEN = Job.status.is_in(PENDING, STARTED)


def put_off(pk: str, sk: str) -> None:
    """Leave a row for an hour that this version cannot look after."""
    is_due = Row.due_at.exists()
    _update(Row(pk, sk), [Row.due_at.set(int(time.time()) + 3600)], is_due)


def forget(row: Row) -> None:
    """Look at this row no more."""
    still_due = Row.due_at == row.due_at
    _update(type(row)(row.pk, row.sk), [Row.due_shard.remove(), Row.due_at.remove()], still_due)


# ── budgets ─────────────────────────────────────────────────────────────────────────────────────


def _charge(charge: Charge, row: Job, actions: Sequence[Action], condition: Condition) -> bool:
    """As `_update`; by the same write the owner's day is charged, so that a job is once, whoever repeats it.

    False, too, where another has charged for the job since it was read. What was charged stays, whatever
    becomes of the job: it was estimated, and may have been spent. Raises JobError where the day has no room
    for it.
    """
    more = charge.usd - charge.before
    if more <= 0:
        return _update(row, actions, condition)
    as_read: Condition = Job.charged_usd == charge.before
    condition &= as_read if charge.before else as_read | Job.charged_usd.does_not_exist()
    limit = settings().max_owner_day_usd
    day = datetime.now(UTC).date().isoformat()
    budget = Budget(f"budget#{charge.owner}", day)
    has_room = Budget.spent_usd.does_not_exist() | (Budget.spent_usd <= limit - more)
    changes: list[Action] = [
        Budget.row.set(Budget),  # an update that creates does not say what it creates
        Budget.spent_usd.add(more),
        Budget.expires_at.set(int(time.time()) + settings().retention_days * _DAY),
    ]
    for tries_left in reversed(range(_CONFLICTS)):
        if more > limit:
            break
        try:
            with TransactWrite(
                connection=Row._get_connection().connection, return_consumed_capacity="TOTAL"
            ) as write:
                write.update(row, [*actions, Job.charged_usd.set(charge.usd)], condition)
                write.update(budget, changes, has_room)
        except TransactWriteError as error:
            reasons = [reason and reason.code for reason in error.cancellation_reasons]
            if reasons[:1] == [_NOT_MET]:
                return False
            if reasons[1:] == [_NOT_MET]:
                break
            if _CONFLICT not in reasons or not tries_left:
                raise
            time.sleep(random.uniform(0.02, 0.2))
        else:
            metrics.add_metric("EstimatedDollars", MetricUnit.NoUnit, more)
            return True
    raise JobError(
        "over_budget",
        f"The job would cost about {dollars(charge.usd)}, and what this owner starts on {day} (UTC) may "
        f"cost {dollars(limit)} in all (SLUICE_MAX_OWNER_DAY_USD): start it tomorrow, or have that raised.",
    )


# ── conditional writes ──────────────────────────────────────────────────────────────────────────


def _put(row: Row, condition: Condition) -> bool:
    try:
        row.save(condition=condition)
    except PutError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True


def _update(row: Row, actions: Sequence[Action], condition: Condition) -> bool:
    try:
        row.update(actions=list(actions), condition=condition)
    except UpdateError as error:
        if error.cause_response_code != _LOST:
            raise
        return False
    return True
