"""The input and the output of each kind of work's `predict`: what one task will use."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from chalicelib.formats import playlists
from chalicelib.formats.cmaf import PACKET_SAMPLES, SAMPLE_RATE, SEGMENT_SECONDS, audio_segments
from chalicelib.formats.mp4_excerpt import bytes_read
from chalicelib.model.facts import Facts
from chalicelib.model.picture import ImageFormat, Variant
from chalicelib.model.plan import Plan, Task
from chalicelib.model.work import Audio, Chunk
from chalicelib.settings import FunctionSize

# Seconds to start a decoder.
DECODER_SECONDS = 0.05
# Of each format: seconds of one core to draw and encode a megapixel, and bytes a pixel at QUALITY. What a
# picture shows counts for more than its quality.
_MEGAPIXEL_SECONDS: dict[ImageFormat, float] = {
    "jpeg": 0.015,
    "webp": 0.08,
    "avif": 0.2,
    "png": 0.25,
}
_PIXEL_BYTES: dict[ImageFormat, float] = {"jpeg": 0.25, "webp": 0.17, "avif": 0.15, "png": 1.5}
# Cores with which a Task's `cost`, in seconds, is measured.
COST_CORES = 2


class Basis(NamedTuple):
    """What a prediction for a task starts from."""

    plan: Plan
    task: Task
    facts: Facts
    source_bytes: int
    function: FunctionSize

    @property
    def one_core(self) -> float:
        """Cores that a single thread can use: 1, or the function's share of one."""
        return min(1.0, self.function.cores)

    def reading_source(self) -> tuple[int, int]:
        """(S3 GETs, bytes) to read the source: all of it, or the task's excerpts."""
        if excerpts := self.task.excerpts:
            fetched = (bytes_read(self.plan.samples[each.track], each) for each in excerpts)
            return 1 + 2 * len(excerpts), sum(fetched)
        return 2, self.source_bytes


class Prediction(NamedTuple):
    """What the work itself will use, without claiming and ending the task."""

    s3_gets: int
    s3_puts: int
    bytes_read: int
    bytes_written: int
    seconds: float = 0.0  # of computing, without requests and transfer
    results_read: int = 0  # rows of other tasks
    requests_at_once: int = 1
    output_bytes: int = 0  # of the outputs that the job will list


def encoding(variants: Sequence[Variant]) -> tuple[float, int]:
    """(seconds of one core to draw and encode files, their bytes)."""
    pixels = [(each.format, each.width * each.height) for each in variants]
    return (
        sum(_MEGAPIXEL_SECONDS[kind] * of / 1e6 for kind, of in pixels),
        round(sum(_PIXEL_BYTES[kind] * of for kind, of in pixels)),
    )


def count_segments(part: Task, film_seconds: float) -> int:
    """The number of segments of a part of a track: exact where they are planned, else an estimate."""
    if planned := playlists.planned(part.work):
        return len(planned)
    match part.work:
        case Audio(first=first):
            packets = ceil(film_seconds * SAMPLE_RATE / PACKET_SAMPLES) - first
            return len(audio_segments(first, max(1, packets)))
        case Chunk(seconds=seconds):
            return ceil(seconds / SEGMENT_SECONDS)
        case _:
            return 0
