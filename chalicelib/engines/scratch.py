"""Folders for one task's files, gone when it ends; those of a worker that was killed, soon after."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from chalicelib.errors import crashed
from chalicelib.telemetry import logger


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


def check_files(folder: Path) -> None:
    """Raises JobError unless all that a decoder has left in its folder is files of its own.

    By a link, or a pipe, it could make us read or overwrite what is not. It must have ended.
    """
    for path in folder.rglob("*"):  # which does not follow links
        found = path.lstat()
        is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if not (is_file or stat.S_ISDIR(found.st_mode)):
            logger.error("A decoder has left what is no file of its own", mode=oct(found.st_mode))
            raise crashed()
