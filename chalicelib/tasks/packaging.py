"""What MP4 and HLS packages share: the parts of renditions, the check for missing frames, and the output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from chalicelib.errors import JobError, Transient
from chalicelib.model.plan import Task, sounds_of
from chalicelib.model.result import Encoded, EncodedTrack, StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import Hls, Join, renditions_of
from chalicelib.store import objects
from chalicelib.tasks.prediction import Basis
from chalicelib.tasks.workbench import Workbench

# The part of a film, 0 to 1, that must have been decoded; below it the film counts as damaged.
_ENOUGH = 0.9


class Part(NamedTuple):
    """An encoded part of a track."""

    encoded: EncodedTrack
    prefix: str  # of the keys of the track's files


class Delivered(NamedTuple):
    """What came out as a rendition."""

    frames: int
    seconds: float
    warnings: tuple[str, ...]  # sentences for the client


def parts_of(bench: Workbench) -> tuple[dict[str, list[Part]], dict[str, list[Part]]]:
    """The parts of each rendition and of each track of audio, by their names, that a package is made of.

    Raises JobError `chunks_differ` if their initialisation segments differ; Transient if a result is not
    there.
    """
    return parts_in(results_of(bench), bench)


def results_of(bench: Workbench) -> Mapping[str, Encoded]:
    """What the tasks that a package needs have ended with, by their ids. Raises Transient."""
    results = bench.results(bench.task.needs)
    if not results.keys() >= set(bench.task.needs):
        raise Transient("part_missing", "A part of the video is not there.")
    return results


def parts_in(
    results: Mapping[str, Encoded], bench: Workbench
) -> tuple[dict[str, list[Part]], dict[str, list[Part]]]:
    """`parts_of` in what tasks have ended with. Raises JobError `chunks_differ`."""
    chunks, sound = bench.plan.parts(bench.task)

    def of(name: str, tasks: Sequence[Task]) -> list[Part]:
        prefix = bench.plan.tracks[name].prefix
        return [Part(results[task.id].tracks[name], prefix) for task in tasks]

    video = {name: of(name, chunks) for name in renditions_of(bench.task.work)}
    for parts in video.values():
        if len({part.encoded.header for part in parts}) != 1:
            raise JobError("chunks_differ", "The video's parts were encoded in different ways.")
    return video, {name: of(name, sound) for name in sounds_of(bench.task.work) if sound}


def delivered(parts: Sequence[Part], frames: int | None, seconds: float) -> Delivered:
    """What came out as a rendition of a film that has so many frames and seconds.

    Raises JobError `source_damaged` if too much is missing.
    """
    made = [part.encoded for part in parts]
    found = sum(each.frames for each in made)
    length = sum(each.seconds for each in made)
    faults = sum(each.faults for each in made)
    warnings = [shortfall(frames, seconds, found, length, faults)]
    warnings += [each.warning for each in made]
    return Delivered(found, length, tuple(filter(None, warnings)))


def packaged(
    bench: Workbench,
    name: str,
    size: int,
    shown: tuple[int, int],
    seconds: float,
    warnings: Iterable[str],
    *,
    manifest: str = "",
) -> StepsEnded:
    """The successful end of a package's step.

    Its output is the file `name`, of `size` bytes in all, `shown` as wide and high. `warnings` are sentences;
    `manifest` is the name of an MPD beside it.
    """
    width, height = shown
    output = Output(
        type=bench.task.id,
        s3_key=bench.task.destination + name,
        size=size,
        content_type=objects.CONTENT_TYPES[Path(name).suffix],
        width=width,
        height=height,
        duration=round(seconds, 3),
        warning=" ".join(dict.fromkeys(filter(None, warnings))),
        format=format_of(name),
        manifest=manifest,
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
    names = (*renditions_of(work), *(sounds_of(work) if audio else ()))
    bits = sum(basis.plan.tracks[name].bits_per_second for name in names)
    return round(work.seconds * bits / 8)
