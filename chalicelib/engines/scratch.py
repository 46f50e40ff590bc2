"""Folders for the files of one task, removed when it ends, or when the next task starts after a kill."""

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
    """An empty folder. Not to be nested: a worker does one task at a time."""
    _remove_leftovers()
    with TemporaryDirectory(prefix=f"sluice-{os.getpid()}-") as folder:
        yield Path(folder)


def _remove_leftovers() -> None:
    """Lambda keeps /tmp when it kills a worker; the next one often has the same process id."""
    for left in Path(gettempdir()).glob("sluice-*-*"):
        pid = left.name.split("-")[1]
        if pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def check_files(folder: Path) -> None:
    """Raises JobError unless a decoder has left only regular files, with one name each, in its folder.

    By a link or a pipe it could make us read or overwrite other files. The decoder must have ended.
    """
    for path in folder.rglob("*"):  # rglob does not follow links
        found = path.lstat()
        is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if not (is_file or stat.S_ISDIR(found.st_mode)):
            logger.error("A decoder has left what is no file of its own", mode=oct(found.st_mode))
            raise crashed()
