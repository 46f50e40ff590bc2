"""The Lambda `estimate`: looks into a file as intake does, plans, prices, and starts nothing.

What a plan will use is estimated in tasks/estimates.py, and priced in tasks/pricing.py.

It keeps what it has found for its next call, under work/looked/, where nobody else writes or reads.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec

from chalicelib.errors import JobError, Transient
from chalicelib.invocation import Invocation
from chalicelib.jobs import captions, limits, watermarks
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.estimate import Estimated, EstimateView, Refusal, Wanted
from chalicelib.model.facts import Facts, ImageFacts, VideoFacts, kind_of, seconds_of
from chalicelib.model.plan import GENERATION
from chalicelib.model.usage import Used
from chalicelib.model.work import Source
from chalicelib.operations.choosing import Asked, choose
from chalicelib.operations.recipes import read_book
from chalicelib.planning import animations, copying
from chalicelib.planning.planner import make_plan
from chalicelib.probing import inspect
from chalicelib.settings import recipes, settings
from chalicelib.store import objects
from chalicelib.store.meter import meter


class Look(msgspec.Struct, frozen=True):
    """What a file is, and the usage of finding that out."""

    facts: Facts
    used: Used


# Part of the key: facts are read only by code of the same shapes.
_SHAPE = hashlib.sha256(msgspec.json.encode(msgspec.json.schema(Look))).hexdigest()[:8]


def answer(event: dict[str, Any], context: Any) -> Any:
    """What a job would use and cost, as JSON of Estimated; or why there would be none, as JSON of Refusal."""
    wanted = msgspec.convert(event, Wanted)
    try:
        return msgspec.to_builtins(Estimated(_estimate(wanted, Invocation(context))))
    except JobError as error:
        return msgspec.to_builtins(Refusal(error.code, error.detail[:1000]))
    except Transient as error:
        detail = f"The file could not be looked at within this call: {error.detail}"
        return msgspec.to_builtins(Refusal("not_looked_at", detail[:1000]))


def _estimate(wanted: Wanted, invocation: Invocation) -> EstimateView:
    source = Source(wanted.key, wanted.etag, size=wanted.size)
    look = _look(source, invocation)
    facts = look.facts
    asked, book = Asked(wanted.pipeline, wanted.recipe), read_book(recipes())
    chosen = choose(asked, wanted.metadata, wanted.key, kind_of(facts), book)
    set_up = plan_settings(
        settings(),
        watermarks.etags_of(chosen.steps),
        captions.found(chosen.steps, frozenset(wanted.sidecars).__contains__),
    )
    job_id, film = str(uuid.uuid4()), None
    if isinstance(facts, ImageFacts) and any(step.moves(facts) for step in chosen.steps):
        film = animations.foreseen(facts)
    plan = make_plan(job_id, wanted.key, facts, chosen.steps, set_up, film=film)
    if film:
        assert isinstance(facts, ImageFacts)
        copy = animations.plan_copy(job_id, wanted.etag, facts)
        plan = msgspec.structs.replace(plan, tasks=(*copy.tasks, *plan.tasks))
    elif isinstance(facts, VideoFacts):
        plan = copying.foreseen(plan, source, facts, chosen.steps, set_up)
    return EstimateView(
        key=wanted.key,
        kind=kind_of(facts),
        duration=seconds_of(facts),
        pipeline=[step.item for step in chosen.steps],
        recipe=chosen.recipe,
        tasks=len(plan.tasks),
        encoding=plan.encoding,
        usage=limits.affordable(plan, facts, wanted.size, look.used, wanted.max_usd, film),
    )


def _look(source: Source, invocation: Invocation) -> Look:
    """What a file is; each version of this code looks into it once."""
    name = hashlib.sha256(f"{source.etag} {source.key}".encode()).hexdigest()
    kept_as = f"work/looked/{GENERATION}/{_SHAPE}-{name}.msgpack"
    if kept := objects.read_object(kept_as):
        return msgspec.msgpack.decode(kept, type=Look)
    meter.begin("intake", invocation.memory_bytes)
    meter.lap()  # drops the invocation itself, which intake will not have
    try:
        facts = inspect.inspect_source(source, invocation)
        (used,) = meter.lap()
    finally:
        meter.end()
    look = Look(facts, used)
    objects.put_new_work(kept_as, msgspec.msgpack.encode(look))
    return look
