"""Where a film is cut, purely: chunks at key frames of the source, and segments and groups in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chalicelib.formats.cmaf import (
    GROUP_SECONDS,
    PACKET_SAMPLES,
    SAMPLE_RATE,
    SEGMENT_PACKETS,
    SEGMENT_SECONDS,
)
from chalicelib.model.facts import Index

# One rendition is made by no more tasks than fit in its rows and messages.
MOST_CHUNKS = 900
_LONGER = 1.05


class Span(NamedTuple):
    """A chunk: from one of the index's cuts up to another, or to the end of the film."""

    first: int  # numbers of cuts
    behind: int


def spans(index: Index, seconds: float, first_seconds: float) -> list[Span]:
    """Chunks of about `seconds` each, but a short one first: its end is what a viewer waits for.

    They are longer where there would be too many.
    """
    seconds = max(seconds, (index.end - index.cuts[0].time) / index.timescale / MOST_CHUNKS)
    # The nearest cuts may lie closer together than was wanted.
    while len(found := _spans(index, seconds, first_seconds)) > MOST_CHUNKS:
        seconds *= _LONGER
    return found


def _spans(index: Index, seconds: float, first_seconds: float) -> list[Span]:
    cuts, film_end = index.cuts, index.end
    found, begin = [], 0
    while begin < len(cuts):
        wanted = min(seconds, first_seconds) if begin == 0 else seconds
        due = cuts[begin].time + wanted * index.timescale
        end = begin + 1
        # The cut that is nearest.
        while end < len(cuts) and cuts[end].time < due:
            end += 1
        if end - 1 > begin and end < len(cuts) and cuts[end].time - due > due - cuts[end - 1].time:
            end -= 1
        # What is left would be too short to be worth a task.
        if end < len(cuts) and film_end - cuts[end].time < wanted / 3 * index.timescale:
            end = len(cuts)
        found.append(Span(begin, end))
        begin = end
    return found


def groups(times: Sequence[int], first: int, behind: int, timescale: int) -> list[int]:
    """The frames that begin a closed group, of two seconds or of one frame that lasts longer."""
    found = [first]
    while True:
        latest = times[found[-1]] + GROUP_SECONDS * timescale
        following = max(found[-1] + 1, bisect_right(times, latest, found[-1], behind + 1) - 1)
        # The end of the film is no frame.
        if following >= behind or times[behind] <= latest:
            return found
        found.append(following)


def segments(
    times: Sequence[int], starts: Sequence[int], behind: int, timescale: int
) -> list[tuple[int, int]]:
    """Groups put together to segments of at most six seconds: first frame, and the one behind the last."""
    ends = [*starts[1:], behind]
    found: list[tuple[int, int]] = []
    for begin, end in zip(starts, ends, strict=True):
        if found and times[end] - times[found[-1][0]] <= SEGMENT_SECONDS * timescale:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found


def steps(index: Index, ends: Sequence[int], first: int, behind: int) -> Iterator[tuple[int, int]]:
    """The index's steps, of the frames from `first` to before `behind` only.

    `ends` are the numbers of the frames before which each of the index's own ends.
    """
    run = bisect_right(ends, first)
    while first < behind:
        end = min(ends[run], behind)
        yield end - first, index.steps[run][1]
        first, run = end, run + 1


class Piece(NamedTuple):
    """A part of the sound: packets from `first` to before `behind`, decoded from `start` on."""

    first: int
    behind: int | None
    start: int  # a packet whose beginning is a whole sample of the source's too


def pieces(seconds: float, rate: int, first_seconds: float, part_seconds: float) -> list[Piece]:
    """Parts of a sound of `rate` samples a second, cut where source and result have a sample at once.

    They are of whole segments, if they can. The first one is short, for a viewer waits for it; the last one
    is half as long as the others or more.
    """
    grid = next(n for n in range(1, SAMPLE_RATE) if n * PACKET_SAMPLES * rate % SAMPLE_RATE == 0)
    second = SAMPLE_RATE / PACKET_SAMPLES

    def packets(lasting: float) -> int:
        return round(lasting / SEGMENT_SECONDS) * SEGMENT_PACKETS // grid * grid

    if seconds < 2 * first_seconds:
        return [Piece(0, None, 0)]
    part = packets(part_seconds)
    cuts = [packets(first_seconds)]
    while (cuts[-1] + part * 1.5) / second < seconds:
        cuts.append(cuts[-1] + part)
    # A second ahead, so that decoder and encoder are in full swing where the part begins.
    run_up = int(second + grid) // grid * grid
    return [
        Piece(first, behind, max(0, first - run_up))
        for first, behind in zip([0, *cuts], [*cuts, None], strict=True)
    ]
