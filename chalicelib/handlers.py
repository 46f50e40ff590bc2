"""What every queue Lambda does around its one function: decode, log, retry, acknowledge last."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib import queues
from chalicelib.settings import queue_url, settings
from chalicelib.usage import meter
from chalicelib.watch import MetricUnit, logger, metrics


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


Handle = Callable[[SQSRecord, Invocation], None]


def consume(event: dict[str, Any], context: Any, queue: str, handle: Handle) -> Any:
    """Hand each message to `handle`; what raises comes again, the rest is acknowledged.

    Those that come for the first time go first: one that kills its worker takes none of them with it.
    """
    event["Records"].sort(key=_receives)
    invocation = Invocation(context)
    meter.begin(queue, invocation.memory_bytes)

    def record_handler(record: SQSRecord) -> None:
        receives = _receives(record.raw_event)
        sent = int(record.attributes.sent_timestamp) / 1000
        logger.append_keys(message_id=record.message_id, receives=receives)
        metrics.add_metric("QueueWait", MetricUnit.Seconds, max(0.0, time.time() - sent))
        try:
            # On its last turn a message takes what time there is.
            if invocation.is_half_over() and receives < settings().max_receives:
                raise Later(0)
            handle(record, invocation)
        except Later as later:
            logger.info("Not now", seconds=later.seconds)
            queues.hide(queue_url(queue), record.receipt_handle, later.seconds)
            raise
        except Exception:
            logger.exception("It will be tried again")
            queues.hide(queue_url(queue), record.receipt_handle, queues.backoff(receives))
            raise
        finally:
            logger.remove_keys(["message_id", "receives", "job_id", "task_id"])

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    try:
        return process_partial_response(event, record_handler, processor, context)
    finally:
        meter.end()
        metrics.flush_metrics()


def _receives(record: dict[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])
