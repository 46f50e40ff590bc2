"""The result of a check that is not met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A check that is not met."""

    check: str  # its stable name
    says: str  # what is wrong, a sentence
