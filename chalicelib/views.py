"""What the API says of jobs: shapes of its answers, computed purely from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from chalicelib.rows import PENDING, STARTED, SUCCESS, TERMINAL, Job, Output, Progress, StepState


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
    """A result. `size` in bytes, of all files for HLS; `duration` in seconds, null for pictures."""

    type: str
    s3_key: str
    url: str
    size: int
    content_type: str
    width: int
    height: int
    duration: float | None


class StepView(msgspec.Struct):
    """Where a step stands; progress in percent."""

    name: str
    status: str
    progress: int
    error: str
    error_code: str


class JobView(msgspec.Struct):
    """A job. Times in UTC; progress in percent, at most 99 before SUCCESS."""

    id: str
    status: str
    progress: int
    outputs: list[OutputView]
    error: str
    error_code: str
    pipeline: list[str]
    steps: list[StepView]
    warnings: list[str]
    key: str
    created_at: str
    updated_at: str
    input_url: str


class JobPage(msgspec.Struct):
    """Jobs, newest first; `next_cursor` is null on the last page."""

    jobs: list[JobView]
    next_cursor: str | None


def job_view(
    job: Job,
    progress: Progress | None,
    input_url: str,
    output_url: Callable[[Job, Output], str],
) -> JobView:
    """A job as the API shows it."""
    states = job.step_states
    shares = progress.shares if progress else {}
    done = tasks_done(states, shares, progress.percents.as_dict() if progress else {})
    outputs = [state.output for state in states.values() if state.output]
    return JobView(
        id=job.job_id,
        status=job.status,
        progress=job_percent(job.status, shares, done),
        outputs=[
            OutputView(
                type=output.type,
                s3_key=output.s3_key,
                url=output_url(job, output),
                size=output.size,
                content_type=output.content_type,
                width=output.width,
                height=output.height,
                duration=output.duration,
            )
            for output in outputs
        ],
        error=job.error,
        error_code=job.error_code,
        pipeline=list(job.pipeline),
        steps=[
            step_view(name, state, step_percent(state, shares.get(name, {}), done))
            for name, state in states.items()
        ],
        warnings=[f"{output.type}: {output.warning}" for output in outputs if output.warning],
        key=job.source_key,
        created_at=job.created_at,
        updated_at=job.updated_at,
        input_url=input_url,
    )


Shares = Mapping[str, Mapping[str, float]]


def tasks_done(
    states: Mapping[str, StepState], shares: Shares, percents: Mapping[str, float]
) -> dict[str, float]:
    """How far each task is, in percent; what an ended step took has ended with it."""
    done = dict(percents)
    for name, state in states.items():
        if state.status in TERMINAL:
            done |= dict.fromkeys(shares.get(name, {}), 100.0)
    return done


def step_percent(state: StepState, costs: Mapping[str, float], done: Mapping[str, float]) -> int:
    """How far a step is: what its tasks have done, weighted by what they cost."""
    return 100 if state.status == SUCCESS else min(99, int(_weighted(costs, done)))


def job_percent(status: str, shares: Shares, done: Mapping[str, float]) -> int:
    """How far a job is; a task that several steps need is counted once."""
    if status == SUCCESS:
        return 100
    costs = {task: cost for tasks in shares.values() for task, cost in tasks.items()}
    return min(99, int(_weighted(costs, done)))


def _weighted(costs: Mapping[str, float], done: Mapping[str, float]) -> float:
    total = sum(costs.values())
    return sum(cost * done.get(task, 0) for task, cost in costs.items()) / total if total else 0.0


def step_view(name: str, state: StepState, percent: int) -> StepView:
    """A step as the API shows it; it has started once something of it has been done."""
    status = STARTED if state.status == PENDING and percent else state.status
    return StepView(name, status, percent, state.error, state.error_code)
