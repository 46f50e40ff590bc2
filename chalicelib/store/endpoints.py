"""Endpoints of webhooks, by their owners."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from chalicelib.model.event import Endpoint
from chalicelib.settings import settings
from chalicelib.store import writes
from chalicelib.store.event_rows import EndpointsRow

MOST = 10  # of an owner


def of_owner(owner: str) -> list[Endpoint]:
    """An owner's endpoints, the first one first."""
    row = _read(owner)
    return row.listed() if row else []


def told_of(owner: str) -> list[tuple[str, Endpoint]]:
    """The endpoints that are told of the jobs of `owner`, each with its own owner."""
    return [
        (told, endpoint)
        for told in settings().owners_told_of(owner)
        for endpoint in of_owner(told)
        if not endpoint.disabled
    ]


def get(owner: str, endpoint_id: str) -> Endpoint | None:
    found = [endpoint for endpoint in of_owner(owner) if endpoint.id == endpoint_id]
    return found[0] if found else None


def add(owner: str, endpoint: Endpoint) -> bool:
    """Add an endpoint; False where the owner has as many as may be."""
    return _change(owner, lambda found: [*found, endpoint] if len(found) < MOST else found)


def remove(owner: str, endpoint_id: str) -> bool:
    """Remove an endpoint; False where there is none."""
    return _change(owner, lambda found: [each for each in found if each.id != endpoint_id])


def disable(owner: str, endpoint_id: str, reason: str) -> bool:
    """Tell an endpoint no more; False where there is none, or it is told no more already."""
    return _change(
        owner,
        lambda found: [
            msgspec.structs.replace(each, disabled=each.disabled or reason)
            if each.id == endpoint_id
            else each
            for each in found
        ],
    )


def _change(owner: str, change: Callable[[list[Endpoint]], Sequence[Endpoint]]) -> bool:
    """Change the list as it is now; False where nothing changes."""
    while True:
        row = _read(owner)
        before = row.listed() if row else []
        after = list(change(before))
        if after == before:
            return False
        version = int(row.version) if row else 0
        unchanged = EndpointsRow.version == version if row else EndpointsRow.pk.does_not_exist()
        new = EndpointsRow(
            f"webhooks#{owner}",
            EndpointsRow.SK,
            endpoints=msgspec.to_builtins(after),
            version=version + 1,
        )
        if writes.put(new, unchanged):
            return True


def _read(owner: str) -> EndpointsRow | None:
    keys = [(f"webhooks#{owner}", EndpointsRow.SK)]
    return next(iter(EndpointsRow.batch_get(keys, consistent_read=True)), None)
