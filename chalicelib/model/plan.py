"""The plan of a job: frozen data, computed purely from facts and pipeline, stored before anything runs.

A task is one message to one step Lambda. It names its inputs, says what to run on them, and where
what it makes goes. A step is ended by one task, which may end others, too; a rendition is made by tasks that
several steps may need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import msgspec

from chalicelib.model.work import (
    Chunk,
    Command,
    Excerpt,
    Hls,
    Poster,
    Sound,
    Source,
    Work,
)

# What this code can continue of what another version has begun: nothing, where this differs. Count FORMAT up
# whenever stored plans, results of tasks, or the bytes under a key change (tests/test_formats.py says when);
# ENCODER is that of the layer, whose streams are not mixed with another's.
FORMAT = 4
ENCODER = "ffmpeg-9.0.2"
GENERATION = f"{FORMAT}-{ENCODER}"

REMUX = "remux"  # the task that makes a copy, before there is a plan of all others


def work_folder(job_id: str) -> str:
    """The key prefix of what a job's tasks hand to each other: plan, samples, parts of renditions."""
    return f"work/{job_id}/{GENERATION}/"


def outputs_prefix(job_id: str) -> str:
    """What the keys of all outputs of a job begin with, and no other's."""
    return f"outputs/{job_id.replace('-', '')}_"


class Samples(msgspec.Struct, frozen=True):
    """What it takes to make films of their own of the samples of a track; see `media.Coded`."""

    row: str
    rows: str  # the key of those of all
    track: bytes
    last: int
    lag: int
    preamble: bytes = b""


class Task(msgspec.Struct, frozen=True):
    """One message to one step Lambda."""

    id: str  # of a part: what it is a part of, a point, its number
    work: Work
    destination: str  # key prefix in the output bucket; file names are appended
    needs: tuple[str, ...] = ()  # tasks that must have ended well before this one is sent
    cost: float = 1.0  # estimated seconds of work, for weighing progress

    @property
    def pool(self) -> str:
        """The pool of workers that carries it out: its queue, and its Lambda."""
        return self.work.pool

    @property
    def group(self) -> str:
        return group_of(self.id)

    @property
    def excerpt(self) -> Excerpt | None:
        """What of the source is read first; None: all of it."""
        match self.work:
            case Chunk(run=run) | Sound(run=run) | Poster(candidates=(run, *_)):
                return run.excerpt
            case _:
                return None


def group_of(task_id: str) -> str:
    """What a task is a part of: itself, if of nothing else."""
    return task_id.partition(".")[0]


class Plan(msgspec.Struct, frozen=True):
    """All tasks of one job. `steps` maps each step, in pipeline order, to the task that ends it."""

    tasks: tuple[Task, ...]
    steps: dict[str, str]
    commands: dict[str, Command] = {}  # by their names
    encoding: str = ""  # how a film is encoded, and why: a sentence
    copy: Source | None = None  # what is read instead of the original
    # What excerpts are made of.
    pictures: Samples | None = None
    sound: Samples | None = None

    def task(self, task_id: str) -> Task:
        return next(task for task in self.tasks if task.id == task_id)

    def parts(self, task: Task) -> tuple[list[Task], list[Task]]:
        """What `task` packages, in order: pictures, and sound."""
        needed = self._needed(task)
        pictures = [part for part in needed if isinstance(part.work, Chunk)]
        return pictures, [part for part in needed if isinstance(part.work, Sound)]

    def samples(self, task: Task) -> Samples:
        """What the task's excerpt is made of."""
        found = self.sound if isinstance(task.work, Sound) else self.pictures
        assert found is not None
        return found

    def first(self) -> list[Task]:
        """The tasks that need no other."""
        return [task for task in self.tasks if not task.needs]

    def ready_after(self, task_id: str, ended: Collection[str]) -> list[Task]:
        """The tasks that waited for `task_id` and now, that all of `ended` are done, wait for nothing."""
        return [t for t in self.tasks if task_id in t.needs and set(t.needs) <= set(ended)]

    def has_dependents(self, task_id: str) -> bool:
        return any(task_id in task.needs for task in self.tasks)

    def watchable_from(self, task_id: str, ended: Collection[str]) -> list[Task]:
        """The HLS packagings that can be watched so far, now that of their first parts this is the last."""
        found = []
        for task in self.tasks:
            if isinstance(task.work, Hls):
                first = {parts[0].id for parts in self.parts(task) if parts}
                if task_id in first and first <= set(ended):
                    found.append(task)
        return found

    def steps_needing(self, task_id: str) -> list[str]:
        """The steps that cannot end well if `task_id` does not."""
        return [step for step in self.steps if task_id in self.closure(step)]

    def shares(self) -> dict[str, dict[str, float]]:
        """For each step, the groups of tasks that it takes and what each costs."""
        shares: dict[str, dict[str, float]] = {}
        for step in self.steps:
            costs = shares[step] = {}
            last = self.task(self.steps[step])
            for task in (last, *self._needed(last)):
                costs[task.group] = round(costs.get(task.group, 0.0) + task.cost, 3)
        return shares

    def sizes(self) -> dict[str, int]:
        """How many tasks are in each group."""
        return dict(Counter(task.group for task in self.tasks))

    def _needed(self, task: Task) -> list[Task]:
        """The tasks that `task` needs, in that order; among a thousand others."""
        by_id = {each.id: each for each in self.tasks}
        return [by_id[task_id] for task_id in task.needs]

    def closure(self, step: str) -> list[str]:
        """The tasks that have to end well for a step to."""
        last = self.task(self.steps[step])
        return [last.id, *last.needs]
