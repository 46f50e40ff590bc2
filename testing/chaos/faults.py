"""The faults of a schedule as frozen data, and functions that draw them at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from chalicelib.model.pools import POOLS


class Fault(Enum):
    """A fault of one request of a worker to AWS."""

    DIES_BEFORE = "the worker dies before it"
    DIES_AFTER = "the worker dies after it"
    THROTTLED = "it is throttled, once"
    BROKEN = "AWS answers 5xx, once"
    UNREACHABLE = "AWS cannot be reached, once"
    REFUSED = "it is refused for as long as its client tries"
    CONFLICT = "of a write to DynamoDB: a transaction is at work on its item"
    ANSWER_LOST = "its answer is lost, so that its client asks again"
    STALLS = "the worker hangs until its time is over"
    OUTLIVES = "the worker hangs, outlives its time, and goes on"


# Faults that have different effects at any request; a search tries all of them.
EACH = (
    Fault.DIES_BEFORE,
    Fault.DIES_AFTER,
    Fault.THROTTLED,
    Fault.REFUSED,
    Fault.ANSWER_LOST,
)


@dataclass(frozen=True)
class Outage:
    """A time span in which a service does not answer; seconds from the start of the schedule."""

    service: str
    begin: float
    end: float
    fault: Fault


@dataclass(frozen=True)
class Faults:
    """The faults that may happen; rates are probabilities.

    Random faults stop after `end` seconds, and after `budget` of them.
    """

    # By the number of the request or of the sent message, which are equal in each run of a schedule.
    at: Mapping[int, Fault] = field(default_factory=dict)
    lose: frozenset[int] = frozenset()

    rates: Mapping[Fault, float] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    budget: int = 0
    end: float = 0.0

    message_lost: float = 0.0
    message_doubled: float = 0.0
    message_late: float = 0.0
    received_twice: float = 0.0
    # SQS delivers a message while no worker is free: the message counts as received.
    received_in_vain: float = 0.0
    batch_partly_refused: float = 0.0
    keys_unprocessed: float = 0.0
    index_stale: float = 0.0
    event_lost: float = 0.0
    event_doubled: float = 0.0
    sweep_doubled: float = 0.0

    # Seconds from the start until a queue's messages are delivered, by queue.
    backlogs: Mapping[str, float] = field(default_factory=dict)

    skew: float = 0.0  # seconds; the largest error of a worker's clock
    slow: float = 0.0  # rate of requests that take seconds instead of milliseconds


CALM = Faults()


def few(random: Random) -> Faults:
    """Fewer faults than a task has tries: no valid job may fail."""
    rates = {
        fault: random.choice((0.01, 0.03, 0.1))
        for fault in random.sample(EACH, random.randint(1, 3))
    }
    return Faults(
        rates=rates,
        budget=random.randint(1, 3),
        end=2000.0,
        message_doubled=_sometimes(random, 0.1),
        message_late=_sometimes(random, 0.1),
        received_twice=_sometimes(random, 0.1),
        received_in_vain=_sometimes(random, 0.1),
        batch_partly_refused=_sometimes(random, 0.2),
        keys_unprocessed=_sometimes(random, 0.1),
        index_stale=_sometimes(random, 0.5),
        event_doubled=_sometimes(random, 0.3),
        sweep_doubled=_sometimes(random, 0.5),
        backlogs=_backlogs(random),
        skew=_sometimes(random, 4.0),
        slow=random.choice((0.0, 0.02, 0.2)),
    )


def many(random: Random) -> Faults:
    """So many faults that jobs may fail; each must end exactly once."""
    chosen = random.sample(list(Fault), random.randint(1, 5))
    outages = tuple(
        Outage(
            random.choice(("dynamodb", "s3", "sqs")),
            begin := random.uniform(0, 30),
            begin + random.choice((1, 5, 40, 300)),
            random.choice((Fault.THROTTLED, Fault.BROKEN, Fault.UNREACHABLE)),
        )
        for _ in range(random.choice((0, 0, 1, 2)))
    )
    return Faults(
        rates={fault: random.choice((0.01, 0.03, 0.1)) for fault in chosen},
        outages=outages,
        budget=random.choice((5, 10, 30, 100)),
        end=random.choice((100.0, 600.0, 3000.0)),
        message_doubled=_sometimes(random, 0.2),
        message_late=_sometimes(random, 0.2),
        received_twice=_sometimes(random, 0.2),
        received_in_vain=_sometimes(random, 0.2),
        batch_partly_refused=_sometimes(random, 0.3),
        keys_unprocessed=_sometimes(random, 0.3),
        index_stale=_sometimes(random, 0.7),
        event_doubled=_sometimes(random, 0.4),
        sweep_doubled=_sometimes(random, 0.7),
        backlogs=_backlogs(random),
        skew=_sometimes(random, 5.0),
        slow=random.choice((0.0, 0.02, 0.2)),
    )


def loss(random: Random) -> Faults:
    """One message is lost, and nothing else goes wrong."""
    return Faults(lose=frozenset({random.randint(1, 6)}), slow=random.choice((0.0, 0.02, 0.2)))


def losses(random: Random) -> Faults:
    """Messages and events are lost, and other faults happen."""
    return Faults(
        rates={Fault.DIES_BEFORE: 0.01, Fault.ANSWER_LOST: 0.02},
        budget=random.randint(1, 4),
        end=2000.0,
        message_lost=0.15,
        event_lost=0.1,
        sweep_doubled=_sometimes(random, 0.5),
        index_stale=_sometimes(random, 0.5),
    )


def zombies(random: Random) -> Faults:
    """Workers outlive their leases, and their clocks are wrong."""
    return Faults(
        rates={Fault.OUTLIVES: 0.05, Fault.STALLS: 0.02, Fault.DIES_BEFORE: 0.01},
        budget=random.randint(1, 6),
        end=3000.0,
        message_doubled=0.1,
        received_twice=0.1,
        skew=random.choice((0.0, 5.0)),
        slow=0.1,
    )


def _backlogs(random: Random) -> dict[str, float]:
    if random.random() > 0.1:
        return {}
    return {
        random.choice(("intake", *POOLS)): random.choice((60.0, 900.0, 4 * 3600.0, 20 * 3600.0))
    }


def _sometimes(random: Random, value: float) -> float:
    return value if random.random() < 0.3 else 0.0
