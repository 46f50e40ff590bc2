"""Generate small films that declare to be long, large or scattered, by seed, and measure the cost of probing.

python -m testing.hostile [--count 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import av
import numpy as np

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.jobs import limits
from chalicelib.model.facts import VideoFacts
from chalicelib.model.usage import Used
from chalicelib.model.work import Chunk
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import chunking
from chalicelib.planning.planner import make_plan
from chalicelib.probing import inspect
from chalicelib.settings import settings
from infra.tools.samples import run_ffmpeg
from testing.attacks import MEDIA_AT, audio_track, box, movie
from testing.planned import DEFAULTS

SIZES = ((64, 64), (1920, 1080), (8192, 4320))
# The budget of intake.
_BUDGET = Budget(lambda: 100.0, 1769 * 1024**2)
_STEPS = ("watermark", "transcode_720p", "hls_720p")


class Frame(NamedTuple):
    """A key frame of H.264, with the configuration of its decoder."""

    size: tuple[int, int]
    header: bytes  # avcC
    sample: bytes


@cache
def frame(size: tuple[int, int]) -> Frame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.mp4"
        run_ffmpeg(
            "-f", "lavfi", "-i", f"color=black:size={size[0]}x{size[1]}:rate=25", "-frames:v", "1",
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path),
        )  # fmt: skip
        with av.open(str(path)) as container:
            (packet, *_) = container.demux(video=0)
            header = container.streams.video[0].codec_context.extradata
            return Frame(size, box(b"avcC", header or b""), bytes(packet))


def tables(
    count: int, ticks: int, sizes: np.ndarray | int, offsets: np.ndarray, in_a_chunk: int = 1
) -> tuple[bytes, ...]:
    """The sample tables of `count` samples; `sizes`: bytes of each, or one size for all."""
    if isinstance(sizes, int):
        stsz = struct.pack(">4xII", sizes, count)
    else:
        stsz = struct.pack(">4xII", 0, count) + sizes.astype(">u4").tobytes()
    return (
        box(b"stts", struct.pack(">4xIII", 1, count, ticks)),
        box(b"stsc", struct.pack(">4xIIII", 1, 1, in_a_chunk, 1)),
        box(b"stsz", stsz),
        box(b"stco", struct.pack(">4xI", len(offsets)), offsets.astype(">u4").tobytes()),
    )


# (samples, their sizes, their offsets, samples in a chunk, media data)
Layout = tuple[int, np.ndarray | int, np.ndarray, int, bytes]


def shared(_: Random, count: int, sample: bytes) -> Layout:
    """All samples have the same byte range."""
    return count, np.full(count, len(sample)), np.full(count, MEDIA_AT), 1, sample


def shared_of_one_size(_: Random, count: int, sample: bytes) -> Layout:
    """All samples have the same byte range, and the table of sizes is a single number."""
    return count, len(sample), np.full(count, MEDIA_AT), 1, sample


def overlapping(rng: Random, count: int, sample: bytes) -> Layout:
    """Each sample begins a few bytes after the one before, and overlaps it."""
    media = sample * 4
    last = len(media) - len(sample)
    offsets = MEDIA_AT + np.arange(count) * rng.randint(1, 64) % max(1, last)
    return count, np.full(count, len(sample)), offsets, 1, media


def empty(_: Random, count: int, sample: bytes) -> Layout:
    """All samples but the first are empty."""
    sizes = np.zeros(count, dtype=np.int64)
    sizes[0] = len(sample)
    return count, sizes, np.full(count, MEDIA_AT), 1, sample


def tiny(rng: Random, count: int, sample: bytes) -> Layout:
    """Each sample has one or two bytes of its own: as many frames as bytes."""
    size = rng.choice((1, 2))
    sizes = np.full(count, size)
    sizes[0] = len(sample)
    offsets = MEDIA_AT + np.concatenate(([0], len(sample) + size * np.arange(count - 1)))
    return count, sizes, offsets, 1, sample + bytes(size * count)


def tiny_in_one_chunk(_: Random, count: int, sample: bytes) -> Layout:
    """Each sample has one byte. Four numbers describe all samples: no table grows with their count."""
    return count, 1, np.array([MEDIA_AT]), count, sample + bytes(count)


def scattered(rng: Random, count: int, sample: bytes) -> Layout:
    """Each sample has its own bytes; their order in the file is not that of their times."""
    count = min(count, 20_000_000 // len(sample), 20_000)
    places = np.random.default_rng(rng.getrandbits(32)).permutation(count)
    return count, np.full(count, len(sample)), MEDIA_AT + places * len(sample), 1, sample * count


def honest(_: Random, count: int, sample: bytes) -> Layout:
    """Correct tables: samples follow each other in order."""
    count = min(count, 20_000_000 // len(sample), 100_000)
    offsets = MEDIA_AT + np.arange(count) * len(sample)
    return count, np.full(count, len(sample)), offsets, 1, sample * count


LAYOUTS: tuple[Callable[[Random, int, bytes], Layout], ...] = (
    shared, shared_of_one_size, overlapping, empty, tiny, tiny_in_one_chunk, scattered, honest,
)  # fmt: skip


def film(seed: int, number: int) -> tuple[str, bytes]:
    """(description, content) of a film; equal numbers give equal films."""
    rng = Random(f"{seed} {number}")
    layout = LAYOUTS[number % len(LAYOUTS)]
    chosen = frame(rng.choice(SIZES))
    fps = rng.choice((0.1, 1, 25, 60, 240, 1000))
    seconds = rng.choice((10, 600, 7200, 43_000))
    count = max(2, min(round(fps * seconds), rng.choice((1_000, 100_000, 3_000_000))))
    count, sizes, offsets, in_a_chunk, media = layout(rng, count, chosen.sample)
    timescale = rng.choice((1_000, 12_800, 90_000, 600_000))
    ticks = max(1, round(timescale / fps))
    audio = b""
    if rng.random() < 0.3:  # an audio track of the same bytes as the video
        heard = min(count, 100_000)
        audio = audio_track(
            48_000,
            heard * 1024,
            tables(heard, 1024, np.full(heard, 64), np.full(heard, MEDIA_AT)),
        )
    content = movie(
        size=chosen.size,
        codec=b"avc1",
        entry=chosen.header,
        timescale=timescale,
        length=min(count * ticks, 2**32 - 1),
        tables=tables(count, ticks, sizes, offsets, in_a_chunk),
        media=media,
        more=audio,
    )
    what = f"{layout.__name__} {chosen.size[0]}x{chosen.size[1]} {count} at {fps}, {len(content)} bytes"
    return what, content


class Verdict(NamedTuple):
    """The verdict on a film: the code of its refusal, or "accepted", and the cost of probing it."""

    code: str
    seconds: float
    usd: float


def judge(content: bytes) -> Verdict:
    """Probe, plan and price as intake does. Raises AssertionError if a film is accepted that may not be."""
    started = time.monotonic()
    try:
        facts = inspect.inspect(
            lambda start, length: content[start : start + length], len(content), _BUDGET
        )
    except JobError as error:
        return Verdict(error.code, time.monotonic() - started, 0.0)
    seconds = time.monotonic() - started
    assert isinstance(facts, VideoFacts)
    try:
        plan = make_plan("job", "uploads/a.mp4", facts, find_steps(_STEPS, JobError), DEFAULTS)
        usage = limits.affordable(plan, facts, len(content), Used("intake"), None)
    except JobError as error:
        return Verdict(error.code, seconds, 0.0)
    assert usage.cost_usd <= settings().max_job_usd
    if facts.index is not None:
        frames = len(facts.index.times()) - 1
        assert frames <= len(content), "more frames than bytes"
        exact: Counter[str] = Counter()
        read: Counter[str] = Counter()
        parts: Counter[str] = Counter()
        for task in plan.tasks:
            if isinstance(task.work, Chunk):
                assert task.work.exact is not None
                parts[task.group] += 1
                exact[task.group] += sum(count for count, _ in task.work.exact.durations)
            if task.excerpt:
                begin, end = task.excerpt.byte_range
                read[task.group] += end - begin
        assert set(exact.values()) == {frames}
        assert max(read.values()) <= 4 * len(content), "the file is read again and again"
        assert max(parts.values()) <= chunking.MAX_CHUNKS
    return Verdict("accepted", seconds, usage.cost_usd)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    codes: Counter[str] = Counter()
    longest = Verdict("", 0.0, 0.0), ""
    dearest = longest
    for number in range(chosen.count):
        what, content = film(chosen.seed, number)
        verdict = judge(content)
        codes[verdict.code] += 1
        longest = max(longest, (verdict, what), key=lambda pair: pair[0].seconds)
        dearest = max(dearest, (verdict, what), key=lambda pair: pair[0].usd)
    # The peak of a child that was forked from this process; it includes this process's memory.
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(dict(codes.most_common()))
    print(
        "longest look:",
        longest,
        "dearest accepted:",
        dearest,
        f"most memory: {most:.0f} MB",
        sep="\n",
    )


if __name__ == "__main__":
    main()
