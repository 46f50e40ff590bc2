"""AWS requests that a job makes, by function, service and operation: counted as the code sends them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import botocore.handlers
from moto import mock_aws

from benchmarks.figures import Figure
from benchmarks.machine import stand_in_for_lambda
from infra import samples
from infra.paths import LOCAL


def measure() -> list[Figure]:
    stand_in_for_lambda()
    counted: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counted[event_name.split(".")[1]] += 1  # before-send.<service>.<operation>

    # PynamoDB has a session of its own, and keeps it: so for all of them, and before the first.
    botocore.handlers.BUILTIN_HANDLERS.append(("before-send", count))
    from tests.cloud import make_cloud

    with mock_aws():
        make_cloud()
        return [*_count(counted, "photo.jpg"), *_count(counted, "small.mp4")]


def _count(counted: Counter[str], name: str) -> list[Figure]:
    """Drop a file and deliver every message of its job once, as SQS would."""
    from chalicelib.queues import QUEUES
    from tests import pump

    source = samples.sample(name, LOCAL / "samples")
    waiting = [("intake", pump.drop(name, source.read_bytes()))]
    of_job: Counter[str] = Counter()
    while waiting:
        for queue, body in waiting:
            before = counted.copy()
            if pump.deliver(queue, body):
                raise RuntimeError(f"A message of {queue} was not acknowledged: {body}")
            of_job += counted - before
            # Lambda's poller receives and deletes: just as many as the pump that stands in for it.
        waiting = [(queue, body) for queue in QUEUES for body in pump.take(queue)]
    return [
        Figure(
            f"AWS requests of a dropped {name}, default pipeline: {service}", "", [float(number)]
        )
        for service, number in sorted(of_job.items())
    ]
