"""Intake: looks at an object that arrived, refuses what is not media, plans, sends the first messages."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO
from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib import aws, child, files, jobs, ledger, remux
from chalicelib.errors import JobError
from chalicelib.files import Original
from chalicelib.handlers import Invocation
from chalicelib.media import Coded, Facts, ImageFacts, VideoFacts
from chalicelib.plan import REMUX, Plan, Rendition, Source, Step
from chalicelib.planning import make_plan
from chalicelib.queues import StartMessage
from chalicelib.rows import DONE, FAILED, PENDING, STARTED, Job, StepState
from chalicelib.settings import settings
from chalicelib.sniff import HEAD_BYTES, Sniffed, sniff
from chalicelib.steps import DEFAULT_PIPELINES, find_steps
from chalicelib.watch import logger, tracer
from chalicelib.works import Budget


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

    records: list[_Record] = msgspec.field(name="Records", default_factory=list)

    def created(self) -> list[_Object]:
        return [
            msgspec.structs.replace(record.s3.object, key=unquote_plus(record.s3.object.key))
            for record in self.records
            if record.event_name.startswith("ObjectCreated:")
        ]


def decode(body: str) -> StartMessage | S3Event:
    """A message of the intake queue: ours, or S3's."""
    try:
        return msgspec.json.decode(body, type=StartMessage)
    except msgspec.ValidationError:
        return msgspec.json.decode(body, type=S3Event)


def take_in(record: SQSRecord, invocation: Invocation) -> None:
    """Start the jobs that a message speaks of."""
    for job_id in job_ids(decode(record.body)):
        logger.append_keys(job_id=job_id)
        try:
            begin(job_id, invocation)
        except Exception as error:
            ledger.note_failed_try(job_id, aws.explain(error))
            raise


def job_ids(message: StartMessage | S3Event) -> list[str]:
    """The jobs that a message starts; those of drops are written here, once for each event."""
    if isinstance(message, StartMessage):
        return [message.job_id]
    found = [_job_of(created) for created in message.created()]
    return [job_id for job_id in found if job_id]


def _job_of(created: _Object) -> str | None:
    if created.key.endswith("/") and created.size == 0:
        logger.info("A folder marker", key=created.key)
        return None
    handed_out, job_id = ledger.get_ticket(created.key)
    if handed_out:
        return job_id  # None: the upload waits for POST /jobs/from-key
    identity = f"drop {created.sequencer} {created.key}"
    job_id, _ = ledger.claim_identity(identity, str(uuid.uuid4()))
    ledger.create_job(job_id, created.key, [], etag=created.e_tag)
    return job_id


@tracer.capture_method(capture_response=False)
def begin(job_id: str, invocation: Invocation) -> None:
    """Plan a job and send its first messages; again, if that was done before."""
    tracer.put_annotation("job_id", job_id)
    job = ledger.get_job(job_id)
    if job is None:
        logger.warning("There is no such job")
        return
    plan = None
    if job.status == PENDING:
        try:
            plan = _start(job, invocation)
        except JobError as error:
            logger.info("Refused", error_code=error.code, error=error.detail)
            jobs.fail_unstarted(job_id, error)
            return
        if plan is None:
            # Of two intakes at once, with a source overwritten between them, one has started the job.
            job = ledger.get_job(job_id)
    if plan is None and job is not None and job.status == STARTED:
        plan = jobs.load_plan(job)
    if plan is not None:
        jobs.send_first(job_id, plan)


def _start(job: Job, invocation: Invocation) -> Plan | None:
    """Plan a job and start it; the plan, or None where it was started by another, or waits for a copy."""
    opened = files.open_original(job.source_key, child.BLOCK_BYTES)
    if opened is None:
        raise files.missing()
    original, head = opened
    if job.etag and job.etag != original.etag:
        detail = "The file was overwritten before it could be worked on."
        raise JobError("source_changed", detail)
    source = Source(job.source_key, original.etag, size=original.size)
    sniffed, facts = inspect_source(source, invocation, head)
    steps = steps_for(list(job.pipeline), original, sniffed.kind)
    copy, tracks = None, list[Coded]()
    if isinstance(facts, VideoFacts):
        encoded = remux.wanted(facts, steps)
        looked = _with_copy(job.job_id, facts, source, encoded, invocation)
        if looked is None:
            return None
        facts, copy = looked
        tracks = facts.index.tracks(sound=bool(encoded)) if facts.index else []
    with jobs.storing_samples(job.job_id, tracks):
        made = make_plan(job.job_id, job.source_key, facts, steps, copy)
    plan = jobs.store_plan(job.job_id, original.etag, made)
    logger.info("Planned", kind=sniffed.kind, tasks=plan.sizes(), encoding=plan.encoding)
    started = ledger.start_job(
        job.job_id,
        kind=sniffed.kind,
        duration=facts.seconds if isinstance(facts, VideoFacts) else None,
        pipeline=[step.name for step in steps],
        etag=original.etag,
        plan=plan,
    )
    return plan if started else None


def steps_for(pipeline: Sequence[str], original: Original, kind: str) -> tuple[Step, ...]:
    """What was asked for; else by the object's metadata; else what is the default of its kind."""
    asked = pipeline or _from_metadata(original) or DEFAULT_PIPELINES[kind]
    return find_steps(asked, JobError)


def _with_copy(
    job_id: str,
    facts: VideoFacts,
    source: Source,
    encoded: Sequence[Rendition],
    invocation: Invocation,
) -> tuple[VideoFacts, Source | None] | None:
    """The facts to plan with, and the copy to be read instead of the source; None while it is being made."""
    copy, why = None, ""
    if remux.is_worth_it(facts, encoded):
        why = remux.obstacle(facts, source.size)
        if not why:
            row = ledger.get_task(job_id, REMUX)
            if row is None or row.state not in (DONE, FAILED):
                logger.info("A copy is made", uncut=facts.uncut)
                jobs.begin_remux(job_id, source.etag, remux.copying(job_id, source.etag, facts))
                return None
            if row.state == DONE:
                copy = msgspec.convert(row.result, Source)
                facts, why = _from_copy(facts, copy, invocation)
            else:
                error = msgspec.convert(row.result, StepState).error
                why = f"copying it failed: {error.rstrip('.')}"
    if why:
        copy, facts = None, remux.as_a_whole(facts, why)
    remux.check_length(facts, encoded)
    return facts, copy


def _from_copy(facts: VideoFacts, copy: Source, invocation: Invocation) -> tuple[VideoFacts, str]:
    """The facts of a film as its copy has it, or as they were and why it cannot be used."""
    try:
        _, copied = inspect_source(copy, invocation)
    except JobError as error:
        return facts, f"its copy cannot be read: {error.detail.rstrip('.')}"
    assert isinstance(copied, VideoFacts)
    why = remux.difference(facts, copied)
    return (facts, why) if why else (remux.as_copied(facts, copied), "")


def _from_metadata(original: Original) -> list[str]:
    named = original.metadata.get("pipeline", "")
    return [name.strip() for name in named.split(",") if name.strip()]


def inspect_source(
    source: Source, invocation: Invocation, head: bytes = b""
) -> tuple[Sniffed, Facts]:
    """What an object is, of which the `head` has been read; as `inspect`."""
    budget = Budget(invocation.work_seconds, invocation.memory_bytes)
    return inspect(partial(files.read, source), source.size, budget, head)


def inspect(
    read: Callable[[int, int], bytes], size: int, budget: Budget, head: bytes = b""
) -> tuple[Sniffed, Facts]:
    """What a file of `size` bytes is, by its content: `read(start, length)` gives it, fewer at its end.

    The `head` is its first block, where that has been read. Raises JobError where it is nothing we can work
    on, Transient.
    """
    if size == 0:
        raise JobError("empty_file", "The file is empty.")
    head = head or read(0, min(child.BLOCK_BYTES, size))
    sniffed = sniff(head[:HEAD_BYTES])
    limit = settings().max_image_bytes if sniffed.kind == "image" else settings().max_source_bytes
    if size > limit:
        detail = f"The {sniffed.kind} has {size} bytes; at most {limit} are taken."
        raise JobError("source_too_large", detail)
    most = budget.seconds()
    found = child.call_with_source(
        _looker(sniffed, size),
        lambda start, length: read(start, length) if start else head[:length],
        size,
        seconds=min(float(settings().probe_seconds), most),
        most_seconds=most,
        memory_bytes=budget.memory_bytes,
    )
    facts: Facts = msgspec.msgpack.decode(found, type=ImageFacts | VideoFacts)
    longest = settings().max_video_seconds
    if isinstance(facts, VideoFacts) and facts.seconds > longest:
        detail = f"The video is {facts.seconds:.0f} s long; at most {longest} s are taken."
        raise JobError("too_long", detail)
    return sniffed, facts


def _looker(sniffed: Sniffed, size: int) -> Callable[[IO[bytes]], bytes]:
    """What finds the facts, to be run in a child; what it needs is imported before that is forked."""
    chosen = settings()
    if sniffed.kind == "image":
        from chalicelib import pictures

        return lambda source: msgspec.msgpack.encode(
            pictures.probe_image(source, sniffed.format, chosen.max_image_pixels)
        )
    from chalicelib import index, probe

    def look_at_video(source: IO[bytes]) -> bytes:
        child.keep_memory()
        with probe.opened(source, sniffed.format, size, chosen.max_streams) as film:
            facts = probe.facts_of(film, chosen.max_video_pixels)
            return msgspec.msgpack.encode(index.with_index(film, facts))

    return look_at_video
