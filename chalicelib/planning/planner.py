"""From facts, steps and settings to a plan. A pure function: equal inputs give equal plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from chalicelib.formats import playlists
from chalicelib.formats.mp4_excerpt import samples_of
from chalicelib.model.facts import AudioFacts, Facts, FrameIndex, ImageFacts, VideoFacts
from chalicelib.model.filenames import stem
from chalicelib.model.picture import Picture
from chalicelib.model.plan import (
    CAPTIONS,
    FILM,
    SOUND,
    Plan,
    Samples,
    Task,
    Track,
    outputs_prefix,
    sound_track,
    sounds_of,
    work_folder,
)
from chalicelib.model.work import (
    AudioFile,
    Command,
    Hls,
    Images,
    Poster,
    Preview,
    Source,
    Storyboard,
)
from chalicelib.planning import audio, audio_files, chunking, storyboards, video
from chalicelib.planning.operation import Packaging, Part, PlanSettings, Step

# Weights in the progress, in seconds of encoding; a weight must not be zero.
PICTURE_COST = 1.0
PREVIEW_COST = 3.0
PACKAGING_COST = 0.5
CAPTIONS_COST = 1.0


def make_plan(
    job_id: str,
    source_key: str,
    facts: Facts,
    steps: Sequence[Step],
    settings: PlanSettings,
    copy: Source | None = None,
    *,
    film: VideoFacts | None = None,
    label: str = "",
) -> Plan:
    """Tasks for `steps` on a source; or on a copy of it, which the facts are then of.

    An image that steps make a film of has the facts of that copy as `film`. `label` becomes part of the keys
    of outputs: a job that is planned again must not reuse the keys of its first plan. Raises JobError where a
    step cannot work on this kind of source.
    """
    prefix = f"{outputs_prefix(job_id)}{stem(source_key)}_{label and label + '_'}"
    match facts:
        case VideoFacts():
            plan = _of_film(job_id, prefix, facts, steps, settings, copy)
        case AudioFacts():
            plan = _of_sound(prefix, facts, steps, settings)
        case ImageFacts():
            plan = _of_still_or_animation(job_id, prefix, facts, steps, settings, copy, film)
    return msgspec.structs.replace(plan, pipeline=tuple(step.item for step in steps))


def _of_still_or_animation(
    job_id: str,
    prefix: str,
    facts: ImageFacts,
    steps: Sequence[Step],
    settings: PlanSettings,
    copy: Source | None,
    film: VideoFacts | None,
) -> Plan:
    moving = [step for step in steps if film and step.moves(facts)]
    still = [step for step in steps if step not in moving]
    of_film = _of_film(job_id, prefix, film, moving, settings, copy) if film and moving else None
    if of_film is None:
        return _of_image(prefix, facts, still, settings)
    if not still:
        return of_film
    of_image = _of_image(prefix, facts, still, settings)
    ends = of_image.steps | of_film.steps
    return msgspec.structs.replace(
        of_film,
        tasks=(*of_image.tasks, *of_film.tasks),
        steps={step.name: ends[step.name] for step in steps},
    )


def _of_image(
    prefix: str, facts: ImageFacts, steps: Sequence[Step], settings: PlanSettings
) -> Plan:
    """One task: decoding once costs less than a second message, claim, fetch and decoding."""
    made: dict[str, Picture] = {step.name: step.image(facts, settings) for step in steps}
    task = Task(
        "+".join(made),
        Images(facts.format, made),
        prefix,
        cost=PICTURE_COST,
    )
    return Plan((task,), dict.fromkeys(made, task.id))


def _of_sound(
    prefix: str, facts: AudioFacts, steps: Sequence[Step], settings: PlanSettings
) -> Plan:
    files = {step.name: step.audio(facts, settings) for step in steps}
    return Plan(
        tuple(_task_alone(step, work, prefix) for step, work in files.items()),
        {step: step for step in files},
    )


def _of_film(
    job_id: str,
    prefix: str,
    facts: VideoFacts,
    steps: Sequence[Step],
    settings: PlanSettings,
    copy: Source | None,
) -> Plan:
    asked = storyboards.shared({step.name: step.video(facts, settings) for step in steps})
    posters = {step: work for step, work in asked.items() if isinstance(work, Poster)}
    others = {step: work for step, work in asked.items() if isinstance(work, AudioFile | Preview)}
    packagings = {step: work for step, work in asked.items() if isinstance(work, Packaging)}
    encodes = _encodes(job_id, prefix, facts, packagings, settings)
    index = facts.index
    hears = bool(encodes.audio) or any(isinstance(work, AudioFile) for work in others.values())
    return Plan(
        (
            *(_poster_task(step, work, prefix) for step, work in posters.items()),
            *_first_parts_first(encodes, _caption_tasks(packagings.values(), prefix)),
            *(_task_alone(step, work, prefix) for step, work in others.items()),
            *(_packaging_task(step, work, prefix, encodes) for step, work in packagings.items()),
        ),
        {step.name: step.name for step in steps},
        commands=encodes.commands,
        tracks=encodes.tracks,
        encoding=_encoding(facts, encodes),
        copy=copy,
        samples=_samples(job_id, index, hears=hears) if index else {},
    )


def _samples(job_id: str, index: FrameIndex, *, hears: bool) -> dict[str, Samples]:
    """What excerpts are made from; with those of the audio, if a task `hears` that."""
    sounds = {sound_track(number): each.samples for number, each in enumerate(index.audio)}
    tracks = {FILM: index.video, **(sounds if hears else {})}
    return {name: samples_of(job_id, coded) for name, coded in tracks.items()}


class _Encodes(NamedTuple):
    """The tasks that encode, in the order of their parts. All renditions share them."""

    video: list[Task]
    audio: list[Task]
    commands: dict[str, Command]
    tracks: dict[str, Track]


def _encodes(
    job_id: str,
    prefix: str,
    facts: VideoFacts,
    packagings: Mapping[str, Packaging],
    settings: PlanSettings,
) -> _Encodes:
    """The encodes that all packagings need, each once."""
    if not packagings:
        return _Encodes([], [], {}, {})
    renditions = list(
        dict.fromkeys(each for packaging in packagings.values() for each in packaging.renditions)
    )
    pictures = video.encode(facts, renditions, settings)
    heard = list(
        dict.fromkeys(name for each in packagings.values() for name in sounds_of(each.work))
    )
    sound = audio.encode(facts, settings, len(heard))
    # HLS lists the parts of a rendition as they are: they are made under the keys where it lists them.
    streams = [
        (prefix + each.folder, each.work)
        for each in packagings.values()
        if isinstance(each.work, Hls)
    ]
    listed = {
        rung.rendition: f"{folder}{rung.playlist}_"
        for folder, stream in streams
        for rung in stream.rungs
    }
    work = work_folder(job_id)
    tracks = {
        each.name: Track(
            listed.get(each.name, f"{work}{each.name}/{playlists.VIDEO}_"),
            video.bits_per_second(facts, each),
            chunking.encoded_pixels(facts, each),
        )
        for each in renditions
    }
    sounds = {
        sound.track: f"{folder}{sound.playlist}_"
        for folder, stream in streams
        for sound in stream.sounds
    }
    for name in heard:
        listed_as = sounds.get(name, f"{work}{name}/{playlists.AUDIO}_")
        tracks[name] = Track(listed_as, audio.BITS_PER_SECOND)
    return _Encodes(
        _part_tasks(FILM, pictures.parts),
        _part_tasks(SOUND, sound.parts),
        pictures.commands | sound.commands,
        tracks,
    )


def _part_tasks(group: str, parts: Sequence[Part]) -> list[Task]:
    return [
        Task(f"{group}.{number}", part.work, cost=part.cost) for number, part in enumerate(parts)
    ]


def _caption_tasks(packagings: Iterable[Packaging], prefix: str) -> list[Task]:
    return [
        Task(CAPTIONS, each.captions, prefix + each.folder, cost=CAPTIONS_COST)
        for each in packagings
        if each.captions
    ]


def _first_parts_first(encodes: _Encodes, captions: Sequence[Task]) -> Iterator[Task]:
    """The first part of each encode, then the second of each: with the first parts, watching can begin."""
    for same_number in zip_longest(encodes.video, encodes.audio, captions):
        yield from (task for task in same_number if task is not None)


def _poster_task(step: str, work: Poster, prefix: str) -> Task:
    return Task(step, work, prefix, cost=PICTURE_COST)


def _task_alone(step: str, work: AudioFile | Preview, prefix: str) -> Task:
    cost = audio_files.cost_of(work) if isinstance(work, AudioFile) else PREVIEW_COST
    return Task(step, work, prefix, cost=cost)


def _packaging_task(step: str, packaging: Packaging, prefix: str, encodes: _Encodes) -> Task:
    is_heard = not isinstance(packaging.work, Storyboard)
    needed = (*encodes.video, *(encodes.audio if is_heard else ()))
    captions = (CAPTIONS,) if packaging.captions else ()
    return Task(
        step,
        packaging.work,
        prefix + packaging.folder,
        needs=(*(task.id for task in needed), *captions),
        cost=PACKAGING_COST,
    )


def _encoding(facts: VideoFacts, encodes: _Encodes) -> str:
    """A sentence for the client: how the film is encoded, and why; "" where it is not."""
    if not encodes.video:
        return ""
    if facts.index is None:
        return f"As a whole: {facts.whole_reason}."
    chunks = len(encodes.video)
    if chunks == 1:
        return "In one piece."
    # If there is a reason, it is about the source, and the index is the copy's.
    copied = f", from a copy: {facts.whole_reason}" if facts.whole_reason else ""
    return f"In {chunks} chunks at once{copied}."
