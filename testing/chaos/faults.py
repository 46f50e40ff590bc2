"""What may go wrong in a schedule: frozen data, and how it is drawn by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from chalicelib.store.queues import QUEUES


class Fault(Enum):
    """What may happen to one request of a worker to AWS."""

    DIES_BEFORE = "the worker dies before it"
    DIES_AFTER = "the worker dies after it"
    THROTTLED = "it is throttled, once"
    BROKEN = "AWS answers 5xx, once"
    UNREACHABLE = "AWS cannot be reached, once"
    REFUSED = "it is refused for as long as its client tries"
    ANSWER_LOST = "its answer is lost, so that its client asks again"
    STALLS = "the worker hangs until its time is over"
    OUTLIVES = "the worker hangs, outlives its time, and goes on"


# Each of these can be told from the others at any request, so a search tries them all.
EACH = (
    Fault.DIES_BEFORE,
    Fault.DIES_AFTER,
    Fault.THROTTLED,
    Fault.REFUSED,
    Fault.ANSWER_LOST,
)


@dataclass(frozen=True)
class Outage:
    """A service that answers nobody for a while; seconds from the start of the schedule."""

    service: str
    begin: float
    end: float
    fault: Fault


@dataclass(frozen=True)
class Faults:
    """What may go wrong, and how often; rates are probabilities.

    Faults by chance stop after `end` seconds, and when `budget` of them were had.
    """

    # By the number of the request, of the sent message: the same in each run of a schedule.
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
    # SQS hands it out, and there is no worker free: it counts as received.
    received_in_vain: float = 0.0
    batch_partly_refused: float = 0.0
    keys_unprocessed: float = 0.0
    index_stale: float = 0.0
    event_lost: float = 0.0
    event_doubled: float = 0.0
    sweep_doubled: float = 0.0

    # Nobody is free for a queue's messages, until so many seconds from the start.
    backlogs: Mapping[str, float] = field(default_factory=dict)

    skew: float = 0.0  # seconds, at most, by which a worker's clock is wrong
    slow: float = 0.0  # how often a request takes seconds, and not milliseconds


CALM = Faults()


def few(random: Random) -> Faults:
    """Fewer than a task has tries: no good job may fail."""
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
    """So many that jobs may fail; but each ends, once."""
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
    """Messages and events are lost, beside other faults."""
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
    """Workers that outlive their lease, with clocks that are wrong."""
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
    return {random.choice(QUEUES): random.choice((60.0, 900.0, 4 * 3600.0, 20 * 3600.0))}


def _sometimes(random: Random, value: float) -> float:
    return value if random.random() < 0.3 else 0.0
