"""What every queue Lambda does around its handler: log, meter, retry, acknowledge last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from chalicelib.invocation import Invocation, Later
from chalicelib.settings import queue_url, settings
from chalicelib.store import queues
from chalicelib.store.meter import meter
from chalicelib.telemetry import MetricUnit, logger, metrics

Handle = Callable[[SQSRecord, Invocation], None]


def consume(event: dict[str, Any], context: Any, queue: str, handle: Handle) -> Any:
    """Hand each message of a batch to `handle`: where that raises, the message comes again.

    All others are acknowledged. Messages that come for the first time go first: one that kills its worker
    takes none of them with it. Returns the partial batch response of Lambda's SQS trigger.
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
            # On its last delivery a message takes what time there is.
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
