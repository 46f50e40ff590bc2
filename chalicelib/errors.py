"""Everything that can go wrong, as one tree; a class says its code, and who is told what.

SluiceError                 `code` is stable, `str(error)` is a sentence meant for the person who asked
├── RequestError            the API refuses a call: answered at once as problem+json with `status`
│   ├── Malformed           400
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── TooLarge            413
│   ├── UnsupportedType     415
│   ├── Unprocessable       422
│   └── Busy                429
├── JobError                permanent: ends the step, or before there are steps the job, as FAILURE
│   ├── TimedOut            by the clock: the machine may have been busy, so that it is tried once more
│   └── Crashed             a decoder did what none does: it may have been taken over
└── Transient               the world is broken, not the input: the message is retried, then dead-lettered
"""

from __future__ import annotations

import re
import struct
import traceback
from typing import ClassVar

import msgspec

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class SluiceError(Exception):
    """A sentence for a person, and a code for a program."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RequestError(SluiceError):
    """A call that the API refuses."""

    status: ClassVar[int]
    retry_after: ClassVar[int | None] = None  # seconds


class Malformed(RequestError):
    """The request cannot be read."""

    status = 400


class Forbidden(RequestError):
    """The caller may not have this."""

    status = 403


class NotFound(RequestError):
    """There is no such thing."""

    status = 404


class Conflict(RequestError):
    """Not now: the state of the thing is against it."""

    status = 409


class TooLarge(RequestError):
    """The body is larger than the call takes."""

    status = 413


class UnsupportedType(RequestError):
    """The body is of a type that the call does not take."""

    status = 415


class Unprocessable(RequestError):
    """Understood, but impossible."""

    status = 422


class Busy(RequestError):
    """Too many at once; soon there will be room."""

    status = 429
    retry_after = 5


PROBLEM_JSON = "application/problem+json"


class Problem(msgspec.Struct):
    """An error, after RFC 9457; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class JobError(SluiceError):
    """The input cannot give what was asked for; trying again would not help."""


class TimedOut(JobError):
    """The work took longer than it may. Trying again once may help."""

    def came_before(self, last_error: str) -> bool:
        """Whether a try before has ended in this way, by what was said of it; how long it took may differ."""
        return _NUMBER.sub("", last_error) == _NUMBER.sub("", self.detail)


class Crashed(JobError):
    """A decoder died of its input, or said what no decoder says."""


def crashed(kind: str = "file") -> Crashed:
    return Crashed(
        "decoder_crashed", f"The {kind} makes its decoder crash: it is damaged, or made to harm."
    )


class Transient(SluiceError):
    """Trying again later may help."""


# What Python raises where a computation goes wrong. Whatever comes from outside raises errors of other kinds.
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
# Code that computes on what it is given, and asks nobody: the same input fails there each time. So does what
# fails in a child, where code that runs there alone needs no name here (sandbox._broken).
_COMPUTING_PACKAGES = ("formats", "model", "operations", "planning")
_COMPUTING = frozenset(
    f"chalicelib.{name}"
    for name in (
        "engines.ffmpeg", "engines.pillow", "jobs.limits", "probing.film_limits", "tasks.audio",
        "tasks.chunks", "tasks.copying", "tasks.encoding", "tasks.estimates", "tasks.hls",
        "tasks.images", "tasks.mp4", "tasks.packaging", "tasks.posters", "tasks.prediction",
        "tasks.pricing", "tasks.stills",
    )
)  # fmt: skip


def defect(error: Exception) -> JobError | None:
    """What ends the work where a bug of ours has, which the same input would meet each time; else None."""
    ours = [
        name
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if (name := str(frame.f_globals.get("__name__"))).startswith("chalicelib.")
    ]
    if not isinstance(error, _OF_COMPUTATION) or not ours or not _computes(ours[-1]):
        return None
    return fault_of_ours(type(error).__name__)


def _computes(module: str) -> bool:
    return module in _COMPUTING or module.split(".")[1] in _COMPUTING_PACKAGES


def fault_of_ours(kind: str) -> JobError:
    """What ends the work where our code has failed of the input."""
    return JobError(
        "defect",
        f"The file makes a step fail in a way that nobody foresaw ({kind}). It is a fault of ours.",
    )
