"""What MP4 and HLS packages share: the parts of a rendition, the check for missing frames, and the output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from chalicelib.errors import JobError, Transient
from chalicelib.model.plan import SOUND
from chalicelib.model.result import EncodedTrack, StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import Hls, Join
from chalicelib.store import objects
from chalicelib.tasks.prediction import Basis
from chalicelib.tasks.workbench import Workbench

# The part of a film, 0 to 1, that must have been decoded; below it the film counts as damaged.
_ENOUGH = 0.9


class Part(NamedTuple):
    """An encoded part of a track."""

    encoded: EncodedTrack
    prefix: str  # of the keys of the track's files


class Parts(NamedTuple):
    """All parts of a rendition, and of the audio."""

    video: Sequence[Part]  # in order, as `audio`
    audio: Sequence[Part]
    frames: int  # of the video, as `seconds`
    seconds: float
    warning: str  # sentences for the client; "" for none


def parts_of(work: Join | Hls, bench: Workbench) -> Parts:
    """The parts that a package is made of.

    Raises JobError `chunks_differ` if their initialisation segments differ, `source_damaged` if too much is
    missing; Transient if a result is not there.
    """
    results = bench.results(bench.task.needs)
    if not results.keys() >= set(bench.task.needs):
        raise Transient("part_missing", "A part of the video is not there.")
    video, audio = (
        [Part(results[part.id].tracks[name], bench.plan.tracks[name].prefix) for part in parts]
        for name, parts in zip((work.rendition, SOUND), bench.plan.parts(bench.task), strict=True)
    )
    if len({part.encoded.header for part in video}) != 1:
        raise JobError("chunks_differ", "The video's parts were encoded in different ways.")
    frames = sum(part.encoded.frames for part in video)
    seconds = sum(part.encoded.seconds for part in video)
    faults = sum(part.encoded.faults for part in video)
    warnings = [work.warning, shortfall(work.frames, work.seconds, frames, seconds, faults)]
    warnings += [part.encoded.warning for part in (*video, *audio)]
    return Parts(video, audio, frames, seconds, " ".join(dict.fromkeys(filter(None, warnings))))


def packaged(work: Join | Hls, bench: Workbench, name: str, size: int, parts: Parts) -> StepsEnded:
    """The successful end of a package's step, whose output is the file `name` and has `size` bytes in all."""
    output = Output(
        type=bench.task.id,
        s3_key=bench.task.destination + name,
        size=size,
        content_type=objects.CONTENT_TYPES[Path(name).suffix],
        width=work.width,
        height=work.height,
        duration=round(parts.seconds, 3),
        warning=parts.warning,
        format=format_of(name),
    )
    return StepsEnded({bench.task.id: StepState(SUCCESS, outputs=(output,))})


def shortfall(
    frames: int | None,
    seconds: float,
    delivered_frames: int,
    delivered_seconds: float,
    faults: int = 0,
) -> str:
    """A warning if fewer frames or seconds were delivered than the source has, or damaged ones; else "".

    `frames` and `seconds` are the source's; `frames` is None if unknown. `faults` counts the frames in which
    the decoder found errors. All counts matter: decoders silently leave out damaged frames, or fill them in,
    and exit with 0. Raises JobError `source_damaged` if less than _ENOUGH was delivered whole.
    """
    whole = (delivered_frames - faults) / delivered_frames
    parts = [delivered_seconds / seconds, whole]
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
    if faults:
        return (
            f"The file is damaged: {faults} of {delivered_frames} frames of the video could not be "
            "decoded without errors."
        )
    return ""


def predicted_bytes(work: Join | Hls, basis: Basis) -> int:
    """Bytes of a package, estimated; for HLS of all its files."""
    _, audio = basis.plan.parts(basis.task)
    names = (work.rendition, SOUND) if audio else (work.rendition,)
    bits = sum(basis.plan.tracks[name].bits_per_second for name in names)
    return round(work.seconds * bits / 8)
