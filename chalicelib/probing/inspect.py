"""What a file is, by its content: sniffed here, then probed in a child that has no credentials."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib.engines import sandbox, sandbox_child
from chalicelib.errors import JobError, crashed
from chalicelib.formats.sniff import HEAD_BYTES, Sniffed, sniff
from chalicelib.invocation import Budget, Invocation
from chalicelib.model.facts import AudioFacts, Facts, ImageFacts, VideoFacts
from chalicelib.model.work import Source
from chalicelib.probing.film_limits import check_film, check_sound
from chalicelib.settings import settings
from chalicelib.store import objects


def inspect_source(source: Source, invocation: Invocation, head: bytes = b"") -> Facts:
    """`inspect` for an object; `head` is its first block, if that has been read already."""
    budget = Budget(invocation.work_seconds, invocation.spare_bytes)
    return inspect(partial(objects.read, source), source.size, budget, head)


def inspect(
    read: Callable[[int, int], bytes], size: int, budget: Budget, head: bytes = b""
) -> Facts:
    """What a file of `size` bytes is; `read(start, length)` returns its bytes, fewer at the end.

    `head` is the first block, if that has been read already. Raises JobError where no step can work on the
    file, Transient.
    """
    if size == 0:
        raise JobError("empty_file", "The file is empty.")
    head = head or read(0, min(sandbox_child.BLOCK_BYTES, size))
    sniffed = sniff(head[:HEAD_BYTES])
    limit = settings().max_image_bytes if sniffed.kind == "image" else settings().max_source_bytes
    if size > limit:
        detail = f"The {sniffed.kind} has {size} bytes; at most {limit} are taken."
        raise JobError("source_too_large", detail)
    most = budget.seconds()
    job, args = _probe_job(sniffed, size)
    facts: Facts = sandbox.call_with_source(
        job,
        sniffed.format,
        *args,
        returns=ImageFacts if sniffed.kind == "image" else VideoFacts | AudioFacts,
        read=lambda start, length: read(start, length) if start else head[:length],
        size=size,
        seconds=min(float(settings().probe_seconds), most),
        most_seconds=most,
        memory_bytes=budget.memory_bytes,
    )
    if sniffed.format != (facts.format if isinstance(facts, ImageFacts) else facts.demuxer):
        raise crashed()
    match facts:
        case VideoFacts():
            check_film(facts)
        case AudioFacts():
            check_sound(facts)
    return facts


def _probe_job(sniffed: Sniffed, size: int) -> tuple[str, tuple[int, ...]]:
    """The function that finds the facts of a file, and its arguments after the file's format."""
    chosen = settings()
    if sniffed.kind == "image":
        return "chalicelib.engines.pillow:probe_image", (chosen.max_image_pixels,)
    of_any = (size, chosen.max_streams)
    if sniffed.kind == "audio":
        return "chalicelib.probing.media:listen_to", of_any
    return "chalicelib.probing.media:look_at", (*of_any, chosen.max_video_pixels)
