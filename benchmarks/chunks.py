"""A film encoded in chunks; baseline: the same film encoded as a whole, by the code that the Lambdas run.

Both are encoded at the same time, each in its own process: other load on the machine slows both alike.
"""

from __future__ import annotations

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import msgspec

from benchmarks.figures import Figure
from benchmarks.films import films
from benchmarks.machine import stand_in_for_lambda
from benchmarks.quality import Quality, quality
from chalicelib.errors import JobError
from chalicelib.formats.mp4_excerpt import bytes_read
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Audio, Chunk
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.operation import PlanSettings
from chalicelib.planning.planner import make_plan
from chalicelib.probing.film import to_fraction
from testing.planned import DEFAULTS

RUNS = 3
BUDGET = Budget(lambda: 900.0, 10 * 1024**3)


class _Made(msgspec.Struct):
    cpu: float
    size: int
    times: list[Fraction]
    looks: Quality | None  # measured in one run only: it is the same in each


def measure() -> list[Figure]:
    stand_in_for_lambda()
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        return [figure for film in films() for figure in _measure(film, pool)]


def _measure(film: Path, pool: ProcessPoolExecutor) -> list[Figure]:
    from testing.local import facts_of

    facts = facts_of(film)
    assert isinstance(facts, VideoFacts)
    if facts.index is None:
        raise RuntimeError(f"{film.name} cannot be cut: {facts.whole_reason}")
    whole_facts = msgspec.structs.replace(facts, index=None)
    pairs = []
    for run in range(RUNS):
        both = [
            pool.submit(_made, film, film_facts, run == 0) for film_facts in (facts, whole_facts)
        ]
        pairs.append([future.result() for future in both])
    chunked, whole = ([pair[side] for pair in pairs] for side in (0, 1))
    good, best = chunked[0].looks, whole[0].looks
    assert good is not None
    assert best is not None
    drift = max(
        abs(one - other) for a, b in pairs for one, other in zip(a.times, b.times, strict=True)
    )
    steps = find_steps(["transcode_720p"], JobError)
    plan = make_plan("job", film.name, facts, steps, DEFAULTS)
    read = {
        kind: sum(
            bytes_read(plan.samples[task.excerpt.track], task.excerpt)
            for task in plan.tasks
            if isinstance(task.work, kind) and task.excerpt
        )
        for kind in (Chunk, Audio)
    }
    size = film.stat().st_size / 1e6
    name = f"{film.stem} in {plan.sizes()['film']} chunks"
    return [
        Figure(f"{name}, CPU", "s", [m.cpu for m in chunked], "whole", [m.cpu for m in whole]),
        Figure(f"{name}, MP4", "MB", [m.size / 1e6 for m in chunked], "whole", [m.size / 1e6 for m in whole]),
        Figure(f"{name}, VMAF", "", [good.vmaf], "whole", [best.vmaf]),
        Figure(f"{name}, PSNR", "dB", [good.psnr], "whole", [best.psnr]),
        Figure(f"{name}, worst difference of a frame's time", "ms", [float(1000 * drift)]),
        Figure(f"{name}, read for pictures but the index", "MB", [read[Chunk] / 1e6], "source", [size]),
        Figure(f"{name}, read for sound where it is in parts", "MB", [read[Audio] / 1e6], "source", [size]),
    ]  # fmt: skip


def _made(film: Path, facts: VideoFacts, looked_at: bool) -> _Made:
    stand_in_for_lambda()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        before = _cpu()
        mp4 = encoded(film, facts, folder / "made")
        cpu = _cpu() - before
        looks = quality(mp4, film, "bt709", facts, folder) if looked_at else None
        return _Made(cpu, mp4.stat().st_size, times(mp4), looks)


def encoded(film: Path, facts: VideoFacts, folder: Path) -> Path:
    """Encode a film with these facts. Returns the MP4."""
    return carried_out(planned(film, facts), film, folder)


def planned(film: Path, facts: VideoFacts, chosen: PlanSettings = DEFAULTS) -> Plan:
    """The plan of transcode_720p for a film with these facts."""
    return make_plan("job", film.name, facts, find_steps(["transcode_720p"], JobError), chosen)


def carried_out(plan: Plan, film: Path, folder: Path) -> Path:
    """Carry out a plan of transcode_720p. Returns the MP4."""
    from testing.local import carry_out

    return carry_out(plan, film, folder, budget_of=lambda _: BUDGET)["transcode_720p"].path


def times(film: Path) -> list[Fraction]:
    """The presentation time of each frame in seconds, in order."""
    with av.open(str(film)) as container:
        base = to_fraction(container.streams.video[0].time_base) or Fraction(1)
        return sorted(p.pts * base for p in container.demux(video=0) if p.pts is not None)


def _cpu() -> float:
    """Seconds of CPU of child processes that have ended: FFmpeg only."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
