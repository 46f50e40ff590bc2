"""Estimate what a plan will use; pure functions.

Requests follow formulas, which tests/moto/test_usage.py checks against counted requests. Times are rules of
thumb.

AWS requests of a job for a key that sends n first messages to q queues. A dropped file makes 4 more requests
to DynamoDB, and one for each operator that is named. Events are not in it.

function         DynamoDB           S3                                       SQS
intake           3                  3 + those of probing the source,         2, 1 + ⌈(n - 1)/10⌉ for each of q
                                    and one for each track with excerpts
image, k steps   4                  2 + k                                    2
poster           4                  4, and 2 for each dull candidate         2
chunk, audio     4                  3 and, of each track, 1 + segments;      2
                                    2 without excerpts instead of 3
a file of sound  4                  4; 3 without excerpts                    2
MP4              4 + ⌈parts/100⌉    3 + tracks + segments + ⌈bytes/8 MiB⌉    2
HLS              4 + ⌈parts/100⌉    2 + tracks, and 1 for each rung          2
preview          4                  1 + files, and 2 for each piece; 2 +     2
                                    files without excerpts
storyboard       4 + ⌈parts/100⌉    5 + sheets + different key frames        2
captions         4                  1 + tracks, and 1 for each file             2
                                    of captions, and 1 for those of the film
a job            2, and 1 with HLS  1 with HLS                               1 for all packages

Each operator's watermark is one more request to S3, of intake and of each task that lays it. Each file of
captions is one to S3 and one to DynamoDB, of intake.

The steps that a task ends are one request to DynamoDB, a transaction, however many. An estimate leaves out
what a job may need more: that request again, where another task has ended a step meanwhile; an item that is
read where a step has failed; for progress, one request to DynamoDB for each second of encoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil

import msgspec

from chalicelib.model.facts import Facts, VideoFacts
from chalicelib.model.plan import CAPTIONS, SOUND, Plan
from chalicelib.model.usage import POLLER_REQUESTS, Used, total
from chalicelib.model.work import Animation, Captions, Hls, Images, Remux, marks_of
from chalicelib.planning.copying import BYTES_A_SECOND
from chalicelib.settings import FunctionSize
from chalicelib.store.objects import READERS
from chalicelib.tasks.kinds import kind_of
from chalicelib.tasks.prediction import Basis, Prediction
from chalicelib.tasks.sharing import parts_by_step

# Seconds for one AWS request, where requests are made one after the other.
_REQUEST_SECONDS = 0.01
# Seconds of a cold start. On our machine imports take half of it; AWS also bills the start of Python.
_INIT_SECONDS = 0.6
# DynamoDB write units (1 KB each) of one update of a job's row while it is at work, and as it ends, when all
# that it has used is in it. An update of an indexed attribute deletes one entry of the index and writes
# another.
_ROW_WRITES = 1
_ENDED_ROW_WRITES = 2
_INDEX_WRITES = 2
# In a transaction each write unit counts twice: of the job's row and the budget as it starts, of its row and
# the item of what steps have come to as they end.
_IN_TRANSACTION = 2
_CHARGE_WRITES = 1
_STEP_BYTES = 250  # of a step with one output, in that item
_ID_BYTES = 10  # of a task's id in the set of ended tasks


class Estimate(msgspec.Struct, frozen=True):
    """What a job will use if one warm execution environment of each function waits for it."""

    used: list[Used]
    bytes_stored: int  # of all outputs
    parts: dict[str, float]  # of each step in that


def estimate(
    plan: Plan,
    facts: Facts,
    size: int,
    probing: Used,
    sizes: Mapping[str, FunctionSize],
    film: VideoFacts | None = None,
) -> Estimate:
    """Estimate a job for a source of `size` bytes; `probing` is what probing it used.

    `film` are the facts of the film that an image is copied into.
    """
    stored_plan = len(msgspec.json.encode(plan))
    read = film or facts
    index = read.index if isinstance(read, VideoFacts) else None
    tracks = index.tracks(audio=SOUND in plan.samples) if index else []
    samples = [len(track.rows) for track in tracks]
    bases = [
        Basis(
            plan,
            task,
            facts if isinstance(task.work, Images | Animation) else read,
            size,
            sizes[task.pool],
        )
        for task in plan.tasks
    ]
    predicted = [_predicted(basis) for basis in bases]
    last = plan.tasks[-1].pool
    by_tasks = [
        _of_task(basis, prediction, stored_plan)
        for basis, prediction in zip(bases, predicted, strict=True)
    ]
    return Estimate(
        total(
            [
                _of_intake(plan, probing, stored_plan, samples, sizes["intake"]),
                *_of_watermarks(plan),
                *_of_sidecars(plan),
                *(probing for task in plan.tasks if isinstance(task.work, Remux | Animation)),
                *by_tasks,
                *_of_cold_starts(plan, sizes),
                *_of_fan_in(plan),
                Used(
                    last,
                    dynamodb=2,
                    reads=ceil(len(plan.tasks) / 4),
                    writes=_ENDED_ROW_WRITES + 1.5 * _INDEX_WRITES,
                ),
            ]
        ),
        sum(prediction.output_bytes for prediction in predicted),
        parts_by_step(plan, zip((task.id for task in plan.tasks), by_tasks, strict=True)),
    )


def _predicted(basis: Basis) -> Prediction:
    """What the work of a task will use. One that copies files asks for each twice, and moves nothing."""
    predicted = kind_of(basis.task.work).predict(basis)
    if basis.task.id not in basis.plan.reused:
        return predicted
    files = predicted.s3_puts
    return Prediction(files, files, 0, 0, 0.0, 1, READERS, predicted.output_bytes)


def _of_intake(
    plan: Plan, probing: Used, stored_plan: int, samples: Sequence[int], size: FunctionSize
) -> Used:
    queues = Counter(task.pool for task in plan.first())
    sent = sum(1 + ceil((number - 1) / 10) for number in queues.values())
    seconds = probing.seconds + (5 + len(samples) + sent) * _REQUEST_SECONDS
    return Used(
        "intake",
        invocations=1,
        seconds=seconds,
        gb_seconds=seconds * size.memory_mb / 1024,
        dynamodb=3,
        reads=1,
        writes=1 + _IN_TRANSACTION * (_CHARGE_WRITES + _ROW_WRITES + _INDEX_WRITES),
        s3_gets=1 + probing.s3_gets,  # of the checksum
        s3_puts=1 + len(samples),
        sqs=POLLER_REQUESTS + sent,
        bytes_read=probing.bytes_read,
        bytes_written=stored_plan + sum(samples),
    )


def _of_task(basis: Basis, predicted: Prediction, stored_plan: int) -> Used:
    """One invocation: it reads job and plan, claims the task, works, stores the result, and follows up."""
    ends_steps = basis.task.id in basis.plan.steps.values()
    dynamodb_requests = 4 + ceil(predicted.results_read / 100)
    fetched = predicted.bytes_read + stored_plan
    sequential_requests = (
        dynamodb_requests + (predicted.s3_gets + predicted.s3_puts) / predicted.requests_at_once
    )
    transferred = fetched + predicted.bytes_written
    seconds = (
        predicted.seconds + sequential_requests * _REQUEST_SECONDS + transferred / BYTES_A_SECOND
    )
    return Used(
        basis.task.pool,
        invocations=1,
        seconds=seconds,
        gb_seconds=seconds * basis.function.memory_mb / 1024,
        dynamodb=dynamodb_requests,
        reads=1 + predicted.results_read,
        writes=2 + _INDEX_WRITES + (_steps_writes(basis.plan) if ends_steps else 0),
        s3_gets=predicted.s3_gets,
        s3_puts=predicted.s3_puts,
        sqs=POLLER_REQUESTS,
        bytes_read=fetched,
        bytes_written=predicted.bytes_written,
    )


def _of_watermarks(plan: Plan) -> Iterator[Used]:
    """The requests for the operators' watermarks: one while planning, and one of each task."""
    laid = [(task.pool, mark) for task in plan.tasks for mark in marks_of(task.work) if mark.etag]
    for _ in {mark.file for _, mark in laid}:
        yield Used("intake", s3_gets=1)
    for pool, _ in laid:
        yield Used(pool, s3_gets=1)


def _of_sidecars(plan: Plan) -> Iterator[Used]:
    """The requests for files of captions while planning: whose each is, and what is in it."""
    for task in plan.tasks:
        if isinstance(task.work, Captions):
            sidecars = {each.key: each.size for each in task.work.sidecars.values()}
            for size in sidecars.values():
                yield Used("intake", dynamodb=1, reads=1, s3_gets=1, bytes_read=size)


def _steps_writes(plan: Plan) -> int:
    """Write units of the transaction that ends steps, the last ones, or lists an output that grows."""
    return _IN_TRANSACTION * (_ROW_WRITES + ceil(len(plan.steps) * _STEP_BYTES / 1024))


def _of_fan_in(plan: Plan) -> Iterator[Used]:
    """Writes of the growing set of ended tasks, the messages of the packages, and early rows of HLS.

    The task that ends last sends the packages. HLS outputs are listed before that.
    """
    needed = {task_id for task in plan.tasks for task_id in task.needs}
    parts = [task for task in plan.tasks if task.id in needed]
    for number, task in enumerate(parts):
        yield Used(task.pool, writes=1 + number * _ID_BYTES // 1024)
    packages = [task for task in plan.tasks if task.needs]
    # Those of equal needs are one request. Captions have ended by then.
    for _ in {(frozenset(task.needs) - {CAPTIONS}, task.pool) for task in packages}:
        yield Used(parts[-1].pool, sqs=1)
    for task in packages:
        if isinstance(task.work, Hls):
            yield Used(parts[-1].pool, dynamodb=1, writes=_steps_writes(plan))


def _of_cold_starts(plan: Plan, sizes: Mapping[str, FunctionSize]) -> Iterator[Used]:
    """Tasks that are sent at once start at once: one in the warm environment, all others in cold ones."""
    for pool, number in Counter(task.pool for task in plan.first()).items():
        seconds = (number - 1) * _INIT_SECONDS
        memory = sizes[pool].memory_mb / 1024
        yield Used(pool, seconds=seconds, gb_seconds=seconds * memory)
