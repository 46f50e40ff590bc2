"""Children in which foreign bytes are decoded: limited, without our environment, dead when we are."""

from __future__ import annotations

import ctypes
import gc
import io
import mmap
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Buffer, Callable
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from chalicelib.errors import JobError, SluiceError, TimedOut, Transient, fault_of_ours
from chalicelib.watch import logger

BLOCK_BYTES = 1024**2
# Demuxers go to and fro, in fragmented files between every two packets.
BLOCKS_KEPT = 32
_MOST_BLOCKS_AT_ONCE = 8
_PR_SET_PDEATHSIG = 1
# Of mallopt(3); glibc below 2.35, as Lambda has it, takes no larger one.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_MMAP_THRESHOLD = 2**25
# Where functions share a machine, who answers comes before who computes.
_NICENESS = 10
_libc = ctypes.CDLL(None)


def confine(memory_bytes: int) -> Callable[[], None]:
    """What a child does first: die with its parent, dump no core, take no more than its share.

    For `preexec_fn`; everything is looked up before the fork.
    """
    parent = os.getpid()
    limits = (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    )

    def first() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we had said that we would
            os._exit(1)
        for limit, value in limits:
            resource.setrlimit(limit, (value, value))
        os.nice(_NICENESS)

    return first


def call(
    job: Callable[[], bytes],
    *,
    seconds: float,
    memory_bytes: int,
) -> bytes:
    """What `job` returns, computed in a forked child.

    Raises the SluiceError that `job` raises, as a JobError; JobError `defect` where it raises anything else,
    `decoder_crashed` where the child died of the input; TimedOut `decoder_timeout`; Transient where somebody
    else killed it.
    """
    return _talk(lambda _: job(), None, seconds, seconds, memory_bytes)


def call_with_source(
    job: Callable[[IO[bytes]], bytes],
    read: Callable[[int, int], bytes],
    size: int,
    *,
    seconds: float,
    most_seconds: float,
    memory_bytes: int,
) -> bytes:
    """Like `call`, for a `job` that reads a remote file of `size` bytes.

    The child has no credentials: it asks for blocks, and `read(start, length)` fetches them here. What that
    takes is not the file's fault, and not counted in `seconds`. Transient where it all takes `most_seconds`.
    """
    with mmap.mmap(-1, _MOST_BLOCKS_AT_ONCE * BLOCK_BYTES) as shared:

        def fetch(start: int, length: int) -> bytes:
            block = read(start, min(length, len(shared)))
            shared[: len(block)] = block
            return str(len(block)).encode()

        return _talk(
            lambda pipe: job(io.BufferedReader(_Remote(pipe, shared, size))),
            fetch,
            seconds,
            most_seconds,
            memory_bytes,
        )


def _talk(
    job: Callable[[Connection], bytes],
    read: Callable[[int, int], bytes] | None,
    seconds: float,
    most_seconds: float,
    memory_bytes: int,
) -> bytes:
    with tempfile.TemporaryFile() as result:  # of many megabytes, for which a pipe is a narrow way

        def keep(pipe: Connection) -> None:
            result.write(job(pipe))
            result.flush()

        def kept() -> bytes:
            result.seek(0)
            return result.read()

        return _supervise(keep, kept, read, seconds, most_seconds, memory_bytes)


def _supervise(
    job: Callable[[Connection], None],
    kept: Callable[[], bytes],
    read: Callable[[int, int], bytes] | None,
    seconds: float,
    most_seconds: float,
    memory_bytes: int,
) -> bytes:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_child,
        args=(confine(memory_bytes + _untouched_bytes()), _first_environment(), job, theirs),
        daemon=True,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    process.start()
    theirs.close()
    deadline = time.monotonic() + seconds
    end = time.monotonic() + most_seconds

    def received() -> bytes:
        if not ours.poll(max(0.0, min(deadline, end) - time.monotonic())):
            if end < deadline:
                raise Transient("slow_storage", "The file could not be read in time.")
            detail = f"Reading the file took longer than the {seconds:g} s that it may take."
            raise TimedOut("decoder_timeout", detail)
        return ours.recv_bytes()

    try:
        while True:
            verdict, first, rest = received().split(b"\0", 2)
            if verdict == b"ok":
                return kept()  # while the child gives its memory back
            if verdict == b"error":
                raise JobError(first.decode(), rest.decode())
            if verdict == b"broken":
                raise _broken(int(first), rest.decode())
            assert read is not None
            asked = time.monotonic()
            block = read(int(first), int(rest))
            deadline += time.monotonic() - asked
            ours.send_bytes(block)
    except (EOFError, ConnectionError):
        process.join()
        raise _died(process.exitcode) from None
    finally:
        process.kill()
        process.join()
        ours.close()


def keep_memory() -> None:
    """What is freed is used again instead of given back: pages of large arrays are not zeroed each time."""
    _libc.mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
    _libc.mallopt(_M_TRIM_THRESHOLD, 2**30)


def _untouched_bytes() -> int:
    """Address space that a fork takes over from us, and that holds no memory."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return (int(size) - int(resident)) * resource.getpagesize()


def _first_environment() -> tuple[int, int, int]:
    """Where to write zeros, and how many: what /proc/self/environ shows, whatever became of it (proc(5))."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    return start, 0, end - start


def _child(
    first: Callable[[], None],
    first_environment: tuple[int, int, int],
    job: Callable[[Connection], None],
    pipe: Connection,
) -> None:
    first()
    gc.disable()  # it would write to, and so copy, what we share with our parent
    os.environ.clear()  # no credential is within reach of a decoder
    ctypes.memset(*first_environment)  # in a fork's own copy of it
    # In the local cloud the standard files are the worker's own protocol pipes.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    try:
        job(pipe)
        message = b"ok\0\0"
    except SluiceError as error:
        message = f"error\0{error.code}\0{error.detail}".encode()
    except MemoryError:
        # What was asked for is not known: a length that lies, or a picture that is large.
        message = (
            b"error\0decoder_memory\0"
            b"The file asks for more memory than a decoder may take: it is damaged, or too large."
        )
    except Exception as error:
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        message = f"broken\0{number}\0{traceback.format_exc()}".encode()
    pipe.send_bytes(message)
    os._exit(0)


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
    """A file whose blocks the parent fetches, to memory that both share; those that were used last are kept.

    Whoever reads on gets more of them at once, each time twice as many: to ask takes longer than to read.
    """

    def __init__(self, pipe: Connection, shared: mmap.mmap, size: int) -> None:
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
            self._at_once = min(2 * self._at_once, _MOST_BLOCKS_AT_ONCE) if reads_on else 1
            self._following = number + self._at_once
            self._ahead = dict(enumerate(self._fetch(number, self._at_once), number))
        return self._ahead.pop(number)

    def _fetch(self, number: int, blocks: int) -> list[bytes]:
        start = number * BLOCK_BYTES
        length = min(blocks * BLOCK_BYTES, self._size - start)
        self._pipe.send_bytes(b"read\0%d\0%d" % (start, length))
        fetched = int(self._pipe.recv_bytes())
        return [
            self._shared[begin : min(begin + BLOCK_BYTES, fetched)]
            for begin in range(0, length, BLOCK_BYTES)
        ]


def _broken(errno: int, trace: str) -> SluiceError:
    """Of an exception that the job did not expect: the system's are its own fault, others ours."""
    logger.error("A decoder failed in a way that it should not", trace=trace)
    if errno:
        return Transient("decoder_broken", f"The decoder could not work: {os.strerror(errno)}.")
    return fault_of_ours("while it was decoded")


def _died(exitcode: int | None) -> SluiceError:
    if exitcode == -signal.SIGKILL:
        return Transient("killed", "The decoder was killed from outside.")
    return _crashed()


def _crashed() -> JobError:
    return JobError(
        "decoder_crashed",
        "The file makes its decoder crash: it is damaged, or made to harm.",
    )
