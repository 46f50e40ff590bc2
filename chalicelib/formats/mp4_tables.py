"""Tables of samples of a source film (ISO/IEC 14496-12, 8.6 and 8.7), read by ranges, in bulk by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chalicelib.formats.mp4_boxes import Box, children, file_boxes
from chalicelib.formats.mp4_tracks import edits_of

# Tables of samples: the type of their numbers, and how many numbers a row has.
_ROWS = {
    b"stts": (">i4", 2),
    b"ctts": (">i4", 2),
    b"stss": (">u4", 1),
    b"stsz": (">u4", 1),
    b"stsc": (">u4", 3),
    b"stco": (">u4", 1),
    b"co64": (">u8", 1),
}
# A number for each sample.
Column = NDArray[np.int64]


class Columns(NamedTuple):
    """What the tables of a track say of its samples, in coding order. Times are in ticks of the track."""

    decoded: Column  # time of decoding, from 0; never before an earlier sample's
    shown: Column  # time of presentation, without the edit list
    last: int  # duration of the last sample
    offsets: Column  # in bytes of the file
    sizes: Column  # in bytes
    keys: Column  # numbers of the key frames, from 0


class Tables(NamedTuple):
    """The tables of a track as they stand in the file."""

    size: int  # of every sample; 0 where each has its own
    rows: Mapping[bytes, NDArray[Any]]  # by type of the box

    @property
    def samples(self) -> int | None:
        """How many samples they describe; None where their length does not say it."""
        return None if self.size else len(self.rows[b"stsz"])


def tables_of(source: IO[bytes], track: Box) -> Tables | None:
    """None where a table is missing, or where the tables do not say it all: several edits, key groups."""
    stbl: Box | None = track
    for kind in (b"mdia", b"minf", b"stbl"):
        stbl = children(source, stbl).get(kind) if stbl else None
    if stbl is None:
        return None
    tables = children(source, stbl)
    if b"stps" in tables or _has_key_groups(source, stbl) or edits_of(source, track) > 1:
        return None
    if not tables.keys() >= {b"stts", b"stsz", b"stsc"} or not tables.keys() & {b"stco", b"co64"}:
        return None
    source.seek(tables[b"stsz"].content + 4)
    size = int.from_bytes(source.read(4))
    rows = {
        kind: _read_rows(source, tables[kind], *_ROWS[kind], skip=4 if kind == b"stsz" else 0)
        for kind in _ROWS
        if kind in tables and not (kind == b"stsz" and size)
    }
    return Tables(size, rows)


def _has_key_groups(source: IO[bytes], stbl: Box) -> bool:
    """Whether samples are grouped by where decoding can start (ISO/IEC 14496-12, 10.4; 14496-15, 8.4)."""
    for box in file_boxes(source, stbl.content, stbl.end):
        if box.kind == b"sbgp":
            source.seek(box.content + 4)
            if source.read(4) in (b"rap ", b"sync"):
                return True
    return False


def _read_rows(source: IO[bytes], table: Box, number: str, columns: int, skip: int) -> NDArray[Any]:
    """The rows of a table, which follow `skip` bytes and their number; only those that are there."""
    source.seek(table.content + 4 + skip)
    rows = int.from_bytes(source.read(4))
    row_bytes = columns * np.dtype(number).itemsize
    room = table.end - table.content - 8 - skip
    content = source.read(max(0, min(rows * row_bytes, room)))
    found = np.frombuffer(content, number, len(content) // row_bytes * columns)
    return found.reshape(-1, columns)


def columns_of(tables: Tables, samples: int) -> Columns | None:
    """The columns of `samples` samples. None where the tables describe others, or contradict each other."""
    times = _times(tables, samples)
    places = _places(tables, samples)
    keys = _keys(tables, samples)
    if times is None or places is None or keys is None:
        return None
    return Columns(*times, *places, keys)


def _keys(tables: Tables, samples: int) -> Column | None:
    if b"stss" not in tables.rows:
        return np.arange(samples)
    keys = _column(tables.rows[b"stss"]) - 1
    ascend = len(keys) and keys[0] >= 0 and bool((np.diff(keys) > 0).all())
    return keys if ascend and keys[-1] < samples else None


def _times(tables: Tables, samples: int) -> tuple[Column, Column, int] | None:
    """Times of decoding and of presentation, and the duration of the last sample."""
    durations = _unpack_runs(tables.rows[b"stts"], samples)
    if durations is None or durations.min() < 0:
        return None
    decoded = _sums(durations)[:-1]
    if b"ctts" not in tables.rows:
        return decoded, decoded, int(durations[-1])
    shifts = _unpack_runs(tables.rows[b"ctts"], samples)
    return None if shifts is None else (decoded, decoded + shifts, int(durations[-1]))


def _places(tables: Tables, samples: int) -> tuple[Column, Column] | None:
    """Offsets and sizes."""
    chunks = _column(tables.rows[b"stco" if b"stco" in tables.rows else b"co64"])
    sizes = np.full(samples, tables.size) if tables.size else _column(tables.rows[b"stsz"])
    firsts, counts, _ = tables.rows[b"stsc"].astype(np.int64).T
    if (
        len(sizes) != samples
        or not 1 <= len(firsts) <= len(chunks) <= samples
        or firsts[0] != 1
        or counts.max() > samples
    ):
        return None
    lengths = np.diff(firsts, append=len(chunks) + 1)
    if lengths.min() < 0 or counts @ lengths != samples:
        return None
    inside = np.repeat(counts, lengths)  # samples of each chunk
    sums = _sums(sizes)
    # How far the samples of each chunk lie from where they would if nothing lay between chunks.
    moved = chunks - sums[_sums(inside)[:-1]]
    return sums[:-1] + np.repeat(moved, inside), sizes


def _sums(values: Column) -> Column:
    """The sum of the values before each, and of all."""
    return np.concatenate(([0], np.cumsum(values)))


def _column(rows: NDArray[Any]) -> Column:
    return rows[:, 0].astype(np.int64)


def _unpack_runs(rows: NDArray[Any], samples: int) -> Column | None:
    """The value of each sample, from runs: how many samples, and their value. None for other samples."""
    counts, values = rows.astype(np.int64).T
    if not 1 <= len(counts) <= samples or counts.min() < 0 or counts.sum() != samples:
        return None
    return np.repeat(values, counts)
