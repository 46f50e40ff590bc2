"""What the API says of jobs: shapes of its answers, computed purely from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from chalicelib.ledger import PENDING, STARTED, SUCCESS, TERMINAL, Job, Output, Progress, StepState


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
    percents = step_percents(
        states, progress.shares if progress else {}, progress.percents.as_dict() if progress else {}
    )
    outputs = [state.output for state in states.values() if state.output]
    return JobView(
        id=job.job_id,
        status=job.status,
        progress=job_percent(job.status, states, percents, progress.shares if progress else {}),
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
            StepView(name, step_status(state, percents[name]), percents[name], state.error, state.error_code)
            for name, state in states.items()
        ],
        warnings=[f"{output.type}: {output.warning}" for output in outputs if output.warning],
        key=job.source_key,
        created_at=job.created_at,
        updated_at=job.updated_at,
        input_url=input_url,
    )


Shares = Mapping[str, Mapping[str, float]]


def step_percents(
    states: Mapping[str, StepState], shares: Shares, percents: Mapping[str, float]
) -> dict[str, int]:
    """How far each step is: what its tasks have done, weighted by what they cost."""
    return {
        name: 100
        if state.status == SUCCESS
        else min(99, int(_weighted(shares.get(name, {}), percents)))
        for name, state in states.items()
    }


def job_percent(
    status: str, states: Mapping[str, StepState], steps: Mapping[str, int], shares: Shares
) -> int:
    """How far the job is; a task that several steps need is done, and counted, once."""
    if status == SUCCESS:
        return 100
    costs: dict[str, float] = {}
    done: dict[str, float] = {}
    for name, tasks in shares.items():
        for task, cost in tasks.items():
            costs[task] = cost
            ended = states[name].status in TERMINAL if name in states else False
            done[task] = max(done.get(task, 0.0), 100.0 if ended else 0.0)
    return min(99, int(_weighted(costs, done)))


def _weighted(costs: Mapping[str, float], percents: Mapping[str, float]) -> float:
    total = sum(costs.values())
    return sum(cost * percents.get(task, 0) for task, cost in costs.items()) / total if total else 0.0


def step_status(state: StepState, percent: int) -> str:
    """A step has started once something of it has been done."""
    return STARTED if state.status == PENDING and percent else state.status
