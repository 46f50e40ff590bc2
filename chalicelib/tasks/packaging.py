"""What packages share: the parts of a rendition, whether all is there, and the output that comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from chalicelib.errors import JobError
from chalicelib.model.result import Encoded, StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState
from chalicelib.model.work import Hls, Join
from chalicelib.store import objects
from chalicelib.tasks.prediction import Basis
from chalicelib.tasks.workbench import Workbench

# The part of a film that must have come out, or it is called damaged.
_ENOUGH = 0.9


class Part(NamedTuple):
    """An encoded part, and the key prefix of its files."""

    encoded: Encoded
    folder: str


class Parts(NamedTuple):
    """All parts of a rendition, in order: frames and seconds of its video, and what a client should know."""

    video: Sequence[Part]
    audio: Sequence[Part]
    frames: int
    seconds: float
    warning: str


def parts_of(work: Join | Hls, bench: Workbench) -> Parts:
    """The parts that a package is made of. Raises JobError where they do not fit, or too much is missing."""
    results = bench.results(bench.task.needs)
    video, audio = (
        [Part(results[part.id], part.destination) for part in parts]
        for parts in bench.plan.parts(bench.task)
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
    """The end of the step that a package is, of `size` bytes in all, listed as the file `name`."""
    output = Output(
        type=bench.task.id,
        s3_key=bench.task.destination + name,
        size=size,
        content_type=objects.CONTENT_TYPES[Path(name).suffix],
        width=work.width,
        height=work.height,
        duration=round(parts.seconds, 3),
        warning=parts.warning,
    )
    return StepsEnded({bench.task.id: StepState(SUCCESS, output=output)})


def shortfall(
    frames: int | None,
    seconds: float,
    delivered_frames: int,
    delivered_seconds: float,
    faults: int = 0,
) -> str:
    """A warning where less came out than the source promised, or with errors; "" where all did, whole.

    Raises JobError `source_damaged` where it is less than nine tenths. Damaged frames are left out
    silently by decoders that exit with 0, or filled in, so all counts matter; `faults` is that of frames in
    which the decoder found errors.
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
    """Bytes of a package: of all its files, for HLS."""
    groups = dict.fromkeys(part.group for parts in basis.plan.parts(basis.task) for part in parts)
    return round(work.seconds * sum(basis.bits[group] for group in groups) / 8)
