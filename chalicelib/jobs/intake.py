"""Intake: looks into the source of a job, refuses what is not media, plans, sends the first messages.

What another version of the code has planned, it plans anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.engines import sandbox_child
from chalicelib.errors import JobError, TimedOut, defect
from chalicelib.invocation import Invocation, Later
from chalicelib.jobs import lifecycle, limits, s3_events
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.jobs.s3_events import Opened
from chalicelib.model.facts import Facts, ImageFacts, TrackSamples, VideoFacts
from chalicelib.model.job import Charge, Job
from chalicelib.model.plan import GENERATION, REMUX, Plan
from chalicelib.model.result import Copied, Failed
from chalicelib.model.step import STARTED, TERMINAL
from chalicelib.model.usage import Used
from chalicelib.model.work import Source
from chalicelib.operations.pipelines import are_known
from chalicelib.operations.recipes import Asked, choose, read_book
from chalicelib.planning import animations, copying
from chalicelib.planning.operation import PlanSettings, Rendition, Step
from chalicelib.planning.planner import make_plan
from chalicelib.probing.inspect import inspect_source
from chalicelib.settings import recipes, settings
from chalicelib.store import clients, jobs, objects, plans, progress, starts, tasks
from chalicelib.store.queues import StartMessage
from chalicelib.telemetry import logger, tracer


def take_in(record: SQSRecord, invocation: Invocation) -> None:
    """Start the jobs of a message. What keeps one from being started is raised: the message comes again."""
    message = s3_events.decode(record.body)
    turn = Turn(
        record.message_id,
        came_before=int(record.attributes.approximate_receive_count) > 1,
        resumes=isinstance(message, StartMessage) and message.resume,
    )
    for job_id, opened in s3_events.arrivals(message):
        logger.append_keys(job_id=job_id)
        try:
            begin(job_id, invocation, turn, opened)
        except Later:
            raise
        except Exception as error:
            starts.note_failed_try(job_id, clients.explain(error))
            raise


class Turn(NamedTuple):
    """One delivery of a message to intake."""

    message_id: str
    came_before: bool  # whether it is delivered again
    resumes: bool  # whether it asks for what is due of a job at work, whoever has started that


@tracer.capture_method(capture_response=False)
def begin(job_id: str, invocation: Invocation, turn: Turn, opened: Opened = None) -> None:
    """Plan a job and send its first messages; where it is at work already, send what is due of it.

    What is due is sent by the message that has started the job, when that comes again, and by one with
    `resume`; each of any number of other messages for the job would send all of it. `opened` is its source,
    where that has been opened. Raises Later where another version of this code must act first, or a step has
    ended meanwhile; Transient and AWS's errors where trying again may help.
    """
    tracer.put_annotation("job_id", job_id)
    job = jobs.get(job_id)
    if job is None:
        logger.warning("There is no such job")
        return
    if job.status in TERMINAL:
        return
    if job.generation == GENERATION:
        _resume(job, turn)
        return
    if not are_known(
        cast(list[str], job.pipeline)
    ):  # a later version's, which is about to come back or to go
        raise Later(6 * settings().retry_seconds)
    try:
        if turn.came_before:
            job = starts.count_try(job)
            if job.tries > settings().max_attempts:
                raise _exhausted(job)
        plan = _start(job, invocation, turn, opened)
    except Exception as error:
        refusal = error if isinstance(error, JobError) else defect(error)
        if refusal is None or _is_first_time_out(error, job):
            raise
        logger.info(
            "Refused", exc_info=error is not refusal, error_code=refusal.code, error=refusal.detail
        )
        lifecycle.fail(job, refusal)
        return
    if plan is not None:
        lifecycle.send_first(job_id, plan)
        return
    # It waits for a copy, or was started before: by another intake at this moment, or by another version.
    job = jobs.get(job_id)
    if job is not None and job.status == STARTED and job.generation == GENERATION:
        _resume(job, turn)


def _is_first_time_out(error: Exception, job: Job) -> bool:
    """Whether to try once more: the machine may have been busy."""
    return isinstance(error, TimedOut) and not error.came_before(job.last_error)


def _resume(job: Job, turn: Turn) -> None:
    if turn.resumes or job.starter == turn.message_id:
        lifecycle.resume(job, plans.load_plan(job))


def _exhausted(job: Job) -> JobError:
    """Why a job is given up: intake's last error, or that no worker could write one."""
    last = job.last_error or "No worker that tried it could say why."
    return JobError(
        "intake_failed", f"The file was looked at {job.tries - 1} times in vain. {last}"
    )


def _start(job: Job, invocation: Invocation, turn: Turn, opened: Opened) -> Plan | None:
    """Plan a job and start it; its plan, or None where it waits for a copy or is started already."""
    opened = opened or objects.open_original(job.source_key, sandbox_child.BLOCK_BYTES)
    if opened is None:
        raise objects.missing()
    original, head = opened
    if job.etag and job.etag != original.etag:
        detail = "The file was overwritten before it could be worked on."
        raise JobError("source_changed", detail)
    source = Source(job.source_key, original.etag, size=original.size)
    sniffed, facts = inspect_source(source, invocation, head)
    asked, book = Asked(job.pipeline, job.recipe), read_book(recipes())
    chosen = choose(asked, original.metadata, job.source_key, sniffed.kind, book)
    steps = chosen.steps
    set_up = plan_settings(settings())
    film: VideoFacts | None = None
    copy, tracks = None, list[TrackSamples]()
    if isinstance(facts, VideoFacts) or any(step.moves(facts) for step in steps):
        looked = _film(job, facts, source, steps, set_up, invocation)
        if looked is None:
            return None
        film, copy, tracks = looked
    label = GENERATION if plans.is_planned_again(job) else ""
    if isinstance(facts, VideoFacts) and film:
        facts = film
    with plans.storing_samples(job.job_id, tracks):
        made = make_plan(
            job.job_id, job.source_key, facts, steps, set_up, copy, film=film, label=label
        )
    charge = _charge(job, made, facts, copy or source, film)
    plan = plans.store_plan(job, original.etag, made)
    logger.info(
        "Planned", kind=sniffed.kind, tasks=plan.sizes(), encoding=plan.encoding, usd=charge.usd
    )
    if job.status == STARTED:  # by another version of this code
        if not starts.restart(job, plan, turn.message_id):
            # Something of it has ended meanwhile: look anew.
            raise Later(settings().retry_seconds)
        return None
    started = starts.start(
        job,
        duration=film.seconds if film else None,
        etag=original.etag,
        pipeline=chosen.asked.pipeline,
        recipe=chosen.recipe,
        plan=plan,
        starter=turn.message_id,
        charge=charge,
    )
    if not started:
        return None
    progress.write(job.job_id, plan)
    return plan


class Film(NamedTuple):
    """What is read of a film."""

    facts: VideoFacts
    copy: Source | None  # read instead of the source
    tracks: list[TrackSamples]  # of which tasks read excerpts


def _film(
    job: Job,
    facts: Facts,
    source: Source,
    steps: Sequence[Step],
    set_up: PlanSettings,
    invocation: Invocation,
) -> Film | None:
    """The film to plan with, which is a copy where the source is an image; None while a copy is made."""
    if isinstance(facts, ImageFacts):
        looked = _animation(job, facts, source, steps, set_up, invocation)
        encodes = False
    else:
        encoded = copying.renditions_of(facts, steps, set_up)
        looked = _with_copy(job, facts, source, steps, set_up, encoded, invocation)
        encodes = bool(encoded)
    if looked is None:
        return None
    index = looked[0].index
    return Film(*looked, index.tracks(audio=encodes) if index else [])


def _animation(
    job: Job,
    facts: ImageFacts,
    source: Source,
    steps: Sequence[Step],
    set_up: PlanSettings,
    invocation: Invocation,
) -> tuple[VideoFacts, Source | None] | None:
    """The copy of an animated image that is a film, and its facts; None while it is made. Raises JobError."""
    copied = tasks.get(job.job_id, REMUX)
    if copied is None or copied.result is None:
        film = animations.foreseen(facts)
        foreseen = make_plan(job.job_id, job.source_key, facts, steps, set_up, film=film)
        charge = _charge(job, foreseen, facts, source, film)
        only_copied = animations.plan_copy(job.job_id, source.etag, facts)
        _begin_copy(job, source.etag, only_copied, charge)
        return None
    if isinstance(copied.result, Failed):
        raise JobError(copied.result.code, copied.result.detail)
    assert isinstance(copied.result, Copied)
    copy = copied.result.copy
    _, copied_facts = inspect_source(copy, invocation)
    assert isinstance(copied_facts, VideoFacts)
    return copied_facts, copy


def _charge(
    job: Job, plan: Plan, facts: Facts, read: Source, film: VideoFacts | None = None
) -> Charge:
    """What to charge the owner for a job. Raises JobError where the job costs more than one may.

    For a film that is copied first, the estimate that its client was told is charged when the copy is made,
    and is held against `max_usd`. The plan of the copy may cost more: it is held against the stage's limits.
    """
    if job.status == STARTED:
        return Charge(job.owner, 0.0, 0.0)
    max_usd = None if job.charged_usd else job.max_usd
    # Nothing for intake: what it took to look at the source is spent.
    usage = limits.affordable(plan, facts, read.size, Used("intake"), max_usd, film)
    return Charge(job.owner, usage.cost_usd, job.charged_usd)


def _with_copy(
    job: Job,
    facts: VideoFacts,
    source: Source,
    steps: Sequence[Step],
    chosen: PlanSettings,
    encoded: Sequence[Rendition],
    invocation: Invocation,
) -> tuple[VideoFacts, Source | None] | None:
    """The facts to plan with, and the copy to read instead of the source; None while that is being made."""
    copy, why = None, ""
    if copying.is_worth_it(facts, encoded, chosen):
        why = copying.obstacle(facts, source.size)
        if not why:
            copied = tasks.get(job.job_id, REMUX)
            if copied is None or copied.result is None:
                logger.info("A copy is made", reason=facts.whole_reason)
                whole = make_plan(job.job_id, job.source_key, facts, steps, chosen)
                foreseen = copying.foreseen(whole, source, facts, steps, chosen)
                charge = _charge(job, foreseen, facts, source)
                only_copied = copying.plan_copy(job.job_id, source.etag, facts, chosen)
                _begin_copy(job, source.etag, only_copied, charge)
                return None
            if isinstance(copied.result, Copied):
                copy = copied.result.copy
                facts, why = _from_copy(job, facts, source, copy, invocation)
            elif isinstance(copied.result, Failed):
                why = f"copying it failed: {copied.result.detail.rstrip('.')}"
    if why:
        copy, facts = None, copying.as_a_whole(facts, why)
    copying.check_length(facts, encoded)
    return facts, copy


def _begin_copy(job: Job, etag: str, plan: Plan, charge: Charge) -> None:
    """Send the task that makes a copy of the source; its end has the job planned. Repeats harmlessly.

    Raises JobError where its owner's budget has no room for the job.
    """
    plans.store_copy_plan(job.job_id, etag, plan)
    if starts.await_copy(job, etag, charge):
        lifecycle.send_first(job.job_id, plan)


# How many times larger than its source a copy may be: audio that is decoded for it takes more room.
_MOST_GROWTH = 10


def _from_copy(
    job: Job, facts: VideoFacts, source: Source, copy: Source, invocation: Invocation
) -> tuple[VideoFacts, str]:
    """The facts of a film read from its copy, and ""; or as they were, and why the copy cannot be used."""
    if copy.size > _MOST_GROWTH * source.size:
        return facts, "its copy is larger than it could be"
    try:
        _, copied = inspect_source(copy, invocation)
    except JobError as error:
        if _is_first_time_out(error, job):
            raise
        return facts, f"its copy cannot be read: {error.detail.rstrip('.')}"
    assert isinstance(copied, VideoFacts)
    why = copying.difference(facts, copied)
    return (facts, why) if why else (copying.as_copied(facts, copied), "")
