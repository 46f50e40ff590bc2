"""What happens when nothing happens any more: the sweep, which sees that every job ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from chalicelib.errors import JobError
from chalicelib.jobs import lifecycle
from chalicelib.model.job import PENDING, TERMINAL
from chalicelib.model.plan import outputs_prefix
from chalicelib.store import ledger, objects, queues
from chalicelib.store.ledger import Unreadable
from chalicelib.store.table import Job, Row, TaskRow
from chalicelib.telemetry import MetricUnit, logger, metrics

# Of the sweep: shards at once, and of each of them rows at once.
_SHARDS_AT_ONCE = 4
_ROWS_AT_ONCE = 4


def sweep(work_seconds: Callable[[], float]) -> None:
    """Look at every job whose time for that has come, for at most `work_seconds`; the next sweep goes on.

    A job past its deadline is ended. Where another has not moved since the last look, intake sends what is
    due, whatever became of its messages; the next look comes after a longer time. What goes wrong with one
    does not keep the sweep from the others: it is raised in the end.
    """
    until = time.monotonic() + work_seconds()
    shards = random.sample(ledger.SHARDS, len(ledger.SHARDS))  # each is first some time
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        looks = [look for found in pool.map(partial(_sweep_shard, until), shards) for look in found]
    # No metric of each run: it would be there, and be paid for, all month; and Lambda counts runs.
    sent = sum(look.sent for look in looks)
    if sent:
        metrics.add_metric("SweptJobs", MetricUnit.Count, sent)
    if metrics.metric_set:  # jobs that it has ended count, too
        metrics.flush_metrics()
    errors = [look.error for look in looks if look.error]
    if errors:
        raise ExceptionGroup("Some rows could not be looked after", errors)


class Look(NamedTuple):
    """What came of looking at a row."""

    sent: bool = False  # whether intake was told to send what is due
    error: Exception | None = None


def _sweep_shard(until: float, shard: str) -> list[Look]:
    looks: list[Look] = []
    try:
        with ThreadPoolExecutor(_ROWS_AT_ONCE) as pool:
            for page in ledger.overdue(shard, time.time()):
                looks += pool.map(partial(look_at, until), page)
                if time.monotonic() >= until:
                    break
    except Exception as error:
        logger.exception("A part of the index could not be read")
        looks.append(Look(error=error))
    return looks


def look_at(until: float, row: Row | Unreadable) -> Look:
    """Look after one row, if there is time; never raises."""
    if time.monotonic() >= until:
        return Look()
    try:
        if isinstance(row, Unreadable):
            raise row.error
        return Look(sent=_look_after(row))
    except Exception as error:
        logger.exception("A row could not be looked after", row=f"{row.pk} {row.sk}")
        if isinstance(row, Unreadable):
            ledger.put_off(row.pk, row.sk)
        return Look(error=error)


def _look_after(row: Row) -> bool:
    """Whether intake was told to send what is due."""
    if row.due_at is None or row.due_at > time.time():
        return False  # it has changed since the index said so
    if isinstance(row, TaskRow):  # of an older version, which had tasks looked at, too
        ledger.hasten(row.job_id, 0)
        ledger.forget(row)
    elif not isinstance(row, Job):
        logger.warning("A row of a kind that this version does not know", row=f"{row.pk} {row.sk}")
        ledger.put_off(row.pk, row.sk)
    elif row.status in TERMINAL:
        _tidy(row)
        ledger.forget(row)
    elif row.status == PENDING and row.awaits_upload:
        return _look_for_upload(row)
    elif row.deadline_at <= time.time():
        error = JobError("deadline_exceeded", "The job did not end in the time that it was given.")
        lifecycle.fail(row, error, overdue=True)
    else:
        return _move_on(row)
    return False


def _look_for_upload(row: Job) -> bool:
    if objects.has_original(row.source_key):
        # It came, and intake has not yet had its turn. A queue's backlog is no failure.
        queues.send_start(row.job_id)
        ledger.await_intake(row)
        return True
    if row.deadline_at <= time.time():
        detail = "No file was uploaded before the upload's URL expired."
        lifecycle.fail(row, JobError("upload_expired", detail), overdue=True)
    else:
        ledger.postpone(row, looks=0, seen=0)
    return False


def _move_on(row: Job) -> bool:
    ended = ledger.count_ended(row)
    if ended != (row.seen or 0):
        # Not sooner than before: all of a film that moves slowly would be sent each time that it rests.
        ledger.postpone(row, looks=int(row.looks or 0), seen=ended)
        return False
    logger.warning("It does not move: what is due is sent again", job_id=row.job_id)
    queues.send_start(row.job_id, resume=True)
    ledger.postpone(row, looks=int(row.looks or 0) + 1, seen=ended)
    return True


def _tidy(row: Job) -> None:
    """Delete what a job has stored among the outputs and does not list."""
    objects.delete_outputs(list(_unlisted(row)))


def _unlisted(row: Job) -> Iterator[str]:
    outputs = [state.output for state in row.step_states.values() if state.output]
    whole = {output.s3_key for output in outputs if output.complete}
    folders = tuple(key.rpartition("/")[0] + "/" for key in whole if key.endswith(".m3u8"))
    for key in objects.list_outputs(outputs_prefix(row.job_id)):
        if key not in whole and not (folders and key.startswith(folders)):
            yield key
