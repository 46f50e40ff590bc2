"""The plan of a job: frozen data, computed purely from facts and pipeline, stored before anything runs.

A task is one message to one step Lambda. It names its inputs, says what to run on them, and where
what it makes goes. A step is ended by one task; a rendition is made by tasks that several steps may need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import msgspec

from chalicelib.errors import JobError
from chalicelib.media import Facts, ImageFacts, VideoFacts

Position = Literal["top_left", "top_right", "center", "bottom_left", "bottom_right"]


class Mark(msgspec.Struct, frozen=True):
    """How the watermark lies on a picture; `scale` is its width as a part of the picture's width."""

    image: str
    position: Position
    scale: float
    opacity: float


class Thumbnail(msgspec.Struct, frozen=True, tag="thumbnail"):
    """A JPEG of an image that fits in box × box."""

    format: str  # Pillow's name of what the source is
    box: int
    output: str


class Watermark(msgspec.Struct, frozen=True, tag="watermark"):
    """A full-size JPEG of an image, with the mark on it."""

    format: str
    mark: Mark
    output: str


class Poster(msgspec.Struct, frozen=True, tag="poster"):
    """A JPEG of a film's frame: the first of the candidates that shows something.

    Each command writes one picture, already at its final size, to the file that it names last.
    """

    commands: tuple[tuple[str, ...], ...]
    output: str


class Video(msgspec.Struct, frozen=True, tag="video"):
    """One FFmpeg run that makes one file with video in it, checked against what was promised."""

    args: tuple[str, ...]
    output: str
    width: int
    height: int
    seconds: float
    frames: int | None
    extra: tuple[str, ...] = ()  # files of this package that the run reads


class Hls(msgspec.Struct, frozen=True, tag="hls"):
    """A rendition cut into CMAF segments and playlists, by stream copy."""

    args: tuple[str, ...]
    rendition: str  # local name of what is cut
    width: int
    height: int
    seconds: float
    frames: int | None


Work = Thumbnail | Watermark | Poster | Video | Hls


class Task(msgspec.Struct, frozen=True):
    """One message to one step Lambda."""

    id: str
    queue: str
    work: Work
    destination: str  # key prefix in the output bucket; file names are appended
    inputs: dict[
        str, str
    ] = {}  # local name -> key in the output bucket; the source is always there
    source: bool = True  # whether the original is needed
    needs: tuple[str, ...] = ()  # tasks that must have ended well before this one is sent
    cost: float = 1.0  # estimated seconds of work, for weighing progress


class Plan(msgspec.Struct, frozen=True):
    """All tasks of one job. `steps` maps each step, in pipeline order, to the task that ends it."""

    tasks: tuple[Task, ...]
    steps: dict[str, str]

    def task(self, task_id: str) -> Task:
        return next(task for task in self.tasks if task.id == task_id)

    def first(self) -> list[Task]:
        """The tasks that need no other."""
        return [task for task in self.tasks if not task.needs]

    def ready_after(self, task_id: str, ended: Collection[str]) -> list[Task]:
        """The tasks that waited for `task_id` and now, that all of `ended` are done, wait for nothing."""
        return [t for t in self.tasks if task_id in t.needs and set(t.needs) <= set(ended)]

    def has_dependents(self, task_id: str) -> bool:
        return any(task_id in task.needs for task in self.tasks)

    def ended_by(self, task_id: str) -> str | None:
        """The step that `task_id` ends, if it ends one."""
        return next((step for step, last in self.steps.items() if last == task_id), None)

    def steps_needing(self, task_id: str) -> list[str]:
        """The steps that cannot end well if `task_id` does not."""
        return [step for step in self.steps if task_id in self._closure(step)]

    def shares(self) -> dict[str, dict[str, float]]:
        """For each step, the tasks that it takes and what each costs."""
        return {step: {t: self.task(t).cost for t in self._closure(step)} for step in self.steps}

    def _closure(self, step: str) -> list[str]:
        found = [self.steps[step]]
        for task_id in found:
            found.extend(t for t in self.task(task_id).needs if t not in found)
        return found


class Rendition(msgspec.Struct, frozen=True):
    """An encode that steps may share: two that compare equal are made once."""

    name: str
    width: int
    height: int
    mark: Mark | None = None

    @property
    def file(self) -> str:
        return f"{self.name}.mp4"


class Packaging(msgspec.Struct, frozen=True):
    """Work on a rendition instead of on the source."""

    rendition: Rendition
    work: Work


@dataclass(frozen=True)
class Step:
    """One name in a pipeline: what it makes of a film, and of an image if it can."""

    name: str
    video: Callable[[VideoFacts], Work | Packaging]
    image: Callable[[ImageFacts], Work] | None = None
    folder: str = ""  # for a step that makes many files: what their keys share, with a slash


# What a picture task costs beside a second of encoding hardly matters; that it is not nothing does.
PICTURE_COST = 1.0
PACKAGING_COST = 0.5


def make_plan(
    job_id: str,
    source_key: str,
    facts: Facts,
    steps: Sequence[Step],
    encode: Callable[[VideoFacts, Rendition], tuple[Work, float]],
) -> Plan:
    """Tasks for `steps` on a source; `encode` gives a rendition's work and cost.

    Raises JobError where a step cannot work on this kind of source.
    """
    prefix = f"outputs/{job_id.replace('-', '')}_{stem(source_key)}_"
    tasks: list[Task] = []
    encodes: dict[Rendition, Task] = {}
    for step in steps:
        made = _make(step, facts)
        if not isinstance(made, Packaging):
            tasks.append(Task(step.name, step.name, made, prefix + step.folder, cost=PICTURE_COST))
            continue
        assert isinstance(facts, VideoFacts)
        rendition = made.rendition
        if rendition not in encodes:
            work, cost = encode(facts, rendition)
            task_id = f"encode-{rendition.name}"
            encodes[rendition] = Task(task_id, "encode", work, f"work/{job_id}/", cost=cost)
            tasks.append(encodes[rendition])
        tasks.append(
            Task(
                step.name,
                step.name,
                made.work,
                prefix + step.folder,
                inputs={rendition.file: f"work/{job_id}/{rendition.file}"},
                source=False,
                needs=(encodes[rendition].id,),
                cost=PACKAGING_COST,
            )
        )
    return Plan(tuple(tasks), {step.name: step.name for step in steps})


def _make(step: Step, facts: Facts) -> Work | Packaging:
    if isinstance(facts, VideoFacts):
        return step.video(facts)
    if step.image is None:
        detail = f"The step {step.name} needs a video, but the file is an image."
        raise JobError("step_needs_video", detail)
    return step.image(facts)


def stem(key: str) -> str:
    """What is left of a client's file name in the keys of outputs: harmless, and at most 60 characters."""
    name = key.rsplit("/", 1)[-1]
    name = re.sub(r"^[0-9a-f]{32}_", "", name)
    name = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return re.sub(r"[^A-Za-z0-9._-]+", "_", unquote(name)).strip("._")[:60] or "file"
