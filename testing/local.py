"""Carry out a plan in this process, by the code that the Lambdas run; S3 is moto's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy
import psutil

from chalicelib.errors import JobError
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget
from chalicelib.model.facts import Facts, FrameIndex, VideoFacts
from chalicelib.model.job import Charge
from chalicelib.model.picture import Picture, Variant
from chalicelib.model.plan import FILM, Plan, Task, Track, sound_track
from chalicelib.model.result import Encoded, StepsEnded
from chalicelib.model.result import Result as TaskResult
from chalicelib.model.step import Output
from chalicelib.model.streams import Rung
from chalicelib.model.work import Chunk, Excerpt, Hls, Images, Join, Remux, Run, Source
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying
from chalicelib.planning.operation import Item, PlanSettings
from chalicelib.planning.planner import make_plan
from chalicelib.probing import inspect
from chalicelib.settings import settings
from chalicelib.store import clients
from chalicelib.tasks import copying as copying_task
from chalicelib.tasks.kinds import kind_of
from chalicelib.tasks.workbench import Workbench, lay_out_marks
from testing.mocked import mocked
from testing.planned import DEFAULTS

GIB = 1024**3
_ROOMY = Budget(lambda: 20.0, 3 * GIB)


# A charge of nothing to nobody's budget.
FREE = Charge("-", 0.0, 0.0)
# Of an image in the shape of 4:3.
THUMBNAIL = Picture((Variant("thumb.jpg", 512, 384, "jpeg", 85),))


def a_plan(*pipeline: str) -> Plan:
    """A plan for a film that need not exist: three chunks with cost 8, and packages with cost 1."""
    chunks = tuple(
        Task(
            f"{FILM}.{number}",
            Chunk(FILM, Run(), ("720p",), number, 2.0),
            cost=cost,
        )
        for number, cost in enumerate((2.0, 4.0, 2.0))
    )
    needs = tuple(task.id for task in chunks)
    works: dict[str, Hls | Join] = {
        "hls_720p": Hls((Rung("720p", "video", 2, 2, 6, 1.0, 9000),), 6.0),
        "transcode_720p": Join("720p", "720p.mp4", 2, 2, 6.0, 6),
    }
    packages = tuple(
        Task(step, works[step], "outputs/", needs=needs, cost=1.0)
        if step in works
        else Task(step, Images("JPEG", {step: THUMBNAIL}), "outputs/", cost=1.0)
        for step in pipeline
    )
    tasks = (*chunks, *packages) if works.keys() & set(pipeline) else packages
    return Plan(
        tasks, {step: step for step in pipeline}, tracks={"720p": Track("work/video_", 1e6)}
    )


def facts_of(path: Path, budget: Budget = _ROOMY) -> Facts:
    """The facts of a file, probed in the sandbox as by intake."""
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return inspect.inspect(read, path.stat().st_size, budget)


def copy_of(path: Path, folder: Path) -> tuple[VideoFacts, VideoFacts, Path]:
    """(facts of a film, facts of its copy, path of the copy in `folder`)."""
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert copying.obstacle(facts, path.stat().st_size) == ""
    (task,) = copying.plan_copy("job", "etag", facts, DEFAULTS).tasks
    assert isinstance(task.work, Remux)
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "source")
    copy = copying_task.remux(task.work, folder, Budget(lambda: 60.0, 4 * GIB))
    copied = facts_of(copy)
    assert isinstance(copied, VideoFacts)
    return facts, copied, copy


def below(worker: psutil.Process) -> list[psutil.Process]:
    """The processes that run for a worker: those below it, without the one that children are forked from.

    In a process that runs tests, the local cloud that they share is not the worker's either.
    """
    commands = {each: " ".join(each.cmdline()) for each in worker.children()}
    servers = [each for each, command in commands.items() if "forkserver.main" in command]
    clouds = [each for each, command in commands.items() if "ministack_main" in command]
    others = [each for each in commands if each not in (*servers, *clouds)]
    return [*others, *(each for server in servers for each in server.children(recursive=True))]


class Result(NamedTuple):
    """An output as it is listed, and its file."""

    made: Output
    path: Path


def run(
    path: Path, folder: Path, *pipeline: Item, chosen: PlanSettings = DEFAULTS
) -> dict[str, Result]:
    """Plan and run a pipeline for a file. Returns the output of each step."""
    steps = find_steps(pipeline, JobError)
    return carry_out(make_plan("job", path.name, facts_of(path), steps, chosen), path, folder)


def carry_out(
    plan: Plan,
    path: Path,
    folder: Path,
    wrap: Callable[[Callable[[], None]], object] = lambda task: task(),
    budget_of: Callable[[Task], Budget] = lambda _: Budget(lambda: 60.0, 4 * GIB),
) -> dict[str, Result]:
    """Carry out a plan for a file in `folder`. Returns the output of each step.

    Each task is run by `wrap`. If `wrap` suppresses its exception, the tasks that need it are left out.
    """
    made: dict[str, TaskResult] = {}
    facts = facts_of(path) if plan.samples else None
    index = facts.index if isinstance(facts, VideoFacts) else None
    listed: dict[str, Output] = {}
    with mocked():
        clients.s3.cache_clear()
        s3, bucket = clients.s3(), settings().output_bucket
        s3.create_bucket(Bucket=bucket)

        def encoded(task_ids: Sequence[str]) -> dict[str, Encoded]:
            results = {task_id: made[task_id] for task_id in task_ids}
            return {key: each for key, each in results.items() if isinstance(each, Encoded)}

        def perform(task: Task) -> None:
            bench = _LocalBench(
                plan,
                task,
                Source(path.name, ""),
                budget_of(task),
                encoded,
                lambda _: None,
                folder / "tasks" / task.id,
                path,
                index,
            )
            result = made[task.id] = kind_of(task.work).run(bench)
            for step, state in result.steps.items() if isinstance(result, StepsEnded) else ():
                if not state.outputs:
                    raise JobError(state.error_code, state.error)
                (listed[step],) = state.outputs

        for task in plan.tasks:
            if made.keys() >= set(task.needs):
                wrap(partial(perform, task))
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for stored in page.get("Contents", ()):
                assert stored["Size"], f"{stored['Key']} is empty"
                target = folder / stored["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(s3.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read())
    clients.s3.cache_clear()
    return {step: Result(output, folder / output.s3_key) for step, output in listed.items()}


@dataclass(frozen=True)
class _LocalBench(Workbench):
    """A workbench in a folder that is kept, for a source in a local file with a known frame index."""

    place: Path
    path: Path
    index: FrameIndex | None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        (self.place / "out").mkdir(parents=True)
        lay_out_marks(self.task.work, self.place)
        if self.task.reads_source:
            shutil.copy(self.path, self.place / "source")
        yield self.place

    def fetch(self, folder: Path, excerpt: Excerpt) -> None:
        write_excerpt(self.plan, self.task, self.index, self.path, folder / "source", excerpt)


def write_excerpt(
    plan: Plan, task: Task, index: FrameIndex | None, path: Path, target: Path, wanted: Excerpt
) -> None:
    """Write an excerpt to `target`, as a worker does, from a local file with this frame index."""
    assert index is not None
    sounds = {sound_track(number): each.samples for number, each in enumerate(index.audio)}
    coded = sounds.get(wanted.track, index.video)
    cut = mp4_excerpt.make(
        plan.samples[wanted.track], wanted, coded.rows[slice(*mp4_excerpt.rows_of(coded, wanted))]
    )
    with path.open("rb") as source, target.open("wb") as file:
        file.write(cut.head)
        for begin, end in cut.parts:
            source.seek(begin)
            file.write(source.read(end - begin))


def audio_samples(path: Path) -> Any:
    """The audio samples that a player plays, in one channel at 48 kHz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return numpy.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
