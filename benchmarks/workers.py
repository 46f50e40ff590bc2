"""Memory and disk of a worker for a film of two hours; baseline: for one of two minutes.

The long film is the short one repeated sixty times. A worker is a fresh process that loads the plan, writes
the excerpt of a chunk or of a part of the audio, and encodes it, as the encode function does. Both chunks
have the same content.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.machine import stand_in_for_lambda
from infra.paths import LOCAL, ROOT
from infra.tools import samples

RUNS = 3

_WORKER = """\
import sys
from benchmarks.machine import stand_in_for_lambda
stand_in_for_lambda()
import json, resource, time
from pathlib import Path
from tempfile import TemporaryDirectory
import msgspec
from chalicelib.engines import sandbox
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget
from chalicelib.jobs import consumer, runner
from chalicelib.model.plan import Plan
from chalicelib.model.work import Chunk
from chalicelib.tasks import audio, chunks
from chalicelib.tasks.workbench import lay_out_marks
film, stored, rows, task_id = sys.argv[1:]
plan = msgspec.json.decode(Path(stored).read_bytes(), type=Plan)
task = plan.task(task_id)
began = time.monotonic()
with TemporaryDirectory() as scratch:
    folder = Path(scratch)
    (folder / "out").mkdir()
    def fetch(wanted):
        samples = plan.samples[wanted.track]
        first, behind = mp4_excerpt.rows_of(samples, wanted)
        with Path(rows).open("rb") as file:
            file.seek(first)
            made = mp4_excerpt.make(samples, wanted, file.read(behind - first))
        with Path(film).open("rb") as source, (folder / "source").open("wb") as file:
            file.write(made.head)
            for begin, end in made.parts:
                source.seek(begin)
                file.write(source.read(end - begin))
    fetch(task.excerpt)
    budget = Budget(lambda: 900.0, 10 * 1024**3)
    encode = chunks.encode if isinstance(task.work, Chunk) else audio.encode
    lay_out_marks(task.work, folder)
    encode(task.work, plan.commands, folder, budget, fetch)
    seconds = time.monotonic() - began
    disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # since exec, unlike ru_maxrss
sandbox.stop()
theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([own * 1024, theirs * 1024, disk, seconds]))
"""


def measure() -> list[Figure]:
    stand_in_for_lambda()
    short, long = (Planned(film) for film in films())
    figures = []
    # Parts of full length.
    for what, task_id in (("chunk", "film.2"), ("sound", "sound.1")):
        pairs = [(long.worker(task_id), short.worker(task_id)) for _ in range(RUNS)]
        figures += [
            Figure(
                f"worker of two hours, {what}, {number}",
                "MB",
                [pair[0][column] / 1e6 for pair in pairs],
                "of two minutes",
                [pair[1][column] / 1e6 for pair in pairs],
            )
            for column, number in enumerate(("our process", "FFmpeg", "disk"))
        ]
    return figures


def films() -> tuple[Path, Path]:
    """Films of 1080p25: two minutes, and the same repeated for two hours."""
    return film("two_minutes", "1920x1080", "4M", 1), film("two_hours", "1920x1080", "4M", 60)


def film(name: str, size: str, bits: str, times: int) -> Path:
    """A film of two minutes at `bits` per second, repeated `times` times."""
    path = LOCAL / "benchmarks" / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    if times == 1 and not path.exists():
        rate = ("-g", "50", "-b:v", bits, "-maxrate", bits, "-bufsize", bits)
        samples.film(path, size=size, seconds=120, output=rate)
    elif not path.exists():
        short = film(f"{name}_once", size, bits, 1)
        samples.run_ffmpeg(
            "-stream_loop", str(times - 1), "-i", str(short), "-c", "copy", "-movflags", "+faststart",
            str(path),
        )  # fmt: skip
        short.unlink()
    return path


class Planned:
    """A film with its plan and its tables of samples in files."""

    def __init__(self, film: Path) -> None:
        import msgspec

        from chalicelib.errors import JobError
        from chalicelib.model.facts import VideoFacts
        from chalicelib.operations.pipelines import find_steps
        from chalicelib.planning.planner import make_plan
        from testing.local import facts_of
        from testing.planned import DEFAULTS

        facts = facts_of(film)
        assert isinstance(facts, VideoFacts)
        assert facts.index is not None
        assert facts.index.audio
        plan = make_plan("job", film.name, facts, find_steps(["hls_720p"], JobError), DEFAULTS)
        self._film = film
        self._plan = film.with_suffix(".plan.json")
        self._plan.write_bytes(msgspec.json.encode(plan))
        self._rows = {name: film.with_suffix(f".{name}.bin") for name in ("film", "sound")}
        self._rows["film"].write_bytes(facts.index.video.rows)
        self._rows["sound"].write_bytes(facts.index.audio[0].samples.rows)

    def worker(self, task: str) -> list[float]:
        """[peak bytes of our process, of FFmpeg, bytes on disk, seconds] of one task."""
        rows = self._rows[task.partition(".")[0]]
        done = subprocess.run(
            [sys.executable, "-c", _WORKER, str(self._film), str(self._plan), str(rows), task],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        figures: list[float] = json.loads(done.stdout.splitlines()[-1])
        return figures
