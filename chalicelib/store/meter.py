"""What work takes: the meter of this process.

Every client of AWS in this process is metered, PynamoDB's own too: this is imported before the first is made.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Lock
from typing import Any

import botocore.handlers

from chalicelib.model.usage import POLLER_REQUESTS, Used, total

_GB = 1024**3
# AWS stops an initialisation after ten seconds. A process may be older: Lambda starts some ahead of need.
_MOST_INIT_SECONDS = 10.0


class Meter:
    """Counts what this process asks of AWS, and the time it takes, from one lap to the next.

    A batch's messages are handled one after the other: the first one's lap has the invocation, and at a cold
    start the initialisation too, which AWS bills.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # packages are put together by several threads
        self._used = Used("")
        self._gb = 0.0
        self._since: float | None = None
        self._is_new = True

    def begin(self, function: str, memory_bytes: int) -> None:
        """An invocation by a queue begins."""
        self._used = Used(function, invocations=1, sqs=POLLER_REQUESTS)
        self._gb = memory_bytes / _GB
        self._since = time.monotonic()
        if self._is_new:
            self._since -= min(_MOST_INIT_SECONDS, _age())
            self._is_new = False

    def end(self) -> None:
        """The invocation is over: what this process does now is nobody's."""
        self._since = None

    def lap(self, *, writes: int = 0) -> list[Used]:
        """What was used since the last lap: one, or none where no invocation is metered.

        With `writes`, so many of one unit each that come next, and that tell of this, are in it already.
        """
        if self._since is None:
            return []
        now = time.monotonic()
        seconds = now - self._since
        self._since = now
        function = self._used.function
        timed = Used(function, seconds=seconds, gb_seconds=seconds * self._gb)
        with self._lock:
            used = total([self._used, timed, Used(function, dynamodb=writes, writes=writes)])
            self._used = Used(function, dynamodb=-writes, writes=-writes)
        return used

    def _add(self, **numbers: Any) -> None:
        with self._lock:
            (self._used,) = total([self._used, Used(self._used.function, **numbers)])

    def sent(self, request: Any, event_name: str, **_: Any) -> None:
        """botocore sends a request, for the first time or again: before-send.<service>.<operation>."""
        match event_name.split(".")[1], request.method:
            case "dynamodb", _:
                self._add(dynamodb=1)
            case "sqs", _:
                self._add(sqs=1)
            case "s3", "PUT" | "POST":
                self._add(s3_puts=1, bytes_written=int(request.headers.get("Content-Length", 0)))
            case "s3", "GET" | "HEAD":  # to delete costs nothing
                self._add(s3_gets=1)

    def answered(self, parsed: dict[str, Any], event_name: str, **_: Any) -> None:
        """AWS has answered: after-call.<service>.<operation>."""
        service, operation = event_name.split(".")[1:]
        if service == "dynamodb":
            self._add(**{"reads" if operation in _READING else "writes": _units(parsed)})
        elif operation == "GetObject" and "Error" not in parsed:
            self._add(bytes_read=parsed["ContentLength"])


_READING = ("GetItem", "BatchGetItem", "Query")


def _units(answer: dict[str, Any]) -> float:
    """PynamoDB asks for them each time. A condition that does not hold costs a write as well."""
    told = answer.get("ConsumedCapacity", {})
    each = told if isinstance(told, list) else [told]
    return sum(float(table.get("CapacityUnits", 1)) for table in each)


def _age() -> float:
    """Seconds since this process was started (proc_pid_stat(5))."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


meter = Meter()
# First of all: what stands in for AWS answers at this event, and nobody after it hears of the request.
botocore.handlers.BUILTIN_HANDLERS += [
    ("before-send", meter.sent, botocore.handlers.REGISTER_FIRST),
    ("after-call.dynamodb", meter.answered),
    ("after-call.s3", meter.answered),
]
