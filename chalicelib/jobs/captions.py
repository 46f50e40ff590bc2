"""Files of captions beside a film: found and read before a plan is made, and pinned by their ETags."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chalicelib.errors import JobError
from chalicelib.model.work import Source
from chalicelib.planning.operation import Step
from chalicelib.store import objects


def found(steps: Iterable[Step], may_read: Callable[[str], bool]) -> dict[str, Source]:
    """Each file of captions that steps name, by its key; `may_read` says whether the job's owner may read it.

    Raises JobError where one is not there, is another owner's, or has no captions.
    """
    keys = sorted({key for step in steps for key in step.sidecars})
    return {key: _found(key, may_read) for key in keys}


def _found(key: str, may_read: Callable[[str], bool]) -> Source:
    from chalicelib.formats import captions  # few jobs have any

    # S3 is not asked whether another owner's file exists.
    opened = objects.open_original(key, captions.MOST_BYTES + 1) if may_read(key) else None
    if opened is None:
        detail = f"There is no file {key} of yours in the upload bucket to take captions from."
        raise JobError("captions_not_found", detail)
    original, body = opened
    try:
        if original.size > len(body):
            raise captions.too_large(original.size)
        cues = captions.read(body)
        if not cues:
            raise captions.Unusable("has no captions")
        captions.to_webvtt(cues)
    except captions.Unusable as unusable:
        raise JobError("captions_unusable", f"The file {key} {unusable}.") from None
    return Source(key, original.etag, size=original.size)
