"""No file makes the pipeline open anything but itself: each attack goes through it between traps.

The traps are listeners on loopback, a secret file that is watched by inotify, secrets in the environment,
and, where strace can be had, a list of all that the decoders open.
"""

from __future__ import annotations

import ctypes
import io
import json
import logging
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import boto3
import pytest
from moto import mock_aws
from PIL import Image
from sluice_ffmpeg import path as binary

from chalicelib.api import job_lists
from chalicelib.api.views import JobView
from chalicelib.engines import sandbox
from chalicelib.model.step import FAILURE, SUCCESS
from chalicelib.settings import settings
from chalicelib.telemetry import logger
from testing import attacks
from testing.attacks import Bait
from testing.cloud import make_cloud
from testing.prepared import CORPUS, HAS_CORPUS, ROOT
from testing.pump import deliver, drain, drop

pytestmark = [
    pytest.mark.media,
    # They are errors in tests, which children inherit, but not in Lambda.
    pytest.mark.filterwarnings("ignore:::PIL"),
]
HOSTILE = sorted((CORPUS / "hostile").iterdir()) if HAS_CORPUS else []
STRACE = shutil.which("strace")
# Classes of attacks that are many, or take long.
_LONG = ("bomb", "film", "lie", "picture", "told")


def _chosen(names: Iterable[str]) -> Iterator[Any]:
    """All; those beyond the first of each class and suffix, and every fourth of its class, are variants."""
    seen: dict[str, int] = defaultdict(int)
    for name in names:
        group, suffix = name.split("/")[0], Path(name).suffix
        further = seen[group] % 4 and seen[f"{group} {suffix}"]
        seen[group] += 1
        seen[f"{group} {suffix}"] += 1
        is_variant = group in _LONG and further
        yield pytest.param(name, marks=pytest.mark.variants) if is_variant else name


# It slows decoders down: one attack of each class is enough, unless one wants to see them all.
_FIRST = {name.split("/")[0]: name for name in reversed(attacks.ALL) if re.match("[a-z]+/", name)}
TRACE_ALL = os.environ.get("CANARY_TRACE") == "all"
# What stands for a defect of ours, or of the world: no file may end a job with it.
NOT_OURS = {"attempts_exhausted", "intake_failed", "deadline_exceeded", "killed", "disk_full"}


class Listeners:
    """Sockets on loopback that note who comes."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._selector = selectors.DefaultSelector()
        self.server = self._listen(0)
        self.runtime = self._listen(0)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", int(self.server.rsplit(":", 1)[1])))
        self._selector.register(datagrams, selectors.EVENT_READ)
        self._end, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, "end")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _listen(self, port: int) -> str:
        listener = socket.create_server(("127.0.0.1", port))
        self._selector.register(listener, selectors.EVENT_READ)
        return "{}:{}".format(*listener.getsockname())

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data == "end":
                    return
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.type == socket.SOCK_DGRAM:
                    self.seen.append(f"a datagram {key.fileobj.recv(99)!r}")
                    continue
                guest, address = key.fileobj.accept()
                guest.close()
                self.seen.append(f"{address} came to {key.fileobj.getsockname()}")

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


class FileWatch:
    """Tells whether somebody has opened or read a file since it was asked last (inotify(7))."""

    _ACCESS, _OPEN = 0x1, 0x20

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = libc.inotify_add_watch(
            self._descriptor, os.fsencode(path), self._ACCESS | self._OPEN
        )
        assert watch >= 0, os.strerror(ctypes.get_errno())

    def was_opened(self) -> bool:
        try:
            return bool(os.read(self._descriptor, 65536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)


class Canary(NamedTuple):
    """The traps, and what must never get out."""

    bait: Bait
    marker: str
    listeners: Listeners
    watch: FileWatch
    scratch: Path
    log: io.StringIO

    def sings(self) -> list[str]:
        """Who went into a trap."""
        opened = ["the secret was opened"] if self.watch.was_opened() else []
        seen = opened + self.listeners.seen
        self.listeners.seen.clear()
        return seen


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """A cloud of moto's, between traps."""
    scratch = tmp_path_factory.mktemp("scratch")
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    marker = f"canary{secrets.token_hex(12)}"
    secret.write_text(f"{marker}\n" * 40)
    listeners, watch = Listeners(), FileWatch(secret)
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setenv("AWS_LAMBDA_RUNTIME_API", listeners.runtime)
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CANARY"):
            patch.setenv(name, marker)
        make_cloud()
        log = io.StringIO()
        before = handler.setStream(log)
        bait = Bait(str(secret), listeners.server, listeners.runtime)
        yield Canary(bait, marker, listeners, watch, scratch, log)
        handler.setStream(before)
    listeners.close()
    watch.close()


# ── what the decoders open ──────────────────────────────────────────────────────────────────────

# What a program and its libraries need before they see a file, and where modules are.
_KNOWN = (
    *(f"{folder}/" for folder in {sys.prefix, sys.base_prefix, str(ROOT), "/lib", "/lib64", "/usr/lib"}),
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/proc/self/maps",
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/",
    "/sys/fs/cgroup/",
)  # fmt: skip
_CALLS = (
    "open,openat,openat2,creat,connect,sendto,sendmsg,bind,execve,"
    "unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat"
)


_PR_SET_PTRACER, _ANYBODY = 0x59616D61, -1


class Trace:
    """What the children of this process do, told by strace, which watches it for a while.

    Raises RuntimeError where it may not.
    """

    def __init__(self, folder: Path) -> None:
        # Another is forked from, which is watched from its start.
        sandbox.stop()
        # Where Yama guards it, a process may be watched by its ancestors only, or by whom it names.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)
        self._folder = folder
        self._ours = {f"t.{task.name}" for task in Path("/proc/self/task").iterdir()}
        self._strace = subprocess.Popen(
            (
                str(STRACE), "-f", "-ff", "-qqq", "-s", "4096", "-e", "signal=none",
                "-e", f"trace={_CALLS}",
                "-o", str(folder / "t"),
                "-p", str(os.getpid()),
            ),
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while "TracerPid:\t0" in Path("/proc/self/status").read_text():
            if self._strace.poll() is not None:
                raise RuntimeError(self._strace.communicate()[1])

    def calls(self) -> list[str]:
        """Every call that a child made, once strace has let go of us.

        But for those of the process that children are forked from, which never sees a file.
        """
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate()
        told = [
            path.read_text(errors="replace")
            for path in sorted(self._folder.glob("t.*"))
            if path.name not in self._ours
        ]
        return [
            line for each in told if "forkserver.main" not in each for line in each.splitlines()
        ]


@cache
def can_trace() -> bool:
    """Whether strace is there, and may watch us."""
    if STRACE is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            Trace(Path(folder)).calls()
        except RuntimeError:
            return False
    return True


def strays(calls: list[str], scratch: Path) -> list[str]:
    """The calls that reach for something which is not the decoder's own."""
    return [call for call in calls if not _is_own(call, scratch)]


def _is_own(call: str, scratch: Path) -> bool:
    name = call.split("(", 1)[0]
    if name in ("connect", "sendto", "sendmsg", "bind"):
        return False
    if call.startswith(("---", "+++")):
        return True
    for found in re.findall(r'"((?:[^"\\]|\\.)*)"', call)[: 1 if name == "execve" else None]:
        in_scratch = f"{found}/".startswith(f"{scratch}/") or not found.startswith("/")
        if ".." in Path(found).parts:
            return False
        writes = not name.startswith(("open", "execve")) or re.search(
            r"O_(WRONLY|RDWR|CREAT)", call
        )
        if not in_scratch and (not found.startswith(_KNOWN) or (writes and found != "/dev/null")):
            return False
    return True


@contextmanager
def traced(canary: Canary, folder: Path, wanted: bool) -> Iterator[None]:
    """Fails where a child reaches out, if strace is there to tell."""
    if not (wanted and can_trace()):
        yield
        return
    trace = Trace(folder)
    try:
        yield
    finally:
        calls = trace.calls()
    assert strays(calls, canary.scratch) == []


# ── the attacks ─────────────────────────────────────────────────────────────────────────────────


def send(key: str, content: bytes) -> JobView:
    """The job of a file that was dropped, once everything has been done for it."""
    assert deliver("intake", drop(key, content)) == []
    drain()
    (job,) = job_lists.list_jobs("-", {"key": key}, "https://x/api").jobs
    return job


def stored(job: JobView) -> dict[str, bytes]:
    """Every object that was made for a job."""
    s3, bucket = boto3.client("s3"), settings().output_bucket
    objects: dict[str, bytes] = {}
    for prefix in (f"outputs/{job.id.replace('-', '')}", f"work/{job.id}/"):
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            objects[item["Key"]] = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
    return objects


def check(canary: Canary, job: JobView, folder: Path) -> None:
    """Nobody went into a trap, nothing got out, and the job has ended as it should."""
    log = canary.log.getvalue()
    canary.log.seek(0)
    canary.log.truncate()
    assert canary.sings() == []
    objects = stored(job)
    told = [log, job.error, *(step.error for step in job.steps), *job.warnings]
    assert not [text for text in told if canary.marker in text]
    assert not [key for key, body in objects.items() if canary.marker.encode() in body]
    assert [line for line in log.splitlines() if json.loads(line).get("trace")] == []
    assert list(canary.scratch.iterdir()) == []
    assert job.status in (SUCCESS, FAILURE)
    for error, code in [(job.error, job.error_code), *((s.error, s.error_code) for s in job.steps)]:
        assert code not in NOT_OURS
        assert not error or re.fullmatch(r"([a-z0-9_]+: )?[A-Z][^/\n]*\.", error), error
    assert (job.status == FAILURE) == bool(job.error)
    for key, body in objects.items():
        look_at(key, body, folder)


def look_at(key: str, body: bytes, folder: Path) -> None:
    """Fails where an object is not what its name says."""
    path = folder / "object"
    path.write_bytes(body)
    match Path(key).suffix:
        case ".jpg":
            with Image.open(path, formats=["JPEG"]) as image:
                image.load()
        case ".mp4" if not key.endswith("_init.mp4"):
            with av.open(str(path), format="mp4") as container:
                assert next(container.decode(video=0), None) is not None
        case ".m3u8":
            addresses = re.findall(r'^[^#\n].*|URI="([^"]*)"', body.decode(), re.MULTILINE)
            assert body.startswith(b"#EXTM3U")
            assert not [address for address in addresses if ":" in address or "/" in address]


@pytest.mark.parametrize("name", [*_chosen(attacks.ALL)])
def test_no_attack_gets_out(canary: Canary, tmp_path: Path, name: str) -> None:
    content = attacks.ALL[name](canary.bait)
    with traced(canary, tmp_path, TRACE_ALL or name in _FIRST.values()):
        job = send(name, content)
    check(canary, job, tmp_path)
    if name in attacks.REFUSED:
        assert job.status == FAILURE


@pytest.mark.corpus
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.variants) if number % 4 else path
        for number, path in enumerate(HOSTILE)
    ],
    ids=lambda path: path.name,
)
def test_no_hostile_file_of_the_corpus_gets_out(canary: Canary, tmp_path: Path, path: Path) -> None:
    with traced(canary, tmp_path, TRACE_ALL):
        job = send(f"corpus/{path.name}", path.read_bytes())
    check(canary, job, tmp_path)


# ── the traps themselves ────────────────────────────────────────────────────────────────────────


def test_a_decoder_that_is_not_held_back_goes_into_each_trap(
    canary: Canary, tmp_path: Path
) -> None:
    path = tmp_path / "list.m3u8"
    for scheme in ("http", "runtime", "file", "udp"):
        path.write_bytes(attacks.playlist(attacks.addresses(canary.bait)[scheme]))
        args = ("-allowed_extensions", "ALL", "-extension_picky", "0", "-rw_timeout", "300000")
        allowed = ("-protocol_whitelist", "file,http,tcp,udp")
        address = attacks.addresses(canary.bait)["udp"] if scheme == "udp" else ""
        target = ("-t", "0.1", "-f", "mpegts", address) if address else ("-f", "null", "-")
        source = (
            ("-f", "lavfi", "-i", "testsrc2") if address else (*args, *allowed, "-i", str(path))
        )
        subprocess.run(
            (str(binary()), "-nostdin", "-v", "quiet", *source, *target),
            check=False,
            timeout=20,
        )
        assert canary.sings() != [], scheme


@pytest.mark.strace
def test_strace_sees_what_a_decoder_opens(canary: Canary, tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text(f"file '{canary.bait.secret}'\n")
    trace = Trace(tmp_path)
    subprocess.run(
        (str(binary()), "-v", "quiet", "-f", "concat", "-safe", "0", "-i", str(source)), check=False
    )
    told = strays(trace.calls(), canary.scratch)
    assert canary.sings() != []
    assert [call for call in told if canary.bait.secret in call]
    assert not [call for call in told if "lib" in call]


@pytest.mark.strace
def test_strace_sees_what_a_forked_decoder_opens(canary: Canary, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    job = "testing.decoders:content"
    sandbox.call(job, canary.bait.secret, returns=bytes, seconds=20, memory_bytes=2**31)
    told = strays(trace.calls(), canary.scratch)
    assert canary.sings() != []
    assert told
    assert not [call for call in told if canary.bait.secret not in call]
