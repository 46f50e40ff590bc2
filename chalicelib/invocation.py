"""What one invocation of a Lambda has left, and the exceptions that are no errors: not now, and no more."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Later(Exception):
    """Postpones a message: it becomes visible again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:.0f} s")
        self.seconds = seconds


class JobHasEnded(Exception):
    """Ends a task whose job has ended before it, by a cancel for instance: nobody wants what it makes."""


class Invocation:
    """The time and memory that one invocation of a Lambda has left."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.request_id: str = context.aws_request_id
        self._whole = self.remaining_seconds()
        # Seconds that are kept for storing outputs and the result.
        self._reserve = min(20.0, 0.15 * self._whole)
        self.memory_bytes = int(context.memory_limit_in_mb) * 1024**2

    @property
    def spare_bytes(self) -> int:
        """Bytes that a child may take beside this process; with more, Lambda kills both, and the batch."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # resident (proc_pid_statm(5))
        return self.memory_bytes - pages * resource.getpagesize()

    def remaining_seconds(self) -> float:
        return float(self._context.get_remaining_time_in_millis()) / 1000

    def is_half_over(self) -> bool:
        """Whether half of the time is gone, which is too late to begin another message of the batch."""
        return self.remaining_seconds() < self._whole / 2

    def work_seconds(self) -> float:
        """Seconds within which a child must have stopped, so that the result can be stored in time."""
        return self.remaining_seconds() - self._reserve


@dataclass(frozen=True)
class Budget:
    """The time and memory that a task may take."""

    seconds: Callable[[], float]  # until it must have stopped
    memory_bytes: int
    # Called about once a second while it works: what this raises ends the task, and its child.
    check: Callable[[], None] = lambda: None
