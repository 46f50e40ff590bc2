"""Everything that can go wrong, as one tree; a class says its code, and who is told what.

SluiceError                 `code` is stable, `str(error)` is a sentence meant for the person who asked
├── RequestError            the API refuses a call: answered at once as problem+json with `status`
│   ├── Malformed           400
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── TooLarge            413
│   ├── UnsupportedType     415
│   └── Unprocessable       422
├── JobError                permanent: ends the step, or before there are steps the job, as FAILURE
└── Transient               the world is broken, not the input: the message is retried, then dead-lettered
"""

from __future__ import annotations

from typing import ClassVar


class SluiceError(Exception):
    """A sentence for a person, and a code for a program."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RequestError(SluiceError):
    """A call that the API refuses."""

    status: ClassVar[int]


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


class JobError(SluiceError):
    """The input cannot give what was asked for; trying again would not help."""


class Transient(SluiceError):
    """Trying again later may help."""
