"""The errors that clients of Sluice see, as one tree. A class says whether the work is tried again.

SluiceError                 `code` is stable, `str(error)` is a sentence for the client
├── RequestError            the API refuses a call, and answers it with problem+json and `status`
│   ├── Malformed           400
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── Gone                410
│   ├── TooLarge            413
│   ├── UnsupportedType     415
│   ├── Unprocessable       422
│   └── Busy                429
├── JobError                permanent: ends the step as FAILURE, or the job if it has no steps yet
│   ├── TimedOut            over its time limit; tried once more, as the machine may have been busy
│   └── Crashed             a decoder crashed, or misbehaved as if the file had taken it over
└── Transient               a service failed, not the input: the message is retried, then dead-lettered

Not in the tree: invocation.Later, which postpones a message, invocation.JobHasEnded, which ends a task that
nobody waits for, and settings.InvalidSetting, for operators.
"""

from __future__ import annotations

import re
import struct
import traceback
from collections.abc import Sequence
from typing import ClassVar

import msgspec

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Fault(msgspec.Struct, frozen=True):
    """What is wrong at a place of a document: `#` and a JSON Pointer (RFC 6901), and a sentence."""

    pointer: str
    detail: str


class SluiceError(Exception):
    """An error with a stable code for programs and a sentence for people, `detail`.

    `faults` says what is wrong at which places, where places can be named.
    """

    def __init__(self, code: str, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = tuple(faults)


class RequestError(SluiceError):
    """A call that the API refuses."""

    status: ClassVar[int]
    retry_after: ClassVar[int | None] = None  # seconds


class Malformed(RequestError):
    """The request cannot be read."""

    status = 400


class Forbidden(RequestError):
    """The caller may not do this."""

    status = 403


class NotFound(RequestError):
    """There is no such thing."""

    status = 404


class Conflict(RequestError):
    """The present state of the object does not allow this."""

    status = 409


class Gone(RequestError):
    """There is no such thing any more, and there will be none."""

    status = 410


class TooLarge(RequestError):
    """The body is larger than the call accepts."""

    status = 413


class UnsupportedType(RequestError):
    """The body has a media type that the call does not accept."""

    status = 415


class Unprocessable(RequestError):
    """The request can be read, but cannot be carried out."""

    status = 422


class Busy(RequestError):
    """Too many requests run at once; `retry_after` says when to try again."""

    status = 429
    retry_after = 5


PROBLEM_JSON = "application/problem+json"


class Problem(msgspec.Struct, omit_defaults=True):
    """An error, after RFC 9457; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[Fault] = []


class JobError(SluiceError):
    """The input cannot be converted as asked; trying again does not help."""


class TimedOut(JobError):
    """The work exceeded its time limit. One more try may help."""

    def came_before(self, last_error: str) -> bool:
        """Whether `last_error`, the detail of an earlier try, is of the same timeout; numbers may differ."""
        return _NUMBER.sub("", last_error) == _NUMBER.sub("", self.detail)


class Crashed(JobError):
    """A decoder crashed on its input, or returned what no decoder returns."""


def crashed(kind: str = "file") -> Crashed:
    """A Crashed whose sentence calls the input `kind`."""
    return Crashed(
        "decoder_crashed", f"The {kind} makes its decoder crash: it is damaged, or made to harm."
    )


class Transient(SluiceError):
    """A service failed for now; trying again later may help."""


# What Python raises if a computation goes wrong. Failures of services and of the machine have other types.
_OF_COMPUTATION = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RecursionError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
)
# Packages and modules that only compute on their arguments, without requests: the same input fails there each
# time. Errors in the sandbox are defects, too; modules that run only there need no entry (sandbox._broken).
COMPUTING_PACKAGES = ("formats", "model", "operations", "planning")
COMPUTING_MODULES = frozenset(
    f"chalicelib.{name}"
    for name in (
        "engines.ffmpeg", "engines.pillow", "jobs.limits", "probing.film_limits", "tasks.animations",
        "tasks.audio",
        "tasks.chunks", "tasks.copying", "tasks.encoding", "tasks.estimates", "tasks.hls",
        "tasks.images", "tasks.mp4", "tasks.packaging", "tasks.posters", "tasks.prediction",
        "tasks.pricing", "tasks.sharing", "tasks.stills", "tasks.storyboards",
    )
)  # fmt: skip


def defect(error: Exception) -> JobError | None:
    """The JobError for an error that is a bug of ours and that the same input causes each time; else None."""
    ours = [
        name
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if (name := str(frame.f_globals.get("__name__"))).startswith("chalicelib.")
    ]
    if not isinstance(error, _OF_COMPUTATION) or not ours or not _computes(ours[-1]):
        return None
    return fault_of_ours(type(error).__name__)


def _computes(module: str) -> bool:
    return module in COMPUTING_MODULES or module.split(".")[1] in COMPUTING_PACKAGES


def fault_of_ours(kind: str) -> JobError:
    """The JobError for a bug of ours; `kind` is the name of the Python exception."""
    return JobError(
        "defect",
        f"The file makes a step fail in a way that nobody foresaw ({kind}). It is a fault of ours.",
    )
