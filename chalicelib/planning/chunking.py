"""How long chunks are, and where a film is cut: into chunks at its key frames, groups and segments inside
them, parts of audio.

Pure functions. `times` are ticks when each frame is shown, in that order, and as one more entry the tick when
the last one ends. `first` and `stop` are frame numbers, the second exclusive.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from math import gcd, lcm
from typing import NamedTuple

from chalicelib.formats.cmaf import (
    GROUP_SECONDS,
    PACKET_SAMPLES,
    SAMPLE_RATE,
    SEGMENT_PACKETS,
    SEGMENT_SECONDS,
)
from chalicelib.model.facts import Cut, FrameIndex, VideoFacts, fps
from chalicelib.planning.encoders import ENCODERS
from chalicelib.planning.frame_rates import step_of
from chalicelib.planning.operation import PlanSettings, Rendition

# Pixels a second, decoded and encoded, by two cores: an estimate.
PIXELS_PER_SECOND = 250e6
# The tasks of a film must fit in the job's rows and messages.
MAX_CHUNKS = 900
_LONGER = 1.05


def chunk_seconds(
    facts: VideoFacts, renditions: Collection[Rendition], settings: PlanSettings
) -> float:
    """Seconds of film that a chunk should have."""
    film_seconds_per_second = PIXELS_PER_SECOND / (fps(facts) * frame_pixels(facts, renditions))
    return max(settings.least_chunk_seconds, settings.chunk_work_seconds * film_seconds_per_second)


def work_seconds(facts: VideoFacts, renditions: Collection[Rendition]) -> float:
    """Seconds that two cores take for the whole film."""
    return facts.seconds * fps(facts) * frame_pixels(facts, renditions) / PIXELS_PER_SECOND


def frame_pixels(facts: VideoFacts, renditions: Collection[Rendition]) -> float:
    """Work for a frame, in pixels: each one decoded counts once, each one encoded in H.264 twice."""
    encoded = sum(encoded_pixels(facts, each) for each in renditions)
    return facts.width * facts.height + 2 * encoded


def encoded_pixels(facts: VideoFacts, rendition: Rendition) -> float:
    """Work to encode a rendition, for a frame of the film, in pixels that are encoded in H.264."""
    pixels = rendition.width * rendition.height
    return pixels * ENCODERS[rendition.codec].work / step_of(facts, rendition.max_fps)


class Span(NamedTuple):
    """A chunk: from one of the index's cuts to before another, or to the end of the film."""

    first: int  # numbers of cuts
    stop: int


def spans(
    index: FrameIndex, seconds: float, first_seconds: float, starts: Container[int]
) -> list[Span]:
    """Chunks of about `seconds` each; the first has `first_seconds`, as a viewer waits for it.

    They are longer where there would be more than MAX_CHUNKS. Each begins with a frame of `starts`.
    """
    seconds = max(seconds, (index.end - index.cuts[0].time) / index.timescale / MAX_CHUNKS)
    # The cuts nearest to the wanted places can lie closer together than `seconds`.
    usable = [number for number, cut in enumerate(index.cuts) if cut.frame in starts]
    cuts = [index.cuts[number] for number in usable]
    while len(found := _spans(index, cuts, seconds, first_seconds)) > MAX_CHUNKS:
        seconds *= _LONGER
    numbers = [*usable, len(index.cuts)]
    return [Span(numbers[first], numbers[stop]) for first, stop in found]


def _spans(
    index: FrameIndex, cuts: Sequence[Cut], seconds: float, first_seconds: float
) -> list[tuple[int, int]]:
    """The first and the exclusive last of `cuts` of each chunk, by their places."""
    film_end = index.end
    found, begin = [], 0
    while begin < len(cuts):
        wanted = min(seconds, first_seconds) if begin == 0 else seconds
        due = cuts[begin].time + wanted * index.timescale
        end = begin + 1
        # The cut nearest to `due`.
        while end < len(cuts) and cuts[end].time < due:
            end += 1
        if end - 1 > begin and end < len(cuts) and cuts[end].time - due > due - cuts[end - 1].time:
            end -= 1
        # A rest this short is not worth a task.
        if end < len(cuts) and film_end - cuts[end].time < wanted / 3 * index.timescale:
            end = len(cuts)
        found.append((begin, end))
        begin = end
    return found


def groups(times: Sequence[int], first: int, stop: int, timescale: int) -> list[int]:
    """The frames that begin a closed group of at most two seconds, or of one frame that lasts longer."""
    found = [first]
    while True:
        latest = times[found[-1]] + GROUP_SECONDS * timescale
        following = max(found[-1] + 1, bisect_right(times, latest, found[-1], stop + 1) - 1)
        # The last entry of `times` is no frame.
        if following >= stop or times[stop] <= latest:
            return found
        found.append(following)


def segments(
    times: Sequence[int], group_starts: Sequence[int], stop: int, timescale: int
) -> list[tuple[int, int]]:
    """Groups joined to segments of at most six seconds: the first frame of each, and its exclusive end."""
    group_stops = [*group_starts[1:], stop]
    found: list[tuple[int, int]] = []
    for group_start, group_stop in zip(group_starts, group_stops, strict=True):
        if found and times[group_stop] - times[found[-1][0]] <= SEGMENT_SECONDS * timescale:
            found[-1] = found[-1][0], group_stop
        else:
            found.append((group_start, group_stop))
    return found


def durations(
    index: FrameIndex, run_stops: Sequence[int], first: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Durations of the frames from `first` to before `stop`, run-length encoded: frames, ticks of each.

    `run_stops[i]` is the number of the first frame after run i of the index.
    """
    run = bisect_right(run_stops, first)
    while first < stop:
        end = min(run_stops[run], stop)
        yield end - first, index.durations[run][1]
        first, run = end, run + 1


class Piece(NamedTuple):
    """A part of the audio: packets `first` to before `stop`, or to the end; decoding begins with `start`."""

    first: int
    stop: int | None
    start: int  # a packet that begins on a whole sample of the source


def pieces(
    seconds: float, rates: Iterable[int], first_seconds: float, part_seconds: float
) -> list[Piece]:
    """Parts of tracks of audio of so many samples a second, cut where packets begin on whole samples of each.

    A part is of whole segments where such places allow it. The first one has `first_seconds`, as a viewer
    waits for it; the last one has at least half of `part_seconds`.
    """
    # Packets that are whole samples at every rate.
    grid = lcm(*(SAMPLE_RATE // gcd(SAMPLE_RATE, PACKET_SAMPLES * rate) for rate in rates))
    packets_per_second = SAMPLE_RATE / PACKET_SAMPLES

    def packets(lasting: float) -> int:
        return round(lasting / SEGMENT_SECONDS) * SEGMENT_PACKETS // grid * grid

    if seconds < 2 * first_seconds:
        return [Piece(0, None, 0)]
    part = packets(part_seconds)
    cuts = [packets(first_seconds)]
    while (cuts[-1] + part * 1.5) / packets_per_second < seconds:
        cuts.append(cuts[-1] + part)
    # About a second earlier, so that decoder and encoder have settled where the part begins.
    run_up = int(packets_per_second + grid) // grid * grid
    return [
        Piece(first, stop, max(0, first - run_up))
        for first, stop in zip([0, *cuts], [*cuts, None], strict=True)
    ]
