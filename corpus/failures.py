"""What a check says when it is not met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """The stable name of a check, and in words what is wrong."""

    check: str
    says: str
