"""FFmpeg as a child process: the only place that starts it."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from sluice_ffmpeg import path as binary

from chalicelib.child import confine
from chalicelib.errors import JobError, SluiceError, TimedOut, Transient
from chalicelib.watch import logger

_TAIL = 2000
_LONGEST_LINE = 4000
# What FFmpeg's own decoding thread says of pictures, whatever the decoder: that a frame is marked as not
# decoded whole (AVFrame's flags and decode_error_flags), or that none comes of a packet. The decoder of HEVC
# marks none, but says which units of pictures (ITU-T H.265, table 7-1: kinds below 32) it has given up.
_MARKED = re.compile(
    r"\[vist#[^]]*\] \[dec:[^]]*\] \[\w+\] (corrupt decoded frame|Decoding error|Error submitting)"
    r"|\[hevc @ \w+\] \[warning\] Skipping invalid undecodable NALU: ([0-9]|[12][0-9]|3[01])$"
)
# Some decoders mark nothing, and tell of errors all the same; what writes does so of other things. Not that
# pictures are gone which nothing refers to: where H.264 begins with an open group they never were there.
_TOLD = re.compile(r"\[(?!(null|mp4) @)\w+ @ \w+\] \[(error|fatal)\] (?!mmco: unref short failure)")
# Address space that is mapped and never touched, the stacks of its threads above all.
_UNTOUCHED_BYTES = 1024**3


class Delivered(NamedTuple):
    """What an FFmpeg run says that it wrote."""

    frames: int
    seconds: float
    said: str = ""  # the end of its warnings and errors
    faults: int = 0  # frames that were not decoded, or not without errors; else errors of decoders


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
        "-v", "repeat+level+warning",  # each of them, for they are counted
        "-progress", "pipe:1",
        "-stats_period", "0.5",
        *args,
    )  # fmt: skip
    expired = threading.Event()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={},  # no credential reaches it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=confine(memory_bytes + _UNTOUCHED_BYTES),
    )

    def expire() -> None:
        expired.set()
        process.kill()

    watchdog = threading.Timer(max(0.0, seconds), expire)
    watchdog.start()
    assert process.stdout is not None
    assert process.stderr is not None
    # A reader for each: of two pipes with one, that which is full stops the other.
    with ThreadPoolExecutor(1) as pool, process.stdout as lines, process.stderr as messages:
        listening = pool.submit(_listen, messages)
        try:
            delivered = _follow(lines, on_seconds)
            status = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
        faults, tail = listening.result()
    if expired.is_set():
        raise TimedOut(
            "step_timeout",
            f"The step was stopped after {seconds:.0f} s: more than that one function may not take.",
        )
    if delivered is None or status != 0:
        logger.warning("FFmpeg failed", status=status, stderr=tail)
        raise _failure(status)
    return delivered._replace(said=tail, faults=faults)


def _listen(messages: IO[str]) -> tuple[int, str]:
    """How many faults there are, and the end of it all; of a damaged film there can be millions of lines."""
    marked, told, tail = 0, 0, ""
    while line := messages.readline(_LONGEST_LINE):
        marked += bool(_MARKED.match(line))
        told += bool(_TOLD.match(line))
        tail = (tail + line)[-_TAIL:]
    return marked or told, tail.strip()


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
