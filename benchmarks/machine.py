"""Measure the time and CPU of a program, or of a tree of processes."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from testing import environment


class Taken(NamedTuple):
    """What a program took, in seconds."""

    wall: float
    cpu: float  # of all cores


def stand_in_for_lambda() -> None:
    """Set the environment that the code expects in Lambda, without logs, metrics and traces.

    Call it before chalicelib is imported.
    """
    environment.stand_in_for_lambda(
        POWERTOOLS_LOG_LEVEL="ERROR",
        POWERTOOLS_METRICS_DISABLED="true",
        POWERTOOLS_TRACE_DISABLED="true",
    )


def describe() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def run(command: Sequence[str], folder: Path) -> Taken:
    """Run a program to its end. Raises CalledProcessError."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Taken(time.monotonic() - started, usage.ru_utime + usage.ru_stime)


def cpu_of_tree(pid: int) -> float:
    """Seconds of CPU that a process and all its descendants have used so far.

    The use of an ended process is counted by the parent that waited for it.
    """
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def cpu_of(pid: int) -> float:
    """Seconds of CPU of one process alone."""
    return sum(psutil.Process(pid).cpu_times()[:2])
