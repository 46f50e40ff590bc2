"""What tasks that make pictures share: Pillow in a child, and the output that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.step import SUCCESS, Output, StepState
from chalicelib.model.work import Drawn, Refused
from chalicelib.store import objects
from chalicelib.tasks.workbench import Workbench


def in_child(job: str, returns: Any, budget: Budget, *args: Any) -> Any:
    """Call a function of engines/pillow.py in a child. Raises JobError, Transient."""
    from chalicelib.engines import sandbox

    return sandbox.call(
        f"chalicelib.engines.pillow:{job}",
        *args,
        returns=returns,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
    )


def ended_step(step: str, drawn: Drawn, folder: Path, bench: Workbench) -> StepState:
    """Publish a picture that lies in `folder`/out; how its step ends."""
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
    )
    return StepState(SUCCESS, output=output)
