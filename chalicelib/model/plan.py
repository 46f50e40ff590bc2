"""The plan of a job: frozen data, computed from facts, pipeline and settings, stored before anything runs.

A task is one message to one Lambda: its inputs, its work, the key prefix of what it makes. One task ends a
step, and may end several. The tasks that encode a rendition may be needed by several steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from chalicelib.model.work import (
    Audio,
    AudioFile,
    Captions,
    Chunk,
    Command,
    Excerpt,
    Hls,
    Images,
    Join,
    Poster,
    Preview,
    Source,
    Work,
)

# Code of one generation does not continue what another generation has begun. Count FORMAT up whenever stored
# plans, results of tasks, or the bytes under a key change: tests/moto/test_formats.py says when. ENCODER is
# the layer's: streams of two encoders are not mixed. Who meets another generation's job or message postpones
# it (jobs/runner.py), and intake plans that job anew (jobs/intake.py; `restart` in store/starts.py).
FORMAT = 6
ENCODER = "ffmpeg-9.0.2"
GENERATION = f"{FORMAT}-{ENCODER}"

REMUX = "remux"  # id of the task that copies a film, which runs before the other tasks are planned
# The groups of the tasks that encode a film: its video, in all renditions, and its audio, which is one track.
FILM, SOUND = "film", "sound"
CAPTIONS = "captions"  # id of the task that makes them


def work_folder(job_id: str) -> str:
    """The key prefix of objects that a job's tasks share: plan, samples, parts of renditions."""
    return f"{work_prefix(job_id)}{GENERATION}/"


def work_prefix(job_id: str) -> str:
    """The key prefix of all that a job's tasks share, of whatever generation."""
    return f"work/{job_id}/"


def outputs_prefix(job_id: str) -> str:
    """The key prefix of a job's outputs, which no other job has."""
    return f"outputs/{job_id.replace('-', '')}_"


class Samples(msgspec.Struct, frozen=True):
    """What excerpts of a track are made from; fields as in `facts.TrackSamples`."""

    row: str
    rows: str  # the key of the object that holds the rows
    track: bytes
    last: int
    reorder_delay: int
    preamble: bytes = b""


class Track(msgspec.Struct, frozen=True):
    """A rendition of a film's video, or its audio."""

    prefix: str  # of the keys of its files, in the output bucket
    bits_per_second: float  # estimated
    work: float = 1.0  # of encoding it, in pixels a frame of H.264: estimated


class Task(msgspec.Struct, frozen=True):
    """One message to one Lambda."""

    id: str  # "thumbnail"; of a part its group, a dot, its number: "film.12"
    work: Work
    # Key prefix in the output bucket, to which names of files are appended; of a film's parts: Plan.tracks.
    destination: str = ""
    needs: tuple[str, ...] = ()  # ids of tasks that must have ended well before this one is sent
    cost: float = 1.0  # estimated seconds of work on two cores: the weight in the progress

    @property
    def pool(self) -> str:
        """The pool of workers that carries the task out, which has a queue and a Lambda."""
        return self.work.pool

    @property
    def group(self) -> str:
        return group_of(self.id)

    @property
    def reads_source(self) -> bool:
        """Whether it reads all of the source; else excerpts, what other tasks made of it, or nothing."""
        if isinstance(self.work, Captions) and not self.work.command:
            return False
        return self.excerpt is None and not self.needs

    @property
    def excerpt(self) -> Excerpt | None:
        """The part of the source that is read first; None where there is no index."""
        return next(iter(self.excerpts), None)

    @property
    def excerpts(self) -> list[Excerpt]:
        """The parts of the source that are read for sure; none where there is no index."""
        match self.work:
            case Chunk(run=run) | AudioFile(run=run) | Poster(candidates=(run, *_)):
                runs = [run]
            case Audio(runs=tracks):
                runs = list(tracks.values())
            case Preview(pieces=pieces):
                runs = list(pieces)
            case _:
                runs = []
        return [run.excerpt for run in runs if run.excerpt]


def sound_track(number: int) -> str:
    """The name of a film's track of audio: SOUND of the first, then "sound_2"."""
    return f"{SOUND}_{number + 1}" if number else SOUND


def sounds_of(work: Work) -> tuple[str, ...]:
    """Names of the tracks of audio that a package is made of, if the film has any."""
    match work:
        case Join():
            return (SOUND,)
        case Hls(sounds=sounds):
            return tuple(sound.track for sound in sounds)
        case _:
            return ()


def group_of(task_id: str) -> str:
    """The group of a task: of a part that of the video or of the audio, else the task itself."""
    return task_id.partition(".")[0]


class Plan(msgspec.Struct, frozen=True):
    """All tasks of one job. `steps` maps each step, in pipeline order, to the task that ends it."""

    tasks: tuple[Task, ...]
    steps: dict[str, str]
    pipeline: tuple[str | dict[str, Any], ...] = ()  # what was asked for, item by item
    commands: dict[str, Command] = {}  # by their names
    tracks: dict[str, Track] = {}  # renditions, by their names, and tracks of audio
    encoding: str = ""  # a sentence for the client: how a film is encoded, and why
    copy: Source | None = None  # read instead of the original
    samples: dict[str, Samples] = {}  # what excerpts are made from, by the names of their tracks
    retry_of: str = ""  # id of the job of which something is used again
    reused: dict[str, str] = {}  # tasks whose files are copied from there; digests of what they do

    def task(self, task_id: str) -> Task:
        return next(task for task in self.tasks if task.id == task_id)

    def parts(self, task: Task) -> tuple[list[Task], list[Task]]:
        """The parts that `task` packages, in order: of the video, and of the audio."""
        needed = self._needed(task)
        video = [part for part in needed if isinstance(part.work, Chunk)]
        return video, [part for part in needed if isinstance(part.work, Audio)]

    def source(self, task: Task, original: Source) -> Source:
        """What a task reads. Copies of films have no captions, and pictures of an image need none."""
        is_of_original = isinstance(task.work, Images | Captions)
        return original if self.copy is None or is_of_original else self.copy

    def first(self) -> list[Task]:
        """The tasks that need no other."""
        return [task for task in self.tasks if not task.needs]

    def ready_after(self, task_id: str, ended: Collection[str]) -> list[Task]:
        """The tasks that need `task_id`, and nothing that is not in `ended`."""
        return [t for t in self.tasks if task_id in t.needs and set(t.needs) <= set(ended)]

    def has_dependents(self, task_id: str) -> bool:
        return any(task_id in task.needs for task in self.tasks)

    def watchable_from(self, task_id: str, ended: Collection[str]) -> list[Task]:
        """The HLS packages that can be played from now on: what they begin with has ended by `task_id`."""
        found = []
        for task in self.tasks:
            if isinstance(task.work, Hls):
                first = self.beginning(task)
                if task_id in first and first <= set(ended):
                    found.append(task)
        return found

    def beginning(self, task: Task) -> set[str]:
        """The tasks that must have ended before an HLS package can be played.

        They are the first part of each track, and the captions: players read a multivariant playlist once,
        and a track that is not there when they ask for it is out for good.
        """
        first = {parts[0].id for parts in self.parts(task) if parts}
        return first | ({CAPTIONS} & set(task.needs))

    def steps_needing(self, task_id: str) -> list[str]:
        """The steps that fail if `task_id` does."""
        return [step for step in self.steps if task_id in self.closure(step)]

    def shares(self) -> dict[str, dict[str, float]]:
        """For each step, the groups of tasks that it needs, and the cost of each."""
        shares: dict[str, dict[str, float]] = {}
        for step in self.steps:
            costs = shares[step] = {}
            last = self.task(self.steps[step])
            for task in (last, *self._needed(last)):
                costs[task.group] = round(costs.get(task.group, 0.0) + task.cost, 3)
        return shares

    def sizes(self) -> dict[str, int]:
        """The number of tasks in each group."""
        return dict(Counter(task.group for task in self.tasks))

    def _needed(self, task: Task) -> list[Task]:
        """The tasks that `task` needs, in that order. A plan may have a thousand others."""
        by_id = {each.id: each for each in self.tasks}
        return [by_id[task_id] for task_id in task.needs]

    def closure(self, step: str) -> list[str]:
        """The ids of all tasks that a step needs."""
        last = self.task(self.steps[step])
        return [last.id, *last.needs]
