"""Budgets: what an owner's jobs of one day may cost in all, charged by the write that starts a job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.errors import JobError
from chalicelib.model.job import Charge
from chalicelib.model.usage import dollars
from chalicelib.settings import settings
from chalicelib.store import outbox, writes
from chalicelib.store.table import BudgetRow, JobRow
from chalicelib.store.writes import NOT_MET, Change
from chalicelib.telemetry import MetricUnit, metrics


def charge(
    charge: Charge,
    row: JobRow,
    actions: Sequence[Action],
    condition: Condition,
    notes: Sequence[Change] = (),
) -> bool:
    """Change a job's row as `writes.update` does, and charge the owner's day in the same transaction.

    So a job is charged once, whoever repeats the write. False, too, where another has charged for the job
    since it was read. A charge stays, whatever becomes of the job: it was estimated, and may be spent.
    The `notes` of the outbox are written with it. Raises JobError `over_budget` where the day has no room.
    """
    more = charge.usd - charge.before
    if more <= 0:
        return outbox.update(row, actions, condition, notes)
    as_read: Condition = JobRow.charged_usd == charge.before
    condition &= as_read if charge.before else as_read | JobRow.charged_usd.does_not_exist()
    limit = settings().max_owner_day_usd
    day = datetime.now(UTC).date().isoformat()
    budget = BudgetRow(f"budget#{charge.owner}", day)
    has_room = BudgetRow.spent_usd.does_not_exist() | (BudgetRow.spent_usd <= limit - more)
    changes: list[Action] = [
        BudgetRow.row.set(BudgetRow),  # PynamoDB's update() does not write it into a new item
        BudgetRow.spent_usd.add(more),
        BudgetRow.expires_at.set(int(time.time()) + settings().retention_days * writes.DAY),
    ]
    if more <= limit:
        refused = writes.transact(
            Change(row, [*actions, JobRow.charged_usd.set(charge.usd)], condition),
            Change(budget, changes, has_room),
            *notes,
        )
        if not refused:
            outbox.tell(notes)
            metrics.add_metric("EstimatedDollars", MetricUnit.NoUnit, more)
            return True
        if refused[0] is not None and refused[0].code == NOT_MET:
            return False
    raise JobError(
        "over_budget",
        f"The job would cost about {dollars(charge.usd)}, and what this owner starts on {day} (UTC) may "
        f"cost {dollars(limit)} in all (SLUICE_MAX_OWNER_DAY_USD): start it tomorrow, or have that raised.",
    )
