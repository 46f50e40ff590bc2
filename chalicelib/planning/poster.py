"""The FFmpeg runs that make candidates for a film's poster."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from chalicelib.model.facts import FrameIndex, VideoFacts, even, fit_box
from chalicelib.model.picture import Picture
from chalicelib.model.work import POSTER_BOX, Command, Poster, Run
from chalicelib.planning import colours, filters
from chalicelib.planning.chunking import Span
from chalicelib.planning.excerpts import facts_of_excerpt, trim_point, video_excerpt
from chalicelib.planning.inputs import open_source
from chalicelib.planning.operation import PlanSettings

# Frames, of which FFmpeg's `thumbnail` filter chooses the candidate.
_FRAMES = 12
# Where to look, as parts of the length, in this order. The start is last: films begin black.
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
# Where seeking finds no frame: these are decoded from the start of the film.
_PARTS_FROM_START = (0.5, 0.9, 0.0)


def poster(
    facts: VideoFacts, picture: Picture, settings: PlanSettings, at: float | None = None
) -> Poster:
    """The candidates for a poster, each scaled before frames are compared: 4K frames fill the memory else."""
    index, warning = facts.index, filters.warning(facts)
    if index is None:
        # An option for the input, and its value: to seek there, or to read from the start.
        source = ("{option}", "{option_us}us", *open_source(facts, settings))
        return Poster(
            _command(facts, source),
            tuple(_sought(facts, part) for part in _PARTS[:-1]),
            picture,
            (2, 2),
            tuple(_from_start(facts, part) for part in _PARTS_FROM_START),
            warning,
        )
    command = _command(facts_of_excerpt(facts), ("-copyts", *open_source(facts, settings)))
    times = index.times()
    runs = [_of_excerpt(facts, index, times, number, part) for number, part in enumerate(_PARTS)]
    return Poster(command, tuple(runs), picture, (2, 2), warning=warning)


def _sought(facts: VideoFacts, part: float) -> Run:
    """A candidate where FFmpeg seeks."""
    us = round(facts.seconds * part * 1_000_000)
    return Run({"name": f"{part}", "option": "-ss", "option_us": f"{us}", "start": "0"})


def _from_start(facts: VideoFacts, part: float) -> Run:
    """A candidate for which all that comes before is decoded, too."""
    start = f"{facts.seconds * part:.6f}"
    name = f"from_start_{part}"
    return Run({"name": name, "option": "-itsoffset", "option_us": "0", "start": start})


def _of_excerpt(
    facts: VideoFacts, index: FrameIndex, times: Sequence[int], number: int, part: float
) -> Run:
    """A candidate from an excerpt with the frames that it is chosen of. `times`: ticks of all frames."""
    time = index.start + facts.seconds * part * index.timescale
    frame = min(bisect_left(times, time), len(times) - 2)
    span = Span(
        bisect_right(index.cuts, frame, key=lambda cut: cut.frame) - 1,
        bisect_left(index.cuts, frame + _FRAMES, key=lambda cut: cut.frame),
    )
    excerpt, zero = video_excerpt(facts, index, span)
    start = f"{trim_point(index, times, frame, zero):.6f}"
    return Run({"name": str(number), "start": start}, excerpt)


def _command(facts: VideoFacts, source: Sequence[str]) -> Command:
    """Arguments with the placeholders `name` and `start`, the seconds where frames are taken from."""
    width, height = fit_box(facts.width, facts.height, POSTER_BOX)
    filled = filters.keeps_one_graph(facts)  # such a graph has one size for all frames
    if filled or any(map(colours.is_special, facts.colours)):
        # `pad` and `zscale` need even sizes.
        width, height = even(width), even(height)
    shaped = filters.shape(facts, width, height, "trim=start={start}", filled=filled)
    return (
        *source,
        "-map", f"0:{facts.video_stream}",
        "-vf", f"{shaped},thumbnail={_FRAMES}",
        "-fps_mode", "passthrough",
        "-frames:v", "1",
        "-f", "image2",
        "-c:v", "png",
        "-update", "1",
        "candidate_{name}.png",
    )  # fmt: skip
