"""What children do in tests: by name, for they are forked from a process that imports this, and no more."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import IO

from chalicelib.errors import JobError


def echo(content: bytes) -> bytes:
    return content


def environment() -> tuple[dict[str, str], bytes, bytes]:
    """What it has, what it began with, and what its input says."""
    print("this must not be seen")
    return dict(os.environ), Path("/proc/self/environ").read_bytes(), os.read(0, 10)


def descriptors() -> list[str]:
    """What each is; the last is of the folder that tells."""
    found = sorted(Path("/proc/self/fd").iterdir(), key=lambda path: int(path.name))
    return [str(path.readlink()) for path in found if os.path.lexists(path)]


def modules(names: list[str]) -> list[str]:
    import sys

    return [name for name in names if name in sys.modules]


def refuse(code: str, detail: str) -> bytes:
    raise JobError(code, detail)


def die(number: int) -> bytes:
    os.kill(os.getpid(), number)
    return b""


def hang() -> bytes:
    time.sleep(60)
    return b""


def take(length: int) -> int:
    return len(bytes(length))


def fail(error: Exception) -> bytes:
    raise error


def ends(source: IO[bytes]) -> bytes:
    source.seek(-10, os.SEEK_END)
    tail = source.read()
    source.seek(5)
    return tail + source.read(10)


def to_and_fro(source: IO[bytes]) -> bytes:
    for _ in range(50):
        for position in (0, 5 * 1024**2, 2 * 1024**2):
            source.seek(position)
            source.read(100)
    return b""


def whole(source: IO[bytes]) -> bytes:
    return source.read() + source.read(1)


def four_blocks(source: IO[bytes]) -> int:
    return sum(len(source.read(1024**2)) for _ in range(4))
