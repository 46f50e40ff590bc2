"""How far a task is, written at most once a second."""

from __future__ import annotations

import time

from pynamodb.exceptions import PynamoDBException

from chalicelib.store import ledger
from chalicelib.telemetry import logger


class Ticker:
    """Writes how far a task is, at most once a second; losing such a write loses nothing.

    Of many tasks each writes less often: their ends alone tell enough.
    """

    def __init__(self, job_id: str, task_id: str, tasks: int) -> None:
        self._job_id = job_id
        self._task_id = task_id
        self._pause = max(1.0, tasks / 25)
        self._next = time.monotonic() + self._pause

    def __call__(self, part: float) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        try:
            ledger.advance(self._job_id, self._task_id, min(99, int(100 * part)))
        except PynamoDBException:
            logger.warning("Progress was not written", exc_info=True)
