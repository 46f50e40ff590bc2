"""Runs decoders of untrusted files in forked children: limited memory and time, no credentials.

Children are forked from a process that has nothing of ours (`forkserver`), confined (`walls`), and killed
with the worker. Their answers are validated.
"""

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
from chalicelib.engines import forkserver, sandbox_child, walls
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

# How long the forkserver may take to say that a child has ended, on a busy machine.
_PATIENCE_SECONDS = 20.0
# How long a child may take to end after it has closed its socket.
_DYING_SECONDS = 5.0
# Seconds from one call of `check` to the next, at most.
_CHECK_SECONDS = 1.0
# Where a Python outside of system folders finds its libraries. The forkserver gets no other variable.
_HANDED_ON = ("LD_LIBRARY_PATH",)
_PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:]
from chalicelib.engines import forkserver
forkserver.main(int(sys.argv[1]))
"""


class _Forkserver:
    """The running forkserver process, which runs one child at a time."""

    def __init__(self) -> None:
        # Children have the same user: they must not read this process's memory.
        walls.hide()
        _warn_without_filter()
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
                # In the local cloud, standard output is the worker's own protocol pipe.
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


@cache
def _warn_without_filter() -> None:
    if not walls.can_filter():
        logger.warning("The kernel filters no system calls: decoders can reach the network")


@cache
def _forkserver(_: int) -> _Forkserver:
    """The forkserver of this process; the argument is its id, as a fork of it needs another one."""
    server = _Forkserver()
    atexit.register(server.close)
    return server


def start(*modules: str) -> None:
    """Start the forkserver, and let it import modules, while the worker goes on."""
    try:
        server = _living()
        for module in modules:
            forkserver.send(server.control, module)
    except OSError:  # it died at this moment; the next call starts another
        logger.warning("The process that decoders are forked from could not begin", exc_info=True)


def stop() -> None:
    """End the forkserver; the next child is forked from a new one."""
    _forkserver(os.getpid()).close()
    _forkserver.cache_clear()


def _living() -> _Forkserver:
    server = _forkserver(os.getpid())
    if server.process.poll() is not None:  # killed, perhaps as memory was short
        stop()
        server = _forkserver(os.getpid())
    return server


class Child:
    """A running child."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._status: int | None = None
        self.was_killed = False  # by us

    def end(self, seconds: float = 0.0) -> int:
        """Wait `seconds` for the child to end, then kill it; its exit status, as subprocess has it.

        Processes that it has started have ended, too. Raises Transient where the forkserver has died.
        """
        if self._status is None:
            status = self._receive(seconds) if seconds > 0 else None
            if status is None:
                self.was_killed = True
                with suppress(OSError):
                    self._control.send(forkserver.END)
                status = self._receive(_PATIENCE_SECONDS)
            if not status:
                raise Transient("decoder_broken", "The process that starts decoders has ended.")
            self._status = int(status)
        return self._status

    def _receive(self, seconds: float) -> bytes | None:
        """None after `seconds`; b"" where the forkserver has ended."""
        self._control.settimeout(seconds)
        try:
            return self._control.recv(forkserver.MESSAGE_BYTES)
        except TimeoutError:
            return None
        except OSError:
            return b""


@contextmanager
def forked(
    run: Callable[..., None],
    descriptors: Sequence[int],
    *args: Any,
    module: str = sandbox_child.__name__,
) -> Iterator[Child]:
    """A child that calls `run(parent, *descriptors, *args)`; it is killed at the end of the body.

    The forkserver imports `module` once, before the first child that needs it.
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
            # The child may have been taken over: the next one is forked from a process that it has never
            # seen.
            stop()
            raise


def call(
    job: str,
    *args: Any,
    returns: Any,
    seconds: float,
    memory_bytes: int,
    check: Callable[[], None] = lambda: None,
) -> Any:
    """Call a function in a child; its result, validated as `returns`.

    `job` is its name, `module:function`: this process need not import it. `check` is called before that, and
    once a second: the child is killed at once where it raises. Raises JobError where the function raises a
    SluiceError, `defect` where that raises anything else, `decoder_crashed` where the child died of the
    input; TimedOut `decoder_timeout`; Transient where somebody else killed the child.
    """
    wanted = _Call(job, returns, seconds, seconds, check)
    return _run(wanted, sandbox_child.answer, [], memory_bytes, job, *args)


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
    """Like `call`, for a function whose first argument is a remote file of `size` bytes.

    The child has no credentials: it asks for blocks, and `read(start, length)` fetches them here. The time
    of fetching is not counted in `seconds`. Raises Transient also where all of it takes more than
    `most_seconds`.
    """
    with _shared_memory() as (descriptor, shared):

        def fetch(block: sandbox_child.Wanted) -> bytes:
            if block.start + block.length > size:
                raise crashed()
            content = read(block.start, block.length)
            shared[: len(content)] = content
            return b"%d" % len(content)

        wanted = _Call(job, returns, seconds, most_seconds, fetch=fetch)
        return _run(
            wanted, sandbox_child.answer_of_source, [descriptor], memory_bytes, size, job, *args
        )


@contextmanager
def _shared_memory() -> Iterator[tuple[int, mmap.mmap]]:
    """Memory for blocks, sealed: a process that reads memory which another has cut off dies of it."""
    descriptor = os.memfd_create("blocks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, sandbox_child.MOST_BLOCKS_AT_ONCE * sandbox_child.BLOCK_BYTES)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        with mmap.mmap(descriptor, 0) as shared:
            yield descriptor, shared
    finally:
        os.close(descriptor)


class _Call(NamedTuple):
    """What a child is asked for."""

    job: str
    returns: Any  # type of the result
    seconds: float  # without the time of fetching
    most_seconds: float  # in all
    check: Callable[[], None] = lambda: None
    fetch: Callable[[sandbox_child.Wanted], bytes] | None = None


def _run(wanted: _Call, run: Callable[..., None], descriptors: Sequence[int], *args: Any) -> Any:
    wanted.check()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        theirs,
        tempfile.TemporaryFile() as answer,  # many megabytes: too much for a pipe
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
            wanted.check()
            left = min(deadline, end) - time.monotonic()
            try:
                message = _message(ours, child, min(left, _CHECK_SECONDS))
            except TimeoutError:
                if left > _CHECK_SECONDS:
                    continue
                if end < deadline:
                    detail = "The file could not be read in time."
                    raise Transient("slow_storage", detail) from None
                detail = (
                    f"Reading the file took longer than the {wanted.seconds:g} s that it may take."
                )
                raise TimedOut("decoder_timeout", detail) from None
            match message:
                case sandbox_child.Answered():
                    return _content(
                        answer.fileno(), wanted.returns
                    )  # while the child gives its memory back
                case sandbox_child.Refused(code, detail) if (
                    code in FAILURES and detail.isprintable()
                ):
                    raise JobError(code, detail)
                case sandbox_child.Broken(number, trace):
                    raise _broken(number, trace)
                case sandbox_child.Wanted() if wanted.fetch:
                    asked = time.monotonic()
                    block = wanted.fetch(message)
                    deadline += time.monotonic() - asked
                    with suppress(OSError):  # the next message, or its absence, says why
                        ours.send(block)
                case _:
                    raise crashed()


def _message(ours: socket.socket, child: Child, seconds: float) -> sandbox_child.Message:
    """The next message of a child. Raises TimeoutError; SluiceError where the child has ended.

    A message comes as a whole, or not at all.
    """
    if seconds <= 0:  # also where it never stops sending
        raise TimeoutError
    ours.settimeout(seconds)
    try:
        received = ours.recv(sandbox_child.MESSAGE_BYTES)
    except ConnectionError:
        received = b""
    if not received:
        raise _died(child)
    try:
        message: sandbox_child.Message = msgspec.msgpack.decode(
            received, type=sandbox_child.Message
        )
    except msgspec.DecodeError:
        raise crashed() from None
    return message


def _content(answer: int, returns: Any) -> Any:
    size = os.fstat(answer).st_size
    if size > sandbox_child.ANSWER_BYTES:
        raise crashed()
    try:
        return msgspec.msgpack.decode(os.pread(answer, size, 0), type=returns)
    except msgspec.DecodeError:
        logger.exception("A decoder answered what it should not")
        raise crashed() from None


def _broken(number: int, trace: str) -> SluiceError:
    """The error for an unexpected exception: Transient for the system's, a defect of ours for others."""
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
