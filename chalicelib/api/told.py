"""A job as events tell it: as the API does, without links, which would not outlive a receiver's absence."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from chalicelib.api.views import job_view
from chalicelib.store import progress
from chalicelib.store.objects import Link
from chalicelib.tasks.pricing import cost

_NOWHERE = Link("", 0)
_LINKS = ("input_url", "input_url_expires_at")
_LINKS_OF_OUTPUTS = ("url", "expires_at", "dash_url")


def told(job_id: str) -> tuple[str, dict[str, Any]] | None:
    """The owner of a job, and the job as it is now; of a deleted one, what its tombstone says."""
    found = progress.of_job(job_id)
    if found is None:
        return None
    job, standing = found
    outputs = [output for state in standing.states.values() for output in state.outputs]
    stored = sum(output.size for output in outputs)
    usage = None if job.usage is None else cost(job.usage, stored, job.parts)
    view = job_view(job, standing, time.time(), _NOWHERE, lambda *_: _NOWHERE, usage)
    told: dict[str, Any] = msgspec.to_builtins(view)
    for name in _LINKS:
        del told[name]
    for output in told["outputs"]:
        for name in _LINKS_OF_OUTPUTS:
            output.pop(name, None)
    return job.owner, told
