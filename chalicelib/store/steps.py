"""Steps: their statuses in a job's row, and in an item of its own what they have come to.

Both are written by one transaction, so neither is ever ahead of the other, and what the row's condition keeps
a late worker from is kept from the other item, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from pynamodb.exceptions import DoesNotExist, PynamoDBException
from pynamodb.expressions.condition import Condition

from chalicelib.model.job import Job, StepStates
from chalicelib.model.plan import GENERATION
from chalicelib.model.step import STARTED, SUCCESS, TERMINAL, WORKED_OUT, Output, StepState
from chalicelib.store import outbox, writes
from chalicelib.store.table import JobRow, StepsRow
from chalicelib.store.writes import Change
from chalicelib.telemetry import logger


def end(
    job: Job,
    states: Mapping[str, StepState],
    *,
    generation: str | None = None,
    deadline: int | None = None,
) -> Job | None:
    """Write how steps have ended, each once: those of them that have not ended yet; the job as it is then.

    None where it is no longer at work by the plan of that `generation`, ours unless told: what a worker of
    another one comes to does not count any more. With `deadline`, also where that is no longer the job's.
    `job` may be as it was long ago: where more of it has ended, the refusal tells what.
    """
    followed = GENERATION if generation is None else generation
    while _is_at_work(job, followed, deadline):
        open_steps = [name for name, status in job.step_statuses.items() if status not in TERMINAL]
        ended = {name: states[name] for name in open_steps if name in states}
        if not ended:
            return job
        unchanged = (JobRow.status == STARTED) & writes.follows(followed)
        if deadline is not None:
            unchanged &= JobRow.deadline_at == deadline
        for name in open_steps:  # the others, too: so whoever ends the last one knows that it is
            unchanged &= writes.step_is_open(name)
        statuses = {name: state.status for name, state in ended.items()}
        changes = [JobRow.steps[name].set({"status": statuses[name]}) for name in ended]
        notes = [
            outbox.note(job.job_id, "job.output_ready", name)
            for name, state in ended.items()
            if job.is_told and state.status == SUCCESS
        ]
        refused = writes.transact(
            Change(
                writes.job_row(job.job_id),
                [*changes, JobRow.updated_at.set(writes.now_iso())],
                unchanged,
            ),
            _told(job.job_id, [StepsRow.entry(name, state) for name, state in ended.items()]),
            *notes,
        )
        if not refused:
            outbox.tell(notes)
            return msgspec.structs.replace(job, step_statuses=job.step_statuses | statuses)
        found = refused[0] and refused[0].raw_item
        if not found:
            return None
        job = JobRow.from_raw_data(found).value()
    return None


def _is_at_work(job: Job, generation: str, deadline: int | None) -> bool:
    follows = job.status == STARTED and job.generation == generation
    return follows and deadline in (None, int(job.deadline_at))


def list_growing(job_id: str, step: str, output: Output) -> None:
    """List an output that plays and grows, while its step has not ended."""
    entry = StepsRow.entry(step, StepState(outputs=(output,)))
    follows_this_plan = (JobRow.status == STARTED) & writes.follows(GENERATION)
    not_listed = ~StepsRow.states.contains(entry)
    writes.transact(
        Change(
            writes.job_row(job_id),
            [JobRow.updated_at.set(writes.now_iso())],
            follows_this_plan & writes.step_is_open(step),
        ),
        _told(job_id, [entry], not_listed),
    )


def _told(job_id: str, entries: Collection[str], condition: Condition | None = None) -> Change:
    """The change that adds what steps have come to, also where nothing has been told before."""
    return Change(
        StepsRow(writes.job_key(job_id), StepsRow.SK),
        [
            StepsRow.row.set(StepsRow),  # PynamoDB's update() does not write it into a new item
            StepsRow.states.add(set(entries)),
            StepsRow.expires_at.set(writes.subitem_expiry()),
        ],
        condition,
    )


def forget_growing(job_id: str) -> Change | None:
    """The change that forgets the outputs that grow; None where none does."""
    row = _read(job_id)
    growing = row.growing() if row else None
    return Change(row, [StepsRow.states.delete(growing)]) if row and growing else None


def states(job: Job) -> dict[str, StepState] | None:
    """What the steps of a job have come to by now, in pipeline order; None where that cannot be read."""
    try:
        row = _read(job.job_id)
        told = row.value() if row else StepStates()
    except PynamoDBException:
        raise
    except Exception:
        logger.exception("What steps have come to cannot be read", job_id=job.job_id)
        return None
    return None if is_behind(job, told) else merged(job, told)


def _read(job_id: str) -> StepsRow | None:
    try:
        return StepsRow.get(writes.job_key(job_id), StepsRow.SK, consistent_read=True)
    except DoesNotExist:
        return None


def merged(job: Job, told: StepStates) -> dict[str, StepState]:
    """What each step has come to, in pipeline order; `told` may have been read before the job, or after."""
    found = job.former_states | told.states
    return {
        name: found[name] if name in found and _agrees(found[name], status) else StepState(status)
        for name, status in job.step_statuses.items()
    }


def _agrees(state: StepState, status: str) -> bool:
    """False where it was read before the step ended: the status is ahead of it."""
    return state.status in TERMINAL or status not in TERMINAL


def is_behind(job: Job, told: StepStates) -> bool:
    """Whether `told` was read before a step ended that has ended in `job`.

    Of a step that was canceled nothing is told.
    """
    found = job.former_states | told.states
    return any(
        status in WORKED_OUT and (name not in found or not _agrees(found[name], status))
        for name, status in job.step_statuses.items()
    )
