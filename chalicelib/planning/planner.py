"""From facts and pipeline to a plan, purely."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from chalicelib.errors import JobError
from chalicelib.formats.mp4_excerpt import samples_of
from chalicelib.model.facts import Facts, ImageFacts, VideoFacts
from chalicelib.model.filenames import stem
from chalicelib.model.plan import Plan, Task, outputs_prefix, work_folder
from chalicelib.model.work import Command, Hls, Pictures, Poster, Source, Thumbnail, Watermark
from chalicelib.planning import renditions
from chalicelib.planning.operation import Packaging, Part, Rendition, Step

# What a picture task costs beside a second of encoding hardly matters; that it is not nothing does.
PICTURE_COST = 1.0
PACKAGING_COST = 0.5


def make_plan(
    job_id: str,
    source_key: str,
    facts: Facts,
    steps: Sequence[Step],
    copy: Source | None = None,
    *,
    label: str = "",
) -> Plan:
    """Tasks for `steps` on a source, or on a copy of it that the facts are of.

    A job that is planned again has a `label` in its outputs' keys: its first plan may have used the others.
    Raises JobError where a step cannot work on this kind of source.
    """
    prefix = f"{outputs_prefix(job_id)}{stem(source_key)}_{label and label + '_'}"
    if isinstance(facts, ImageFacts):
        return _of_image(prefix, facts, steps)
    return _of_film(job_id, prefix, facts, steps, copy)


def _of_image(prefix: str, facts: ImageFacts, steps: Sequence[Step]) -> Plan:
    """One task: decoding once costs less than a second message, claim and fetch, and a second decoding."""
    made: dict[str, Thumbnail | Watermark] = {}
    for step in steps:
        if step.image is None:
            detail = f"The step {step.name} needs a video, but the file is an image."
            raise JobError("step_needs_video", detail)
        made[step.name] = step.image()
    # A picture at full size needs the larger function's memory.
    large = any(isinstance(work, Watermark) for work in made.values())
    task = Task(
        "+".join(made),
        "watermark" if large else "thumbnail",
        Pictures(facts.format, made),
        prefix,
        cost=PICTURE_COST,
    )
    return Plan((task,), dict.fromkeys(made, task.id))


def _of_film(
    job_id: str, prefix: str, facts: VideoFacts, steps: Sequence[Step], copy: Source | None
) -> Plan:
    made = {step: step.video(facts) for step in steps}
    tasks: list[Task] = []
    last: list[Task] = []
    # Where a rendition is listed as it is, its parts are made where they are listed.
    listed = {
        work.rendition: prefix + step.folder
        for step, work in made.items()
        if isinstance(work, Packaging) and isinstance(work.work, Hls)
    }
    parts: dict[Rendition, list[Task]] = {}
    commands: dict[str, Command] = {}
    for step, work in made.items():
        if isinstance(work, Poster):
            tasks.append(
                Task(
                    step.name,
                    step.name,
                    work,
                    prefix + step.folder,
                    cost=PICTURE_COST,
                )
            )
            continue
        rendition = work.rendition
        if rendition not in parts:
            folder = listed.get(rendition, f"{work_folder(job_id)}{rendition.name}/")
            pictures = renditions.pictures(facts, rendition)
            parts[rendition] = _parts(rendition.name, pictures.parts, folder)
            commands |= pictures.commands
        last.append(
            Task(
                step.name,
                step.name,
                work.work,
                prefix + step.folder,
                source=False,
                needs=tuple(task.id for task in parts[rendition]),
                cost=PACKAGING_COST,
            )
        )
    encodes = list(parts.values())
    encoding = ""
    if encodes:
        folder = next(iter(listed.values()), f"{work_folder(job_id)}sound/")
        heard = renditions.sound(facts)
        sound = _parts("sound", heard.parts, folder)
        commands |= heard.commands
        sounds = tuple(task.id for task in sound)
        last = [msgspec.structs.replace(task, needs=task.needs + sounds) for task in last]
        encodes.append(sound)
        encoding = _encoding(facts, len(encodes[0]))
    # The first part of each before the second of any: with them, a film can be watched.
    tasks += [task for row in zip_longest(*encodes) for task in row if task is not None]
    index = facts.index
    return Plan(
        tuple(tasks + last),
        {step.name: step.name for step in steps},
        commands,
        encoding,
        copy,
        samples_of(job_id, index.pictures) if index else None,
        samples_of(job_id, index.sound) if encodes and index and index.sound else None,
    )


def _parts(name: str, parts: Sequence[Part], folder: str) -> list[Task]:
    return [
        Task(
            f"{name}.{number}",
            "encode",
            part.work,
            folder,
            cost=part.cost,
        )
        for number, part in enumerate(parts)
    ]


def _encoding(facts: VideoFacts, chunks: int) -> str:
    if facts.index is None:
        return f"As a whole: {facts.uncut}."
    if chunks == 1:
        return "In one piece."
    # The source itself has no index.
    copied = f", from a copy: {facts.uncut}" if facts.uncut else ""
    return f"In {chunks} chunks at once{copied}."
