"""The child's side of `sandbox`: confines itself, runs a job, and answers by a socket and a file."""

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
# A child caches so many blocks: demuxers go to and fro, in fragmented files between every two packets.
BLOCKS_KEPT = 32
MOST_BLOCKS_AT_ONCE = 8
# The longest message, either way.
MESSAGE_BYTES = 2**16
# The longest result of a job: the facts of twelve hours of 60 frames a second are half of it.
ANSWER_BYTES = 256 * 1024**2
# The largest file that a decoder may write: a JPEG of noise, of the largest pictures taken, is half of it.
_FILE_BYTES = 1024**3
_DETAIL_LETTERS, _TRACE_LETTERS = 500, 8000
# mallopt(3); glibc before 2.35, as Lambda has it, takes no larger threshold.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_MMAP_THRESHOLD = 2**25
_libc = ctypes.CDLL(None)

# ── messages to the worker, which validates them ────────────────────────────────────────────────


class Wanted(msgspec.Struct, tag=True):
    """Asks for a part of the file. The reply is the number of bytes in the shared memory, in decimal."""

    start: Annotated[int, Meta(ge=0)]
    length: Annotated[int, Meta(ge=1, le=MOST_BLOCKS_AT_ONCE * BLOCK_BYTES)]


class Answered(msgspec.Struct, tag=True):
    """The result is written to the answer file."""


class Refused(msgspec.Struct, tag=True):
    """The job raised a SluiceError."""

    code: str
    detail: Annotated[str, Meta(min_length=1, max_length=_DETAIL_LETTERS)]


class Broken(msgspec.Struct, tag=True):
    """The job raised another exception."""

    errno: int  # of an OSError, else 0
    trace: Annotated[str, Meta(max_length=_TRACE_LETTERS)]


Message = Wanted | Answered | Refused | Broken

# ── what a fork runs ────────────────────────────────────────────────────────────────────────────


def answer(parent: int, pipe: int, content: int, memory_bytes: int, job: str, *args: Any) -> None:
    """Run a job, write its result to the file `content`, and say so on the socket `pipe`."""
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
    """Like `answer`, for a job that reads a file of `size` bytes, whose blocks come by `shared` memory."""
    _confine(parent, memory_bytes)
    memory = mmap.mmap(shared, MOST_BLOCKS_AT_ONCE * BLOCK_BYTES, prot=mmap.PROT_READ)
    _answer(pipe, content, job, io.BufferedReader(_Remote(pipe, memory, size)), *args)


def execute(
    parent: int, out: int, messages: int, memory_bytes: int, folder: Path, command: tuple[str, ...]
) -> None:
    """Become a program whose standard output is `out` and whose standard error is `messages`."""
    os.chdir(folder)
    _connect(out, messages)
    # Python ignores them.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    walls.confine(parent, memory_bytes)
    os.execve(command[0], command, {})


def _confine(parent: int, memory_bytes: int) -> None:
    gc.disable()  # it would write to, and so copy, the pages shared with the parent
    nowhere = os.open(os.devnull, os.O_RDWR)
    _connect(nowhere, nowhere)
    walls.confine(parent, memory_bytes + _untouched_bytes(), _FILE_BYTES)


def _connect(out: int, messages: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for standard, connected in enumerate((nowhere, out, messages)):
        os.dup2(connected, standard)


def _untouched_bytes() -> int:
    """Address space that the fork has inherited and that holds no memory."""
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
        # A length that lies or a picture that is large: which of them is not known.
        message = Refused(
            "decoder_memory",
            "The file asks for more memory than a decoder may take: it is damaged, or too large.",
        )
    except Exception as error:
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        message = Broken(number, traceback.format_exc()[-_TRACE_LETTERS:])
    os.write(pipe, msgspec.msgpack.encode(message))


def keep_memory() -> None:
    """mallopt: keep freed memory, so that large arrays reuse pages instead of getting zeroed ones."""
    _libc.mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
    _libc.mallopt(_M_TRIM_THRESHOLD, 2**30)


class SizedFile(io.RawIOBase):
    """A readable file of `size` bytes; subclasses define `readinto` or `read`."""

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
    """A file whose blocks the worker fetches into shared memory. The last BLOCKS_KEPT used are cached.

    Sequential reads fetch twice as many blocks each time, for a request takes longer than the bytes do.
    """

    def __init__(self, pipe: int, shared: mmap.mmap, size: int) -> None:
        super().__init__(size)
        self._pipe = pipe
        self._shared = shared
        self._block = lru_cache(BLOCKS_KEPT)(self._next)
        self._ahead: dict[int, bytes] = {}
        self._following = -1  # the block after the last one fetched
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
