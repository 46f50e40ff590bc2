"""The sweep: each minute it looks at jobs that are due, so that every job ends whatever was lost.

It sends again what a lost message has left undone, tells what was not told, ends jobs that are past their
deadline, and deletes what an ended job does not list, and what a deleted job has left.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from chalicelib.errors import JobError
from chalicelib.jobs import lifecycle
from chalicelib.model.event import Delivery, Event
from chalicelib.model.job import Item, Job, TaskRecord
from chalicelib.model.plan import outputs_prefix, work_prefix
from chalicelib.model.step import DELETED, PENDING, TERMINAL, StepState
from chalicelib.model.work import Source
from chalicelib.store import deliveries, jobs, listings, objects, outbox, overdue, queues, steps
from chalicelib.telemetry import MetricUnit, logger, metrics

# How many shards are swept at once, and how many rows of each.
_SHARDS_AT_ONCE = 4
_ROWS_AT_ONCE = 4


def sweep(work_seconds: Callable[[], float]) -> None:
    """Look at every job that is due, for at most `work_seconds()`; the next sweep goes on.

    A job past its deadline is ended. Where a job has not moved since the last look, intake sends what is due
    of it, and the next look comes after a longer time. An error with one row does not keep the sweep from the
    others: errors are raised at the end, as an ExceptionGroup.
    """
    until = time.monotonic() + work_seconds()
    shards = random.sample(overdue.SHARDS, len(overdue.SHARDS))  # so that each is first some time
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        looks = [look for found in pool.map(partial(_sweep_shard, until), shards) for look in found]
    # No metric of each run: it would be paid for all month, and Lambda counts runs.
    sent = sum(look.sent for look in looks)
    if sent:
        metrics.add_metric("SweptJobs", MetricUnit.Count, sent)
    if metrics.metric_set:  # also by jobs that it has ended
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
            for page in overdue.pages(shard, time.time()):
                looks += pool.map(partial(look_at, until), page)
                if time.monotonic() >= until:
                    break
    except Exception as error:
        logger.exception("A part of the index could not be read")
        looks.append(Look(error=error))
    return looks


def look_at(until: float, item: Item) -> Look:
    """Look after one row, unless `until` (of time.monotonic) is over; never raises."""
    if time.monotonic() >= until:
        return Look()
    try:
        if item.error:
            raise item.error
        return Look(sent=_look_after(item))
    except Exception as error:
        logger.exception("A row could not be looked after", row=" ".join(item.key))
        if item.error:
            overdue.put_off(item)
        return Look(error=error)


def _look_after(item: Item) -> bool:
    """Whether intake was told to send what is due."""
    if item.due_at is None or item.due_at > time.time():
        return False  # it has changed since the index said so
    match item.value:
        case Job() as job:
            return _look_after_job(job, item)
        case TaskRecord():  # of an older version, which had tasks looked at, too
            jobs.look_soon(item.key[0].partition("#")[2], 0)
            overdue.forget(item)
        case Event() as event:
            outbox.tell_again(event, item)
        case Delivery() as delivery:
            deliveries.send_again(delivery, item)
        case _:
            logger.warning(
                "A row of a kind that this version does not know", row=" ".join(item.key)
            )
            overdue.put_off(item)
    return False


def _look_after_job(job: Job, item: Item) -> bool:
    """Whether intake was told to send what is due."""
    if job.status == DELETED:
        _remove(job, item)
    elif job.status in TERMINAL:
        _tidy(job, item)
    elif job.status == PENDING and job.awaits_upload:
        return _look_for_upload(job)
    elif job.deadline_at <= time.time():
        error = JobError("deadline_exceeded", "The job did not end in the time that it was given.")
        lifecycle.fail(job, error, overdue=True)
    else:
        return _move_on(job)
    return False


def _look_for_upload(job: Job) -> bool:
    """Have intake start a job whose upload has come without its event; end one whose upload is overdue."""
    if objects.has_original(job.source_key):
        # It came, and intake has not yet had its turn. A queue's backlog is no failure.
        queues.send_start(job.job_id)
        overdue.await_intake(job)
        return True
    if job.deadline_at <= time.time():
        detail = "No file was uploaded in the time that the upload had."
        lifecycle.fail(job, JobError("upload_expired", detail), overdue=True)
    else:
        overdue.postpone(job, looks=0, seen=0)
    return False


def _move_on(job: Job) -> bool:
    """Have intake send what is due of a job of which nothing has ended since the last look."""
    ended = overdue.count_ended(job)
    if ended != job.seen:
        # Not sooner than before: all of a film that moves slowly would be sent each time that it rests.
        overdue.postpone(job, looks=job.looks, seen=ended)
        return False
    logger.warning("It does not move: what is due is sent again", job_id=job.job_id)
    queues.send_start(job.job_id, resume=True)
    overdue.postpone(job, looks=job.looks + 1, seen=ended)
    return True


def _remove(job: Job, item: Item) -> None:
    """Delete all that a deleted job has left but its tombstone; and again when no worker can be at it."""
    for prefix in (outputs_prefix(job.job_id), work_prefix(job.job_id)):
        listings.delete_outputs(list(listings.list_outputs(prefix)))
    if job.takes_original and job.etag:
        listings.delete_original(Source(job.source_key, job.etag))
    jobs.forget_items(job.job_id)
    if job.deadline_at > time.time():
        overdue.look_once_more(job)
    else:
        overdue.forget(item)


def _tidy(job: Job, item: Item) -> None:
    """Delete the objects under a job's outputs that it does not list."""
    states = steps.states(job)
    if states is None:  # another version may know what it lists
        overdue.put_off(item)
        return
    listings.delete_outputs(list(_unlisted(job, states)))
    overdue.forget(item)


def _unlisted(job: Job, states: Mapping[str, StepState]) -> Iterator[str]:
    whole = {each.s3_key for state in states.values() for each in state.outputs if each.complete}
    folders = tuple(key.rpartition("/")[0] + "/" for key in whole if key.endswith(".m3u8"))
    for key in listings.list_outputs(outputs_prefix(job.job_id)):
        if key not in whole and not (folders and key.startswith(folders)):
            yield key
