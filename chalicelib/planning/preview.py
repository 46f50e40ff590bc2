"""The FFmpeg runs that make a film's preview: one for each place, and one that encodes what these found."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, sqrt
from pathlib import PurePosixPath
from typing import Literal

from chalicelib.model.facts import FrameIndex, VideoFacts, even
from chalicelib.model.work import PIECE, PIECES, Command, Preview, Run
from chalicelib.planning import filters
from chalicelib.planning.chunking import Span
from chalicelib.planning.excerpts import facts_of_excerpt, trim_point, video_excerpt
from chalicelib.planning.inputs import open_source
from chalicelib.planning.operation import PlanSettings

PreviewFormat = Literal["mp4", "webp"]

# Seconds that are shown of one place, about: less can hardly be made out.
_PIECE_SECONDS = 1.25
# Pixels of a frame, as raw frames of half a minute lie on the disk; pixels that
# may be decoded for all pieces, in a minute, about; bytes that may be read for them.
_MOST_PIXELS = 1280 * 720
_MOST_DECODED = 15e9
_MOST_READ = 1e9
# Frames a second: a whole part of the film's, or a multiple where that has fewer, as animations may.
_MOST_FPS, _LEAST_FPS, _MOST_WEBP_FPS = Fraction(30), Fraction(12), Fraction(15)


def preview(
    facts: VideoFacts,
    outputs: Sequence[str],
    seconds: float,
    width: int,
    settings: PlanSettings,
) -> Preview:
    """`seconds` of a film from several places, as files of the names `outputs`, without sound."""
    across, down = _size(facts, width)
    rate = _rate(facts)
    index = facts.index
    if index is None:
        # An option for the input, and its value: to seek there, or to read from the start.
        source = ("{option}", "{option_us}us", *open_source(facts, settings))
        shown, otherwise = facts, Run({"option": "-itsoffset", "option_us": "0", "start": "0"})
        begins, length = _places(facts.seconds, seconds, _most_pieces(seconds))
        pieces = [_sought(begin) for begin in begins]
    else:
        source = ("-copyts", *open_source(facts, settings))
        shown, otherwise = facts_of_excerpt(facts), None
        pieces, length = _affordable(facts, index, seconds)
    frames = max(1, round(length * rate))
    return Preview(
        _piece(shown, source, (across, down), rate, frames),
        tuple(pieces),
        _encode((across, down), rate, outputs),
        tuple(outputs),
        across,
        down,
        float(rate),
        length * len(pieces),
        otherwise,
        filters.warning(facts),
    )


def _size(facts: VideoFacts, width: int) -> tuple[int, int]:
    """The even size, `width` wide if it has no more than _MOST_PIXELS then; never larger than the film."""
    scale = min(1.0, width / facts.width, sqrt(_MOST_PIXELS / (facts.width * facts.height)))
    return even(facts.width * scale), even(facts.height * scale)


def _rate(facts: VideoFacts) -> Fraction:
    rate = Fraction(facts.frame_rate)
    if rate < _LEAST_FPS:
        return (rate * ceil(_LEAST_FPS / rate)).limit_denominator(1001)
    return _at_most(rate, _MOST_FPS).limit_denominator(1001)


def _at_most(rate: Fraction, most: Fraction) -> Fraction:
    """The rate where every second, third, … frame is kept; rates are rounded, and measured."""
    return rate / max(1, ceil(rate / most - Fraction(1, 100)))


def _most_pieces(seconds: float) -> int:
    return max(1, round(seconds / _PIECE_SECONDS))


def _places(film: float, seconds: float, count: int) -> tuple[list[float], float]:
    """When pieces begin, evenly over a film, and how long each is. A short film is one piece."""
    if film <= 1.2 * seconds:
        return [0.0], film
    length = seconds / count
    return [(number + 0.5) / count * film - length / 2 for number in range(count)], length


def _affordable(facts: VideoFacts, index: FrameIndex, seconds: float) -> tuple[list[Run], float]:
    """The pieces, and how long each is: fewer where each is decoded from a key frame far before it.

    The only one is then the beginning of the film.
    """
    times = index.times()
    count = _most_pieces(seconds)
    while True:
        begins, length = _places(facts.seconds, seconds, count)
        if count == 1:
            begins = [0.0]
        pieces = [_of_excerpt(facts, index, times, begin, begin + length) for begin in begins]
        excerpts = [piece.excerpt for piece in pieces if piece.excerpt]
        frames = sum(stop - start for start, stop in (each.samples for each in excerpts))
        read = sum(stop - start for start, stop in (each.byte_range for each in excerpts))
        is_much = frames * facts.width * facts.height > _MOST_DECODED or read > _MOST_READ
        if count == 1 or not is_much:
            return pieces, length
        count //= 2


def _sought(begin: float) -> Run:
    return Run({"option": "-ss", "option_us": f"{round(begin * 1_000_000)}", "start": "0"})


def _of_excerpt(
    facts: VideoFacts, index: FrameIndex, times: Sequence[int], begin: float, end: float
) -> Run:
    """The frames that are shown from `begin` to `end` seconds of the film."""
    first, stop = (
        min(max(0, bisect_right(times, index.start + at * index.timescale) - 1), len(times) - 2)
        for at in (begin, end)
    )
    span = Span(
        bisect_right(index.cuts, first, key=lambda cut: cut.frame) - 1,
        bisect_left(index.cuts, stop + 1, key=lambda cut: cut.frame),
    )
    excerpt, zero = video_excerpt(facts, index, span)
    return Run({"start": f"{trim_point(index, times, first, zero):.6f}"}, excerpt)


def _piece(
    facts: VideoFacts, source: Command, size: tuple[int, int], rate: Fraction, frames: int
) -> Command:
    """Arguments that write at most so many frames, raw; `start` is a placeholder."""
    shaped = filters.shape(facts, *size, "trim=start={start}", filled=True)
    return (
        *source,
        "-map", f"0:{facts.video_stream}",
        "-vf", f"{shaped},setpts=PTS-STARTPTS,fps={rate},format=yuv420p",
        "-frames:v", str(frames),
        "-f", "rawvideo",
        PIECE,
    )  # fmt: skip


def _encode(size: tuple[int, int], rate: Fraction, outputs: Sequence[str]) -> Command:
    """Arguments that encode all pieces, which follow each other, into each of the files."""
    return (
        "-f", "rawvideo",
        "-pixel_format", "yuv420p",
        "-video_size", f"{size[0]}x{size[1]}",
        "-framerate", str(rate),
        "-i", PIECES,
        *(arg for output in outputs for arg in (*_encoder(output, rate), output)),
    )  # fmt: skip


def _encoder(output: str, rate: Fraction) -> Command:
    if PurePosixPath(output).suffix == ".mp4":
        return (
            "-vf", filters.TAGGED_BT709,
            "-c:v", "libx264",
            "-preset", "veryfast",
            "-crf", "25",
            "-profile:v", "high",
            "-movflags", "+faststart",
            "-bitexact",
            "-f", "mp4",
        )  # fmt: skip
    # libwebp takes YUV for that of BT.601, and makes its own of RGB.
    fewer = f"fps={_at_most(rate, _MOST_WEBP_FPS)}"
    return (
        "-vf", f"{filters.TAGGED_BT709},{fewer},scale=in_color_matrix=bt709:in_range=tv,format=bgra",
        "-c:v", "libwebp_anim",
        "-quality", "60",
        "-loop", "0",
        "-bitexact",
        "-f", "webp",
    )  # fmt: skip
