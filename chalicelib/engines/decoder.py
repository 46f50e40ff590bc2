"""A decoder's side of `sandbox`: a process of its own behind walls, that answers by a socket and a file."""

from __future__ import annotations

import ctypes
import gc
import io
import mmap
import os
import resource
import signal
import traceback
from collections.abc import Buffer
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chalicelib.engines import walls
from chalicelib.errors import SluiceError

BLOCK_BYTES = 1024**2
# Demuxers go to and fro, in fragmented files between every two packets.
BLOCKS_KEPT = 32
MOST_BLOCKS_AT_ONCE = 8
# Of a message, either way.
MESSAGE_BYTES = 2**16
# Of what is found out about a file: twelve hours of 60 frames a second are half of it.
ANSWER_BYTES = 256 * 1024**2
# Of a file that a decoder writes: a JPEG of noise, as large as pictures may be, is half of it.
_FILE_BYTES = 1024**3
_DETAIL_LETTERS, _TRACE_LETTERS = 500, 8000
# Of mallopt(3); glibc below 2.35, as Lambda has it, takes no larger one.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_MMAP_THRESHOLD = 2**25
_libc = ctypes.CDLL(None)

# ── what it says, and what is believed of that ──────────────────────────────────────────────────


class Wanted(msgspec.Struct, tag=True):
    """A part of the file. It is answered by how many bytes lie in the memory that both share."""

    start: Annotated[int, Meta(ge=0)]
    length: Annotated[int, Meta(ge=1, le=MOST_BLOCKS_AT_ONCE * BLOCK_BYTES)]


class Answered(msgspec.Struct, tag=True):
    """The file of the answer is written."""


class Refused(msgspec.Struct, tag=True):
    """A SluiceError."""

    code: str
    detail: Annotated[str, Meta(min_length=1, max_length=_DETAIL_LETTERS)]


class Broken(msgspec.Struct, tag=True):
    """An exception that the job did not expect; the number of the system's error, or 0."""

    errno: int
    trace: Annotated[str, Meta(max_length=_TRACE_LETTERS)]


Message = Wanted | Answered | Refused | Broken

# ── what it does ────────────────────────────────────────────────────────────────────────────────


def answer(parent: int, pipe: int, content: int, memory_bytes: int, job: str, *args: Any) -> None:
    """Write what a job returns to a file, and say so."""
    _confine(parent, memory_bytes)
    _answer(pipe, content, job, *args)


def answer_of_source(
    parent: int,
    pipe: int,
    content: int,
    shared: int,
    memory_bytes: int,
    size: int,
    job: str,
    *args: Any,
) -> None:
    """The same of a job that reads a file of `size` bytes, whose blocks come by memory that is `shared`."""
    _confine(parent, memory_bytes)
    memory = mmap.mmap(shared, MOST_BLOCKS_AT_ONCE * BLOCK_BYTES, prot=mmap.PROT_READ)
    _answer(pipe, content, job, io.BufferedReader(_Remote(pipe, memory, size)), *args)


def execute(
    parent: int, out: int, messages: int, memory_bytes: int, folder: Path, command: tuple[str, ...]
) -> None:
    """Become a program, which writes to these two."""
    os.chdir(folder)
    _connect(out, messages)
    # Which Python ignores.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    walls.confine(parent, memory_bytes)
    os.execve(command[0], command, {})


def _confine(parent: int, memory_bytes: int) -> None:
    gc.disable()  # it would write to, and so copy, what we share with our parent
    nowhere = os.open(os.devnull, os.O_RDWR)
    _connect(nowhere, nowhere)
    walls.confine(parent, memory_bytes + _untouched_bytes(), _FILE_BYTES)


def _connect(out: int, messages: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for standard, connected in enumerate((nowhere, out, messages)):
        os.dup2(connected, standard)


def _untouched_bytes() -> int:
    """Address space that a fork takes over, and that holds no memory."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return (int(size) - int(resident)) * resource.getpagesize()


def _answer(pipe: int, content: int, job: str, *args: Any) -> None:
    try:
        left = memoryview(msgspec.msgpack.encode(resolve_name(job)(*args)))
        while left:
            left = left[os.write(content, left) :]
        message: Message = Answered()
    except SluiceError as error:
        message = Refused(error.code, error.detail[:_DETAIL_LETTERS])
    except MemoryError:
        # What was asked for is not known: a length that lies, or a picture that is large.
        message = Refused(
            "decoder_memory",
            "The file asks for more memory than a decoder may take: it is damaged, or too large.",
        )
    except Exception as error:
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        message = Broken(number, traceback.format_exc()[-_TRACE_LETTERS:])
    os.write(pipe, msgspec.msgpack.encode(message))


def keep_memory() -> None:
    """What is freed is used again instead of given back: pages of large arrays are not zeroed each time."""
    _libc.mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
    _libc.mallopt(_M_TRIM_THRESHOLD, 2**30)


class SizedFile(io.RawIOBase):
    """A file to be read whose bytes come from elsewhere: what is left to say is `readinto`, or `read`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position


class _Remote(SizedFile):
    """A file whose blocks the worker fetches, to memory that both share; those that were used last are kept.

    Whoever reads on gets more of them at once, each time twice as many: to ask takes longer than to read.
    """

    def __init__(self, pipe: int, shared: mmap.mmap, size: int) -> None:
        super().__init__(size)
        self._pipe = pipe
        self._shared = shared
        self._block = lru_cache(BLOCKS_KEPT)(self._next)
        self._ahead: dict[int, bytes] = {}
        self._following = -1  # the block behind what was fetched last
        self._at_once = 1

    def readinto(self, buffer: Buffer) -> int:
        if self._position >= self._size:
            return 0
        view = memoryview(buffer)
        number, start = divmod(self._position, BLOCK_BYTES)
        part = memoryview(self._block(number))[start : start + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _next(self, number: int) -> bytes:
        if number not in self._ahead:
            reads_on = number == self._following
            self._at_once = min(2 * self._at_once, MOST_BLOCKS_AT_ONCE) if reads_on else 1
            self._following = number + self._at_once
            self._ahead = dict(enumerate(self._fetch(number, self._at_once), number))
        return self._ahead.pop(number)

    def _fetch(self, number: int, blocks: int) -> list[bytes]:
        start = number * BLOCK_BYTES
        length = min(blocks * BLOCK_BYTES, self._size - start)
        os.write(self._pipe, msgspec.msgpack.encode(Wanted(start, length)))
        fetched = int(os.read(self._pipe, MESSAGE_BYTES))
        return [
            self._shared[begin : min(begin + BLOCK_BYTES, fetched)]
            for begin in range(0, length, BLOCK_BYTES)
        ]
