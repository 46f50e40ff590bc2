"""The process that decoders are forked from.

A worker starts it by exec, with an empty environment and one socket: no credential, no client and no
connection of the worker is in its memory, so that a fork of it inherits none. What decoders need is imported
here once, before the first of them is forked. It ends when the worker does, and everything below it.
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
# What a fork ends with that has not become what it should be.
NOT_RUN = 126
_MOST_SECONDS = 5.0


def send(
    control: socket.socket,
    module: str,
    run: Callable[..., None] | None = None,
    descriptors: Sequence[int] = (),
    args: tuple[Any, ...] = (),
) -> None:
    """As a worker: what to import, and what to run in a fork, if anything.

    That is called with its parent, the descriptors, and `args`.
    """
    # A message can be no longer than the system allows.
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
            if message == END:  # of one that had ended by itself
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
    """How a fork ended: as it says, or by which signal, below zero."""
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
    # It has ended, or the worker has heard enough, or is gone.
    select.select([ended, control.fileno()], [], [])
    os.close(ended)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    _end_all()
    return os.waitstatus_to_exitcode(status)


def _end_all() -> None:
    """End whatever a fork has left. Raises TimeoutError where that makes processes faster than they end."""
    end = time.monotonic() + _MOST_SECONDS
    with suppress(ChildProcessError):  # nobody is left
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                for child in _children():
                    os.kill(child, signal.SIGKILL)
        raise TimeoutError("A decoder has left processes that cannot be ended.")


def _children() -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                yield int(process.name)
