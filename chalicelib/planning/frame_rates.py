"""Which frames a rendition keeps that may have fewer a second than its source: every second, third, … one.

Pure functions. `times` are ticks when each frame is shown, in that order, and as one more entry the tick when
the last one ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from chalicelib.formats.cmaf import SEGMENT_SECONDS
from chalicelib.model.facts import FrameIndex, VideoFacts

# A film may have a little more than the cap: rates are rounded, and measured.
_TOLERANCE = Fraction(101, 100)


def step_of(facts: VideoFacts, max_fps: int | None) -> int:
    """n, where every n-th frame is kept; 1 for all of them.

    A film that changes on the way keeps all: FFmpeg then makes its filters anew, and they count from there.
    """
    if max_fps is None or facts.changes:
        return 1
    return max(1, ceil(Fraction(facts.frame_rate) / (max_fps * _TOLERANCE)))


def anchors(index: FrameIndex) -> list[int]:
    """The frames from which others are counted: of the cuts the first one, and about one for each segment.

    They are always kept, and do not depend on where chunks begin: so many frames with which a chunk can begin
    are kept, whatever lies between two cuts.
    """
    found: list[int] = []
    due = index.cuts[0].time
    for cut in index.cuts:
        if cut.time >= due:
            found.append(cut.frame)
            due = cut.time + SEGMENT_SECONDS * index.timescale
    return found


def kept(facts: VideoFacts, index: FrameIndex, times: Sequence[int], step: int) -> Sequence[int]:
    """The numbers of the frames that are kept where every `step`-th is."""
    stop = len(times) - 1
    if step == 1:
        return range(stop)
    least = least_ticks(facts, index.timescale, step)
    found: list[int] = []
    starts = anchors(index)
    for start, end in zip(starts, [*starts[1:], stop], strict=True):
        frame = start
        while frame < end:
            found.append(frame)
            frame = bisect_left(times, times[frame] + least, frame + 1, end)
    return found


def least_ticks(facts: VideoFacts, timescale: int, step: int) -> int:
    """Ticks from one frame that is kept to the next, at least.

    Half a frame less than `step` frames: no two frames of a steady film lie between, and those of an unsteady
    one are taken as they come.
    """
    return max(1, ceil((step - Fraction(1, 2)) / Fraction(facts.frame_rate) * timescale))


def selection(least: float, starts: str) -> str:
    """A filter that keeps the frames of `kept`.

    Each is at least `least` seconds after the one before it, or the first one after one of `starts`: an
    expression, of which `start_of` says the terms.
    """
    return f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{least:.9f})+{starts}'"


def start_of(seconds: float) -> str:
    """True for the first frame at or after `seconds`."""
    return f"gte(t,{seconds:.6f})*lt(prev_selected_t,{seconds:.6f})"
