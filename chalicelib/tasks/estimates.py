"""What a plan will use, purely: requests by formulas that a test counts after, time by rules of thumb.

AWS requests of a job for a key, with n first messages in q queues; of a drop, DynamoDB has 4 more:

function         DynamoDB           S3                                       SQS
intake           4                  2 + those of looking at the source,      2 + ⌈n/10⌉ for each of q
                                    and one for each track with excerpts
image, k steps   3 + k              2 + k                                    2
poster           4                  4, and 2 for each dull candidate         2
chunk, sound     4                  4 + segments; 3 without excerpts         2
MP4              4 + ⌈parts/100⌉    3 + tracks + segments + ⌈bytes/8 MiB⌉    2
HLS              4 + ⌈parts/100⌉    2 + tracks                               2
a job            2, and 1 with HLS  1 with HLS                               1 for each package

Progress adds one to DynamoDB for each second of encoding; an estimate leaves it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil

import msgspec

from chalicelib.formats import playlists
from chalicelib.formats.cmaf import PACKET_SAMPLES, SAMPLE_RATE, SEGMENT_SECONDS, sound_segments
from chalicelib.formats.mp4_excerpt import bytes_read
from chalicelib.model.facts import Facts, ImageFacts, VideoFacts, fps
from chalicelib.model.plan import (
    Chunk,
    Hls,
    Join,
    Pictures,
    Plan,
    Poster,
    Remux,
    Sound,
    Task,
    Thumbnail,
    Watermark,
    group_of,
)
from chalicelib.model.usage import POLLER_REQUESTS, Used, total
from chalicelib.planning import audio
from chalicelib.planning.copying import BYTES_A_SECOND
from chalicelib.settings import FunctionSize
from chalicelib.store.objects import PART_BYTES, READERS

# One request, of those that are made one after the other.
_REQUEST_SECONDS = 0.01
# Imports take half of it here; AWS bills its own start of Python as well.
_INIT_SECONDS = 0.6
# Of one core, for a megapixel of JPEG; and to start a decoder.
_MEGAPIXEL_SECONDS = {Thumbnail: 0.004, Watermark: 0.015}
_DECODER_SECONDS = 0.05
_POSTER_SECONDS = 0.3
# A Task's cost is what two cores take.
_COST_CORES = 2
# Bits for a pixel of film at CRF 23, and bytes for one of a JPEG; of a picture that fits in 512 × 512.
_FILM_BITS = 0.07
_JPEG_BYTES = 0.3
_SMALL_JPEG_BYTES = 40_000
# Of a job's row, in units of a kilobyte; an index has an entry that comes and one that goes.
_ROW_WRITES = 2
_INDEX_WRITES = 2
# In a transaction, with which a job starts, each unit of a row is two.
_CHARGE_WRITES = 2
_ID_BYTES = 10


class Estimate(msgspec.Struct, frozen=True):
    """What a job will use, as if each function had one sandbox that is warm; bytes of its outputs."""

    used: list[Used]
    bytes_stored: int


def estimate(
    plan: Plan, facts: Facts, size: int, looked: Used, sizes: Mapping[str, FunctionSize]
) -> Estimate:
    """Of a source with `size` bytes, which it took `looked` to look at."""
    bits = _bits_a_second(plan, facts)
    stored_plan = len(msgspec.json.encode(plan))
    index = facts.index if isinstance(facts, VideoFacts) else None
    tracks = index.tracks(sound=plan.sound is not None) if index else []
    samples = [len(coded.rows) for coded in tracks]
    tasks = [
        _of_task(task, plan, facts, size, stored_plan, bits, sizes[task.queue])
        for task in plan.tasks
    ]
    last = plan.tasks[-1].queue
    return Estimate(
        total(
            [
                _of_intake(plan, looked, stored_plan, samples, sizes["intake"]),
                *(looked for task in plan.tasks if isinstance(task.work, Remux)),
                *tasks,
                *_of_cold_starts(plan, sizes),
                *_of_fan_in(plan),
                Used(
                    last,
                    dynamodb=2,
                    reads=ceil(len(plan.tasks) / 4),
                    writes=_ROW_WRITES + 1.5 * _INDEX_WRITES,
                ),
            ]
        ),
        sum(_stored(task, facts, bits) for task in plan.tasks),
    )


def _of_intake(
    plan: Plan, looked: Used, stored_plan: int, samples: Sequence[int], size: FunctionSize
) -> Used:
    queues = Counter(task.queue for task in plan.first())
    sent = sum(ceil(number / 10) for number in queues.values())
    seconds = looked.seconds + (4 + len(samples) + sent) * _REQUEST_SECONDS
    return Used(
        "intake",
        invocations=1,
        seconds=seconds,
        gb_seconds=seconds * size.memory_mb / 1024,
        dynamodb=3,
        reads=1,
        writes=1 + _CHARGE_WRITES + 2 * (_ROW_WRITES + _INDEX_WRITES),
        s3_gets=looked.s3_gets,
        s3_puts=1 + len(samples),
        sqs=POLLER_REQUESTS + sent,
        bytes_read=looked.bytes_read,
        bytes_written=stored_plan + sum(samples),
    )


def _of_task(
    task: Task,
    plan: Plan,
    facts: Facts,
    size: int,
    stored_plan: int,
    bits: Mapping[str, float],
    given: FunctionSize,
) -> Used:
    """One invocation: it reads the job and its plan, claims, works, says so, and what follows of it."""
    work = task.work
    fetched, gets = (bytes_read(plan.samples(task), task.excerpt), 3) if task.excerpt else (size, 2)
    puts, parts = 1, 0
    made = _stored(task, facts, bits)
    one_core = min(1.0, given.cores)
    match work:
        case Chunk() | Sound():
            puts = 1 + _segments(task, facts)
            made = round(work.seconds * bits[task.group] / 8)
            cores = given.cores if isinstance(work, Chunk) else one_core * _COST_CORES
            busy = _DECODER_SECONDS + task.cost * _COST_CORES / cores
        case Join() | Hls():
            pictures, sound = plan.parts(task)
            tracks, parts = 1 + bool(sound), len(task.needs)
            if isinstance(work, Join):
                fetched, busy = made, 0.0
                gets = 1 + tracks + sum(_segments(part, facts) for part in (*pictures, *sound))
                puts = 2 + ceil(made / PART_BYTES)
            else:
                fetched, made, busy = 0, 0, 0.0
                gets, puts = 1, tracks + 1
        case Remux():
            gets, puts, made, busy = 2, 1, size, _DECODER_SECONDS
        case Poster():
            busy = _POSTER_SECONDS / one_core
        case Pictures(made=pictures_made):
            assert isinstance(facts, ImageFacts)
            puts = len(pictures_made)
            megapixel = sum(_MEGAPIXEL_SECONDS[type(each)] for each in pictures_made.values())
            pixels = facts.width * facts.height / 1e6
            busy = (_DECODER_SECONDS + megapixel * pixels) / one_core
    ends = sum(last == task.id for last in plan.steps.values())
    asked = 3 + max(1, ends) + ceil(parts / 100)
    fetched += stored_plan
    waited = asked + (gets + puts) / (READERS if isinstance(work, Join) else 1)
    seconds = busy + waited * _REQUEST_SECONDS + (fetched + made) / BYTES_A_SECOND
    return Used(
        task.queue,
        invocations=1,
        seconds=seconds,
        gb_seconds=seconds * given.memory_mb / 1024,
        dynamodb=asked,
        reads=1 + parts,
        writes=2 + _INDEX_WRITES + _ROW_WRITES * ends,
        s3_gets=gets,
        s3_puts=puts,
        sqs=POLLER_REQUESTS,
        bytes_read=fetched,
        bytes_written=made,
    )


def _segments(task: Task, facts: Facts) -> int:
    """How many files a part of a film is stored in; where nobody can tell before, about so many."""
    assert isinstance(facts, VideoFacts)
    if planned := playlists.planned(task):
        return len(planned)
    if isinstance(task.work, Sound):
        to_the_end = ceil(facts.seconds * SAMPLE_RATE / PACKET_SAMPLES) - task.work.first
        return len(sound_segments(task.work.first, max(1, to_the_end)))
    assert isinstance(task.work, Chunk)
    return ceil(task.work.seconds / SEGMENT_SECONDS)


def _of_fan_in(plan: Plan) -> Iterator[Used]:
    """The set of what has ended grows; the last one to end sends the packages, HLS is listed before that."""
    parts = [task for task in plan.tasks if plan.has_dependents(task.id)]
    for number, task in enumerate(parts):
        yield Used(task.queue, writes=1 + number * _ID_BYTES // 1024)
    for task in plan.tasks:
        if task.needs:
            listed = isinstance(task.work, Hls)
            yield Used(parts[-1].queue, sqs=1, dynamodb=listed, writes=_ROW_WRITES * listed)


def _of_cold_starts(plan: Plan, sizes: Mapping[str, FunctionSize]) -> Iterator[Used]:
    """What is sent at once starts at once: but for one of them, in sandboxes that are new."""
    for queue, number in Counter(task.queue for task in plan.first()).items():
        seconds = (number - 1) * _INIT_SECONDS
        memory = sizes[queue].memory_mb / 1024
        yield Used(queue, seconds=seconds, gb_seconds=seconds * memory)


def _bits_a_second(plan: Plan, facts: Facts) -> dict[str, float]:
    """Of each rendition, by its name; and of sound."""
    bits = {"sound": float(audio.BITS_PER_SECOND)}
    for task in plan.tasks:
        if isinstance(task.work, Join | Hls):
            assert isinstance(facts, VideoFacts)
            pixels = task.work.width * task.work.height * fps(facts)
            pictures, _ = plan.parts(task)
            bits[pictures[0].group] = _FILM_BITS * pixels
    return bits


def _stored(task: Task, facts: Facts, bits: Mapping[str, float]) -> int:
    """Bytes of an output; parts of a film are listed as HLS, or expire."""
    match task.work:
        case Join(seconds=seconds) | Hls(seconds=seconds):
            groups = {group_of(need) for need in task.needs}
            return round(seconds * sum(bits[group] for group in groups) / 8)
        case Pictures(made=made):
            assert isinstance(facts, ImageFacts)
            large = sum(isinstance(each, Watermark) for each in made.values())
            pixels = facts.width * facts.height
            return round(large * pixels * _JPEG_BYTES) + (len(made) - large) * _SMALL_JPEG_BYTES
        case Poster():
            return _SMALL_JPEG_BYTES
        case _:
            return 0
