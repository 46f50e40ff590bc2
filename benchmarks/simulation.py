"""Simulate the time and cost of a film on AWS: the real plan, run on up to a thousand Lambdas at once.

Nothing here was measured on AWS. The assumptions are printed with the result. The times of tasks are derived
from the CPU time of encoding on this machine (`films` in results.json), all else from AWS's published limits.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.figures import Figure
from chalicelib.errors import JobError
from chalicelib.formats.cmaf import PACKET_SAMPLES, SAMPLE_RATE
from chalicelib.formats.mp4_excerpt import bytes_read, pack
from chalicelib.formats.playlists import planned
from chalicelib.model.facts import (
    AUDIO_CUT_SECONDS,
    AudioCut,
    AudioTrack,
    Cut,
    FrameIndex,
    IndexedAudio,
    TrackSamples,
    VideoFacts,
)
from chalicelib.model.plan import Plan, Task
from chalicelib.model.work import Audio, Chunk, Join, Poster, Storyboard
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from chalicelib.settings import Prices
from chalicelib.store.objects import PART_BYTES
from testing.planned import DEFAULTS


class Wanted(NamedTuple):
    """What is made of a film."""

    pipeline: tuple[Any, ...]
    work: float  # CPU to encode it, relative to that of 720p: `renditions` measures it
    bits: float  # a second, of all renditions
    media_convert: (
        float  # its list price in dollars for a minute, basic tier, single pass, up to 30 fps
    )


ONE = Wanted(("transcode_720p", "hls_720p"), 1.0, 1.6e6, 2 * 0.015)
LADDER = Wanted(
    (
        {"make": "hls", "ladder": [1080, 720, 480, 360]},
        {"make": "poster"},
        {"make": "storyboard"},
    ),
    2.4,
    6.5e6,
    2 * 0.015 + 2 * 0.0075,  # two outputs in HD, two in SD
)
HOURS = {"10 min": 1 / 6, "1 h": 1.0, "2 h": 2.0, "6 h": 6.0}
_RESULTS = Path(__file__).parent / "results.json"


class Assumptions(NamedTuple):
    """Assumptions in seconds, bytes, bits per second and US dollars (us-east-1, x86)."""

    cpu_a_second: float  # seconds of CPU to encode a second of 1080p25 to 720p
    encode_gb: float = 10.0
    encode_vcpus: float = 5.8  # of 10,240 MB, at 1,769 MB each
    parallel: float = 0.75  # the part of them that x264 and the decoder keep busy
    light_gb: float = 1.73
    cold: float = 1.2  # from an invocation to the first line of a handler, in a new sandbox
    warm: float = 0.02
    calls: float = 0.15  # claim, plan, fan-in, acknowledge: about ten requests
    network: float = 75e6  # bytes a second, one way
    queue: float = 0.05  # from sending a message to an invocation, with a free poller
    concurrency: int = 1000
    source_bits: float = 5e6
    audio_speed: float = 50.0  # seconds of audio encoded per second
    picture: float = 0.5  # seconds to decode and draw a poster
    tile: float = 0.02  # seconds to fetch and draw a tile of a storyboard
    prices: Prices = Prices()


# The number of functions that may run at once, by seconds after the first message.
Ramp = Callable[[float], float]
RAMPS: dict[str, Ramp] = {
    "SQS, 5 and 300 a minute": lambda seconds: 5 + 5 * seconds,
    "SQS, 20 provisioned pollers": lambda seconds: 200 + 0 * seconds,
    "direct invocation": lambda seconds: 1000 + 0 * seconds,
}


def measure() -> list[Figure]:
    assumed = Assumptions(cpu_a_second=_measured())
    print(f"Assumed: {assumed._asdict()}")
    figures: list[Figure] = []
    for label, hours in HOURS.items():
        for ramp in RAMPS:
            figures += _figures(
                f"simulated, {label} of 1080p25, {ramp}", hours, RAMPS[ramp], ONE, assumed
            )
    for ramp in RAMPS:
        name = f"simulated, 2 h of 1080p25 in four rungs, with poster and storyboard, {ramp}"
        figures += _figures(name, 2.0, RAMPS[ramp], LADDER, assumed)
    return figures


def _measured() -> float:
    """Seconds of CPU for a second of film, from the bare encode of the last `films` benchmark."""
    figures = json.loads(_RESULTS.read_text())["films"]["figures"]
    (cpu,) = [f for f in figures if "minute_1080p25" in f["name"] and "CPU of every" in f["name"]]
    return float(median(cpu["baselines"])) / 60


def film(hours: float, assumed: Assumptions) -> VideoFacts:
    """Facts of a film in 1080p25: key frames every two seconds, audio at 48 kHz, index first."""
    seconds = int(hours * 3600)
    group = int(assumed.source_bits / 8 * 2)
    cuts = tuple(
        Cut(
            time=12800 * 2 * n,
            frame=50 * n,
            sample=50 * n,
            at=group * n,
            leading_stop=50 * n,
            earliest=12800 * 2 * n,
            begin=group * n,
            end=group * (n + 1),
            leading_bytes_stop=group * n + group // 4,
        )
        for n in range(seconds // 2)
    )
    packets = seconds * SAMPLE_RATE // PACKET_SAMPLES
    audio_cuts = tuple(
        AudioCut(
            us=second * 1_000_000,
            sample=second * SAMPLE_RATE // PACKET_SAMPLES,
            at=group * (second // 2),
            begin=group * (second // 2),
            end=group * (second // 2 + 1),
        )
        for second in range(0, seconds, AUDIO_CUT_SECONDS)
    )
    frames, audio_packets = np.arange(25 * seconds), np.arange(packets)
    shown = 512 * (frames ^ 1)  # the order of presentation differs from that of decoding
    none, track = np.arange(0), bytes(1000)
    packets_of_audio = TrackSamples(
        *pack(PACKET_SAMPLES * audio_packets, 300 * audio_packets, 300 + 0 * audio_packets, none),
        track,
        PACKET_SAMPLES,
    )
    index = FrameIndex(
        timescale=12800,
        start=0,
        start_us=0,
        durations=((25 * seconds, 512),),
        cuts=cuts,
        video=TrackSamples(*pack(shown, 1000 * frames, 1000 + 0 * frames, none), track, 512, 512),
        audio=(IndexedAudio(packets_of_audio, audio_cuts),),
    )
    return VideoFacts(
        "mov", 1920, 1080, float(seconds), 25 * seconds, "25", 12800, 0, (AudioTrack(1),), index=index
    )  # fmt: skip


class Ran(NamedTuple):
    """One task that was run."""

    task: Task
    begin: float  # seconds after the PUT's end, like `end`
    end: float
    gb: float  # memory of its function


def simulate(
    plan: Plan, wanted: Wanted, ramp: Ramp, assumed: Assumptions, begin: float
) -> list[Ran]:
    """Run the plan's first tasks in the order of their messages, then the tasks that need their results."""
    free: list[float] = []  # a heap: the time at which each sandbox becomes free
    started = 0
    ran: list[Ran] = []
    for task in plan.first():
        ready = begin + assumed.queue
        if free and (free[0] <= ready or not _may_start(started, free[0] - begin, ramp, assumed)):
            start, wait = max(ready, heapq.heappop(free)), assumed.warm
        else:
            start, wait = max(ready, begin + _allowed_at(started, ramp)), assumed.cold
            started += 1
            if free and free[0] < start:
                start, wait = max(ready, heapq.heappop(free)), assumed.warm
                started -= 1
        end = start + wait + _seconds(plan, task, wanted, assumed)
        heapq.heappush(free, end)
        ran.append(Ran(task, start, end, assumed.encode_gb))
    last = max(one.end for one in ran)
    for task in plan.tasks:
        if task.needs:
            start = last + assumed.queue
            ran.append(
                Ran(
                    task,
                    start,
                    start + assumed.cold + _packaging(task, plan, wanted, assumed),
                    assumed.light_gb,
                )
            )
    return ran


def _may_start(started: int, seconds: float, ramp: Ramp, assumed: Assumptions) -> bool:
    return started < min(assumed.concurrency, ramp(max(0.0, seconds)))


def _allowed_at(started: int, ramp: Ramp) -> float:
    """The first time at which one more function may run, in seconds after the first message."""
    moment = 0.0
    while ramp(moment) <= started and moment < 3600:
        moment += 0.1
    return moment


def _seconds(plan: Plan, task: Task, wanted: Wanted, assumed: Assumptions) -> float:
    read = sum(bytes_read(plan.samples[each.track], each) for each in task.excerpts)
    assert read
    fetched = read / assumed.network
    work = task.work
    if isinstance(work, Poster):
        return assumed.calls + fetched + assumed.picture
    assert isinstance(work, Chunk | Audio)
    if isinstance(work, Audio):
        return assumed.calls + fetched + work.seconds / assumed.audio_speed
    encode = (
        work.seconds
        * wanted.work
        * assumed.cpu_a_second
        / (assumed.encode_vcpus * assumed.parallel)
    )
    return assumed.calls + fetched + encode + work.seconds * wanted.bits / 8 / assumed.network


def _packaging(task: Task, plan: Plan, wanted: Wanted, assumed: Assumptions) -> float:
    """Seconds of a package. Playlists are small; an MP4 is downloaded and uploaded at the same time."""
    if isinstance(task.work, Storyboard):
        return assumed.calls + task.work.tiles * assumed.tile
    seconds = sum(part.work.seconds for part in plan.parts(task)[0] if isinstance(part.work, Chunk))
    copied = seconds * wanted.bits / 8 / assumed.network if isinstance(task.work, Join) else 0.0
    return assumed.calls + 0.01 * len(task.needs) / 100 + copied


def _figures(
    name: str, hours: float, ramp: Ramp, wanted: Wanted, assumed: Assumptions
) -> Iterator[Figure]:
    facts = film(hours, assumed)
    steps = find_steps(wanted.pipeline, JobError)
    plan = make_plan("job", "film.mp4", facts, steps, DEFAULTS)
    intake = assumed.queue + assumed.cold + 0.6 + hours * 0.3
    ran = simulate(plan, wanted, ramp, assumed, intake)
    first = max(one.end for one in ran if one.task.id in ("film.0", "sound.0"))
    encoded = max(one.end for one in ran if not one.task.needs)
    ended = max(one.end for one in ran)
    money = _money(ran, intake, wanted, assumed)
    minutes = hours * 60
    parts = [intake, encoded - intake, ended - encoded]
    yield Figure(f"{name}, in {plan.sizes()['film']} chunks: wall", "s", [ended])
    yield Figure(f"{name}: looked at, encoded, packaged", "s", parts, reduced="split")
    yield Figure(f"{name}: first frame can be played", "s", [first])
    yield Figure(
        f"{name}: cost of a minute",
        "¢",
        [100 * sum(money.values()) / minutes],
        "MediaConvert's list price",
        [100 * wanted.media_convert],
    )
    cents = [100 * part / minutes for part in money.values()]
    yield Figure(f"{name}: for {', '.join(money)}", "¢", cents, reduced="split")


def _money(ran: list[Ran], intake: float, wanted: Wanted, assumed: Assumptions) -> dict[str, float]:
    """US dollars by service."""
    tasks = len(ran)
    segments = sum(len(planned(one.task.work)) for one in ran)
    encodes = [one for one in ran if isinstance(one.task.work, Chunk)]
    others = [one for one in ran if not isinstance(one.task.work, Chunk)]

    prices = assumed.prices
    seconds = sum(one.task.work.seconds for one in encodes if isinstance(one.task.work, Chunk))
    joins = any(isinstance(one.task.work, Join) for one in ran)
    mp4_parts = ceil(seconds * wanted.bits / 8 / PART_BYTES) if joins else 0

    def lambdas(tasks_run: list[Ran]) -> float:
        return sum(
            (one.end - one.begin) * one.gb * prices.lambda_gb_second_x86_64 for one in tasks_run
        )

    # A fan-in set of a thousand short names has about ten kilobytes when it is full.
    fan_in = sum(1 + number * 10 // 1024 for number in range(tasks))
    return {
        "pictures": lambdas(encodes),
        "sound and packages": lambdas(others)
        + intake * assumed.light_gb * prices.lambda_gb_second_x86_64,
        "DynamoDB": (2 * tasks + fan_in) * prices.dynamodb_million_writes / 1e6
        + 3 * tasks * prices.dynamodb_million_reads / 1e6,
        "S3": (segments + tasks + mp4_parts) * prices.s3_thousand_puts / 1e3
        + (segments + 3 * tasks) * prices.s3_thousand_gets / 1e3,
        "SQS and invocations": 4 * tasks * prices.sqs_million_requests / 1e6
        + tasks * prices.lambda_million_requests / 1e6,
    }
