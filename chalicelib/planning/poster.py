"""The FFmpeg runs that make candidates for a film's poster."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import ceil, floor

from msgspec.structs import replace

from chalicelib.model.facts import FrameIndex, VideoFacts, even, fps
from chalicelib.model.picture import Picture
from chalicelib.model.work import Command, Poster, Run
from chalicelib.planning import colours, filters
from chalicelib.planning.chunking import Span
from chalicelib.planning.excerpts import facts_of_excerpt, trim_point, video_excerpt
from chalicelib.planning.inputs import open_source
from chalicelib.planning.operation import PlanSettings

# Frames, of which FFmpeg's `thumbnail` filter chooses the candidate.
_FRAMES = 12
# Which of the frames after `start`.
_BEST, _FIRST = f"thumbnail={_FRAMES}", "null"
# Where to look, as parts of the length, in this order. The start is last: films begin black.
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
# Where seeking finds no frame: these are decoded from the start of the film.
_PARTS_FROM_START = (0.5, 0.9, 0.0)


def poster(
    facts: VideoFacts, picture: Picture, settings: PlanSettings, at: float | None = None
) -> Poster:
    """The candidates for a poster, each scaled before frames are compared: 4K frames fill the memory else.

    `at`: the frame that is shown at that second, whatever it shows; the others only where there is none.
    """
    picture = _in_even_sizes(facts, picture)
    warning = " ".join(filter(None, (filters.warning(facts), picture.warning)))
    picture = replace(picture, warning=warning)
    width, height = frame = _frame(facts, picture)
    index, otherwise = facts.index, tuple[Run, ...]()
    if index is None:
        # An option for the input, and its value: to seek there, or to read from the start.
        source = ("{option}", "{option_us}us", *open_source(facts, settings))
        command = _command(facts, source, width, height)
        usual = tuple(_sought(facts.seconds * part, f"{part}") for part in _PARTS[:-1])
        otherwise = tuple(_from_start(facts, part) for part in _PARTS_FROM_START)
        # Seeking finds the first frame from a time on, rounded to a tick, which may last a frame.
        begin = max(0.0, floor((at or 0.0) * fps(facts) + 1e-6) - 0.4) / fps(facts)
        asked = _sought(begin, "asked", _FIRST)
    else:
        source = ("-copyts", *open_source(facts, settings))
        command = _command(facts_of_excerpt(facts), source, width, height)
        times = index.times()
        usual = tuple(
            _of_excerpt(facts, index, times, _at_part(facts, index, times, part), f"{number}")
            for number, part in enumerate(_PARTS)
        )
        asked = _of_excerpt(facts, index, times, _at(index, times, at or 0.0), "asked", _FIRST)
    if at is None:
        return Poster(command, usual, picture, frame, otherwise)
    return Poster(command, (asked,), picture, frame, (*usual, *otherwise), is_chosen=True)


def _has_one_size(facts: VideoFacts) -> bool:
    """Whether all candidates have one size, with bars where a frame has another shape than the film.

    Where FFmpeg seeks, it decodes frames before the one that is wanted, and gives all the size of the first.
    """
    return filters.keeps_one_graph(facts) or (facts.index is None and bool(facts.changes))


def _needs_even_sizes(facts: VideoFacts) -> bool:
    """`pad` and `zscale` need them."""
    return _has_one_size(facts) or any(map(colours.is_special, facts.colours))


def _in_even_sizes(facts: VideoFacts, picture: Picture) -> Picture:
    if picture.fit != "inside" or not _needs_even_sizes(facts):
        return picture
    variants = (
        replace(variant, width=even(variant.width), height=even(variant.height))
        for variant in picture.variants
    )
    return replace(picture, variants=tuple(variants))


def _frame(facts: VideoFacts, picture: Picture) -> tuple[int, int]:
    """The size of a candidate: that of the largest file, or of what it is cut from."""
    largest = max(picture.variants, key=lambda variant: variant.width * variant.height)
    if picture.fit == "inside":
        return largest.width, largest.height
    scale = picture.scale(facts.width, facts.height)
    width, height = max(1, ceil(facts.width * scale)), max(1, ceil(facts.height * scale))
    return (even(width), even(height)) if _needs_even_sizes(facts) else (width, height)


def _sought(seconds: float, name: str, choice: str = _BEST) -> Run:
    """A candidate where FFmpeg seeks."""
    us = round(seconds * 1_000_000)
    values = {"name": name, "choice": choice, "option": "-ss", "option_us": f"{us}", "start": "0"}
    return Run(values)


def _from_start(facts: VideoFacts, part: float) -> Run:
    """A candidate for which all that comes before is decoded, too."""
    start = f"{facts.seconds * part:.6f}"
    name = f"from_start_{part}"
    values = {"option": "-itsoffset", "option_us": "0", "start": start}
    return Run({"name": name, "choice": _BEST, **values})


def _at_part(facts: VideoFacts, index: FrameIndex, times: Sequence[int], part: float) -> int:
    """The first frame that begins after a part of the film. `times`: ticks of all frames."""
    time = index.start + facts.seconds * part * index.timescale
    return min(bisect_left(times, time), len(times) - 2)


def _at(index: FrameIndex, times: Sequence[int], seconds: float) -> int:
    """The frame that is shown at a second."""
    shown = bisect_right(times, index.start + round(seconds * index.timescale)) - 1
    return min(max(0, shown), len(times) - 2)


def _of_excerpt(
    facts: VideoFacts,
    index: FrameIndex,
    times: Sequence[int],
    frame: int,
    name: str,
    choice: str = _BEST,
) -> Run:
    """A candidate from an excerpt with the frames that it is chosen of."""
    span = Span(
        bisect_right(index.cuts, frame, key=lambda cut: cut.frame) - 1,
        bisect_left(index.cuts, frame + _FRAMES, key=lambda cut: cut.frame),
    )
    excerpt, zero = video_excerpt(facts, index, span)
    start = f"{trim_point(index, times, frame, zero):.6f}"
    return Run({"name": name, "choice": choice, "start": start}, excerpt)


def _command(facts: VideoFacts, source: Sequence[str], width: int, height: int) -> Command:
    """Arguments with the placeholders `name`, `start`, where frames are taken from, and `choice`."""
    shaped = filters.shape(facts, width, height, "trim=start={start}", filled=_has_one_size(facts))
    return (
        *source,
        "-map", f"0:{facts.video_stream}",
        "-vf", f"{shaped},{{choice}}",
        "-fps_mode", "passthrough",
        "-frames:v", "1",
        "-f", "image2",
        "-c:v", "png",
        "-update", "1",
        "candidate_{name}.png",
    )  # fmt: skip
