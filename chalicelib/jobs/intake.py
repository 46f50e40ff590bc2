"""Intake: looks into the source of a job, refuses what is not media, plans, sends the first messages.

What another version of the code has planned, it plans anew.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.engines import sandbox_child
from chalicelib.errors import JobError, defect
from chalicelib.invocation import Invocation, Later
from chalicelib.jobs import captions, films, lifecycle, reusing, s3_events, watermarks
from chalicelib.jobs.films import Film, Known
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.jobs.s3_events import Opened
from chalicelib.model.facts import ImageFacts, VideoFacts, kind_of, seconds_of
from chalicelib.model.job import Job
from chalicelib.model.plan import GENERATION, Plan
from chalicelib.model.step import STARTED, TERMINAL
from chalicelib.model.work import Source
from chalicelib.operations.choosing import Asked, choose
from chalicelib.operations.pipelines import are_known
from chalicelib.operations.recipes import read_book
from chalicelib.planning.planner import make_plan
from chalicelib.probing.inspect import inspect_source
from chalicelib.settings import recipes, settings
from chalicelib.store import clients, identities, jobs, objects, plans, progress, starts
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
    if not are_known(job.pipeline):  # a later version's, which is about to come back or to go
        raise Later(6 * settings().retry_seconds)
    try:
        if turn.came_before:
            job = starts.count_try(job)
            if job.tries > settings().max_attempts:
                raise _exhausted(job)
        plan = _start(job, invocation, turn, opened)
    except Exception as error:
        refusal = error if isinstance(error, JobError) else defect(error)
        if refusal is None or films.is_first_time_out(error, job):
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
    if job.announced_size not in (None, original.size):
        detail = f"The file has {original.size} bytes, but {job.announced_size} were announced."
        raise JobError("size_differs", detail)
    source = Source(job.source_key, original.etag, size=original.size)
    facts = inspect_source(source, invocation, head)
    asked, book = Asked(job.pipeline, job.recipe), read_book(recipes())
    chosen = choose(asked, original.metadata, job.source_key, kind_of(facts), book)
    steps = chosen.steps
    set_up = plan_settings(
        settings(),
        watermarks.etags_of(steps),
        captions.found(steps, partial(identities.may_read, job.owner)),
    )
    film: Film | None = None
    if isinstance(facts, VideoFacts) or (
        isinstance(facts, ImageFacts) and any(step.moves(facts) for step in steps)
    ):
        film = films.film_of(Known(job, source, steps, chosen.recipe, set_up, invocation), facts)
        if film is None:
            return None
    if film and isinstance(facts, VideoFacts):
        facts = film.facts
    label = GENERATION if plans.is_planned_again(job) else ""
    with plans.storing_samples(job.job_id, film.tracks if film else ()):
        made = make_plan(
            job.job_id,
            job.source_key,
            facts,
            steps,
            set_up,
            film.copy if film else None,
            film=film.facts if film else None,
            label=label,
        )
    made = reusing.without_what_is_whole(job, made, original.etag)
    charge = films.charge(job, made, facts, source, film)
    plan = plans.store_plan(job, original.etag, made)
    logger.info(
        "Planned", kind=kind_of(facts), tasks=plan.sizes(), encoding=plan.encoding, usd=charge.usd
    )
    if job.status == STARTED:  # by another version of this code
        if not starts.restart(job, plan, turn.message_id):
            # Something of it has ended meanwhile: look anew.
            raise Later(settings().retry_seconds)
        return None
    started = starts.start(
        job,
        duration=seconds_of(film.facts if film else facts),
        etag=original.etag,
        checksum=objects.checksum_crc64nvme(source),
        # Another intake may have planned something else first.
        pipeline=plan.pipeline,
        recipe=chosen.recipe if plan.pipeline == made.pipeline else "",
        plan=plan,
        starter=turn.message_id,
        charge=charge,
    )
    if not started:
        return None
    progress.write(job.job_id, plan)
    return plan
