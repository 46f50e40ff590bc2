"""What one run of a Lambda may still take, and how it says that a message comes too early."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Later(Exception):
    """Not now: the message becomes visible again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:.0f} s")
        self.seconds = seconds


class Invocation:
    """What one run of a Lambda may still take."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.request_id: str = context.aws_request_id
        self._whole = self.remaining_seconds()
        # Kept back for publishing and for saying what came of it.
        self._reserve = min(20.0, 0.15 * self._whole)
        self.memory_bytes = int(context.memory_limit_in_mb) * 1024**2

    @property
    def spare_bytes(self) -> int:
        """What a child may take beside us: with more, Lambda would kill both, and a batch with them."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # resident (proc_pid_statm(5))
        return self.memory_bytes - pages * resource.getpagesize()

    def remaining_seconds(self) -> float:
        return float(self._context.get_remaining_time_in_millis()) / 1000

    def is_half_over(self) -> bool:
        """Whether those before in its batch have left a message too little time to begin."""
        return self.remaining_seconds() < self._whole / 2

    def work_seconds(self) -> float:
        """Seconds after which a child must have been stopped, before Lambda stops us."""
        return self.remaining_seconds() - self._reserve


@dataclass(frozen=True)
class Budget:
    """What a task may take: seconds until it must have stopped, bytes of memory."""

    seconds: Callable[[], float]
    memory_bytes: int
