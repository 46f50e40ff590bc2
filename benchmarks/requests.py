"""AWS requests of a job by service, counted as the code sends them; baseline: the estimated requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import botocore.handlers
import msgspec
from moto import mock_aws

from benchmarks.figures import Figure
from benchmarks.machine import stand_in_for_lambda
from infra.paths import LOCAL
from infra.tools import samples

if TYPE_CHECKING:
    from chalicelib.model.usage import Usage


def measure() -> list[Figure]:
    stand_in_for_lambda()
    counted: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counted[event_name.split(".")[1]] += 1  # before-send.<service>.<operation>

    # PynamoDB keeps its own session, so the handler is built in for all sessions, before the first exists.
    botocore.handlers.BUILTIN_HANDLERS.append(("before-send", count))
    from testing.cloud import make_cloud

    with mock_aws():
        make_cloud()
        return [*_count(counted, "photo.jpg"), *_count(counted, "small.mp4")]


def _count(counted: Counter[str], name: str) -> Iterator[Figure]:
    """Drop a file, and deliver every message of its job once, as SQS would."""
    from chalicelib.api import estimates, job_lists
    from chalicelib.api.requests import FromKeyRequest
    from chalicelib.store.queues import QUEUES
    from testing import pump

    source = samples.sample(name, LOCAL / "samples")
    waiting = [("intake", pump.drop(name, source.read_bytes()))]
    estimated = estimates.estimate("-", FromKeyRequest(name)).usage
    of_job: Counter[str] = Counter()
    while waiting:
        for queue, body in waiting:
            before = counted.copy()
            if pump.deliver(queue, body):
                raise RuntimeError(f"A message of {queue} was not acknowledged: {body}")
            of_job += counted - before
            # The pump makes as many requests to SQS as Lambda's poller: one receives, one deletes.
        waiting = [(queue, body) for queue in QUEUES for body in pump.take(queue)]
    (job,) = job_lists.list_jobs("-", {"key": name}, "").jobs
    formulas, reported = _by_service(estimated), _by_service(job.usage)
    # Of a dropped file, intake reads the ticket and the event in one request, writes both identities, and
    # writes the job's row. For a key, the API does.
    formulas["dynamodb"] += 4
    for service, number in sorted(of_job.items()):
        what = f"dropped {name}, default pipeline: {service}"
        yield Figure(
            f"AWS requests of a {what}", "", [number], "by the formulas", [formulas[service]]
        )
        yield Figure(
            f"AWS requests in the usage of a {what}", "", [reported[service]], "counted", [number]
        )


def _by_service(usage: Usage | None) -> dict[str, float]:
    assert usage is not None
    counts = [msgspec.structs.asdict(used.requests) for used in usage.functions.values()]
    return {service: sum(used[service] for used in counts) for service in counts[0]}
