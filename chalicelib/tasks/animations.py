"""Copy an animated image into a film without loss: Pillow decodes its pictures, FFmpeg encodes them."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path

from chalicelib.engines.scratch import check_files
from chalicelib.errors import JobError, crashed
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts
from chalicelib.model.result import Copied
from chalicelib.model.work import MOST_MILLISECONDS, PICTURE, Animation, Run
from chalicelib.store import objects
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.stills import in_child
from chalicelib.tasks.workbench import Workbench

# Pixels of all pictures taken together: their files, three bytes each, fit on half of the disk.
MOST_PIXELS = 1_500_000_000
MOST_PICTURES = 20_000


def run(work: Animation, bench: Workbench) -> Copied:
    """Copy the animation and store the copy. Raises JobError, Transient."""
    with bench.folder() as folder:
        copy = as_film(work, folder, bench.budget)
        return Copied(objects.publish_copy(copy, bench.task.destination + copy.name))


def as_film(work: Animation, folder: Path, budget: Budget) -> Path:
    """Copy `folder`/source and return the path of the copy. Raises JobError, Transient."""
    from chalicelib.engines import ffmpeg

    durations: list[int] = in_child(
        "animations:write_pictures",
        list[int],
        budget,
        folder / "source",
        work.format,
        folder / PICTURE,
        MOST_PICTURES,
        MOST_PIXELS,
    )
    check_files(folder)
    if not durations or any(not 0 < each <= MOST_MILLISECONDS for each in durations):
        raise crashed("image")
    for number, start in enumerate(accumulate(durations[:-1], initial=0)):
        path = folder / (PICTURE % number)
        if not path.exists():
            raise crashed("image")
        os.utime(path, ns=(0, start * 1_000_000))
    last = {"last": f"{len(durations) - 1}", "milliseconds": f"{durations[-1]}"}
    args = Run(last).args(work.command)
    delivered = ffmpeg.run(
        args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        check=budget.check,
    )
    if delivered.frames != len(durations):
        detail = f"Of {len(durations)} pictures, {delivered.frames} came to be a film."
        raise JobError("copy_not_exact", detail)
    return folder / args[-1]


def predict(_: Animation, basis: Basis) -> Prediction:
    assert isinstance(basis.facts, ImageFacts)
    pixels = basis.facts.width * basis.facts.height
    # About 150 pictures, of which each pixel takes a byte in the copy.
    size, seconds = 150 * pixels, DECODER_SECONDS + 150 * 0.05 * pixels / 1e6
    return Prediction(2, 1, basis.source_bytes, size, seconds=seconds / basis.one_core)
