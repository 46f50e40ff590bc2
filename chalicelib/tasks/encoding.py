"""What tasks that run FFmpeg share: one run, and the fragments that come of it."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from chalicelib.formats import mp4_fragments
from chalicelib.invocation import Budget
from chalicelib.model.result import Encoded
from chalicelib.model.work import Command, Excerpt
from chalicelib.tasks.workbench import Workbench

# Writes an excerpt of the film as the file that a run reads.
Fetch = Callable[[Excerpt], None]


class Ran(NamedTuple):
    """The file that a run makes, if it makes one; frames in which its decoder found errors."""

    path: Path
    faults: int


class Fragments(NamedTuple):
    """A file of fragments that a run has made; frames in which its decoder found errors."""

    data: mmap.mmap
    header: bytes
    fragments: list[mp4_fragments.Fragment]
    faults: int


def run_ffmpeg(
    args: Command,
    excerpt: Excerpt | None,
    folder: Path,
    budget: Budget,
    fetch: Fetch,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Ran:
    """Run FFmpeg in `folder`, on `source` there or on an excerpt. Raises JobError, Transient."""
    from chalicelib.engines import ffmpeg

    if excerpt:
        fetch(excerpt)
    delivered = ffmpeg.run(
        args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        on_seconds=on_seconds,
    )
    return Ran(folder / args[-1], delivered.faults)


def take_fragments(ran: Ran) -> Fragments:
    """What a run has made; its file is gone, so that another run does not write what is mapped."""
    data = mapped(ran.path)
    ran.path.unlink()
    return Fragments(data, *mp4_fragments.split(data), ran.faults)


def mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def publish_part(folder: Path, encoded: Encoded, bench: Workbench) -> Encoded:
    """Store the segments and the initialisation of a part; the part."""
    for path in sorted((folder / "out").iterdir()):
        bench.publish(path)
    return encoded
