"""The items of events, endpoints and deliveries, as PynamoDB's models; store/table.py lists all kinds."""

from __future__ import annotations

import zlib

import msgspec
from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection

from chalicelib.model.event import Delivery, Endpoint, Event
from chalicelib.store.attributes import whole
from chalicelib.store.table import Row


class EventRow(Row, discriminator="event"):
    """An event that is still to be told; written together with what it tells of."""

    type = UnicodeAttribute()
    step = UnicodeAttribute(default="")
    at = UnicodeAttribute()

    def value(self) -> Event:
        told = {"type": self.type, "at": self.at, "step": self.step}
        return msgspec.convert({"job_id": self.pk.partition("#")[2], **told}, Event)


class EndpointsRow(Row, discriminator="endpoints"):
    """All endpoints of an owner, so that one read tells whether there are any."""

    SK = "endpoints"

    endpoints = JSONAttribute()
    version = NumberAttribute()

    def listed(self) -> list[Endpoint]:
        return msgspec.convert(self.endpoints, list[Endpoint])


class _ByOwner(GlobalSecondaryIndex["DeliveryRow"]):
    class Meta:
        index_name = "by_owner"
        projection = IncludeProjection(["row", "status"])

    owner = UnicodeAttribute(hash_key=True)
    created = UnicodeAttribute(range_key=True)


class DeliveryRow(Row, discriminator="delivery"):
    """One event on its way to one endpoint. Fields of `Delivery` say what attributes mean.

    Its `owner` is the endpoint, as `pk` names it: so the index of jobs lists deliveries, too.
    """

    owner = UnicodeAttribute()
    created = UnicodeAttribute()
    endpoint_owner = UnicodeAttribute()
    event_id = UnicodeAttribute()
    type = UnicodeAttribute()
    packed = BinaryAttribute(legacy_encoding=False)  # zlib of the body
    state = UnicodeAttribute()
    attempts = NumberAttribute(default=0)
    is_sent = BooleanAttribute(default=False)
    next_at = NumberAttribute()
    status_code = NumberAttribute(null=True)  # of the last answer
    error = UnicodeAttribute(default="")  # of the last attempt
    tried_at = UnicodeAttribute(null=True)
    by_owner = _ByOwner()

    def value(self) -> Delivery:
        job_id, _, position = self.sk.partition("#")
        return Delivery(
            endpoint_id=self.pk.partition("#")[2],
            owner=self.endpoint_owner,
            job_id=job_id,
            position=position,
            created=self.created,
            event_id=self.event_id,
            type=self.type,
            body=zlib.decompress(self.packed),
            state=self.state,
            attempts=int(self.attempts),
            is_sent=bool(self.is_sent),
            next_at=int(self.next_at),
            status_code=whole(self.status_code),
            error=self.error,
            tried_at=self.tried_at or "",
        )
