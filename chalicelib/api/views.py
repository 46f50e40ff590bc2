"""The shapes of answers, and a job as one of them: computed purely from its rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urljoin

import msgspec

from chalicelib.api.progress import eta, groups_done, job_percent, step_percent
from chalicelib.model.job import Job, JobProgress, Pipeline
from chalicelib.model.step import CANCELED, PENDING, STARTED, SUCCESS, Output, StepState
from chalicelib.model.usage import Usage
from chalicelib.store.objects import Link


class Presigned(msgspec.Struct, omit_defaults=True):
    """Where to PUT the file, and what to send with it."""

    key: str
    url: str
    headers: dict[str, str]
    job_id: str | None = None


class Signed(msgspec.Struct, omit_defaults=True):
    """A request to S3: its address, and of the first one of an upload the new key and headers to send."""

    url: str
    key: str | None = None
    headers: dict[str, str] | None = None
    job_id: str | None = None


class Accepted(msgspec.Struct):
    """The job that was asked for."""

    job_id: str


class OutputView(msgspec.Struct, omit_defaults=True):
    """A result. `size` in bytes, of all files for HLS; `duration` in seconds, null for pictures.

    `width` and `height` in pixels, null for sound.

    What is not `complete` plays and grows: HLS, from its first seconds on. A picture may have a
    `placeholder`, which a page shows until the picture is there, and a `color`. A complete film in HLS has a
    `dash_url` where that was asked for.
    """

    name: str  # of the step, as `type`
    type: str
    format: str
    s3_key: str
    url: str
    expires_at: str  # of the URL
    size: int
    content_type: str
    width: int | None
    height: int | None
    duration: float | None
    complete: bool
    placeholder: str = ""
    color: str = ""
    dash_url: str = ""


class StepView(msgspec.Struct):
    """Where a step stands; progress in percent."""

    name: str
    status: str
    progress: int
    error: str
    error_code: str


class JobView(msgspec.Struct):
    """A job. Times in UTC; progress in percent, at most 99 before SUCCESS, and what it was of a canceled job.

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
    pipeline: Pipeline
    recipe: str
    retry_of: str
    steps: list[StepView]
    warnings: list[str]
    encoding: str
    usage: Usage | None
    key: str
    filename: str
    metadata: dict[str, str]
    created_at: str
    updated_at: str
    checksum_crc64nvme: str
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
    states, progress = standing.states, standing.progress
    if progress and progress.generation != job.generation:
        progress = None  # it is that of a plan that was replaced
    shares = progress.shares if progress else {}
    done = groups_done(states, progress, standing.ended)
    percent = job_percent(shares, done)
    percents = [step_percent(state, shares.get(name, {}), done) for name, state in states.items()]
    if job.status == CANCELED and job.reached:
        percent, *percents = job.reached
    outputs = [output for state in states.values() for output in state.outputs]
    return JobView(
        id=job.job_id,
        status=job.status,
        progress=100 if job.status == SUCCESS else min(99, int(percent)),
        eta_seconds=(
            eta(percent, now - progress.started_at) if progress and job.status == STARTED else None
        ),
        outputs=[_output_view(output, output_link(job, output)) for output in outputs],
        error=job.error,
        error_code=job.error_code,
        pipeline=job.pipeline,
        recipe=job.recipe,
        retry_of=job.retry_of,
        steps=[
            _step_view(name, state, percent)
            for (name, state), percent in zip(states.items(), percents, strict=True)
        ],
        warnings=[
            *([job.warning] if job.warning else []),
            *(f"{output.type}: {output.warning}" for output in outputs if output.warning),
        ],
        encoding=job.encoding,
        usage=usage,
        key=job.source_key,
        filename=job.shown_name,
        metadata=standing.metadata,
        created_at=job.created_at,
        updated_at=job.updated_at,
        checksum_crc64nvme=job.checksum_crc64nvme,
        input_url=input_link.url,
        input_url_expires_at=iso(input_link.expires_at),
    )


def _output_view(output: Output, link: Link) -> OutputView:
    return OutputView(
        name=output.type,
        type=output.type,
        format=output.format,
        s3_key=output.s3_key,
        url=link.url,
        expires_at=iso(link.expires_at),
        size=output.size,
        content_type=output.content_type,
        width=output.width,
        height=output.height,
        duration=output.duration,
        complete=output.complete,
        placeholder=output.placeholder,
        color=output.color,
        dash_url=urljoin(link.url, output.manifest) if output.manifest else "",
    )


def _step_view(name: str, state: StepState, percent: int) -> StepView:
    """A step is shown as STARTED from its first percent on: its row says PENDING until it ends."""
    percent = 100 if state.status == SUCCESS else percent  # also where a cancel found it at work
    status = STARTED if state.status == PENDING and percent else state.status
    return StepView(name, status, percent, state.error, state.error_code)


def iso(seconds: int) -> str:
    """A moment in Unix seconds, as answers tell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
