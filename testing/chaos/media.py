"""Samples, and a memo of decoders and encoders: equal inputs give equal results, so each runs only once.

The key of a run of FFmpeg is its arguments and all files in its folder, the key of a probe the bytes of its
source. A missing entry in a schedule with faults is a violation: a worker has read other bytes than planned.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import msgspec
from sluice_ffmpeg import path as binary

from chalicelib.engines import ffmpeg, sandbox
from chalicelib.errors import JobError
from infra.paths import ROOT
from infra.tools import samples
from testing.chaos.world import World

_FOLDER = ROOT / ".local" / "chaos"
_SMALL = "96x64"

SAMPLES: dict[str, Callable[[Path], None]] = {
    "photo.jpg": lambda path: samples.photo(path, 96, 64),
    "wide.jpg": lambda path: samples.photo(path, 120, 64),
    "film.mp4": lambda path: samples.film(
        path, size=_SMALL, rate="10", seconds=14, output=("-g", "20")
    ),
    "short.mp4": lambda path: samples.film(
        path, size=_SMALL, rate="10", seconds=8, output=("-g", "20")
    ),
    "film.mkv": lambda path: samples.film(
        path, size=_SMALL, rate="10", seconds=20, output=("-g", "20")
    ),
    "moving.gif": samples.IMAGES["animated.gif"],
    "text.jpg": samples.text,
}


@cache
def sample(name: str) -> bytes:
    """The bytes of a sample, which is generated once."""
    path = _FOLDER / "samples" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}-{name}")  # another process may generate it, too
        SAMPLES[name](part)
        part.rename(path)
    return path.read_bytes()


class _Done(msgspec.Struct):
    """The result of a run: its return value or failure, and the files that it left."""

    result: bytes = b""
    error: tuple[str, str] | None = None
    files: dict[str, bytes] = {}


class Memo:
    """Results of decoders and encoders, kept in .local/."""

    def __init__(self) -> None:
        self._known: dict[str, _Done] = {}
        self.world: World | None = None
        self.is_filled = False  # once it is, a missing entry is a violation

    def ffmpeg_run(
        self,
        args: Iterable[str],
        *,
        folder: Path,
        seconds: float,
        memory_bytes: int,
        on_seconds: Callable[[float], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> ffmpeg.Delivered:
        """Replaces `ffmpeg.run`."""
        check()
        args = tuple(args)
        before = _files(folder)
        command = [Path(binary()).parent.parent.name, *args]

        def run() -> bytes:
            delivered = _ffmpeg_run(args, folder=folder, seconds=60.0, memory_bytes=memory_bytes)
            return msgspec.json.encode(delivered)

        done = self._once("ffmpeg", command, before, folder, run)
        made = msgspec.json.decode(done.result, type=ffmpeg.Delivered)
        assert self.world is not None
        takes = self.world.random.choice((0.05, 0.3, 1.0, 4.0))
        for part in (1, 2, 3):
            self.world.pause(takes / 3)
            check()
            on_seconds(made.seconds * part / 4)
        return made

    def call(
        self,
        job: str,
        *args: Any,
        returns: Any,
        seconds: float,
        memory_bytes: int,
        check: Callable[[], None] = lambda: None,
    ) -> Any:
        """Replaces `sandbox.call`. Drawing small images is quick, and is done in this process."""
        assert self.world is not None
        check()
        self.world.pause(self.world.random.choice((0.02, 0.1, 0.5)))
        check()
        return resolve_name(job)(*args)

    def call_with_source(
        self,
        job: str,
        *args: Any,
        returns: Any,
        read: Callable[[int, int], bytes],
        size: int,
        seconds: float,
        most_seconds: float,
        memory_bytes: int,
    ) -> Any:
        """Replaces `sandbox.call_with_source`. The source is read as a whole, as small sources are."""
        source = read(0, size)
        assert self.world is not None
        self.world.pause(self.world.random.choice((0.02, 0.1, 0.5)))

        def found() -> bytes:
            return msgspec.msgpack.encode(resolve_name(job)(io.BytesIO(source), *args))

        # An earlier version of the code may have left facts of another shape.
        shape = msgspec.json.encode(msgspec.json.schema(returns)).decode()
        done = self._once("probe", [job, shape], {"": source}, None, found)
        return msgspec.msgpack.decode(done.result, type=returns)

    def _once(
        self,
        kind: str,
        arguments: Iterable[str],
        read: dict[str, bytes],
        folder: Path | None,
        run: Callable[[], bytes],
    ) -> _Done:
        key = f"{kind}-{_digest(arguments, read)}"
        if key not in self._known:
            path = _FOLDER / "memo" / key
            if path.exists():
                self._known[key] = msgspec.msgpack.decode(path.read_bytes(), type=_Done)
            else:
                self._known[key] = self._run(kind, arguments, read, folder, run)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f"{key}-{os.getpid()}")
                part.write_bytes(msgspec.msgpack.encode(self._known[key]))
                part.rename(path)
        done = self._known[key]
        for name, content in done.files.items():
            assert folder is not None
            (folder / name).write_bytes(content)
        if done.error is not None:
            raise JobError(*done.error)
        return done

    def _run(
        self,
        kind: str,
        arguments: Iterable[str],
        read: dict[str, bytes],
        folder: Path | None,
        run: Callable[[], bytes],
    ) -> _Done:
        if self.is_filled:
            assert self.world is not None
            self.world.violate("unplanned work", f"{kind} {' '.join(arguments)[:200]}")
        done = _Done()
        try:
            done.result = run()
        except JobError as error:
            done.error = error.code, error.detail
        if folder is not None:
            done.files = {
                name: content
                for name, content in _files(folder).items()
                if read.get(name) != content
            }
        return done


# The replaced functions, which are restored at the end of a simulation.
_ffmpeg_run = ffmpeg.run
STANDS_FOR = {sandbox: ("call", "call_with_source"), ffmpeg: ("run",)}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _digest(arguments: Iterable[str], read: dict[str, bytes]) -> str:
    digest = hashlib.sha256("\0".join(arguments).encode())
    for name, content in sorted(read.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]
