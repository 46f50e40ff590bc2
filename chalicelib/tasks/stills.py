"""What tasks that draw images share: Pillow in the sandbox, and the end of the step that its file makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import Drawn, Refused
from chalicelib.store import objects
from chalicelib.tasks.workbench import Workbench


def in_child(job: str, returns: Any, budget: Budget, *args: Any) -> Any:
    """Call the function `job` of engines/pillow.py in the sandbox. Raises JobError, Transient.

    `returns` is the type of its result, as msgspec takes it.
    """
    from chalicelib.engines import sandbox

    return sandbox.call(
        f"chalicelib.engines.pillow:{job}",
        *args,
        returns=returns,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
    )


def ended_step(step: str, drawn: Drawn, folder: Path, bench: Workbench) -> StepState:
    """Store an image that lies in `folder`/out. Returns how its step ends; a Refused ends it as FAILURE."""
    if isinstance(drawn, Refused):
        return StepState.failed(JobError(drawn.code, drawn.detail))
    output = Output(
        type=step,
        s3_key=bench.task.destination + drawn.name,
        size=bench.publish(folder / "out" / drawn.name),
        content_type=objects.CONTENT_TYPES[Path(drawn.name).suffix],
        width=drawn.width,
        height=drawn.height,
        warning=drawn.warning,
        format=format_of(drawn.name),
    )
    return StepState(SUCCESS, outputs=(output,))
