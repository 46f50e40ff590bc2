"""FFmpeg as a child process: the only place that starts it."""

from __future__ import annotations

import errno
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from sluice_ffmpeg import path as binary

from chalicelib.child import confine
from chalicelib.errors import JobError, SluiceError, TimedOut, Transient
from chalicelib.watch import logger

_STDERR_TAIL = 2000
# Address space that is mapped and never touched, the stacks of its threads above all.
_UNTOUCHED_BYTES = 1024**3


class Delivered(NamedTuple):
    """What an FFmpeg run says that it wrote."""

    frames: int
    seconds: float
    # The end of what it told as errors; as warnings too, where the arguments ask for them.
    said: str = ""


def run(
    args: Iterable[str],
    *,
    folder: Path,
    seconds: float,
    memory_bytes: int,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Delivered:
    """Run FFmpeg in `folder`, at most `seconds` long; tells `on_seconds` how far it is, twice a second.

    Raises JobError where the input is at fault, TimedOut, Transient where it was killed from outside.
    """
    command = (
        binary(),
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-y",
        "-v", "error",
        "-progress", "pipe:1",
        "-stats_period", "0.5",
        *args,
    )  # fmt: skip
    expired = threading.Event()
    # A file for stderr: with two pipes and one reader, the one that is full stops the other.
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={},  # no credential reaches it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=confine(memory_bytes + _UNTOUCHED_BYTES),
        )

        def expire() -> None:
            expired.set()
            process.kill()

        watchdog = threading.Timer(max(0.0, seconds), expire)
        watchdog.start()
        try:
            assert process.stdout is not None
            with process.stdout as lines:
                delivered = _follow(lines, on_seconds)
            status = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
        stderr.seek(max(0, stderr.seek(0, 2) - _STDERR_TAIL))
        tail = stderr.read().decode(errors="replace").strip()
    if expired.is_set():
        raise TimedOut(
            "step_timeout",
            f"The step was stopped after {seconds:.0f} s: more than that one function may not take.",
        )
    if delivered is None or status != 0:
        logger.warning("FFmpeg failed", status=status, stderr=tail)
        raise _failure(status)
    return delivered._replace(said=tail)


def _follow(lines: Iterable[str], on_seconds: Callable[[float], None]) -> Delivered | None:
    """Read -progress to its end; None where it stops before `progress=end`."""
    frames, seconds, ended = 0, 0.0, False
    for line in lines:
        name, _, value = line.strip().partition("=")
        if name == "frame":
            frames = int(value)
        elif name == "out_time_us" and value != "N/A":
            seconds = int(value) / 1e6
        elif name == "progress":
            ended = value == "end"
            on_seconds(seconds)
    return Delivered(frames, seconds) if ended else None


# FFmpeg exits with the lowest byte of what AVERROR() makes of an errno.
_DISK_FULL = -errno.ENOSPC & 0xFF
_NO_MEMORY = -errno.ENOMEM & 0xFF


def _failure(status: int) -> SluiceError:
    if status == -signal.SIGKILL:
        return Transient("killed", "FFmpeg was killed from outside.")
    if status == _DISK_FULL:
        return Transient("disk_full", "The function's temporary disk is full.")
    if status == _NO_MEMORY:
        return JobError(
            "decoder_memory",
            "The video asks for more memory than a decoder may take: it is damaged, or too large.",
        )
    if status < 0:
        return JobError(
            "decoder_crashed",
            "The video makes its decoder crash: it is damaged, or made to harm.",
        )
    return JobError(
        "conversion_failed", "The video could not be converted: it seems to be damaged."
    )
