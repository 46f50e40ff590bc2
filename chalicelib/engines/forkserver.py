"""The process that decoders are forked from.

A worker starts it by exec, with an empty environment and one socket: no credential, client or connection of
the worker is in its memory, so that its forks inherit none. It imports what decoders need once, before the
first fork. It ends when the worker does, with everything below it.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chalicelib.engines import walls

MESSAGE_BYTES = 64
BEGIN, END = b"begin", b"end"
# Exit status of a fork that could not run what it was told to.
NOT_RUN = 126
_MOST_SECONDS = 5.0


def send(
    control: socket.socket,
    module: str,
    run: Callable[..., None] | None = None,
    descriptors: Sequence[int] = (),
    args: tuple[Any, ...] = (),
) -> None:
    """Order an import of `module`, and a fork that calls `run(parent, *descriptors, *args)`, if given.

    Called by the worker. `parent` is the process id of the forkserver.
    """
    # The order goes by a file: the system limits the length of messages.
    with os.fdopen(os.memfd_create("order"), "w+b", 0) as order:
        order.write(pickle.dumps((module, run, args)))
        order.seek(0)
        socket.send_fds(control, [BEGIN], [order.fileno(), *descriptors])


def main(socket_number: int) -> None:
    walls.hide()
    walls.adopt()
    with socket.socket(fileno=socket_number) as control:
        while True:
            message, descriptors, *_ = socket.recv_fds(control, MESSAGE_BYTES, 8)
            if not message:
                return
            if message == END:  # for a fork that had ended by itself
                continue
            with os.fdopen(descriptors.pop(0), "rb") as order:
                module, run, args = pickle.load(order)
            importlib.import_module(module)
            if run is not None:
                status = _forked(control, descriptors, run, args)
                os.write(socket_number, b"%d" % status)


def _forked(
    control: socket.socket, descriptors: list[int], run: Callable[..., None], args: tuple[Any, ...]
) -> int:
    """Run a fork; its exit status, or minus the signal that ended it."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            run(parent, *descriptors, *args)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(NOT_RUN)
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    # Until it has ended, or the worker says END or is gone.
    select.select([ended, control.fileno()], [], [])
    os.close(ended)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end_all()
    return os.waitstatus_to_exitcode(status)


def end_all() -> None:
    """End what a fork has left. Raises TimeoutError where processes multiply faster than they end."""
    end = time.monotonic() + _MOST_SECONDS
    with suppress(ChildProcessError):  # none is left
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                for child in children():
                    os.kill(child, signal.SIGKILL)
        raise TimeoutError("A decoder has left processes that cannot be ended.")


def children() -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                yield int(process.name)
