"""The steps that a pipeline can name, in one visible tuple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.errors import JobError, SluiceError
from chalicelib.formats.sniff import sniff
from chalicelib.operations.hls import hls_720p
from chalicelib.operations.mp4 import transcode_720p
from chalicelib.operations.thumbnail import thumbnail
from chalicelib.operations.watermark import watermark
from chalicelib.planning.operation import Step

STEPS: tuple[Step, ...] = (
    thumbnail,
    watermark,
    transcode_720p,
    hls_720p,
)

DEFAULT_PIPELINES = {
    "image": ("thumbnail", "watermark"),
    "video": ("thumbnail", "transcode_720p", "hls_720p"),
}

_BY_NAME = {step.name: step for step in STEPS}


def find_steps(pipeline: Sequence[str], error: type[SluiceError]) -> tuple[Step, ...]:
    """The steps of a pipeline; raises `error` where it is empty, repeats itself or names no step."""
    if not pipeline:
        raise error("empty_pipeline", f"The pipeline is empty. The steps are: {_names()}.")
    for name in pipeline:
        if name not in _BY_NAME:
            raise error(
                "unknown_step",
                f"There is no step {name[:100]!r}. The steps are: {_names()}.",
            )
    repeated = next((name for name in pipeline if pipeline.count(name) > 1), None)
    if repeated:
        raise error(
            "repeated_step",
            f"The pipeline names {repeated} more than once; once is enough.",
        )
    return tuple(_BY_NAME[name] for name in pipeline)


def steps_for(pipeline: Sequence[str], metadata: Mapping[str, str], kind: str) -> tuple[Step, ...]:
    """What was asked for; else by the object's metadata; else what is the default of its kind.

    Raises JobError as `find_steps`.
    """
    named = (name.strip() for name in metadata.get("pipeline", "").split(","))
    from_metadata = [name for name in named if name]
    return find_steps(pipeline or from_metadata or DEFAULT_PIPELINES[kind], JobError)


def are_known(pipeline: Sequence[str]) -> bool:
    """Whether this version has these steps: what a client named was checked by one that has."""
    return all(name in _BY_NAME for name in pipeline)


def names_for(pipeline: Sequence[str], metadata: Mapping[str, str], head: bytes) -> list[str]:
    """The steps of a file that begins with `head`, as `steps_for`; none where it cannot have any."""
    try:
        return [step.name for step in steps_for(pipeline, metadata, sniff(head).kind)]
    except JobError:
        return list(pipeline)


def _names() -> str:
    return ", ".join(_BY_NAME)
