"""Samples of a film as a film of their own: a short header before the bytes that hold them. Pure.

So a worker stores, and FFmpeg reads, only the samples of its own part, however long the film is.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.errors import JobError
from chalicelib.formats import mp4_movie
from chalicelib.model.facts import TrackSamples
from chalicelib.model.plan import Samples, work_folder
from chalicelib.model.work import Excerpt

if TYPE_CHECKING:
    from chalicelib.formats.mp4_tables import Column

# The fields of a packed sample, and their types for `struct`: each track takes the narrowest that hold all
# its samples. after: bytes between the end of the sample before and this one. marked: twice the size, plus
# 1 for a key frame. later: ticks from the presentation of the sample before to that of this one. Tracks
# that need more than 32 bits for the last two are refused, though perhaps only later.
KINDS = {"after": "bhiq", "marked": "HIQ", "later": "bhiq"}


class PackedSamples(NamedTuple):
    """The samples of a track, in coding order, as `model.facts.Coded` has them."""

    row: str  # format of a row, for `struct`
    rows: bytes
    digest: str  # of the rows


def pack(times: Column, offsets: Column, sizes: Column, keys: Column) -> PackedSamples:
    """Pack samples in coding order. `keys` are numbers of key frames, of none where each sample is one."""
    import numpy as np  # only processes that probe films have loaded it

    after = np.diff(offsets, prepend=offsets[:1])
    after[1:] -= sizes[:-1]
    marked = 2 * sizes
    marked[keys] += 1
    columns = {"after": after, "marked": marked, "later": np.diff(times, prepend=times[:1])}
    kinds = {name: _narrowest(column, KINDS[name]) for name, column in columns.items()}
    rows = np.empty(len(times), [(name, f"<{kind}") for name, kind in kinds.items()])
    for name, column in columns.items():
        rows[name] = column
    packed = rows.tobytes()
    digest = hashlib.sha256(packed).hexdigest()[:16]
    return PackedSamples("".join(("<", *kinds.values())), packed, digest)


def _narrowest(column: Column, kinds: str) -> str:
    import numpy as np

    least, most = column.min(), column.max()
    limits = ((kind, np.iinfo(kind)) for kind in kinds)
    return next(kind for kind, limit in limits if limit.min <= least and most <= limit.max)


def samples_of(job_id: str, coded: TrackSamples) -> Samples:
    """What a job's plan keeps of a track's samples: their rows lie in the job's work folder."""
    rows = f"{work_folder(job_id)}samples-{coded.digest}.bin"
    return Samples(coded.row, rows, coded.track, coded.last, coded.reorder_delay, coded.preamble)


def count(coded: TrackSamples) -> int:
    """How many samples a track has."""
    return len(coded.rows) // struct.calcsize(coded.row)


def rows_of(samples: Samples | TrackSamples, excerpt: Excerpt) -> tuple[int, int]:
    """Start and stop of an excerpt's rows, in bytes of all rows."""
    first, stop = excerpt.samples
    size = struct.calcsize(samples.row)
    return first * size, stop * size


def bytes_read(samples: Samples, excerpt: Excerpt) -> int:
    """How many bytes are fetched for an excerpt: its rows, and the part of the film with its samples."""
    (first, stop), (begin, end) = rows_of(samples, excerpt), excerpt.byte_range
    return stop - first + end - begin


class ExcerptFile(NamedTuple):
    """An excerpt as a file: its head, then parts of the film."""

    head: bytes  # ends with the preamble, which the first sample then begins with
    parts: list[tuple[int, int]]  # from where to where, in bytes of the film


def make(samples: Samples, excerpt: Excerpt, packed: bytes) -> ExcerptFile:
    """The file of an excerpt; `packed` are the rows of exactly its samples.

    The first of them in presentation order is shown `samples.lag` ticks after the start. The first one in
    coding order begins with the film's preamble, unless another lies before it in the file. Raises JobError
    where the rows lead out of the film.
    """
    after, marked, later = zip(*struct.iter_unpack(samples.row, packed), strict=True)
    track = mp4_movie.Track(samples.track, start=0)
    track.times.extend(accumulate(later[1:], initial=0))
    track.sizes.extend(value >> 1 for value in marked)
    offsets = list(accumulate(map(add, track.sizes, after[1:]), initial=excerpt.first_offset))
    numbers = range(1, len(marked) + 1)
    track.keys.extend([n for n, value in zip(numbers, marked, strict=True) if value & 1] or numbers)
    track.last = samples.last
    parts = _merge(zip(offsets, map(add, offsets, track.sizes), strict=True))
    if parts[0][0] < 0:
        raise JobError("source_damaged", "The index of the video leads out of its file.")
    # Parts are read in their order: the preamble must come right before the first sample.
    has_room = excerpt.samples[0] > 0 and offsets[0] == parts[0][0]
    preamble = samples.preamble if has_room else b""
    media_bytes = _place_chunks(track, offsets, parts, preamble)
    return ExcerptFile(
        mp4_movie.excerpt_header(track, samples.reorder_delay, media_bytes) + preamble, parts
    )


def _place_chunks(
    track: mp4_movie.Track, offsets: list[int], parts: list[tuple[int, int]], preamble: bytes
) -> int:
    """Place each sample in the excerpt as a chunk of its own; the length of the media data."""
    starts = [start for start, _ in parts]
    *before, media_bytes = accumulate((end - start for start, end in parts), initial=len(preamble))
    for offset in offsets:
        part = bisect_right(starts, offset) - 1
        track.chunks.append((before[part] + offset - starts[part], 1))
    if preamble:
        track.chunks[0] = 0, 1
        track.sizes[0] += len(preamble)
    return media_bytes


def _merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order; those that overlap or touch are one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
