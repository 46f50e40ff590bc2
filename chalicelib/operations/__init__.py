"""The steps that a pipeline can name, in one visible tuple.

A new step is a module beside this one, and its line in `STEPS`. Another height is a rendition in
`planning/video.py`, and a step that packages it, as `mp4.py` and `hls.py` do.
"""

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
    """The steps of a pipeline. Raises `error` if it is empty, or names a step twice or an unknown one."""
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
    """The steps of `pipeline`; if it is empty those that the object's metadata name; else the kind's default.

    `kind`: "image" or "video". Raises JobError where `find_steps` raises.
    """
    named = (name.strip() for name in metadata.get("pipeline", "").split(","))
    from_metadata = [name for name in named if name]
    return find_steps(pipeline or from_metadata or DEFAULT_PIPELINES[kind], JobError)


def are_known(pipeline: Sequence[str]) -> bool:
    """Whether this version of the code has all steps of a pipeline that another version may have accepted."""
    return all(name in _BY_NAME for name in pipeline)


def names_for(pipeline: Sequence[str], metadata: Mapping[str, str], head: bytes) -> list[str]:
    """The names of a file's steps by `steps_for`; `head` is the file's first bytes, which tell its kind.

    Returns `pipeline` itself where `steps_for` raises.
    """
    try:
        return [step.name for step in steps_for(pipeline, metadata, sniff(head).kind)]
    except JobError:
        return list(pipeline)


def _names() -> str:
    return ", ".join(_BY_NAME)
