"""Which rungs a ladder has, and in which order players find them. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chalicelib.formats import playlists
from chalicelib.model.facts import VideoFacts
from chalicelib.model.streams import Rung
from chalicelib.planning import video
from chalicelib.planning.operation import Codec, Rendition

# Short sides of the automatic ladder, with the most kilobits a second: twice the average of Apple's authoring
# specification (2025-06-26).
_AUTOMATIC = {1080: 15_600, 720: 9000, 480: 2200, 360: 730, 234: 290}
# A film that has so many times the lines of a rung hardly has more detail.
_CLOSE = 1.2
# Short sides below this one have at most so many frames a second (likewise Apple's).
_SMALL, _SMALL_FPS = 480, 30


class Wanted(NamedTuple):
    """A rung that is asked for."""

    height: int  # of the short side, in pixels
    codec: Codec = "h264"
    max_fps: int | None = None
    max_kbps: int | None = None


def automatic(facts: VideoFacts) -> list[Wanted]:
    """The rungs that a film has detail for, the largest first. Its own size is the largest below 1080."""
    lines = min(facts.width, facts.height, max(_AUTOMATIC))
    heights = [lines]
    heights += [each for each in _AUTOMATIC if each * _CLOSE <= lines]
    return [
        Wanted(
            each,
            max_fps=_SMALL_FPS if each < _SMALL else None,
            max_kbps=_most_kbps(each),
        )
        for each in heights
    ]


def _most_kbps(lines: int) -> int:
    """Of the smallest rung that has so many lines or more."""
    return next(kbps for height, kbps in reversed(_AUTOMATIC.items()) if height >= lines)


def renditions(facts: VideoFacts, wanted: Sequence[Wanted]) -> list[Rendition]:
    """The renditions of a ladder, each once: rungs above the film's own size come out as that. JobError.

    A film of unsteady rate without an index keeps all frames on every rung: its groups begin by what is
    decoded, and would not begin together.
    """
    aligned = facts.steady or facts.index is not None
    found = (
        video.rendition(
            facts,
            short_side=each.height,
            codec=each.codec,
            max_fps=each.max_fps if aligned else None,
            max_kbps=each.max_kbps,
        )
        for each in wanted
    )
    return list(dict.fromkeys(found))


def left_out(facts: VideoFacts, wanted: Sequence[Wanted]) -> str:
    """A sentence about rungs that are larger than the film; "" where there is none."""
    lines = min(facts.width, facts.height)
    larger = sorted({each.height for each in wanted if each.height > lines})
    if not larger:
        return ""
    which = ", ".join(map(str, larger))
    return f"It has {lines} lines, and was not enlarged: there is no rung of {which}."


def rungs(facts: VideoFacts, ladder: Sequence[Rendition], audio_bits: int) -> list[Rung]:
    """The rungs as players find them: the start first, then the largest; H.264 before what fewer can play."""
    # By how many a second they may be: to count those of a long film takes a while.
    frames: dict[int | None, int | None] = {}
    for each in ladder:
        if each.max_fps not in frames:
            frames[each.max_fps] = video.frames(facts, each)
    return [
        Rung(
            each.name,
            each.name if len(ladder) > 1 else playlists.VIDEO,
            each.width,
            each.height,
            frames[each.max_fps],
            frame_rate=video.frame_rate(facts, each),
            max_bits=video.max_bits_per_second(facts, each) + audio_bits,
        )
        for each in _ordered(facts, ladder)
    ]


def _ordered(facts: VideoFacts, ladder: Sequence[Rendition]) -> Iterator[Rendition]:
    for codec in ("h264", "hevc", "av1"):
        of_codec = [each for each in ladder if each.codec == codec]
        of_codec.sort(key=lambda each: video.bits_per_second(facts, each), reverse=True)
        start = min(
            of_codec,
            key=lambda each: abs(video.bits_per_second(facts, each) - playlists.START_BITS),
            default=None,
        )
        if start is not None:
            yield start
            yield from (each for each in of_codec if each is not start)
