"""Events of a job, the endpoints that are told of them, and deliveries, by Standard Webhooks 1.0."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from chalicelib.model.step import CANCELED, FAILURE, SUCCESS

EventType = Literal[
    "job.created",
    "job.started",
    "job.output_ready",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.deleted",
]
# In the order in which one job can have them.
TYPES: tuple[EventType, ...] = EventType.__args__  # type: ignore[attr-defined]
OF_END: dict[str, EventType] = {
    SUCCESS: "job.succeeded",
    FAILURE: "job.failed",
    CANCELED: "job.canceled",
}
EVERY = "job.*"

# Seconds until each next attempt, as Standard Webhooks recommends.
SCHEDULE = (
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
)

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"  # of a delivery


class Event(msgspec.Struct, frozen=True):
    """Something that a job's owner is to be told; `at` in ISO 8601."""

    job_id: str
    type: EventType
    at: str
    step: str = ""  # whose outputs are ready

    @property
    def id(self) -> str:
        """The same whenever it is told: `webhook-id`."""
        return "evt_" + hashlib.sha256(self._name.encode()).hexdigest()[:32]

    @property
    def _name(self) -> str:
        return f"{self.job_id} {self.type} {self.step}"

    @property
    def position(self) -> str:
        """Sorts a job's events by its states, whatever the clocks say that wrote `at`."""
        return f"{TYPES.index(self.type)}#{self.at}#{self.id}"


class Endpoint(msgspec.Struct, frozen=True):
    """Where an owner wants to be told, and of what."""

    id: str
    url: str
    events: list[str]
    salt: str  # of its secret
    created_at: str
    disabled: str = ""  # a sentence: why it is told no more

    def wants(self, kind: str) -> bool:
        return not self.disabled and (EVERY in self.events or kind in self.events)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint. Moments are in Unix seconds."""

    endpoint_id: str
    owner: str  # of the endpoint
    job_id: str
    position: str  # among the events of the job
    created: str  # when it was made, in ISO 8601, and the event's id as a UUID: sorts by time
    event_id: str
    type: str
    body: bytes
    state: str
    attempts: int = 0
    is_sent: bool = False  # whether an attempt is under way, until `next_at` at most
    next_at: int = 0  # of the next attempt
    status_code: int | None = None  # of the last answer, if there was one
    error: str = ""  # a sentence: why the last attempt failed
    tried_at: str = ""  # when that ended, in ISO 8601

    def is_under_way(self, now: float) -> bool:
        return self.is_sent and self.next_at > now

    def is_due(self, now: float) -> bool:
        return self.state == WAITING and self.next_at <= now


def next_wait(attempts: int) -> int | None:
    """Seconds from the attempt of this number to the next one; None after the last."""
    return SCHEDULE[attempts - 1] if attempts <= len(SCHEDULE) else None
