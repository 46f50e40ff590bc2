"""What is read of a film: its source, or a copy of that, which a task makes before the job is planned.

A film without an index is copied into a container that has one, an animated image into a film.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from chalicelib.errors import JobError, TimedOut
from chalicelib.invocation import Invocation
from chalicelib.jobs import lifecycle, limits
from chalicelib.model.facts import Facts, ImageFacts, TrackSamples, VideoFacts
from chalicelib.model.job import Charge, Job
from chalicelib.model.plan import REMUX, Plan
from chalicelib.model.result import Copied, Failed
from chalicelib.model.step import STARTED
from chalicelib.model.usage import Used
from chalicelib.model.work import Source
from chalicelib.operations.audio import Audio
from chalicelib.planning import animations, copying
from chalicelib.planning.operation import PlanSettings, Rendition, Step
from chalicelib.planning.planner import make_plan
from chalicelib.probing.inspect import inspect_source
from chalicelib.store import plans, starts, tasks
from chalicelib.telemetry import logger


class Known(NamedTuple):
    """What is known of a job that is about to be planned."""

    job: Job
    source: Source
    steps: Sequence[Step]
    recipe: str  # that says so, with its version
    settings: PlanSettings
    invocation: Invocation


class Film(NamedTuple):
    """What is read of a film."""

    facts: VideoFacts
    copy: Source | None  # read instead of the source
    tracks: list[TrackSamples]  # of which tasks read excerpts


def film_of(known: Known, facts: ImageFacts | VideoFacts) -> Film | None:
    """The film to plan with, which is a copy where the source is an image; None while a copy is made.

    Raises JobError.
    """
    if isinstance(facts, ImageFacts):
        looked, hears = _animation(known, facts), False
    else:
        encoded = copying.renditions_of(facts, known.steps, known.settings)
        looked, hears = _with_copy(known, facts, encoded), bool(encoded) or _hears(known.steps)
    if looked is None:
        return None
    index = looked[0].index
    return Film(*looked, index.tracks(audio=hears) if index else [])


def _hears(steps: Sequence[Step]) -> bool:
    """Whether a step reads the sound alone."""
    return any(isinstance(step.operations.get("video"), Audio) for step in steps)


def _animation(known: Known, facts: ImageFacts) -> tuple[VideoFacts, Source | None] | None:
    """The copy of an animated image that is a film, and its facts; None while it is made. Raises JobError."""
    job, source = known.job, known.source
    copied = tasks.get(job.job_id, REMUX)
    if copied is None or copied.result is None:
        film = animations.foreseen(facts)
        foreseen = make_plan(
            job.job_id, job.source_key, facts, known.steps, known.settings, film=film
        )
        only_copied = animations.plan_copy(job.job_id, source.etag, facts)
        in_all = msgspec.structs.replace(foreseen, tasks=(*only_copied.tasks, *foreseen.tasks))
        charged = charge(job, in_all, facts, source, Film(film, None, []))
        _begin_copy(known, only_copied, charged)
        return None
    if isinstance(copied.result, Failed):
        raise JobError(copied.result.code, copied.result.detail)
    assert isinstance(copied.result, Copied)
    copy = copied.result.copy
    copied_facts = inspect_source(copy, known.invocation)
    assert isinstance(copied_facts, VideoFacts)
    return copied_facts, copy


def charge(job: Job, plan: Plan, facts: Facts, source: Source, film: Film | None) -> Charge:
    """What to charge the owner for a job. Raises JobError where the job costs more than one may.

    For a film that is copied first, the estimate that its client was told is charged when the copy is made,
    and is held against `max_usd`. The plan of the copy may cost more: it is held against the stage's limits.
    """
    if job.status == STARTED:
        return Charge(job.owner, 0.0, 0.0)
    is_foreseen_well = isinstance(
        facts, VideoFacts
    )  # of an animation nobody had counted the pictures
    max_usd = None if job.charged_usd and is_foreseen_well else job.max_usd
    # Nothing for intake: what it took to look at the source is spent.
    read = film.copy if film and film.copy else source
    usage = limits.affordable(
        plan, facts, read.size, Used("intake"), max_usd, film.facts if film else None
    )
    return Charge(job.owner, usage.cost_usd, job.charged_usd)


def _with_copy(
    known: Known, facts: VideoFacts, encoded: Sequence[Rendition]
) -> tuple[VideoFacts, Source | None] | None:
    """The facts to plan with, and the copy to read instead of the source; None while that is being made."""
    job, source, chosen = known.job, known.source, known.settings
    copy, why = None, ""
    if copying.is_worth_it(facts, encoded, chosen):
        facts = copying.without_what_cannot_be_copied(facts)
        why = copying.obstacle(facts, source.size)
        if not why:
            copied = tasks.get(job.job_id, REMUX)
            if copied is None or copied.result is None:
                logger.info("A copy is made", reason=facts.whole_reason)
                whole = make_plan(job.job_id, job.source_key, facts, known.steps, chosen)
                foreseen = copying.foreseen(whole, source, facts, known.steps, chosen)
                charged = charge(job, foreseen, facts, source, None)
                only_copied = copying.plan_copy(job.job_id, source.etag, facts, chosen)
                _begin_copy(known, only_copied, charged)
                return None
            if isinstance(copied.result, Copied):
                copy = copied.result.copy
                facts, why = _from_copy(known, facts, copy)
            elif isinstance(copied.result, Failed):
                why = f"copying it failed: {copied.result.detail.rstrip('.')}"
    if why:
        copy, facts = None, copying.as_a_whole(facts, why)
    copying.check_length(facts, encoded)
    return facts, copy


def _begin_copy(known: Known, plan: Plan, charge: Charge) -> None:
    """Send the task that makes a copy of the source; its end has the job planned. Repeats harmlessly.

    Raises JobError where its owner's budget has no room for the job.
    """
    job, etag = known.job, known.source.etag
    plans.store_copy_plan(job.job_id, etag, plan)
    pipeline = [step.item for step in known.steps]
    if starts.await_copy(job, etag, charge, pipeline, known.recipe):
        lifecycle.send_first(job.job_id, plan)


# How many times larger than its source a copy may be: audio that is decoded for it takes more room.
_MOST_GROWTH = 10


def _from_copy(known: Known, facts: VideoFacts, copy: Source) -> tuple[VideoFacts, str]:
    """The facts of a film read from its copy, and ""; or as they were, and why the copy cannot be used."""
    if copy.size > _MOST_GROWTH * known.source.size:
        return facts, "its copy is larger than it could be"
    try:
        copied = inspect_source(copy, known.invocation)
    except JobError as error:
        if is_first_time_out(error, known.job):
            raise
        return facts, f"its copy cannot be read: {error.detail.rstrip('.')}"
    assert isinstance(copied, VideoFacts)
    why = copying.difference(facts, copied)
    return (facts, why) if why else (copying.as_copied(facts, copied), "")


def is_first_time_out(error: Exception, job: Job) -> bool:
    """Whether to try once more: the machine may have been busy."""
    return isinstance(error, TimedOut) and not error.came_before(job.last_error)
