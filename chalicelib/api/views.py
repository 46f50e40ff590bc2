"""What the API says of jobs: shapes of its answers, computed purely from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import ceil

import msgspec

from chalicelib.model.job import (
    PENDING,
    STARTED,
    SUCCESS,
    TERMINAL,
    Job,
    JobProgress,
    Output,
    StepState,
)
from chalicelib.model.plan import group_of
from chalicelib.model.usage import Usage
from chalicelib.store.objects import Link


class Presigned(msgspec.Struct, omit_defaults=True):
    """Where to PUT the file, and what to send with it."""

    key: str
    url: str
    headers: dict[str, str]
    job_id: str | None = None


class Accepted(msgspec.Struct):
    """The job that was asked for."""

    job_id: str


class OutputView(msgspec.Struct):
    """A result. `size` in bytes, of all files for HLS; `duration` in seconds, null for pictures.

    What is not `complete` plays and grows: HLS, from its first seconds on.
    """

    type: str
    s3_key: str
    url: str
    expires_at: str  # of the URL
    size: int
    content_type: str
    width: int
    height: int
    duration: float | None
    complete: bool


class StepView(msgspec.Struct):
    """Where a step stands; progress in percent."""

    name: str
    status: str
    progress: int
    error: str
    error_code: str


class JobView(msgspec.Struct):
    """A job. Times in UTC; progress in percent, at most 99 before SUCCESS.

    `eta_seconds` is how long it will still take at the speed it has had, once that can be told;
    `encoding` says how a film is encoded, and why so. `usage` is null until it has ended.
    """

    id: str
    status: str
    progress: int
    eta_seconds: int | None
    outputs: list[OutputView]
    error: str
    error_code: str
    pipeline: list[str]
    steps: list[StepView]
    warnings: list[str]
    encoding: str
    usage: Usage | None
    key: str
    filename: str
    created_at: str
    updated_at: str
    input_url: str
    input_url_expires_at: str


class JobPage(msgspec.Struct):
    """Jobs, newest first; `next_cursor` is null on the last page."""

    jobs: list[JobView]
    next_cursor: str | None


def job_view(
    job: Job,
    standing: JobProgress,
    now: float,
    input_link: Link,
    output_link: Callable[[Job, Output], Link],
    usage: Usage | None,
) -> JobView:
    """A job as the API shows it at `now`, in Unix seconds."""
    states = job.step_states
    if standing.progress and standing.progress.generation != job.generation:
        standing = JobProgress(None, standing.ended)  # another plan has replaced that one
    progress = standing.progress
    shares = progress.shares if progress else {}
    done = groups_done(states, standing)
    part = _all_done(shares, done)
    outputs = [
        (state.output, output_link(job, state.output)) for state in states.values() if state.output
    ]
    return JobView(
        id=job.job_id,
        status=job.status,
        progress=100 if job.status == SUCCESS else min(99, int(part)),
        eta_seconds=(
            eta(part, now - progress.started_at) if progress and job.status == STARTED else None
        ),
        outputs=[
            OutputView(
                type=output.type,
                s3_key=output.s3_key,
                url=link.url,
                expires_at=_iso(link.expires_at),
                size=output.size,
                content_type=output.content_type,
                width=output.width,
                height=output.height,
                duration=output.duration,
                complete=output.complete,
            )
            for output, link in outputs
        ],
        error=job.error,
        error_code=job.error_code,
        pipeline=job.pipeline,
        steps=[
            step_view(name, state, step_percent(state, shares.get(name, {}), done))
            for name, state in states.items()
        ],
        warnings=[f"{output.type}: {output.warning}" for output, _ in outputs if output.warning],
        encoding=job.encoding,
        usage=usage,
        key=job.source_key,
        filename=job.shown_name,
        created_at=job.created_at,
        updated_at=job.updated_at,
        input_url=input_link.url,
        input_url_expires_at=_iso(input_link.expires_at),
    )


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Shares = Mapping[str, Mapping[str, float]]


def groups_done(states: Mapping[str, StepState], standing: JobProgress) -> dict[str, float]:
    """How far each group of tasks is, in percent; what an ended step took has ended with it."""
    progress, ended = standing.progress, standing.ended
    if progress is None:
        return {}
    percents = progress.percents | dict.fromkeys(ended, 100.0)
    done = dict.fromkeys(progress.sizes, 0.0)
    for task, percent in percents.items():
        group = group_of(task)
        if group in done:
            done[group] += percent / progress.sizes[group]
    for name, state in states.items():
        if state.status in TERMINAL:
            done |= dict.fromkeys(progress.shares.get(name, {}), 100.0)
    return done


def step_percent(state: StepState, costs: Mapping[str, float], done: Mapping[str, float]) -> int:
    """How far a step is: what its tasks have done, weighted by what they cost."""
    return 100 if state.status == SUCCESS else min(99, int(_weighted(costs, done)))


def _all_done(shares: Shares, done: Mapping[str, float]) -> float:
    """How far a job is; what several steps need is counted once."""
    return _weighted(
        {task: cost for tasks in shares.values() for task, cost in tasks.items()}, done
    )


def eta(percent: float, elapsed: float) -> int | None:
    """Seconds until the end of what is `percent` done after `elapsed` seconds; None before that says much."""
    return ceil(elapsed * (100 - percent) / percent) if percent >= 2 else None


def _weighted(costs: Mapping[str, float], done: Mapping[str, float]) -> float:
    total = sum(costs.values())
    return sum(cost * done.get(task, 0) for task, cost in costs.items()) / total if total else 0.0


def step_view(name: str, state: StepState, percent: int) -> StepView:
    """A step as the API shows it; it has started once something of it has been done."""
    status = STARTED if state.status == PENDING and percent else state.status
    return StepView(name, status, percent, state.error, state.error_code)
