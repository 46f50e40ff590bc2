"""Carrying out a task's work on local files: decoders in children, results in `out/`, checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chalicelib.errors import JobError
from chalicelib.plan import Hls, Poster, Thumbnail, Video, Watermark, Work

# A frame whose brightness varies less than this, of 255, shows nothing.
_DULL = 12.0
_ENOUGH = 0.9


@dataclass(frozen=True)
class Budget:
    """What a task may take: seconds until it must have stopped, bytes of memory."""

    seconds: Callable[[], float]
    memory_bytes: int


class Made(msgspec.Struct, frozen=True):
    """What came of it. `main` is the file in `out/` that the job lists; the others belong to it."""

    main: str
    width: int
    height: int
    duration: float | None = None
    warning: str = ""


def perform(work: Work, folder: Path, budget: Budget, on_seconds: Callable[[float], None]) -> Made:
    """Do the work in `folder`, where its inputs lie. Raises JobError, Transient."""
    match work:
        case Thumbnail() | Watermark():
            return _picture(work, folder, budget)
        case Poster():
            return _poster(work, folder, budget)
        case Video():
            return _video(work, folder, budget, on_seconds)
        case Hls():
            return _hls(work, folder, budget, on_seconds)


def _picture(work: Thumbnail | Watermark, folder: Path, budget: Budget) -> Made:
    from chalicelib import child, pictures

    source, target = folder / "source", folder / "out" / work.output

    def draw() -> bytes:
        if isinstance(work, Thumbnail):
            size = pictures.thumbnail(source, work.format, work.box, target)
        else:
            size = pictures.watermark(
                source, work.format, work.mark, asset(work.mark.image), target
            )
        return msgspec.json.encode(size)

    drawn = child.call(draw, seconds=budget.seconds(), memory_bytes=budget.memory_bytes)
    width, height = msgspec.json.decode(drawn, type=tuple[int, int])
    return Made(work.output, width, height)


def _poster(work: Poster, folder: Path, budget: Budget) -> Made:
    from chalicelib import ffmpeg, pictures

    best: tuple[pictures.Interest, Path] | None = None
    for args in work.commands:
        candidate = folder / args[-1]
        ffmpeg.run(args, folder=folder, seconds=budget.seconds(), memory_bytes=budget.memory_bytes)
        if not candidate.exists():  # nothing is left to see so late in a very short film
            continue
        interest = pictures.interest(candidate)
        if best is None or interest > best[0]:
            best = interest, candidate
        if interest.spread > _DULL:
            break
    if best is None:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    width, height = pictures.poster(best[1], folder / "out" / work.output)
    return Made(work.output, width, height)


def _video(work: Video, folder: Path, budget: Budget, on_seconds: Callable[[float], None]) -> Made:
    from chalicelib import ffmpeg

    for name in work.extra:
        shutil.copy(asset(name), folder / name)
    ffmpeg.run(
        work.args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        on_seconds=on_seconds,
    )
    measured = ffmpeg.measure(
        folder / "out" / work.output, seconds=budget.seconds(), memory_bytes=budget.memory_bytes
    )
    warning = shortfall(work.frames, work.seconds, measured.frames, measured.seconds)
    return Made(work.output, work.width, work.height, round(measured.seconds, 3), warning)


def _hls(work: Hls, folder: Path, budget: Budget, on_seconds: Callable[[float], None]) -> Made:
    from chalicelib import ffmpeg, playlists

    ffmpeg.run(
        work.args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        on_seconds=on_seconds,
    )
    measured = ffmpeg.measure(
        folder / work.rendition, seconds=budget.seconds(), memory_bytes=budget.memory_bytes
    )
    size = work.width, work.height
    playlists.complete(folder / "out", size, measured.frames, measured.seconds)
    warning = shortfall(work.frames, work.seconds, measured.frames, measured.seconds)
    return Made("master.m3u8", work.width, work.height, round(measured.seconds, 3), warning)


def shortfall(
    frames: int | None, seconds: float, delivered_frames: int, delivered_seconds: float
) -> str:
    """A warning where less came out than the source promised; "" where all did.

    Raises JobError `source_damaged` where it is less than nine tenths. Damaged frames are left out
    silently by decoders that exit with 0, so both counts matter.
    """
    parts = [delivered_seconds / seconds]
    if frames:
        parts.append(delivered_frames / frames)
    part = min(parts)
    if part < _ENOUGH:
        raise JobError(
            "source_damaged", f"Only {part:.0%} of the video can be decoded: the file is damaged."
        )
    missing = (frames or 0) - delivered_frames
    if (frames and missing > 1) or seconds - delivered_seconds > max(0.5, 0.01 * seconds):
        return f"The file is damaged: {part:.1%} of the video could be decoded."
    return ""


def asset(name: str) -> Path:
    """A file that is shipped beside the code."""
    return Path(__file__).parent / "assets" / name
