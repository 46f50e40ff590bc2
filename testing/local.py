"""A plan carried out here, by the code that the Lambdas run, with S3 alone under moto."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy
import psutil
import pytest
from moto import mock_aws

from chalicelib.errors import JobError
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget
from chalicelib.model.facts import Facts, Index, VideoFacts
from chalicelib.model.job import Output
from chalicelib.model.plan import (
    Chunk,
    Drawn,
    Excerpt,
    Hls,
    Join,
    Pictures,
    Plan,
    Poster,
    Refused,
    Remux,
    Run,
    Sound,
    Task,
    Thumbnail,
)
from chalicelib.operations import find_steps
from chalicelib.planning import copying
from chalicelib.planning.planner import make_plan
from chalicelib.probing import inspect
from chalicelib.settings import settings
from chalicelib.store import clients
from chalicelib.store.ledger import Charge
from chalicelib.tasks import encoding, packaging

GIB = 1024**3
_ROOMY = Budget(lambda: 20.0, 3 * GIB)


# Nothing, of nobody's budget.
FREE = Charge("-", 0.0, 0.0)


def a_plan(*pipeline: str) -> Plan:
    """A plan for a film that nobody has to have: three chunks that weigh 8, and packages that weigh 1."""
    chunks = tuple(
        Task(
            f"720p.{number}",
            "encode",
            Chunk("720p", Run(), f"video_{number}_", 0, 2.0),
            "work/",
            cost=cost,
        )
        for number, cost in enumerate((2.0, 4.0, 2.0))
    )
    needs = tuple(task.id for task in chunks)
    works: dict[str, Hls | Join] = {
        "hls_720p": Hls(2, 2, 6.0, 6, frame_rate=1.0, most_bits=9000, language=None),
        "transcode_720p": Join("720p.mp4", 2, 2, 6.0, 6),
    }
    packages = tuple(
        Task(step, step, works[step], "outputs/", source=False, needs=needs, cost=1.0)
        if step in works
        else Task(
            step, step, Pictures("JPEG", {step: Thumbnail(512, "thumb.jpg")}), "outputs/", cost=1.0
        )
        for step in pipeline
    )
    tasks = (*chunks, *packages) if works.keys() & set(pipeline) else packages
    return Plan(tasks, {step: step for step in pipeline})


def facts_of(path: Path, budget: Budget = _ROOMY) -> Facts:
    """As intake finds them, in a child."""
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return inspect.inspect(read, path.stat().st_size, budget)[1]


def copy_of(path: Path, folder: Path) -> tuple[VideoFacts, VideoFacts, Path]:
    """The facts of a film, those of its copy, and the copy, made in `folder`."""
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert copying.obstacle(facts, path.stat().st_size) == ""
    (task,) = copying.copying("job", "etag", facts).tasks
    assert isinstance(task.work, Remux)
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "source")
    copy = encoding.remux(task.work, folder, Budget(lambda: 60.0, 4 * GIB))
    copied = facts_of(copy)
    assert isinstance(copied, VideoFacts)
    return facts, copied, copy


def below(worker: psutil.Process) -> list[psutil.Process]:
    """What runs for a worker: all below it, but for the process that children are forked from."""
    found = worker.children()
    servers = [each for each in found if "forkserver.main" in " ".join(each.cmdline())]
    left = [each for each in found if each not in servers]
    return [*left, *(each for server in servers for each in server.children(recursive=True))]


class Result(NamedTuple):
    """An output as it is listed, and the file."""

    made: Output
    path: Path


def run(path: Path, folder: Path, *pipeline: str) -> dict[str, Result]:
    """What each step of a pipeline makes of a file."""
    steps = find_steps(pipeline, JobError)
    return carry_out(make_plan("job", path.name, facts_of(path), steps), path, folder)


def carry_out(
    plan: Plan,
    path: Path,
    folder: Path,
    wrap: Callable[[Callable[[], None]], object] = lambda task: task(),
    budget_of: Callable[[Task], Budget] = lambda _: Budget(lambda: 60.0, 4 * GIB),
) -> dict[str, Result]:
    """What a plan makes of a file, in `folder`; each of its tasks is run by `wrap`.

    Where that goes on after an exception, those that wait for the task are left out.
    """
    results: dict[str, Result] = {}
    facts = facts_of(path) if plan.pictures else None
    index = facts.index if isinstance(facts, VideoFacts) else None
    made: dict[str, packaging.Stored] = {}
    with mock_aws():
        clients.s3.cache_clear()
        s3, bucket = clients.s3(), settings().output_bucket
        s3.create_bucket(Bucket=bucket)

        def listed(step: str, drawn: Drawn, task: Task) -> None:
            if isinstance(drawn, Refused):
                raise JobError(drawn.code, drawn.detail)
            key = task.destination + drawn.name
            output = Output(
                step, key, 0, "image/jpeg", drawn.width, drawn.height, warning=drawn.warning
            )
            results[step] = Result(output, folder / key)

        def perform(task: Task) -> None:
            if isinstance(task.work, Join | Hls):
                pictures, sound = ([made[part.id] for part in parts] for parts in plan.parts(task))
                output = packaging.package(task, pictures, sound, lambda _: None)
                results[task.id] = Result(output, folder / output.s3_key)
                return
            place = folder / "tasks" / task.id
            (place / "out").mkdir(parents=True)
            fetch = partial(write_excerpt, plan, task, index, path, place / "source")
            if task.excerpt is None:
                shutil.copy(path, place / "source")
            if isinstance(task.work, Chunk | Sound):
                command = plan.commands[task.work.command]
                parts = encoding.encode(
                    task.work, command, place, budget_of(task), lambda _: None, fetch
                )
                made[task.id] = packaging.Stored(parts, task.destination)
            elif isinstance(task.work, Pictures):
                for step, drawn in encoding.draw(task.work, place, budget_of(task)).items():
                    listed(step, drawn, task)
            elif isinstance(task.work, Poster):
                listed(task.id, encoding.poster(task.work, place, budget_of(task), fetch), task)
            for file in (place / "out").iterdir():
                if not file.stat().st_size:
                    raise ValueError(f"{file.name} is empty")
                s3.put_object(
                    Bucket=bucket, Key=task.destination + file.name, Body=file.read_bytes()
                )

        for task in plan.tasks:
            if made.keys() >= set(task.needs):
                wrap(partial(perform, task))
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for stored in page.get("Contents", ()):
                target = folder / stored["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(s3.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read())
    clients.s3.cache_clear()
    return results


def write_excerpt(
    plan: Plan, task: Task, index: Index | None, path: Path, target: Path, wanted: Excerpt
) -> None:
    """As the worker does, from a file whose index this is."""
    assert index is not None
    coded = index.sound if isinstance(task.work, Sound) else index.pictures
    assert coded is not None
    made = mp4_excerpt.make(
        plan.samples(task), wanted, coded.rows[slice(*mp4_excerpt.rows_of(coded, wanted))]
    )
    with path.open("rb") as source, target.open("wb") as file:
        file.write(made.head)
        for begin, end in made.parts:
            source.seek(begin)
            file.write(source.read(end - begin))


def heard(path: Path) -> Any:
    """The samples that are played, of one channel, at 48 kHz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return numpy.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])


@contextmanager
def chunks_of(seconds: float) -> Iterator[None]:
    """Chunks of so many seconds of work, but of a segment: small pictures are encoded by the minute."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLUICE_CHUNK_WORK_SECONDS", str(seconds))
            settings.cache_clear()
            yield
    finally:
        settings.cache_clear()
