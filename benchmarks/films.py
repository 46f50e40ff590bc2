"""A film job with MP4 and HLS; baseline: one bare FFmpeg encode with the same flags."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.figures import Figure
from benchmarks.machine import Taken, cpu_of, cpu_of_tree, run
from chalicelib.model.facts import VideoFacts
from chalicelib.planning import audio as planned_audio
from chalicelib.planning import video as planned_video
from chalicelib.probing import video
from chalicelib.probing.film import open_film
from chalicelib.settings import Settings
from infra.local import cloud
from infra.paths import LOCAL, ROOT
from infra.tools import samples
from sluice.client import Client
from testing.planned import DEFAULTS

RUNS = 3
_CORPUS_FILM = ROOT.parent / "shared" / "corpus" / "long" / "agent327_720p_dash_full.mp4"


def measure() -> list[Figure]:
    with cloud.running("local") as stack, Client(stack) as client:
        client.wait(client.upload(samples.sample("small.mp4", LOCAL / "samples"), *_PIPELINE))
        return [figure for film in films() for figure in _measure(client, film)]


_PIPELINE = ("transcode_720p", "hls_720p")


def films() -> Iterator[Path]:
    """A minute of 1080p, and, with a corpus, a film of four minutes in a container that can be cut."""
    minute = LOCAL / "benchmarks" / "minute_1080p25.mp4"
    minute.parent.mkdir(parents=True, exist_ok=True)
    if not minute.exists():
        samples.film(minute, size="1920x1080", seconds=60)
    yield minute
    if not _CORPUS_FILM.exists():
        print(
            f"SKIPPED: there is no corpus, so {_CORPUS_FILM.name} is not measured", file=sys.stderr
        )
        return
    remuxed = LOCAL / "benchmarks" / "agent327_720p.mp4"
    if not remuxed.exists():
        samples.run_ffmpeg("-i", str(_CORPUS_FILM), "-map", "0", "-c", "copy", str(remuxed))
    yield remuxed


class _Job(msgspec.Struct):
    """What one job took, in seconds."""

    with_upload: float  # from the start of the PUT to SUCCESS
    wall: float  # from the end of the PUT to SUCCESS
    cpu: float  # of all processes
    emulator_cpu: float  # of the emulator's own process


class _Run(msgspec.Struct):
    """One job, and the baseline measured directly after it."""

    job: _Job
    bare: Taken


def _measure(client: Client, film: Path) -> list[Figure]:
    runs = [_Run(_job(client, film), _bare_encode(film)) for _ in range(RUNS)]
    name = f"film job, {film.stem}, {' + '.join(_PIPELINE)}"
    bare = "one bare FFmpeg encode"
    walls, cpus = [r.bare.wall for r in runs], [r.bare.cpu for r in runs]
    return [
        Figure(f"{name}, arrival to SUCCESS", "s", [r.job.wall for r in runs], bare, walls),
        Figure(f"{name}, PUT to SUCCESS", "s", [r.job.with_upload for r in runs], bare, walls),
        Figure(f"{name}, CPU of everything", "s", [r.job.cpu for r in runs], bare, cpus),
        Figure(
            f"{name}, the emulator's part of it",
            "s",
            [r.job.emulator_cpu for r in runs],
            bare,
            cpus,
        ),
    ]


def _job(client: Client, film: Path) -> _Job:
    """Run one job. Raises RuntimeError if it fails."""
    assert client.stack.pid is not None
    before, emulator = cpu_of_tree(client.stack.pid), cpu_of(client.stack.pid)
    started = time.time()
    job_id = client.upload(film, *_PIPELINE)
    arrived = time.time()
    # Polling is no part of the job, and each answer takes 0.05 s of these cores.
    job = client.wait(job_id, 1200, pause=5.0)
    if job["status"] != "SUCCESS":
        raise RuntimeError(f"The job failed: {job['error']}")
    ended = datetime.fromisoformat(job["updated_at"]).timestamp()
    cpu = cpu_of_tree(client.stack.pid) - before
    return _Job(ended - started, ended - arrived, cpu, cpu_of(client.stack.pid) - emulator)


def bare_args(facts: VideoFacts, target: str) -> tuple[str, ...]:
    """FFmpeg's arguments for one MP4 with its index first, with the flags of the rendition and its audio."""
    whole = msgspec.structs.replace(facts, index=None)
    rendition = planned_video.rendition(facts, short_side=720)
    (command,) = planned_video.encode(whole, [rendition], DEFAULTS).commands.values()
    video = command[: command.index("-output_ts_offset")]
    audio: tuple[str, ...] = ()
    for command in planned_audio.encode(whole, DEFAULTS).commands.values():
        # Leave out the filters for sources whose audio changes on the way.
        encoder = len(command) - command[::-1].index("-c:a") - 1
        flags = command[encoder : command.index("-map_metadata", encoder)]
        audio = ("-map", f"0:{facts.audio[0].stream}", *flags)
    return (*video, *audio, "-movflags", "+faststart", "-f", "mp4", target)


def _bare_encode(film: Path) -> Taken:
    """Run FFmpeg with `bare_args` on all cores."""
    size, limits = film.stat().st_size, Settings()
    with film.open("rb") as file, open_film(file, "mov", size, limits.max_streams) as opened:
        facts = video.facts_of(opened, limits.max_video_pixels)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(film, folder / "source")
        args = bare_args(facts, "out.mp4")
        return run((samples.ffmpeg(), "-v", "error", "-nostdin", "-y", *args), folder)
