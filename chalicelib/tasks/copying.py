"""Copy a film into a container with an index, by FFmpeg; the video is not encoded again."""

from __future__ import annotations

from pathlib import Path

from chalicelib.errors import JobError
from chalicelib.formats import adts
from chalicelib.invocation import Budget
from chalicelib.model.result import Copied
from chalicelib.model.work import Command, Remux
from chalicelib.store import objects
from chalicelib.tasks.encoding import mapped
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.workbench import Workbench
from chalicelib.telemetry import logger

# FFmpeg's warnings that do not concern the times in a copy: they are about unused streams, or about what
# FFmpeg detected while reading.
_HARMLESS = (
    "codec frame size is not set",
    "Guessed Channel Layout",
    "Could not find codec parameters for stream",
    "Consider increasing the value for the",
    "not enough frames to estimate rate",
)


def run(work: Remux, bench: Workbench) -> Copied:
    """Copy the source and store the copy. Raises JobError, Transient."""
    with bench.folder() as folder:
        copy = remux(work, folder, bench.budget)
        return Copied(objects.publish_copy(copy, bench.task.destination + copy.name))


def remux(work: Remux, folder: Path, budget: Budget) -> Path:
    """Copy `folder`/source and return the path of the copy.

    Raises JobError `copy_not_exact` if FFmpeg's warnings put the times of its frames in doubt; Transient.
    """
    from chalicelib.engines import ffmpeg

    def copy(args: Command) -> None:
        delivered = ffmpeg.run(
            args,
            folder=folder,
            seconds=budget.seconds(),
            memory_bytes=budget.memory_bytes,
            check=budget.check,
        )
        lines = delivered.said.splitlines()
        doubtful = [line for line in lines if not any(harmless in line for harmless in _HARMLESS)]
        if doubtful:
            logger.warning("The copy is not to be trusted", stderr=doubtful)
            raise JobError("copy_not_exact", "FFmpeg has doubts about its times.")

    copy(work.args)
    changes = [_changes(folder / file) for file in work.frames]
    if any(changes):
        logger.info("The sound changes on the way: it is decoded for the copy")
        copy(work.again)
    return folder / work.args[-1]


def _changes(frames: Path) -> bool:
    """Whether frames are not all of a kind; their file is removed."""
    changes = bool(frames.stat().st_size) and len(adts.kinds(mapped(frames))) > 1
    frames.unlink()
    return changes


def predict(_: Remux, basis: Basis) -> Prediction:
    size = basis.source_bytes
    return Prediction(2, 1, size, size, seconds=DECODER_SECONDS)
