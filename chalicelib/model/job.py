"""What is known of a job: statuses, steps, outputs."""

from __future__ import annotations

import msgspec

from chalicelib.errors import SluiceError

PENDING, STARTED, SUCCESS, FAILURE = "PENDING", "STARTED", "SUCCESS", "FAILURE"
STATUSES = (PENDING, STARTED, SUCCESS, FAILURE)
TERMINAL = (SUCCESS, FAILURE)
FREE, RUNNING, DONE, FAILED = "free", "running", "done", "failed"  # of a task


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object in the output bucket. `size` in bytes (of all files, for HLS), `duration` in seconds."""

    type: str
    s3_key: str
    size: int
    content_type: str
    width: int
    height: int
    duration: float | None = None
    warning: str = ""
    complete: bool = True


class StepState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one step of a job stands."""

    status: str = PENDING
    output: Output | None = None
    error: str = ""
    error_code: str = ""


def failure(error: SluiceError) -> StepState:
    return StepState(FAILURE, error=error.detail, error_code=error.code)
