"""What a film may have, and what a job may take of it: refused before any work is done. Purely."""

from __future__ import annotations

from collections import Counter

from chalicelib.costs import Usage, cost, dollars
from chalicelib.errors import JobError
from chalicelib.estimating import estimate
from chalicelib.excerpt import bytes_read
from chalicelib.media import Facts, VideoFacts, fps
from chalicelib.plan import Plan
from chalicelib.settings import function_sizes, settings
from chalicelib.usage import Used

# Parts of a film lie one behind the other, or nearly.
_MOST_READINGS = 4


def check_film(facts: VideoFacts) -> None:
    """Raises JobError where a film is longer, or has more frames, than this stage takes."""
    stage = settings()
    # What the header says, and what the tables do.
    seconds = max(facts.seconds, facts.end, facts.sound_end or 0.0)
    if seconds > stage.max_video_seconds:
        detail = (
            f"The video is {seconds:.0f} s long; at most {stage.max_video_seconds} s are taken."
        )
        raise JobError("too_long", detail)
    frames = round(facts.seconds * fps(facts)) if facts.frames is None else facts.frames
    pixels = facts.width * facts.height
    most = min(stage.max_video_frames, stage.max_video_gigapixels * 10**9 // pixels)
    if frames > most:
        raise JobError(
            "too_many_frames",
            f"The video has {frames} frames of {facts.width}x{facts.height} pixels; of that size at most "
            f"{most} are taken (SLUICE_MAX_VIDEO_FRAMES, SLUICE_MAX_VIDEO_GIGAPIXELS).",
        )


def affordable(plan: Plan, facts: Facts, size: int, looked: Used, max_usd: float | None) -> Usage:
    """What a job by this plan will use and cost, of a source of `size` bytes; to look at it took `looked`.

    Raises JobError where that is more than one job may.
    """
    estimated = estimate(plan, facts, size, looked, function_sizes())
    usage = cost(estimated.used, estimated.bytes_stored)
    _check_reading(plan, size)
    _check_cost(usage.cost_usd, max_usd)
    return usage


def _check_cost(usd: float, max_usd: float | None) -> None:
    """Raises JobError where a job would cost more than one may, or than its client allows it."""
    told = f"The job would cost about {dollars(usd)}"
    if max_usd is not None and usd > max_usd:
        detail = f"{told}, and its `max_usd` is {dollars(max_usd)}: allow more, or ask for less."
        raise JobError("over_budget", detail)
    most = settings().max_job_usd
    if usd > most:
        raise JobError(
            "over_budget",
            f"{told}, and one job may cost {dollars(most)} (SLUICE_MAX_JOB_USD): ask for fewer steps, send a "
            "shorter or smaller film, or have that raised.",
        )


def _check_reading(plan: Plan, size: int) -> None:
    """Raises JobError where tasks would read a source of `size` bytes again and again."""
    read: Counter[str] = Counter()
    for task in plan.tasks:
        if task.excerpt:
            read[task.group] += bytes_read(plan.samples(task), task.excerpt)
    if max(read.values(), default=0) > _MOST_READINGS * size:
        detail = (
            "The frames of the video lie scattered over the file: it is damaged, or made to harm."
        )
        raise JobError("source_damaged", detail)
