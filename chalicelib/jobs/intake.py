"""Intake: looks at an object that arrived, refuses what is not media, plans, sends the first messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.engines import decoder
from chalicelib.errors import JobError, TimedOut, defect
from chalicelib.formats.sniff import HEAD_BYTES
from chalicelib.invocation import Invocation, Later
from chalicelib.jobs import lifecycle, limits
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.facts import Coded, Facts, VideoFacts
from chalicelib.model.job import DONE, FAILED, STARTED, TERMINAL, StepState
from chalicelib.model.plan import GENERATION, REMUX, Plan, Source
from chalicelib.model.usage import Used
from chalicelib.operations import are_known, names_for, steps_for
from chalicelib.planning import copying
from chalicelib.planning.operation import Step
from chalicelib.planning.planner import make_plan
from chalicelib.probing.inspect import inspect_source
from chalicelib.settings import DROPS, settings
from chalicelib.store import clients, ledger, objects, plans
from chalicelib.store.ledger import Charge
from chalicelib.store.objects import Original
from chalicelib.store.queues import StartMessage
from chalicelib.store.table import Job
from chalicelib.telemetry import logger, tracer


class _Object(msgspec.Struct, rename="camel"):
    key: str
    size: int = 0
    e_tag: str = ""
    sequencer: str = ""


class _S3(msgspec.Struct):
    object: _Object


class _Record(msgspec.Struct, rename="camel"):
    event_name: str
    s3: _S3


class S3Event(msgspec.Struct):
    """What S3 says of objects that were created. Its test event, on set-up, has no records."""

    records: list[_Record] | None = msgspec.field(name="Records", default=None)
    event: str = msgspec.field(name="Event", default="")

    def __post_init__(self) -> None:
        if self.records is None and self.event != "s3:TestEvent":
            raise ValueError("neither a message of ours nor an event of S3")

    def created(self) -> list[_Object]:
        return [
            msgspec.structs.replace(record.s3.object, key=unquote_plus(record.s3.object.key))
            for record in self.records or ()
            if record.event_name.startswith("ObjectCreated:")
        ]


def decode(body: str) -> StartMessage | S3Event:
    """A message of the intake queue: ours, or S3's. Raises msgspec.DecodeError where it is neither."""
    try:
        return msgspec.json.decode(body, type=StartMessage)
    except msgspec.ValidationError:
        return msgspec.json.decode(body, type=S3Event)


def take_in(record: SQSRecord, invocation: Invocation) -> None:
    """Start the jobs that a message speaks of."""
    message = decode(record.body)
    turn = Turn(
        record.message_id,
        came_before=int(record.attributes.approximate_receive_count) > 1,
        resumes=isinstance(message, StartMessage) and message.resume,
    )
    for job_id, opened in arrivals(message):
        logger.append_keys(job_id=job_id)
        try:
            begin(job_id, invocation, turn, opened)
        except Later:
            raise
        except Exception as error:
            ledger.note_failed_try(job_id, clients.explain(error))
            raise


class Turn(NamedTuple):
    """Of a message to intake: which one it is, and what is asked of it."""

    message_id: str
    came_before: bool
    resumes: bool  # whether what is due of a job at work is to be sent, whoever has started it


# An object with its first bytes, where it has been opened.
Opened = tuple[Original, bytes] | None


def arrivals(message: StartMessage | S3Event) -> list[tuple[str, Opened]]:
    """The jobs that a message starts; those of drops are written here, once for each event."""
    if isinstance(message, StartMessage):
        return [(message.job_id, None)]
    found = [_job_of(created) for created in message.created()]
    return [arrival for arrival in found if arrival]


def _job_of(created: _Object) -> tuple[str, Opened] | None:
    if created.key.endswith("/") and created.size == 0:
        logger.info("A folder marker", key=created.key)
        return None
    ticket, job_id = ledger.find_arrival(created.key, created.e_tag, created.sequencer)
    if ticket is not None:
        if not ledger.claim_upload(ticket, created.key, created.e_tag, created.sequencer):
            logger.info("Another upload to a URL that has been used", key=created.key)
            return None
        # Without a job, the upload waits for POST /jobs/from-key.
        return (ticket.ticket_job_id, None) if ticket.ticket_job_id else None
    opened, names = None, list[str]()
    if job_id is None:
        opened = objects.open_original(created.key, decoder.BLOCK_BYTES)
        if opened and opened[0].etag == created.e_tag:
            original, head = opened
            names = names_for((), original.metadata, head[:HEAD_BYTES])
        job_id = ledger.job_of_file(
            DROPS, created.key, created.e_tag, names, sequencer=created.sequencer
        )
        job_id = ledger.claim_event(created.key, created.e_tag, created.sequencer, job_id)
    ledger.create_job(job_id, DROPS, created.key, names, etag=created.e_tag)
    return job_id, opened


@tracer.capture_method(capture_response=False)
def begin(job_id: str, invocation: Invocation, turn: Turn, opened: Opened = None) -> None:
    """Plan a job and send its first messages; where it is at work already, what is due of it.

    That only on another turn of the message that has started it, or on one that is sent for it: of any number
    of messages for one job, each would send all of it. `opened` is its source, where that has been opened.
    """
    tracer.put_annotation("job_id", job_id)
    job = ledger.get_job(job_id)
    if job is None:
        logger.warning("There is no such job")
        return
    if job.status in TERMINAL:
        return
    if job.generation == GENERATION:
        _resume(job, turn)
        return
    if not are_known(list(job.pipeline)):  # a later version's, which is about to come back or to go
        raise Later(6 * settings().retry_seconds)
    try:
        if turn.came_before and ledger.count_try(job) >= settings().max_attempts:
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
    job = ledger.get_job(job_id)
    if job is not None and job.status == STARTED and job.generation == GENERATION:
        _resume(job, turn)


def _is_first_time_out(error: Exception, job: Job) -> bool:
    return isinstance(error, TimedOut) and not error.came_before(job.last_error)


def _resume(job: Job, turn: Turn) -> None:
    if turn.resumes or job.starter == turn.message_id:
        lifecycle.resume(job, plans.load_plan(job))


def _exhausted(job: Job) -> JobError:
    last = job.last_error or "Every worker that tried it died."
    return JobError(
        "intake_failed", f"The file was looked at {int(job.tries) - 1} times in vain. {last}"
    )


def _start(job: Job, invocation: Invocation, turn: Turn, opened: Opened) -> Plan | None:
    """Plan a job and start it; the plan, or None where it waits for a copy, or had been started before."""
    opened = opened or objects.open_original(job.source_key, decoder.BLOCK_BYTES)
    if opened is None:
        raise objects.missing()
    original, head = opened
    if job.etag and job.etag != original.etag:
        detail = "The file was overwritten before it could be worked on."
        raise JobError("source_changed", detail)
    source = Source(job.source_key, original.etag, size=original.size)
    sniffed, facts = inspect_source(source, invocation, head)
    steps = steps_for(list(job.pipeline), original.metadata, sniffed.kind)
    chosen = plan_settings(settings())
    copy, tracks = None, list[Coded]()
    if isinstance(facts, VideoFacts):
        encoded = copying.renditions_of(facts, steps, chosen)
        looked = _with_copy(job, facts, source, steps, invocation)
        if looked is None:
            return None
        facts, copy = looked
        tracks = facts.index.tracks(sound=bool(encoded)) if facts.index else []
    label = GENERATION if plans.is_planned_again(job) else ""
    with plans.storing_samples(job.job_id, tracks):
        made = make_plan(job.job_id, job.source_key, facts, steps, chosen, copy, label=label)
    charge = _charge(job, made, facts, copy or source)
    plan = plans.store_plan(job, original.etag, made)
    logger.info(
        "Planned", kind=sniffed.kind, tasks=plan.sizes(), encoding=plan.encoding, usd=charge.usd
    )
    if job.status == STARTED:  # by another version of this code
        if not ledger.restart_job(job, plan, turn.message_id):
            # Something of it has ended meanwhile: look anew.
            raise Later(settings().retry_seconds)
        return None
    started = ledger.start_job(
        job.job_id,
        kind=sniffed.kind,
        duration=facts.seconds if isinstance(facts, VideoFacts) else None,
        etag=original.etag,
        plan=plan,
        starter=turn.message_id,
        charge=charge,
    )
    if not started:
        return None
    ledger.write_progress(job.job_id, plan)
    return plan


def _charge(job: Job, plan: Plan, facts: Facts, read: Source) -> Charge:
    """What a job is to be charged, once. Raises JobError where it costs more than one may.

    Its client was told what is foreseen of a film that is to be copied: that is held against `max_usd`. The
    plan of the copy may cost more, and is held against what this stage allows.
    """
    if job.status == STARTED:
        return Charge(job.owner, 0.0, 0.0)
    max_usd = None if job.charged_usd else job.max_usd
    # What it took to look at the source is spent.
    usage = limits.affordable(plan, facts, read.size, Used("intake"), max_usd)
    return Charge(job.owner, usage.cost_usd, job.charged_usd)


def _with_copy(
    job: Job,
    facts: VideoFacts,
    source: Source,
    steps: Sequence[Step],
    invocation: Invocation,
) -> tuple[VideoFacts, Source | None] | None:
    """The facts to plan with, and the copy to be read instead of the source; None while it is being made."""
    chosen = plan_settings(settings())
    encoded = copying.renditions_of(facts, steps, chosen)
    copy, why = None, ""
    if copying.is_worth_it(facts, encoded, chosen):
        why = copying.obstacle(facts, source.size)
        if not why:
            row = ledger.get_task(job.job_id, REMUX)
            if row is None or row.state not in (DONE, FAILED):
                logger.info("A copy is made", uncut=facts.uncut)
                whole = make_plan(job.job_id, job.source_key, facts, steps, chosen)
                foreseen = copying.foreseen(whole, source, facts, steps, chosen)
                charge = _charge(job, foreseen, facts, source)
                only_copied = copying.plan_copy(job.job_id, source.etag, facts, chosen)
                lifecycle.begin_remux(job, source.etag, only_copied, charge)
                return None
            if row.state == DONE:
                copy = msgspec.convert(row.result, Source)
                facts, why = _from_copy(job, facts, source, copy, invocation)
            else:
                error = msgspec.convert(row.result, StepState).error
                why = f"copying it failed: {error.rstrip('.')}"
    if why:
        copy, facts = None, copying.as_a_whole(facts, why)
    copying.check_length(facts, encoded)
    return facts, copy


# Sound that is decoded for a copy takes more room in it.
_MOST_GROWTH = 10


def _from_copy(
    job: Job, facts: VideoFacts, source: Source, copy: Source, invocation: Invocation
) -> tuple[VideoFacts, str]:
    """The facts of a film as its copy has it, or as they were and why it cannot be used."""
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
