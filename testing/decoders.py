"""Functions that tests run in the sandbox. They are called by name: the fork server imports this module."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import IO

import msgspec

from chalicelib.engines.sandbox_child import Wanted
from chalicelib.errors import JobError
from chalicelib.model.facts import VideoFacts


def echo(content: bytes) -> bytes:
    return content


def environment() -> tuple[dict[str, str], bytes, bytes]:
    """The child's environment, the one it was started with, and the bytes on its standard input."""
    print("this must not be seen")
    return dict(os.environ), Path("/proc/self/environ").read_bytes(), os.read(0, 10)


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def parent() -> int:
    return os.getppid()


def descriptors() -> list[str]:
    """The target of each open descriptor; the last is that of the listed folder itself."""
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
    time.sleep(9999)  # longer than any test may take
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


# ── that were taken over ────────────────────────────────────────────────────────────────────────


def _descriptor(kind: str) -> int:
    """The number of this process's descriptor whose target matches `kind`."""
    return next(
        int(path.name)
        for path in Path("/proc/self/fd").iterdir()
        if os.path.lexists(path) and re.match(kind, str(path.readlink()))
    )


def say(messages: list[bytes]) -> bytes:
    """Send messages that break the protocol, then hang."""
    for message in messages:
        os.write(_descriptor("socket:"), message)
    return hang()


def say_endlessly(source: IO[bytes]) -> bytes:
    """Ask for bytes of the source endlessly, and never read them."""
    while True:
        os.write(_descriptor("socket:"), msgspec.msgpack.encode(Wanted(0, 1)))


def want(_: IO[bytes], start: int, length: int) -> bytes:
    return say([msgspec.msgpack.encode({"type": "Wanted", "start": start, "length": length})])


def answer_at_length(length: int) -> bytes:
    """Answer with a sparse file of this length."""
    answer = _descriptor("/tmp/")
    os.ftruncate(answer, length)
    os.lseek(answer, 0, os.SEEK_END)
    return b""


def cut_off_memory(_: IO[bytes]) -> bytes:
    os.ftruncate(_descriptor("/memfd:"), 0)
    return b""


def forged(_: IO[bytes], demuxer: str, field: str, value: object) -> object:
    """Facts of a film with one invalid value."""
    facts = VideoFacts(demuxer, 640, 360, 10.0, 250, "25", 12800, 0)
    return msgspec.to_builtins(facts) | {field: value}
