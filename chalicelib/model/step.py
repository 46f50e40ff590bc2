"""Statuses of jobs and of their steps; the outputs that steps make."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Self

import msgspec

from chalicelib.errors import SluiceError

PENDING, STARTED, SUCCESS, FAILURE = "PENDING", "STARTED", "SUCCESS", "FAILURE"
CANCELED = "CANCELED"
STATUSES = (PENDING, STARTED, SUCCESS, FAILURE, CANCELED)
WORKED_OUT = (SUCCESS, FAILURE)  # what work can come to
ENDED = (*WORKED_OUT, CANCELED)
DELETED = "DELETED"  # of a tombstone: what is left of the row of a job that was deleted. No answer has it.
TERMINAL = (*ENDED, DELETED)

_FORMATS = {
    ".jpg": "jpeg",
    ".webp": "webp",
    ".avif": "avif",
    ".png": "png",
    ".mp4": "mp4",
    ".m4a": "m4a",
    ".mp3": "mp3",
    ".opus": "opus",
    ".m3u8": "hls",
    ".vtt": "vtt",
    ".json": "json",
}


def format_of(key: str) -> str:
    """The format of an output, by the end of its key; "" where none of ours ends so."""
    return _FORMATS.get(PurePosixPath(key).suffix, "")


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object in the output bucket. `size` in bytes (of all files, for HLS), `duration` in seconds."""

    type: str
    s3_key: str
    size: int
    content_type: str
    width: int | None = None  # None where there is nothing to see
    height: int | None = None
    duration: float | None = None
    warning: str = ""
    complete: bool = True
    format: str = ""  # as `format_of` names it
    placeholder: str = ""  # of a picture, as it was asked for: ThumbHash in base64, or BlurHash
    color: str = ""  # that most of a picture has: #rrggbb
    manifest: str = ""  # the name of the MPD beside a film in HLS, over the same segments


class StepState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one step of a job stands."""

    status: str = PENDING
    outputs: tuple[Output, ...] = ()
    error: str = ""
    error_code: str = ""

    @classmethod
    def failed(cls, error: SluiceError) -> Self:
        """The state of a step that this error has ended."""
        return cls(FAILURE, error=error.detail, error_code=error.code)
