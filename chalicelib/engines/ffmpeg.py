"""Runs FFmpeg in a child process: arguments in, progress and counted faults out."""

from __future__ import annotations

import errno
import os
import re
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, cast

from sluice_ffmpeg import path as binary

from chalicelib.engines import forkserver, sandbox_child
from chalicelib.engines.sandbox import forked
from chalicelib.engines.scratch import check_files
from chalicelib.errors import JobError, SluiceError, TimedOut, Transient, crashed
from chalicelib.telemetry import logger

# Letters of FFmpeg's messages that are kept; digits of a number in its progress.
_TAIL, _DIGITS = 2000, 15
_LONGEST_LINE = 4000
# Messages of FFmpeg's own decoding thread on video, whatever the decoder: a frame is marked as not decoded
# whole (AVFrame's flags and decode_error_flags), or a packet gives none. The HEVC decoder marks none, but
# names the NAL units of pictures (ITU-T H.265, table 7-1: types below 32) that it has given up.
_MARKED = re.compile(
    r"\[vist#[^]]*\] \[dec:[^]]*\] \[\w+\] (corrupt decoded frame|Decoding error|Error submitting)"
    r"|\[hevc @ \w+\] \[warning\] Skipping invalid undecodable NALU: ([0-9]|[12][0-9]|3[01])$"
)
# Errors of decoders that mark no frames; muxers report others in the same way. Not "mmco: unref short
# failure": where H.264 begins with an open group, pictures that nothing refers to never were there.
_LOGGED = re.compile(
    r"\[(?!(null|mp4) @)\w+ @ \w+\] \[(error|fatal)\] (?!mmco: unref short failure)"
)
_PROGRESS = re.compile(r"(frame|out_time_us|progress)=\s*(\w+)")
# Address space that FFmpeg maps and never touches, above all the stacks of its threads.
_UNTOUCHED_BYTES = 1024**3
# Seconds from one call of `check` to the next, at most.
_CHECK_SECONDS = 1.0


class Delivered(NamedTuple):
    """What an FFmpeg run reports."""

    frames: int  # written
    seconds: float  # written
    said: str = ""  # the end of its warnings and errors
    faults: int = 0  # frames lost or marked by decoders; the errors of decoders that mark none


def run(
    args: Iterable[str],
    *,
    folder: Path,
    seconds: float,
    memory_bytes: int,
    on_seconds: Callable[[float], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Delivered:
    """Run FFmpeg in `folder` for at most `seconds`; `on_seconds` gets the seconds written, twice a second.

    `check` is called before that, and once a second: FFmpeg is killed at once where it raises. Raises
    JobError where the input is at fault, TimedOut, Transient where it was killed from outside.
    """
    command = (
        str(binary()),
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-y",
        "-v", "repeat+level+warning",  # without "repeat" equal messages could not be counted
        "-progress", "pipe:1",
        "-stats_period", "0.5",
        *args,
    )  # fmt: skip
    check()
    progress, messages = Progress(on_seconds), _Messages()
    seconds = max(seconds, 0)  # below 0 where fetching has used up all the time
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        (out, out_theirs), (err, err_theirs) = (_pipe(stack) for _ in range(2))
        theirs = (out_theirs.fileno(), err_theirs.fileno())
        child = stack.enter_context(
            forked(sandbox_child.execute, theirs, memory_bytes + _UNTOUCHED_BYTES, folder, command)
        )
        out_theirs.close()
        err_theirs.close()
        _read_lines({out: progress.read, err: messages.read}, deadline, check)
        status = child.end(deadline - time.monotonic())
        check_files(folder)
        if child.was_killed:
            raise TimedOut(
                "step_timeout",
                f"The step was stopped after {seconds:.0f} s: more than that one function may not take.",
            )
        if not progress.ended or status != 0:
            logger.warning("FFmpeg failed", status=status, stderr=messages.tail)
            raise _failure(status)
    return Delivered(progress.frames, progress.seconds, messages.tail.strip(), messages.faults)


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    ours, theirs = os.pipe()
    return (
        stack.enter_context(os.fdopen(ours, "rb", 0)),
        stack.enter_context(os.fdopen(theirs, "wb", 0)),
    )


def _read_lines(
    readers: dict[IO[bytes], Callable[[str], None]], deadline: float, check: Callable[[], None]
) -> None:
    """Call the reader of each pipe with its lines, until all pipes have ended, or the deadline."""
    with selectors.DefaultSelector() as selector:
        for pipe in readers:
            selector.register(pipe, selectors.EVENT_READ)
        rests = dict.fromkeys(readers, b"")
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            check()
            for key, _ in selector.select(min(left, _CHECK_SECONDS)):
                pipe = cast("IO[bytes]", key.fileobj)
                received = os.read(key.fd, 65536)
                *lines, rest = (rests[pipe] + received).split(b"\n")
                if not received or len(rest) > _LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    readers[pipe](line.decode(errors="replace"))
                rests[pipe] = rest
                if not received:
                    selector.unregister(pipe)


class Progress:
    """The output of -progress."""

    def __init__(self, on_seconds: Callable[[float], None]) -> None:
        self.frames = 0
        self.seconds = 0.0
        self.ended = False
        self._on_seconds = on_seconds

    def read(self, line: str) -> None:
        found = _PROGRESS.fullmatch(line.strip())
        match found and found.groups():
            case "frame", count if count.isdecimal():
                self.frames = int(count[:_DIGITS])
            case "out_time_us", count if count.isdecimal():
                self.seconds = int(count[:_DIGITS]) / 1e6
            case "progress", word:
                self.ended = word == "end"
                self._on_seconds(self.seconds)


class _Messages:
    """Counts faults in FFmpeg's messages and keeps their end: a damaged film gives millions of lines."""

    def __init__(self) -> None:
        self._marked = self._logged = 0
        self.tail = ""

    def read(self, line: str) -> None:
        self._marked += bool(_MARKED.match(line))
        self._logged += bool(_LOGGED.match(line))
        self.tail = f"{self.tail}{line}\n"[-_TAIL:]

    @property
    def faults(self) -> int:
        return self._marked or self._logged


# FFmpeg exits with the lowest byte of AVERROR(errno).
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
    if status == forkserver.NOT_RUN:
        return Transient("decoder_broken", "FFmpeg could not be started.")
    if status < 0:
        return crashed("video")
    return JobError(
        "conversion_failed", "The video could not be converted: it seems to be damaged."
    )
