"""What tasks that encode share: one run of FFmpeg, and the fragmented MP4s that it writes."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.formats import mp4_fragments
from chalicelib.invocation import Budget
from chalicelib.model.result import Encoded
from chalicelib.model.work import Audio, Chunk, Command, Excerpt
from chalicelib.store import objects
from chalicelib.tasks.workbench import Workbench

if TYPE_CHECKING:
    from chalicelib.engines.ffmpeg import Delivered

# Writes an excerpt of the film to the file that FFmpeg reads.
type Fetch = Callable[[Excerpt], None]
# The commands of a plan, by their names.
type Commands = Mapping[str, Command]
# Encodes a part in a folder. The last argument gets the seconds that are encoded.
type Encode[Part] = Callable[
    [Part, Commands, Path, Budget, Fetch, Callable[[float], None]], Encoded
]


class Fragments(NamedTuple):
    """A fragmented MP4 that a run has written."""

    data: mmap.mmap  # the whole file
    header: bytes  # the initialisation segment
    fragments: list[mp4_fragments.Fragment]


def run_ffmpeg(
    args: Command,
    excerpt: Excerpt | None,
    folder: Path,
    budget: Budget,
    fetch: Fetch,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Delivered:
    """Run FFmpeg in `folder` on the file `source`, into which the excerpt, if any, is fetched first.

    Returns what it reports. Raises JobError, Transient.
    """
    from chalicelib.engines import ffmpeg

    if excerpt:
        fetch(excerpt)
    return ffmpeg.run(
        args,
        folder=folder,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        on_seconds=on_seconds,
        check=budget.check,
    )


def take_fragments(path: Path) -> Fragments:
    """Map and parse an output of a run, and unlink it: the next run must not overwrite mapped pages."""
    data = mapped(path)
    path.unlink()
    return Fragments(data, *mp4_fragments.split(data))


def run_part[Part: (Chunk, Audio)](work: Part, encode: Encode[Part], bench: Workbench) -> Encoded:
    """Encode a part of a film, and store each track's files, which it leaves in `folder`/out/track.

    Raises JobError, Transient.
    """
    with bench.folder() as folder:
        encoded = encode(
            work,
            bench.plan.commands,
            folder,
            bench.budget,
            partial(bench.fetch, folder),
            lambda at: bench.on_progress(at / work.seconds),
        )
        for name, track in bench.plan.tracks.items():
            for path in sorted((folder / "out" / name).glob("*")):
                objects.publish(path, track.prefix + path.name)
        return encoded


def mapped(path: Path) -> mmap.mmap:
    """A file, mapped into memory for reading. Raises ValueError if it is empty."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
