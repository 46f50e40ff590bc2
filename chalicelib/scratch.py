"""Folders for one task's files, gone when it ends; those of a worker that was killed, soon after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder. Not to be nested: one task at a time is what a worker does."""
    _remove_leftovers()
    with TemporaryDirectory(prefix=f"sluice-{os.getpid()}-") as folder:
        yield Path(folder)


def _remove_leftovers() -> None:
    """Lambda keeps /tmp when it kills a worker, and starts the next one in it, often as the same number."""
    for left in Path(gettempdir()).glob("sluice-*-*"):
        pid = left.name.split("-")[1]
        if pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
