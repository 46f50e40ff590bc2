"""What intake writes: how a job comes to follow a plan, and what came of looking at its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pynamodb.expressions.update import Action

from chalicelib.model.job import Charge, Job
from chalicelib.model.plan import GENERATION, Plan
from chalicelib.model.step import PENDING, STARTED, TERMINAL
from chalicelib.store import budgets, jobs, outbox, steps, writes
from chalicelib.store.table import JobRow
from chalicelib.store.writes import Change


def start(
    job: Job,
    *,
    pipeline: Sequence[str | dict[str, Any]],
    recipe: str,
    duration: float | None,
    etag: str,
    plan: Plan,
    starter: str,
    charge: Charge,
    checksum: str = "",
) -> bool:
    """PENDING → STARTED, once, by the message `starter`. False where it was not PENDING.

    `pipeline` is what `plan` makes, and `recipe` is the one that says so, if any. `duration` in seconds, None
    for images. `checksum` is the CRC-64/NVME of the source, if S3 has it. The same write charges the owner:
    raises JobError as `budgets.charge`.
    """
    still_pending = JobRow.status == PENDING
    return budgets.charge(
        charge,
        writes.job_row(job.job_id),
        [
            JobRow.status.set(STARTED),
            *([JobRow.duration.set(duration)] if duration is not None else []),
            JobRow.pipeline.set(list(pipeline)),
            JobRow.recipe.set(recipe),
            JobRow.step_names.set(list(plan.steps)),
            JobRow.steps.set({name: {"status": PENDING} for name in plan.steps}),
            JobRow.etag.set(etag),
            *([JobRow.checksum_crc64nvme.set(checksum)] if checksum else []),
            JobRow.started_by.set(GENERATION),
            *_follow(plan, starter),
            *writes.add_used(JobRow, writes.lap()),
        ],
        still_pending,
        [outbox.note(job.job_id, "job.started")] if job.is_told else [],
    )


def restart(job: Job, plan: Plan, starter: str) -> bool:
    """Have a STARTED job follow a plan of this generation, by the message `starter`; what has ended stays.

    Outputs that grew by the plan that is left are forgotten. False where the job has ended, follows another
    plan by now, or a step has ended or listed an output since `job` was read.
    """
    # Whatever becomes of a step is written together with the moment.
    unchanged = (
        (JobRow.status == STARTED)
        & writes.follows(job.generation)
        & (JobRow.updated_at == job.updated_at)
    )
    changes = [
        *(
            JobRow.steps[name].set({"status": PENDING})
            for name, status in job.step_statuses.items()
            if status not in TERMINAL
        ),
        JobRow.replanned.set(True),
        *_follow(plan, starter),
        *writes.add_used(JobRow, writes.lap()),
    ]
    row = writes.job_row(job.job_id)
    forgotten = steps.forget_growing(job.job_id)
    if forgotten is None:
        return writes.update(row, changes, unchanged)
    return not writes.transact(Change(row, changes, unchanged), forgotten)


def _follow(plan: Plan, starter: str) -> list[Action]:
    return [
        JobRow.generation.set(GENERATION),
        JobRow.starter.set(starter),
        JobRow.encoding.set(plan.encoding),
        *writes.more_time(),
        JobRow.updated_at.set(writes.now_iso()),
    ]


def await_copy(
    job: Job,
    etag: str,
    charge: Charge,
    pipeline: Sequence[str | dict[str, Any]],
    recipe: str,
) -> bool:
    """Pin the source of which a copy is made, and what is to be made of it; the job has as long as any other.

    It is done once. False where it has another source, has started or ended. The same write charges the
    owner: raises JobError as `budgets.charge`.
    """
    no_copy_requested = (JobRow.status == PENDING) & ~(JobRow.awaits_copy == True)  # noqa: E712
    changes: list[Action] = [
        JobRow.etag.set(etag),
        JobRow.pipeline.set(list(pipeline)),
        JobRow.recipe.set(recipe),
        JobRow.awaits_copy.set(True),
        JobRow.awaits_upload.set(False),
        *writes.more_time(),
        *writes.add_used(JobRow, writes.lap()),
    ]
    if budgets.charge(charge, writes.job_row(job.job_id), changes, no_copy_requested):
        return True
    current = jobs.get(job.job_id)
    return current is not None and current.status not in TERMINAL and current.etag == etag


def count_try(job: Job) -> Job:
    """Count that intake looks at a job by a message that came before; the job as it is then.

    A message that comes for the first time is not counted: hardly any job has another. A job that has ended
    is not counted either, and returned as it was given.
    """
    row = writes.job_row(job.job_id)
    return row.value() if writes.update(row, [JobRow.tries.add(1)], writes.NOT_ENDED) else job


def note_failed_try(job_id: str, reason: str) -> None:
    """Keep why a job could not be started, for the day when it has been tried once too often."""
    used = writes.lap()
    condition = writes.NOT_ENDED
    for entry in used:  # of a write whose answer was lost, and that is sent again
        condition &= ~JobRow.used.contains(entry)
    changes = [JobRow.last_error.set(reason), *writes.add_used(JobRow, used)]
    writes.update(writes.job_row(job_id), changes, condition)
