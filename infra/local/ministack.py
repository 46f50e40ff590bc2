"""Starts MiniStack as a process in a session of its own, and stops it with everything that it started."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from infra.paths import LOCAL

_START_SECONDS = 30
_STOP_SECONDS = 5


class EmulatorError(Exception):
    """The local cloud cannot be started or is not up; the message says what to do."""


@dataclass(frozen=True)
class Emulator:
    """A started MiniStack. `created`, the process's start time, tells it from a later process of that id."""

    pid: int
    created: float
    port: int

    def alive(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return process.create_time() == self.created and process.status() != "zombie"
        return False


def start(folder: Path, port: int, *, auth: bool = True) -> Emulator:
    """Start MiniStack on `port` with all of its files in `folder`; return once it answers.

    Without `auth` it checks neither signatures nor rights. Raises EmulatorError.
    """
    _refuse_busy(port)
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / "cloud.log").open("wb") as log:
            process = subprocess.Popen(
                [_python(), "-P", Path(__file__).with_name("ministack_main.py")],
                cwd=temporary,
                env=_environment(temporary, port) | {"AUTH": str(auth).lower()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        emulator = Emulator(process.pid, psutil.Process(process.pid).create_time(), port)
        _record(folder).write_text(json.dumps(asdict(emulator)))
        _wait_until_healthy(process, folder, port)
    except BaseException:
        stop(folder)
        raise
    return emulator


def find(folder: Path) -> Emulator | None:
    """The emulator that was started in `folder` and still runs; None where there is none."""
    emulator = _recorded(folder)
    return emulator if emulator and emulator.alive() else None


def stop(folder: Path) -> bool:
    """Stop the emulator of `folder` and all that it started; remove its files. False if none ran."""
    emulator = _recorded(folder)
    ran = emulator is not None and emulator.alive()
    if emulator:
        if ran:
            os.kill(emulator.pid, signal.SIGTERM)
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(emulator.pid).wait(_STOP_SECONDS)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            members = list(_members(emulator, folder))
            if not members:
                break
            for process in members:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(members, timeout=1)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    _record(folder).unlink(missing_ok=True)
    return ran


def _members(emulator: Emulator, folder: Path) -> Iterator[psutil.Process]:
    """Processes of the emulator's session, and those that left the session but work in its folder."""
    # Not so where another process has the emulator's id now: the session may be that one's.
    is_its_session = not psutil.pid_exists(emulator.pid) or emulator.alive()
    temporary = (folder / "tmp").resolve()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if (is_its_session and os.getsid(process.pid) == emulator.pid) or Path(
                process.cwd()
            ).is_relative_to(temporary):
                yield process


def _record(folder: Path) -> Path:
    return folder / "emulator.json"


def _recorded(folder: Path) -> Emulator | None:
    try:
        return Emulator(**json.loads(_record(folder).read_text()))
    except FileNotFoundError:
        return None


def _refuse_busy(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmulatorError(
                f"Port {port} of 127.0.0.1 cannot be used ({error.strerror}): "
                f"choose another one with PORT=, as in `make up PORT={port + 1}`."
            ) from None


def _python() -> Path:
    folder = LOCAL / "cloud-venv" / "bin"
    if not (folder / "ministack").exists():
        raise EmulatorError("MiniStack is not installed: run `make setup`.")
    return folder / "python"


def _environment(temporary: Path, port: int) -> dict[str, str]:
    """MiniStack's whole environment. Workers inherit it, so that it has nothing of the caller's."""
    return {
        "PATH": os.defpath,
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        # Large pages: sample tables of a long film take hundreds of megabytes, and a page fault for each
        # 4 KiB is slow in a virtual machine. Lambda's own glibc is too old for this (before 2.35).
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "INFO",
        # MiniStack ends workers that are idle for so long; a year is never.
        "LAMBDA_WARM_TTL_SECONDS": str(365 * 86400),
        # Where MiniStack finds a Docker, it removes containers.
        "DOCKER_HOST": f"unix://{temporary}/no-docker",
    }


def _wait_until_healthy(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            suppress(OSError, http.client.HTTPException),
            closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
        ):
            connection.request("GET", "/_ministack/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    tail = (folder / "cloud.log").read_text(errors="replace")[-2000:]
    raise EmulatorError(f"MiniStack did not start on port {port}:\n{tail}")
