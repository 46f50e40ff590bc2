"""Samples of a film as a film of their own: a short index before the bytes that hold them. Purely.

So a worker stores and shows to FFmpeg no more of the film than its own samples, however long it is.
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
from chalicelib.formats import mp4
from chalicelib.model.facts import Coded
from chalicelib.model.plan import Samples, work_folder
from chalicelib.model.work import Excerpt

if TYPE_CHECKING:
    from chalicelib.formats.mp4_tables import Column

# Of a sample, as narrow as it can be for all of a track: how many bytes behind the one before it lies; twice
# its size, and one more where it is a key frame; and how many ticks it is shown later than the one before.
# Tracks that need more than 32 bits for the latter two are refused, though perhaps only after that.
KINDS = {"after": "bhiq", "marked": "HIQ", "later": "bhiq"}


class Packed(NamedTuple):
    """Samples of a track, in coding order; see `facts.Coded`."""

    row: str
    rows: bytes
    digest: str


def pack(times: Column, begins: Column, sizes: Column, keys: Column) -> Packed:
    """`keys` are the numbers of key frames; of none, where each sample is decoded alone."""
    import numpy as np  # which is there where films are looked at, and nowhere else

    after = np.diff(begins, prepend=begins[:1])
    after[1:] -= sizes[:-1]
    marked = 2 * sizes
    marked[keys] += 1
    columns = {"after": after, "marked": marked, "later": np.diff(times, prepend=times[:1])}
    kinds = {name: _narrowest(column, KINDS[name]) for name, column in columns.items()}
    rows = np.empty(len(times), [(name, f"<{kind}") for name, kind in kinds.items()])
    for name, column in columns.items():
        rows[name] = column
    packed = rows.tobytes()
    return Packed("".join(("<", *kinds.values())), packed, hashlib.sha256(packed).hexdigest()[:16])


def _narrowest(column: Column, kinds: str) -> str:
    import numpy as np

    least, most = column.min(), column.max()
    limits = ((kind, np.iinfo(kind)) for kind in kinds)
    return next(kind for kind, limit in limits if limit.min <= least and most <= limit.max)


def samples_of(job_id: str, coded: Coded) -> Samples:
    """What the plan of a job says of them."""
    rows = f"{work_folder(job_id)}samples-{coded.digest}.bin"
    return Samples(coded.row, rows, coded.track, coded.last, coded.lag, coded.preamble)


def count(coded: Coded) -> int:
    """How many samples a track has."""
    return len(coded.rows) // struct.calcsize(coded.row)


def rows_of(samples: Samples | Coded, excerpt: Excerpt) -> tuple[int, int]:
    """The bytes of its rows among those of all samples."""
    first, behind = excerpt.samples
    size = struct.calcsize(samples.row)
    return first * size, behind * size


def bytes_read(samples: Samples, excerpt: Excerpt) -> int:
    """What is fetched for it: its rows, and the part of the film that its samples lie in."""
    (first, behind), (begin, end) = rows_of(samples, excerpt), excerpt.place
    return behind - first + end - begin


class Made(NamedTuple):
    """An excerpt: its head, and the parts of the film that follow it, one behind the other.

    The head ends with what is put before the first sample, which the first part begins with.
    """

    head: bytes
    parts: list[tuple[int, int]]


def make(samples: Samples, excerpt: Excerpt, packed: bytes) -> Made:
    """The excerpt, of the rows of its samples.

    What is shown first of them is shown `samples.lag` ticks after the start. The first one begins with what
    the film's own first one does, unless another lies before it in the file. Raises JobError.
    """
    after, marked, later = zip(*struct.iter_unpack(samples.row, packed), strict=True)
    track = mp4.Track(samples.track, start=0)
    track.times.extend(accumulate(later[1:], initial=0))
    track.sizes.extend(value >> 1 for value in marked)
    begins = list(accumulate(map(add, track.sizes, after[1:]), initial=excerpt.at))
    numbers = range(1, len(marked) + 1)
    track.keys.extend([n for n, value in zip(numbers, marked, strict=True) if value & 1] or numbers)
    track.last = samples.last
    parts = _joined(zip(begins, map(add, begins, track.sizes), strict=True))
    if parts[0][0] < 0:
        raise JobError("source_damaged", "The index of the video leads out of its file.")
    # Nothing may lie between that and the first sample; parts are read in their order.
    can_begin = excerpt.samples[0] > 0 and begins[0] == parts[0][0]
    preamble = samples.preamble if can_begin else b""
    firsts = [begin for begin, _ in parts]
    sizes = (end - begin for begin, end in parts)
    before = list(accumulate(sizes, initial=len(preamble)))
    for begin in begins:
        part = bisect_right(firsts, begin) - 1
        track.runs.append((before[part] + begin - firsts[part], 1))
    if preamble:
        track.runs[0] = 0, 1
        track.sizes[0] += len(preamble)
    return Made(mp4.excerpt(track, samples.lag, before[-1]) + preamble, parts)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, without what overlaps or touches."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
