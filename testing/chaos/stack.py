"""What is deployed: functions, queues and how they are joined, read from the template's own parts."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NamedTuple

from chalicelib.settings import settings
from infra.parts import storage
from infra.parts.names import BATCH_SIZES, FUNCTIONS, queue_id
from infra.paths import ROOT

_CONFIG = json.loads((ROOT / ".chalice" / "config.json").read_text())


class Queue(NamedTuple):
    """A queue, the function that it starts, and where its messages go that are received too often."""

    name: str
    function: str
    batch_size: int
    visibility_seconds: float
    retention_seconds: float
    max_receives: int | None = None
    dead: str | None = None


@cache
def timeouts() -> dict[str, int]:
    """Seconds that each function may take."""
    of = _CONFIG["lambda_functions"]
    return {
        function.name: of.get(function.config_name, {}).get(
            "lambda_timeout", _CONFIG["lambda_timeout"]
        )
        for function in FUNCTIONS
    }


@cache
def queues() -> dict[str, Queue]:
    """Every queue that a function consumes, by its name."""
    resources: dict[str, Any] = storage.queues(timeouts(), settings().max_receives)
    consumers = {queue: function.name for function in FUNCTIONS for queue in function.queues}
    names = {queue_id(queue): queue for queue in consumers}
    found = {}
    for logical_id, queue in names.items():
        properties = resources[logical_id]["Properties"]
        redrive = properties.get("RedrivePolicy")
        found[queue] = Queue(
            queue,
            consumers[queue],
            BATCH_SIZES.get(queue, 1),
            properties["VisibilityTimeout"],
            properties["MessageRetentionPeriod"],
            redrive and redrive["maxReceiveCount"],
            redrive and names[redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]],
        )
    return found


def name_of(url: str) -> str:
    """The queue at an address."""
    return re.sub(r"^sluice-", "", url.rsplit("/", 1)[-1]).replace("-", "_")
