"""What a job may read and cost: checked on its plan, before any work is done. Pure but for the settings."""

from __future__ import annotations

from collections import Counter

from chalicelib.errors import JobError
from chalicelib.formats.mp4_excerpt import bytes_read
from chalicelib.model.facts import Facts, VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.usage import Usage, Used, dollars
from chalicelib.model.work import Preview
from chalicelib.settings import function_sizes, settings
from chalicelib.tasks.estimates import estimate
from chalicelib.tasks.pricing import cost

# How often the tasks of a rendition may read the source, taken together: their parts follow each other in it.
_MOST_READINGS = 4


def affordable(
    plan: Plan,
    facts: Facts,
    size: int,
    looked: Used,
    max_usd: float | None,
    film: VideoFacts | None = None,
) -> Usage:
    """What a job by this plan will use and cost.

    `size` in bytes is the source's, `looked` the usage of looking into it; `film` are the facts of what an
    image is copied into. Raises JobError `source_damaged` or `over_budget` where that is more than one job
    may.
    """
    estimated = estimate(plan, facts, size, looked, function_sizes(), film)
    usage = cost(estimated.used, estimated.bytes_stored, estimated.parts)
    _check_reading(plan, size)
    _check_cost(usage.cost_usd, max_usd)
    return usage


def _check_cost(usd: float, max_usd: float | None) -> None:
    """Raises JobError where a job would cost more than one may, or than its `max_usd`."""
    costs = f"The job would cost about {dollars(usd)}"
    if max_usd is not None and usd > max_usd:
        detail = f"{costs}, and its `max_usd` is {dollars(max_usd)}: allow more, or ask for less."
        raise JobError("over_budget", detail)
    most = settings().max_job_usd
    if usd > most:
        raise JobError(
            "over_budget",
            f"{costs}, and one job may cost {dollars(most)} (SLUICE_MAX_JOB_USD): ask for fewer steps, "
            "send a shorter or smaller film, or have that raised.",
        )


def _check_reading(plan: Plan, size: int) -> None:
    """Raises JobError where tasks would read a source of `size` bytes again and again."""
    read: Counter[tuple[str, str]] = Counter()
    for task in plan.tasks:
        # What a preview reads is bounded by its plan.
        for excerpt in () if isinstance(task.work, Preview) else task.excerpts:
            read[task.group, excerpt.track] += bytes_read(plan.samples[excerpt.track], excerpt)
    if max(read.values(), default=0) > _MOST_READINGS * size:
        detail = (
            "The frames of the video lie scattered over the file: it is damaged, or made to harm."
        )
        raise JobError("source_damaged", detail)
