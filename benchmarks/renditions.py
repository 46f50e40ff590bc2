"""A film in several renditions, in chunks; baselines: one bare FFmpeg that decodes once, and one for each.

The bare runs have the flags of the renditions. All are measured one after the other, three times.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from benchmarks import machine
from benchmarks.chunks import BUDGET
from benchmarks.figures import Figure
from benchmarks.films import films
from chalicelib.errors import JobError
from chalicelib.model.facts import VideoFacts
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import video
from chalicelib.planning.operation import Item, Packaging, Rendition
from chalicelib.planning.planner import make_plan
from chalicelib.tasks.workbench import ASSETS
from infra.tools import samples
from testing.planned import DEFAULTS

RUNS = 3


class Case(NamedTuple):
    """A pipeline, and what its renditions are called in a figure."""

    name: str
    pipeline: Sequence[Item]


CASES = (
    Case(
        "MP4s of 1080 lines, of 720 and with a mark",
        [
            {"make": "mp4", "name": "full", "height": 1080},
            {"make": "mp4", "height": 720},
            {"make": "mp4", "name": "marked", "height": "source", "watermark": True},
        ],
    ),
    Case("a ladder of 1080, 720, 480 and 360", [{"make": "hls", "ladder": [1080, 720, 480, 360]}]),
)


def measure() -> list[Figure]:
    machine.stand_in_for_lambda()
    film = next(films())
    return [figure for case in CASES for figure in _figures(film, case)]


def _figures(film: Path, case: Case) -> Iterator[Figure]:
    runs = [_measured(film, case) for _ in range(RUNS)]
    ours, once, apart = ([run[side] for run in runs] for side in range(3))
    name = f"{film.stem}, {case.name}, CPU"
    yield Figure(name, "s", ours, "one bare FFmpeg for all", once)
    yield Figure(name, "s", ours, "bare encodes one by one", apart)


def _measured(film: Path, case: Case) -> tuple[float, float, float]:
    """CPU of the chunks with sound and packages, of one bare run, of one for each rendition; seconds."""
    from testing.local import carry_out, facts_of

    facts = facts_of(film)
    assert isinstance(facts, VideoFacts)
    steps = find_steps(case.pipeline, JobError)
    works = [step.video(facts, DEFAULTS) for step in steps]
    renditions = [
        rendition for work in works if isinstance(work, Packaging) for rendition in work.renditions
    ]
    plan = make_plan("job", film.name, facts, steps, DEFAULTS)
    with TemporaryDirectory() as scratch:
        before = machine.cpu_of_tree(os.getpid())
        carry_out(plan, film, Path(scratch), budget_of=lambda _: BUDGET)
        ours = machine.cpu_of_tree(os.getpid()) - before
    once = _bare(film, facts, renditions)
    apart = sum(_bare(film, facts, [rendition]) for rendition in renditions)
    print(f"  {ours:.1f} s, {once:.1f} s, {apart:.1f} s", file=sys.stderr, flush=True)
    return ours, once, apart


def _bare(film: Path, facts: VideoFacts, renditions: list[Rendition]) -> float:
    """Seconds of CPU of one FFmpeg run that decodes the film once, with its sound beside."""
    whole = msgspec.structs.replace(facts, index=None)
    (command,) = video.encode(whole, renditions, DEFAULTS).commands.values()
    assert facts.audio
    sound = (
        "-map",
        f"0:{facts.audio[0].stream}",
        "-c:a",
        "aac",
        "-b:a",
        "128000",
        "-ac",
        "2",
        "sound.mp4",
    )
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(film, folder / "source")
        shutil.copy(ASSETS / DEFAULTS.mark.image, folder)
        args = (samples.ffmpeg(), "-v", "error", "-nostdin", "-y", *command, *sound)
        return machine.run(args, folder).cpu
