"""The processes of a local cloud."""

from __future__ import annotations

import psutil

from sluice.stack import Stack


def processes(stack: Stack) -> list[psutil.Process]:
    """MiniStack, its workers and what they have started."""
    assert stack.pid is not None
    ministack = psutil.Process(stack.pid)
    return [ministack, *ministack.children(recursive=True)]


def ffmpegs(stack: Stack) -> list[psutil.Process]:
    return [process for process in processes(stack) if _name(process) == "ffmpeg"]


def alive(process: psutil.Process) -> bool:
    """Whether it runs: not gone, nor dead with nobody who waits for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
