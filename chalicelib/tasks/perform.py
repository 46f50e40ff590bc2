"""One task: fetch, work, publish under deterministic keys."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from chalicelib.engines.scratch import scratch_folder
from chalicelib.errors import JobError
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget, Invocation
from chalicelib.model.job import SUCCESS, Job, Output, StepState
from chalicelib.model.plan import (
    Chunk,
    Drawn,
    Excerpt,
    Hls,
    Join,
    Parts,
    Pictures,
    Plan,
    Refused,
    Remux,
    Sound,
    Source,
    Task,
)
from chalicelib.store import objects, plans, tasks
from chalicelib.store.progress import Ticker
from chalicelib.tasks import encoding
from chalicelib.telemetry import tracer


@tracer.capture_method(capture_response=False)
def perform(
    job: Job, plan: Plan, task: Task, invocation: Invocation
) -> Parts | Source | dict[str, StepState]:
    """Fetch, work, publish under deterministic keys; a part, or what the steps that end here came to."""
    tracer.put_annotation("job_id", job.job_id)
    ticker = Ticker(job.job_id, task.id, len(plan.tasks))
    if isinstance(task.work, Join | Hls):
        return {task.id: StepState(SUCCESS, output=_package(job, plan, task, ticker))}
    budget = Budget(invocation.work_seconds, invocation.spare_bytes)
    with scratch_folder() as folder:
        (folder / "out").mkdir()
        source = plan.copy or Source(job.source_key, job.etag)
        fetch = partial(_fetch_excerpt, plan, task, source, folder / "source")
        if task.excerpt is None:
            objects.fetch(source, folder / "source")
        if isinstance(task.work, Remux):
            copy = encoding.remux(task.work, folder, budget)
            return objects.publish_copy(copy, task.destination + copy.name)
        if isinstance(task.work, Chunk | Sound):
            length = task.work.seconds
            made = encoding.encode(
                task.work,
                plan.commands[task.work.command],
                folder,
                budget,
                lambda at: ticker(at / length),
                fetch,
            )
            for path in sorted((folder / "out").iterdir()):
                objects.publish(path, task.destination + path.name)
            return made
        if isinstance(task.work, Pictures):
            drawn = encoding.draw(task.work, folder, budget)
        else:
            drawn = {task.id: encoding.poster(task.work, folder, budget, fetch)}
        return {
            step: _picture(step, picture, folder / "out", task.destination)
            for step, picture in drawn.items()
        }


def _fetch_excerpt(plan: Plan, task: Task, source: Source, target: Path, wanted: Excerpt) -> None:
    samples = plan.samples(task)
    made = mp4_excerpt.make(samples, wanted, plans.load_samples(samples, wanted))
    objects.fetch_parts(source, target, made.head, made.parts)


def _picture(step: str, picture: Drawn, folder: Path, destination: str) -> StepState:
    if isinstance(picture, Refused):
        return StepState.failed(JobError(picture.code, picture.detail))
    key = destination + picture.name
    output = Output(
        type=step,
        s3_key=key,
        size=objects.publish(folder / picture.name, key),
        content_type=objects.CONTENT_TYPES[Path(key).suffix],
        width=picture.width,
        height=picture.height,
        warning=picture.warning,
    )
    return StepState(SUCCESS, output=output)


def _package(job: Job, plan: Plan, task: Task, ticker: Ticker) -> Output:
    from chalicelib.tasks import packaging

    rows = tasks.get_many(job.job_id, task.needs)
    pictures, sound = (
        [
            packaging.Stored(msgspec.convert(rows[part.id].result, Parts), part.destination)
            for part in parts
        ]
        for parts in plan.parts(task)
    )
    return packaging.package(task, pictures, sound, ticker)
