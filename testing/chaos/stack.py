"""The deployed stack, read from the template's parts: functions, queues and their connections."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from chalicelib.settings import settings
from infra.stack import storage
from infra.stack.catalogue import BATCH_SIZES, FUNCTIONS
from testing.environment import TIMEOUTS


class Queue(NamedTuple):
    """A queue, the function that it starts, and the dead-letter queue of messages received too often.

    The messages of a queue without a function are for people.
    """

    name: str
    function: str | None
    batch_size: int
    visibility_seconds: float
    retention_seconds: float
    max_receives: int | None = None
    dead: str | None = None


@cache
def queues() -> dict[str, Queue]:
    """Every queue, by its name."""
    resources: dict[str, Any] = {
        logical_id: resource["Properties"]
        for logical_id, resource in storage.queues(TIMEOUTS, settings().max_receives).items()
        if isinstance(resource, dict) and resource["Type"] == "AWS::SQS::Queue"
    }
    names = {logical_id: _name(properties) for logical_id, properties in resources.items()}
    consumers = {function.queue: function.name for function in FUNCTIONS if function.queue}
    found = {}
    for logical_id, properties in resources.items():
        name = names[logical_id]
        redrive = properties.get("RedrivePolicy")
        found[name] = Queue(
            name,
            consumers.get(name),
            BATCH_SIZES.get(name, 1),
            properties["VisibilityTimeout"],
            properties["MessageRetentionPeriod"],
            redrive and redrive["maxReceiveCount"],
            redrive and names[redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]],
        )
    return found


def _name(properties: dict[str, Any]) -> str:
    """The name of a queue without the stack's name."""
    name: str = properties["QueueName"]["Fn::Sub"]
    return name.removeprefix("${AWS::StackName}-").replace("-", "_")


def name_of(url: str) -> str:
    """The name of the queue at a URL."""
    return re.sub(r"^sluice-", "", url.rsplit("/", 1)[-1]).replace("-", "_")
