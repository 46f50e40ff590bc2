"""Children in which foreign bytes are decoded: forked from a process that knows nothing of us, behind walls,
limited, dead when we are. What comes back from them is not believed."""

from __future__ import annotations

import atexit
import errno
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import msgspec

from chalicelib.codes import FAILURES
from chalicelib.engines import decoder, forkserver, walls
from chalicelib.errors import (
    Crashed,
    JobError,
    SluiceError,
    TimedOut,
    Transient,
    crashed,
    fault_of_ours,
)
from chalicelib.telemetry import logger

# How long the forkserver may take to say that a child has ended: it is as busy as the machine.
_PATIENCE_SECONDS = 20.0
# And a child to end that says nothing any more.
_DYING_SECONDS = 5.0
# Where a Python of its own finds its libraries. Nothing else of our environment is handed on.
_HANDED_ON = ("LD_LIBRARY_PATH",)
_PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:]
from chalicelib.engines import forkserver
forkserver.main(int(sys.argv[1]))
"""


class _Forkserver:
    """A process that forks one child after the other."""

    def __init__(self) -> None:
        # Before anyone can look: children are of the same user.
        walls.hide()
        _tell_what_is_missing()
        self.lock = Lock()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-B", "-c", _PROGRAM,
                    str(theirs.fileno()),
                    *sys.path,
                ],
                env={name: os.environ[name] for name in _HANDED_ON if name in os.environ},
                stdin=subprocess.DEVNULL,
                # In the local cloud it is the worker's own protocol pipe.
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


@cache
def _tell_what_is_missing() -> None:
    if not walls.can_filter():
        logger.warning("The kernel filters no system calls: decoders can reach the network")


@cache
def _forkserver(_: int) -> _Forkserver:
    """That of this process, by its number: a fork of ours has another one."""
    server = _Forkserver()
    atexit.register(server.close)
    return server


def start(*modules: str) -> None:
    """Let the process begin that children are forked from, and import what they need, beside what we do."""
    try:
        server = _living()
        for module in modules:
            forkserver.send(server.control, module)
    except OSError:  # it died at this moment; who needs it starts another
        logger.warning("The process that decoders are forked from could not begin", exc_info=True)


def stop() -> None:
    """Let it end, and what it knows with it; the next child has another one."""
    _forkserver(os.getpid()).close()
    _forkserver.cache_clear()


def _living() -> _Forkserver:
    server = _forkserver(os.getpid())
    if server.process.poll() is not None:  # it was killed, as where memory is short
        stop()
        server = _forkserver(os.getpid())
    return server


class Child:
    """A child that runs."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._status: int | None = None
        self.was_killed = False  # by us

    def end(self, seconds: float = 0.0) -> int:
        """How it ended, as subprocess has it, once it has by itself, or has been killed after `seconds`.

        Then nothing is there any more that it has begun. Raises Transient where nobody knows.
        """
        if self._status is None:
            told = self._told(seconds) if seconds > 0 else None
            if told is None:
                self.was_killed = True
                with suppress(OSError):
                    self._control.send(forkserver.END)
                told = self._told(_PATIENCE_SECONDS)
            if not told:
                raise Transient("decoder_broken", "The process that starts decoders has ended.")
            self._status = int(told)
        return self._status

    def _told(self, seconds: float) -> bytes | None:
        self._control.settimeout(seconds)
        try:
            return self._control.recv(forkserver.MESSAGE_BYTES)
        except TimeoutError:
            return None
        except OSError:
            return b""


@contextmanager
def forked(
    run: Callable[..., None], descriptors: Sequence[int], *args: Any, module: str = decoder.__name__
) -> Iterator[Child]:
    """A child that runs `run(parent, *descriptors, *args)`, until the end of this at the latest.

    The `module` is imported once for all children.
    """
    server = _living()
    with server.lock:
        child = Child(server.control)
        try:
            server.control.settimeout(_PATIENCE_SECONDS)
            forkserver.send(server.control, module, run, descriptors, args)
            try:
                yield child
            finally:
                child.end()
        except (OSError, Transient, TimedOut, Crashed):
            # It may have been taken over. The next one is forked from a process that it has never seen.
            stop()
            raise


def call(job: str, *args: Any, returns: Any, seconds: float, memory_bytes: int) -> Any:
    """What a job returns, computed in a child, if it is of that type.

    A job is a function's name, `module:function`, for we need not import what children do. Raises the
    SluiceError that it raises, as a JobError; JobError `defect` where it raises anything else,
    `decoder_crashed` where the child died of the input; TimedOut `decoder_timeout`; Transient where somebody
    else killed it.
    """
    wanted = _Wanted(job, returns, seconds, seconds)
    return _ask(wanted, decoder.answer, [], memory_bytes, job, *args)


def call_with_source(
    job: str,
    *args: Any,
    returns: Any,
    read: Callable[[int, int], bytes],
    size: int,
    seconds: float,
    most_seconds: float,
    memory_bytes: int,
) -> Any:
    """Like `call`, of a job that is given a remote file of `size` bytes first.

    The child has no credentials: it asks for blocks, and `read(start, length)` fetches them here. What that
    takes is not the file's fault, and not counted in `seconds`. Transient where it all takes `most_seconds`.
    """
    with _shared_memory() as (descriptor, shared):

        def fetch(block: decoder.Wanted) -> bytes:
            if block.start + block.length > size:
                raise crashed()
            content = read(block.start, block.length)
            shared[: len(content)] = content
            return b"%d" % len(content)

        wanted = _Wanted(job, returns, seconds, most_seconds, fetch)
        return _ask(wanted, decoder.answer_of_source, [descriptor], memory_bytes, size, job, *args)


@contextmanager
def _shared_memory() -> Iterator[tuple[int, mmap.mmap]]:
    """Of a size that nobody can change: who reads what another has cut off dies of it."""
    descriptor = os.memfd_create("blocks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, decoder.MOST_BLOCKS_AT_ONCE * decoder.BLOCK_BYTES)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        with mmap.mmap(descriptor, 0) as shared:
            yield descriptor, shared
    finally:
        os.close(descriptor)


class _Wanted(NamedTuple):
    """What a job is to return, and how long it may take, without and with what fetching takes."""

    job: str
    returns: Any
    seconds: float
    most_seconds: float
    fetch: Callable[[decoder.Wanted], bytes] | None = None


def _ask(wanted: _Wanted, run: Callable[..., None], descriptors: Sequence[int], *args: Any) -> Any:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        theirs,
        tempfile.TemporaryFile() as answer,  # of many megabytes, for which a pipe is a narrow way
        forked(
            run,
            [theirs.fileno(), answer.fileno(), *descriptors],
            *args,
            module=wanted.job.partition(":")[0],
        ) as child,
    ):
        theirs.close()
        deadline = time.monotonic() + wanted.seconds
        end = time.monotonic() + wanted.most_seconds
        while True:
            try:
                message = _message(ours, child, min(deadline, end) - time.monotonic())
            except TimeoutError:
                if end < deadline:
                    detail = "The file could not be read in time."
                    raise Transient("slow_storage", detail) from None
                detail = (
                    f"Reading the file took longer than the {wanted.seconds:g} s that it may take."
                )
                raise TimedOut("decoder_timeout", detail) from None
            match message:
                case decoder.Answered():
                    return _content(
                        answer.fileno(), wanted.returns
                    )  # while the child gives its memory back
                case decoder.Refused(code, detail) if code in FAILURES and detail.isprintable():
                    raise JobError(code, detail)
                case decoder.Broken(number, trace):
                    raise _broken(number, trace)
                case decoder.Wanted() if wanted.fetch:
                    asked = time.monotonic()
                    block = wanted.fetch(message)
                    deadline += time.monotonic() - asked
                    with suppress(OSError):  # what it says next, or does not, tells why
                        ours.send(block)
                case _:
                    raise crashed()


def _message(ours: socket.socket, child: Child, seconds: float) -> decoder.Message:
    """What a child says next: a message comes as a whole, or not at all. Raises TimeoutError."""
    if seconds <= 0:  # also where it never stops
        raise TimeoutError
    ours.settimeout(seconds)
    try:
        told = ours.recv(decoder.MESSAGE_BYTES)
    except ConnectionError:
        told = b""
    if not told:
        raise _died(child)
    try:
        message: decoder.Message = msgspec.msgpack.decode(told, type=decoder.Message)
    except msgspec.DecodeError:
        raise crashed() from None
    return message


def _content(answer: int, returns: Any) -> Any:
    size = os.fstat(answer).st_size
    if size > decoder.ANSWER_BYTES:
        raise crashed()
    try:
        return msgspec.msgpack.decode(os.pread(answer, size, 0), type=returns)
    except msgspec.DecodeError:
        logger.exception("A decoder answered what it should not")
        raise crashed() from None


def _broken(number: int, trace: str) -> SluiceError:
    """Of an exception that the job did not expect: the system's are its own fault, others ours."""
    logger.error("A decoder failed in a way that it should not", trace=trace)
    if number == 0:
        return fault_of_ours("while it was decoded")
    if number in errno.errorcode and number != errno.EFBIG:
        return Transient("decoder_broken", f"The decoder could not work: {os.strerror(number)}.")
    return crashed()


def _died(child: Child) -> SluiceError:
    status = child.end(_DYING_SECONDS)
    if status == -signal.SIGKILL and not child.was_killed:
        return Transient("killed", "The decoder was killed from outside.")
    if status == forkserver.NOT_RUN:
        return Transient("decoder_broken", "The decoder could not be started.")
    return crashed()
