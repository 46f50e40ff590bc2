"""What a file is, by its content: sniffed here, probed in a child that has no credentials."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib.engines import decoder, sandbox
from chalicelib.errors import JobError, crashed
from chalicelib.formats.sniff import HEAD_BYTES, Sniffed, sniff
from chalicelib.invocation import Budget, Invocation
from chalicelib.model.facts import Facts, ImageFacts, VideoFacts
from chalicelib.model.work import Source
from chalicelib.probing.film_limits import check_film
from chalicelib.settings import settings
from chalicelib.store import objects


def inspect_source(
    source: Source, invocation: Invocation, head: bytes = b""
) -> tuple[Sniffed, Facts]:
    """What an object is, of which the `head` has been read; as `inspect`."""
    budget = Budget(invocation.work_seconds, invocation.spare_bytes)
    return inspect(partial(objects.read, source), source.size, budget, head)


def inspect(
    read: Callable[[int, int], bytes], size: int, budget: Budget, head: bytes = b""
) -> tuple[Sniffed, Facts]:
    """What a file of `size` bytes is, by its content: `read(start, length)` gives it, fewer at its end.

    The `head` is its first block, where that has been read. Raises JobError where it is nothing we can work
    on, Transient.
    """
    if size == 0:
        raise JobError("empty_file", "The file is empty.")
    head = head or read(0, min(decoder.BLOCK_BYTES, size))
    sniffed = sniff(head[:HEAD_BYTES])
    limit = settings().max_image_bytes if sniffed.kind == "image" else settings().max_source_bytes
    if size > limit:
        detail = f"The {sniffed.kind} has {size} bytes; at most {limit} are taken."
        raise JobError("source_too_large", detail)
    most = budget.seconds()
    job, told = _look(sniffed, size)
    facts: Facts = sandbox.call_with_source(
        job,
        sniffed.format,
        *told,
        returns=ImageFacts if sniffed.kind == "image" else VideoFacts,
        read=lambda start, length: read(start, length) if start else head[:length],
        size=size,
        seconds=min(float(settings().probe_seconds), most),
        most_seconds=most,
        memory_bytes=budget.memory_bytes,
    )
    if sniffed.format != (facts.demuxer if isinstance(facts, VideoFacts) else facts.format):
        raise crashed()
    if isinstance(facts, VideoFacts):
        check_film(facts)
    return sniffed, facts


def _look(sniffed: Sniffed, size: int) -> tuple[str, tuple[int, ...]]:
    """What finds the facts of a file, and what it is told beside the file's format."""
    chosen = settings()
    if sniffed.kind == "image":
        return "chalicelib.engines.pillow:probe_image", (chosen.max_image_pixels,)
    return "chalicelib.probing.frame_index:look_at", (
        size,
        chosen.max_streams,
        chosen.max_video_pixels,
    )
