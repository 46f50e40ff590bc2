"""The meter of this process: requests to AWS and seconds, from which jobs are billed.

It meters every client of AWS that is made after this module is imported, PynamoDB's too: importing it adds
handlers to botocore's own, for the whole process.
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
# Seconds. AWS stops an initialisation after ten. A process may be older: Lambda starts some ahead of need.
_MOST_INIT_SECONDS = 10.0


class Meter:
    """Counts this process's requests to AWS and its time, from one lap to the next.

    Messages of a batch are handled one after the other. The first lap includes the invocation, and at a cold
    start the initialisation, which AWS bills too.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # packages are put together by several threads
        self._used = Used("")
        self._gb = 0.0
        self._since: float | None = None
        self._is_new = True

    def begin(self, function: str, memory_bytes: int) -> None:
        """An invocation of `function` begins, with this much memory."""
        self._used = Used(function, invocations=1, sqs=POLLER_REQUESTS)
        self._gb = memory_bytes / _GB
        self._since = time.monotonic()
        if self._is_new:
            self._since -= min(_MOST_INIT_SECONDS, _age())
            self._is_new = False

    def end(self) -> None:
        """The invocation is over: from now on nothing is counted as a job's."""
        self._since = None

    def lap(self, *, writes: int = 0) -> list[Used]:
        """Usage since the last lap, as a list of one; [] outside a metered invocation.

        `writes`: DynamoDB writes (1 unit each) about to store this lap; counted here, and not in the next.
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
        """Handler of before-send.<service>.<operation>: botocore sends a request, or sends it again."""
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
        """Handler of after-call.<service>.<operation>: AWS has answered."""
        service, operation = event_name.split(".")[1:]
        if service == "dynamodb":
            self._add(**{"reads" if operation in _READING else "writes": _units(parsed)})
        elif operation == "GetObject" and "Error" not in parsed:
            self._add(bytes_read=parsed["ContentLength"])


_READING = ("GetItem", "BatchGetItem", "Query")


def _units(answer: dict[str, Any]) -> float:
    """DynamoDB's capacity units in an answer, which PynamoDB asks for with every request.

    1 where it says none: a write whose condition does not hold costs one, too.
    """
    consumed = answer.get("ConsumedCapacity", {})
    tables = consumed if isinstance(consumed, list) else [consumed]
    return sum(float(table.get("CapacityUnits", 1)) for table in tables)


def _age() -> float:
    """Seconds since this process was started, from field 22 of proc_pid_stat(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


meter = Meter()
# First of all handlers: a stand-in for AWS answers at this event, and handlers after it do not run.
botocore.handlers.BUILTIN_HANDLERS += [
    ("before-send", meter.sent, botocore.handlers.REGISTER_FIRST),
    ("after-call.dynamodb", meter.answered),
    ("after-call.s3", meter.answered),
]
