"""Children die with us, at their deadline, and of bad input; each death has its own name."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from chalicelib.engines import ffmpeg, sandbox
from chalicelib.engines.scratch import scratch_folder
from chalicelib.errors import JobError, TimedOut, Transient
from testing.local import below

GIB = 1024**3
ENDLESS = ("-f", "lavfi", "-i", "testsrc2=size=64x64", "-f", "null", "-")


def call(job: str, *args: Any, returns: Any = bytes, seconds: float = 5) -> Any:
    return sandbox.call(
        f"testing.decoders:{job}", *args, returns=returns, seconds=seconds, memory_bytes=2 * GIB
    )


def call_with_source(
    job: str,
    read: Callable[[int, int], bytes],
    size: int,
    *,
    returns: Any = bytes,
    seconds: float = 5,
    most_seconds: float = 5,
) -> Any:
    return sandbox.call_with_source(
        f"testing.decoders:{job}",
        returns=returns,
        read=read,
        size=size,
        seconds=seconds,
        most_seconds=most_seconds,
        memory_bytes=2 * GIB,
    )


def test_a_child_answers() -> None:
    assert call("echo", b"ok\0then") == b"ok\0then"
    long = os.urandom(2**20)
    assert call("echo", long) == long


def test_a_child_has_no_environment_and_no_standard_files() -> None:
    assert Path("/proc/self/environ").read_bytes().strip(b"\0")
    found = call("environment", returns=tuple[dict[str, str], bytes, bytes])
    assert found == ({"LC_CTYPE": "C.UTF-8"}, b"", b"")  # Python's own


def test_a_child_is_forked_from_a_process_that_has_no_client_of_aws() -> None:
    names = ["boto3", "botocore", "aws_lambda_powertools", "chalicelib.errors"]
    assert set(names) <= set(sys.modules)
    assert call("modules", names, returns=list[str]) == ["chalicelib.errors"]


def test_a_child_has_no_descriptor_but_its_own() -> None:
    ours = socket.socket()
    os.set_inheritable(ours.fileno(), True)
    with ours:
        found = call("descriptors", returns=list[str])
    kinds = [re.split("[:#]", each)[0] for each in found if each != "/dev/null"]
    # The socket that it answers by, and the answer.
    assert sorted(kinds) == ["/tmp/", "socket"]


def test_a_refusal_in_a_child_is_one_here() -> None:
    with pytest.raises(JobError, match="Not a picture") as refusal:
        call("refuse", "unsupported_media", "Not a picture.")
    assert refusal.value.code == "unsupported_media"


def test_a_crash_is_the_inputs_fault_and_a_kill_is_not() -> None:
    with pytest.raises(JobError, match="crash") as refusal:
        call("die", signal.SIGSEGV)
    assert refusal.value.code == "decoder_crashed"
    with pytest.raises(Transient):
        call("die", signal.SIGKILL)


def test_a_hang_ends_at_its_deadline() -> None:
    call("echo", b"")
    with pytest.raises(JobError, match=r"longer than the 0\.5 s"):
        call("hang", seconds=0.5)


def test_a_child_gets_no_more_memory_than_its_share() -> None:
    with pytest.raises(JobError, match="memory"):
        call("take", 16 * GIB, returns=int)
    assert call("take", GIB, returns=int) == GIB


def test_a_remote_file_is_read_in_blocks_from_here() -> None:
    content = os.urandom(3 * 1024**2)
    asked: list[int] = []

    def read(start: int, length: int) -> bytes:
        asked.append(length)
        return content[start : start + length]

    found = call_with_source("ends", read, len(content))
    assert found == content[-10:] + content[5:15]
    assert asked == [1024**2, 1024**2]


def test_going_to_and_fro_in_a_remote_file_fetches_nothing_twice() -> None:
    asked: list[int] = []

    def read(start: int, length: int) -> bytes:
        asked.append(start)
        return bytes(length)

    call_with_source("to_and_fro", read, 6 * 1024**2)
    assert sorted(asked) == [0, 2 * 1024**2, 5 * 1024**2]


def test_whoever_reads_on_gets_more_at_once() -> None:
    content = os.urandom(30 * 1024**2 + 5)
    asked: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        asked.append((start, length))
        return content[start : start + length]

    found = call_with_source("whole", read, len(content))
    assert found == content
    megabytes = [(start / 1024**2, length / 1024**2) for start, length in asked[:-1]]
    assert megabytes == [(0, 1), (1, 2), (3, 4), (7, 8), (15, 8)]
    assert asked[-1] == (23 * 1024**2, 7 * 1024**2 + 5)


def read_slowly(_: int, length: int) -> bytes:
    time.sleep(0.4)
    return bytes(length)


def test_slow_storage_is_not_the_files_fault() -> None:
    def call_slow(most_seconds: float) -> int:
        size = 4 * 1024**2
        found: int = call_with_source(
            "four_blocks", read_slowly, size, returns=int, seconds=1, most_seconds=most_seconds
        )
        return found

    assert call_slow(60) == 4194304
    with pytest.raises(Transient, match="in time"):
        call_slow(0.6)


def test_what_a_decoder_did_not_expect_is_the_systems_fault_or_ours() -> None:
    with pytest.raises(Transient, match="No space left"):
        call("fail", OSError(errno.ENOSPC, "full"))
    with pytest.raises(JobError) as refusal:
        call("fail", ZeroDivisionError())
    assert refusal.value.code == "defect"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_full_disk_is_not_the_films_fault(tmp_path: Path) -> None:
    args = ("-f", "lavfi", "-i", "testsrc2=duration=1", "-f", "rawvideo", "/dev/full")
    with pytest.raises(Transient, match="disk"):
        ffmpeg.run(args, folder=tmp_path, seconds=20, memory_bytes=2 * GIB)


def test_what_a_killed_worker_left_is_removed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, alive = tmp_path / "sluice-4194305-x", tmp_path / f"sluice-{os.getppid()}-x"
    for folder in (dead, alive):
        folder.mkdir()
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        assert sorted(tmp_path.iterdir()) == sorted([alive, folder])
    assert list(tmp_path.iterdir()) == [alive]


def test_ffmpeg_says_what_it_delivered(tmp_path: Path) -> None:
    seen: list[float] = []
    args = ("-f", "lavfi", "-i", "testsrc2=duration=2:rate=25", "-f", "null", "-")
    delivered = ffmpeg.run(
        args, folder=tmp_path, seconds=20, memory_bytes=2 * GIB, on_seconds=seen.append
    )
    assert delivered.frames == 50
    assert seen == sorted(seen)


def test_ffmpeg_that_fails_always_raises(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"nothing of use" * 100)
    args = ("-f", "mov", "-i", "source", "-f", "null", "-")
    with pytest.raises(JobError) as refusal:
        ffmpeg.run(args, folder=tmp_path, seconds=20, memory_bytes=2 * GIB)
    assert refusal.value.code == "conversion_failed"
    assert "moov" not in refusal.value.detail


def test_a_time_below_none_is_a_time_like_others() -> None:
    """What fetching has used up; else a timeout would not be known again, and be tried once more."""
    detail = "Reading the file took longer than the {} s that it may take."
    timed_out = TimedOut("decoder_timeout", detail.format("-0.4"))
    assert timed_out.came_before(detail.format("15"))


@pytest.mark.parametrize(("seconds", "told"), [(0.5, "after 0 s"), (-0.4, "after 0 s")])
def test_ffmpeg_is_stopped_at_its_deadline(tmp_path: Path, seconds: float, told: str) -> None:
    with pytest.raises(TimedOut) as refusal:
        ffmpeg.run(ENDLESS, folder=tmp_path, seconds=seconds, memory_bytes=2 * GIB)
    assert refusal.value.code == "step_timeout"
    assert told in refusal.value.detail


class Seen(Exception):
    """Enough was seen."""


def after(seconds: float) -> Callable[[], None]:
    """A check that raises once so much time is over."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise Seen

    return check


def test_ffmpeg_is_killed_by_what_the_check_raises(tmp_path: Path) -> None:
    limits: Any = {"folder": tmp_path, "seconds": 60, "memory_bytes": 2 * GIB}
    began = time.monotonic()
    # FFmpeg that says nothing, too.
    for args in (ENDLESS, ("-progress", "/dev/null", *ENDLESS)):
        with pytest.raises(Seen):
            ffmpeg.run(args, check=after(0.5), **limits)
        assert below(psutil.Process()) == []
    with pytest.raises(Seen):
        ffmpeg.run(ENDLESS, check=after(-1), **limits)
    assert time.monotonic() - began < 6
    # The process that it was forked from goes on.
    ffmpeg.run(("-f", "lavfi", "-i", "color=d=1", "-f", "null", "-"), **limits)


def test_a_decoder_is_killed_by_what_the_check_raises() -> None:
    began = time.monotonic()
    for seconds in (0.5, -1):
        with pytest.raises(Seen):
            sandbox.call(
                "testing.decoders:hang",
                returns=bytes, seconds=60, memory_bytes=2 * GIB, check=after(seconds),
            )  # fmt: skip
        assert below(psutil.Process()) == []
    assert time.monotonic() - began < 4


def test_ffmpeg_has_no_environment_and_dies_with_an_error_of_ours(tmp_path: Path) -> None:
    def look(_: float) -> None:
        (running,) = below(psutil.Process())
        raise Seen(running.environ())

    with pytest.raises(Seen) as seen:
        ffmpeg.run(ENDLESS, folder=tmp_path, seconds=20, memory_bytes=2 * GIB, on_seconds=look)
    assert seen.value.args == ({},)
    assert below(psutil.Process()) == []


def test_ffmpeg_dies_with_the_worker_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from pathlib import Path; from chalicelib.engines import ffmpeg\n"
        f"ffmpeg.run({ENDLESS!r}, folder=Path('.'), seconds=60, memory_bytes=2 << 30,"
        " on_seconds=lambda s: print('running', flush=True))"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, *sys.path],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == "running\n"
        (running,) = below(psutil.Process(worker.pid))
        worker.kill()
        worker.wait()
        assert not psutil.wait_procs([running], timeout=600)[1]


def test_progress_counts_frames_and_seconds() -> None:
    seen: list[float] = []
    progress = ffmpeg.Progress(seen.append)
    for line in (
        "frame=1",
        "out_time_us=N/A",
        "progress=continue",
        "frame=  9",
        "out_time_us=360000",
    ):
        progress.read(line)
    assert (progress.frames, progress.seconds, progress.ended, seen) == (9, 0.36, False, [0.0])
    progress.read("progress=end")
    assert (progress.ended, seen) == (True, [0.0, 0.36])
