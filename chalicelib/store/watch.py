"""How a worker learns that its job has ended before its task has, by a cancel for instance."""

from __future__ import annotations

import time

from pynamodb.exceptions import PynamoDBException

from chalicelib.invocation import JobHasEnded
from chalicelib.store import jobs
from chalicelib.telemetry import logger

_PAUSE_SECONDS = 2.0


class Watch:
    """Called often while a task works, looks every two seconds whether the job has ended.

    Raises JobHasEnded. A look that fails is none: the next one tells. A task of a moment is never looked for.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._next = time.monotonic() + _PAUSE_SECONDS

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE_SECONDS
        try:
            has_ended = jobs.has_ended(self._job_id)
        except PynamoDBException:
            logger.warning("Nobody can tell whether the job has ended", exc_info=True)
            return
        if has_ended:
            raise JobHasEnded
