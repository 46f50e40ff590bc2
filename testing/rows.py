"""Read, change, delete and count rows of the table directly, for tests, past the verbs of the store."""

from __future__ import annotations

import time
import uuid
from typing import Any

import boto3

from chalicelib.model.event import WAITING
from chalicelib.settings import settings
from chalicelib.store.event_rows import DeliveryRow, EventRow
from chalicelib.store.overdue import SHARDS
from chalicelib.store.table import BudgetRow, EndedRow, JobRow, Row, TaskRow


def item(pk: str, sk: str) -> dict[str, Any]:
    """A row with all its attributes, as DynamoDB returns them."""
    table = boto3.client("dynamodb")
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    response = table.get_item(TableName=settings().jobs_table, Key=key, ConsistentRead=True)
    return dict(response["Item"])


def job_item(job_id: str) -> dict[str, Any]:
    return item(f"job#{job_id}", "job")


def task_item(job_id: str, task_id: str) -> dict[str, Any]:
    return item(f"job#{job_id}", TaskRow.sk_of(task_id))


def ticket_item(key: str) -> dict[str, Any]:
    return item(f"upload#{key}", "ticket")


def items_of(job_id: str) -> set[str]:
    """The sort keys of all items of a job."""
    return {row.sk for row in Row.query(f"job#{job_id}", attributes_to_get=["pk", "sk"])}


def change_job(job_id: str, **attributes: Any) -> None:
    """Set attributes of a job's row."""
    actions = [getattr(JobRow, name).set(value) for name, value in attributes.items()]
    JobRow(f"job#{job_id}", JobRow.SK).update(actions)


def change_task(job_id: str, task_id: str, **attributes: Any) -> None:
    """Set attributes of a task's row."""
    actions = [getattr(TaskRow, name).set(value) for name, value in attributes.items()]
    TaskRow(f"job#{job_id}", TaskRow.sk_of(task_id)).update(actions)


def add_task(job_id: str, name: str, used: list[str]) -> None:
    """Add a task that is done, with its usage; `name` may be of another generation."""
    row = TaskRow(f"job#{job_id}", f"task#{name}", state="done", used=used)
    row.save()


def forget_tasks(job_id: str) -> None:
    """Delete the rows of this generation's tasks, as if none had been claimed."""
    for kind in (EndedRow.SK, "task#"):
        for row in Row.query(f"job#{job_id}", Row.sk.startswith(kind)):
            row.delete()


def add_overdue_jobs(count: int) -> None:
    """Add jobs that never started, and whose deadline is over."""
    past = int(time.time()) - 1
    with JobRow.batch_write() as batch:
        for _ in range(count):
            job_id = str(uuid.uuid4())
            batch.save(
                JobRow(
                    f"job#{job_id}", "job", status="PENDING", source_key="a", created=job_id,
                    created_at="x", updated_at="x", deadline_at=past, due_shard=job_id[0], due_at=past,
                )
            )  # fmt: skip


def count_due() -> int:
    """The number of rows that are due for the sweep."""
    now = int(time.time())
    return sum(Row.by_due.count(shard, Row.due_at < now) for shard in SHARDS)


def statuses() -> set[str]:
    """The statuses of all jobs."""
    return {row.status for row in JobRow.scan(attributes_to_get=["status", "row"])}


def spent() -> dict[str, float]:
    """US dollars that each owner's budget is charged, by owner; all jobs of a test start on one day."""
    return {
        row.pk.removeprefix("budget#"): float(row.spent_usd)
        for row in BudgetRow.scan(BudgetRow.pk.startswith("budget#"))
    }


def untold() -> list[EventRow]:
    """All events that are not deliveries yet."""
    return list(EventRow.scan(EventRow.pk.startswith("event#")))


def deliveries_of(endpoint_id: str) -> list[DeliveryRow]:
    """The deliveries to an endpoint, in the order of their keys."""
    return list(DeliveryRow.query(f"webhook#{endpoint_id}"))


def make_events_due() -> None:
    """Let the time come for every event that is to be told, and every delivery that waits for an attempt."""
    for row in untold():
        row.update([EventRow.due_at.set(1)])
    for delivery in DeliveryRow.scan(DeliveryRow.pk.startswith("webhook#")):
        if delivery.state == WAITING:
            delivery.update([DeliveryRow.due_at.set(1), DeliveryRow.next_at.set(1)])


def count_due_of(prefix: str) -> int:
    """The number of rows that the sweep is to look at at any time, of these keys."""
    return sum(
        row.pk.startswith(prefix)
        for shard in SHARDS
        for row in Row.by_due.query(shard, attributes_to_get=["pk", "sk"])
    )
