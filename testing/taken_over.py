"""The attacks of a decoder that was taken over, in a forked child or in FFmpeg's place, and their target.

`python -m testing.taken_over` is the attacked worker. It prints in JSON what each of the two has reached. It
has a secret in its environment and in its memory, and a server on loopback, as in Lambda.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# The secret is this prefix and digits, so that a search for the secret's pattern does not find the prefix.
PREFIX = "c4nary-" + "of-the-worker-"
_MARK = re.compile(re.escape(PREFIX).encode() + rb"\d{8}")
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_PIDFD_SEND_SIGNAL = 424
_libc = ctypes.CDLL(None, use_errno=True)


def reached(worker: int, address: tuple[str, int], secret: Path, folder: Path) -> list[str]:
    """The names of the attacks that succeed in this process."""
    successes = []
    for name, attack in _ATTACKS.items():
        with suppress(OSError, ValueError):
            if attack(worker, address, secret, folder):
                successes.append(name)
    return successes


def _environment(worker: int, *_: Any) -> bool:
    return bool(_MARK.search(Path(f"/proc/{worker}/environ").read_bytes()))


def _memory(worker: int, *_: Any) -> bool:
    return any(_MARK.search(part) for part in _parts(worker))


def _own_memory(*_: Any) -> bool:
    return any(_MARK.search(part) for part in _parts(os.getpid()))


def _parts(pid: int) -> Iterator[bytes]:
    """The writable parts of a process's memory that can be read."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            begin, end = (int(address, 16) for address in line.split()[0].split("-"))
            if "rw" in line and end - begin < 2**28:
                with suppress(OSError, ValueError, OverflowError):
                    memory.seek(begin)
                    yield memory.read(end - begin)


def _open_files(worker: int, *_: Any) -> bool:
    return any(entry.readlink() for entry in Path(f"/proc/{worker}/fd").iterdir())


def _connections(*_: Any) -> bool:
    """Whether it has inherited internet sockets."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:
            if connection.family == socket.AF_INET:
                return True
    return False


def _tracing(worker: int, *_: Any) -> bool:
    if _libc.ptrace(_PTRACE_ATTACH, worker, None, None) < 0:
        return False
    os.waitpid(worker, 0)
    _libc.ptrace(_PTRACE_DETACH, worker, None, None)
    return True


def _signals(worker: int, *_: Any) -> bool:
    os.kill(worker, 0)
    return True


def _signals_by_a_folder(worker: int, *_: Any) -> bool:
    """Signal by the process's folder in /proc, which counts as a pidfd (pidfd_send_signal(2))."""
    folder = os.open(f"/proc/{worker}", os.O_RDONLY)
    return int(_libc.syscall(_PIDFD_SEND_SIGNAL, folder, 0, None, 0)) == 0


def _signals_by_a_file(worker: int, *_: Any) -> bool:
    """Signal through a file's owner (F_SETOWN), whom the kernel signals when the file becomes readable."""
    ours, _theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETOWN, worker)
    return True


def _limits(worker: int, *_: Any) -> bool:
    resource.prlimit(worker, resource.RLIMIT_CORE, resource.prlimit(worker, resource.RLIMIT_CORE))
    return True


def _network(_: int, address: tuple[str, int], *__: Any) -> bool:
    with socket.create_connection(address, timeout=2) as connection:
        connection.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
    return True


def _processes(_: int, __: tuple[str, int], ___: Path, folder: Path) -> bool:
    """Leave a process behind, in its own session, that keeps this one's descriptors."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            (folder / "left").write_text(str(os.getpid()))
            time.sleep(20)
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def _others_files(_: int, __: tuple[str, int], secret: Path, ___: Path) -> bool:
    return bool(_MARK.search(secret.read_bytes()))


def _others_folders(_: int, __: tuple[str, int], secret: Path, ___: Path) -> bool:
    secret.with_name("planted").write_bytes(b"")
    return True


def _root(*_: Any) -> bool:
    os.setresuid(0, 0, 0)
    mounted: int = _libc.mount(b"none", b"/mnt", b"tmpfs", 0, None)
    return mounted == 0


_ATTACKS: dict[str, Callable[..., bool]] = {
    "a secret in its own memory": _own_memory,
    "the worker's environment": _environment,
    "the worker's memory": _memory,
    "the worker's open files": _open_files,
    "the worker, by tracing": _tracing,
    "the worker, by signals": _signals,
    "the worker, by signals to its folder": _signals_by_a_folder,
    "the worker, by signals of a file": _signals_by_a_file,
    "the worker's limits": _limits,
    "the worker's connections": _connections,
    "the network, and Lambda's runtime": _network,
    "processes that outlive it": _processes,
    "rights of root": _root,
    "files of other tasks": _others_files,
    "folders of other tasks": _others_folders,
}

# ── the worker ──────────────────────────────────────────────────────────────────────────────────


def _as_fork(*target: Any) -> list[str]:
    from chalicelib.engines import sandbox

    successes: list[str] = sandbox.call(
        "testing.taken_over:reached", *target, returns=list[str], seconds=20, memory_bytes=2**32
    )
    return successes


def _as_ffmpeg(worker: int, address: tuple[str, int], secret: Path, folder: Path) -> list[str]:
    from chalicelib.engines import ffmpeg
    from chalicelib.errors import SluiceError

    program = folder / "ffmpeg"
    target = (worker, address, str(secret), str(folder))
    program.write_text(
        f"#!{sys.executable}\nimport sys; sys.path[:] = {sys.path!r}\n"
        f"from testing import taken_over\ntaken_over.report(*{target!r})\n"
    )
    program.chmod(0o755)
    vars(ffmpeg)["binary"] = lambda: program
    with suppress(SluiceError):
        ffmpeg.run((), folder=folder, seconds=20, memory_bytes=2**32)
    successes: list[str] = json.loads((folder / "reached").read_text())
    return successes


def report(worker: int, address: tuple[str, int], secret: str, folder: str) -> None:
    successes = reached(worker, address, Path(secret), Path(folder))
    Path(folder, "reached").write_text(json.dumps(successes))


def _tried(attempt: Callable[..., list[str]], *target: Any) -> list[str]:
    """The attacks that succeed in an attempt. A process left behind counts only if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        successes = attempt(*target, Path(folder))
        if time.monotonic() - started > 15:
            successes.append("the worker's time")
        left = Path(folder) / "left"
        if left.exists() and not _is_there(int(left.read_text())):
            successes.remove("processes that outlive it")
    return successes


def _is_there(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def main() -> None:
    mark = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert _MARK.fullmatch(mark.encode())
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        tempfile.TemporaryDirectory() as other,
    ):
        secret = Path(other) / "secret"
        secret.write_text(mark)
        target = os.getpid(), server.getsockname(), secret
        attempts = {"forked": _as_fork, "FFmpeg": _as_ffmpeg}
        print(json.dumps({name: _tried(attempt, *target) for name, attempt in attempts.items()}))


if __name__ == "__main__":
    main()
