"""What tasks that draw pictures share: Pillow in the sandbox, and the end of the step that the files make."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

from chalicelib.engines.scratch import check_files
from chalicelib.errors import JobError, crashed
from chalicelib.invocation import Budget
from chalicelib.model.picture import Drawn, DrawnPicture, Picture, Refused
from chalicelib.model.step import SUCCESS, Output, StepState
from chalicelib.store import objects
from chalicelib.tasks.workbench import Workbench


def in_child(job: str, returns: Any, budget: Budget, *args: Any) -> Any:
    """Call a function of engines/ in the sandbox: `job` is "module:function". Raises JobError, Transient.

    `returns` is the type of its result, as msgspec takes it.
    """
    from chalicelib.engines import sandbox

    return sandbox.call(
        f"chalicelib.engines.{job}",
        *args,
        returns=returns,
        seconds=budget.seconds(),
        memory_bytes=budget.memory_bytes,
        check=budget.check,
    )


def check(drawn: DrawnPicture, picture: Picture, folder: Path) -> None:
    """Raises JobError if the sandbox has drawn other files than were planned."""
    check_files(folder)
    for variant, file in zip_longest(picture.variants, drawn.files):
        planned = variant and file and variant.output == file.name
        # A frame of another shape than its film's is smaller.
        if not planned or file.width > variant.width or file.height > variant.height:
            raise crashed("image")


def ended_step(
    step: str, picture: Picture, drawn: Drawn, folder: Path, bench: Workbench
) -> StepState:
    """Store the files that lie in `folder`/out. Returns how the step ends; a Refused ends it as FAILURE."""
    if isinstance(drawn, Refused):
        return StepState.failed(JobError(drawn.code, drawn.detail))
    outputs = [
        Output(
            type=step,
            s3_key=bench.task.destination + variant.output,
            size=bench.publish(folder / "out" / variant.output),
            content_type=objects.CONTENT_TYPES[Path(variant.output).suffix],
            width=file.width,
            height=file.height,
            warning=" ".join(filter(None, (picture.warning, drawn.warning))),
            format=variant.format,
            placeholder=drawn.placeholder,
            color=drawn.color,
        )
        for variant, file in zip(picture.variants, drawn.files, strict=True)
    ]
    return StepState(SUCCESS, outputs=tuple(outputs))
