"""Coded frames of a film as a film of their own: a short index before the bytes that hold them. Purely.

So a worker reads, stores and shows to FFmpeg no more of the film than its frames, however long it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import add

from chalicelib import mp4
from chalicelib.plan import Excerpt, Samples

# Of a sample: when it is shown, in ticks; where it begins; twice its size, and one for a key frame.
_COLUMNS = 3
ROW_BYTES = _COLUMNS * 8


def pack(
    times: Sequence[int], begins: Sequence[int], sizes: Sequence[int], keys: Iterable[bool]
) -> bytes:
    """A row for each sample, in coding order: columns of 64 bits, as every function's machine has them."""
    rows = array("q", bytes(len(times) * ROW_BYTES))
    rows[0::_COLUMNS] = array("q", times)
    rows[1::_COLUMNS] = array("q", begins)
    rows[2::_COLUMNS] = array("q", map(add, map(add, sizes, sizes), keys))
    return rows.tobytes()


def rows_of(excerpt: Excerpt) -> tuple[int, int]:
    """The bytes of its rows among those of all samples."""
    first, behind = excerpt.samples
    return first * ROW_BYTES, behind * ROW_BYTES


def head(samples: Samples, packed: bytes, place: tuple[int, int]) -> bytes:
    """What comes before the bytes of the film, from and to, that hold the samples with these rows.

    What is shown first of them is shown `samples.lag` ticks after the start.
    """
    begin, end = place
    rows = array("q")
    rows.frombytes(packed)
    times, begins, marks = (rows[column::_COLUMNS] for column in range(_COLUMNS))
    track = mp4.Track(samples.track, start=0, times=times)
    track.sizes.extend(mark >> 1 for mark in marks)
    track.keys.extend(number for number, mark in enumerate(marks, 1) if mark & 1)
    # What lies side by side is one run.
    starts = [0]
    for number, (before, after) in enumerate(pairwise(begins)):
        if before + track.sizes[number] != after:
            starts.append(number + 1)
    track.runs = [
        (begins[first] - begin, behind - first) for first, behind in pairwise([*starts, len(times)])
    ]
    track.last = 1  # it ends with the film, or is cut off
    return mp4.excerpt(track, samples.lag, end - begin)
