"""Boxes of ISO base media files (ISO/IEC 14496-12) read by ranges; times and places of samples, in bulk."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PATH = (b"mdia", b"minf", b"stbl")
# A box has a handful of others in it.
_MOST_BOXES = 64
# What it takes to know a track, but for its samples.
_KEPT = {
    b"moov": (b"mvhd", b"trak"),
    b"trak": (b"tkhd", b"mdia"),
    b"mdia": (b"mdhd", b"hdlr", b"minf"),
    b"minf": (b"vmhd", b"smhd", b"dinf", b"stbl"),
    b"stbl": (b"stsd",),
}
_OPTIONAL = (b"vmhd", b"smhd", b"dinf")
# A film has one edit, or two.
_MOST_EDIT_BYTES = 4096


def read_box(source: IO[bytes], start: int, end: int) -> tuple[bytes, int, int]:
    """The type of the box at `start`, where its content begins, and where the next box does.

    That may lie behind `end`, up to which a box of no length reaches.
    """
    source.seek(start)
    head = source.read(16).ljust(16, b"\0")
    length, name = struct.unpack_from(">I4s", head)
    content = start + 8
    if length == 1:
        length, content = int.from_bytes(head[8:]), start + 16
    return name, content, max(start + length, content) if length else end


class Box(NamedTuple):
    """A box: its type, where it begins, where its content does, and where it ends."""

    kind: bytes
    begin: int
    content: int
    end: int


def boxes(source: IO[bytes], begin: int, end: int) -> Iterator[Box]:
    """The boxes that lie side by side, but no more of them than a film has."""
    for _ in range(_MOST_BOXES):
        if begin >= end:
            return
        kind, content, following = read_box(source, begin, end)
        yield Box(kind, begin, content, min(following, end))
        begin = following


class Moov:
    """The movie box of a file, and the boxes of the tracks in it."""

    def __init__(self, source: IO[bytes], box: Box) -> None:
        self._source = source
        self._box = box
        self._tracks = [
            track for track in boxes(source, box.content, box.end) if track.kind == b"trak"
        ]

    def track(self, number: int) -> Box | None:
        """The track that has this track_ID, if exactly one has."""
        found = [track for track in self._tracks if self._id(track) == number]
        return found[0] if len(found) == 1 else None

    def _id(self, track: Box) -> int:
        begin, end = _contents(self._source, track.content, track.end).get(b"tkhd", (0, 0))
        self._source.seek(begin)
        head = self._source.read(min(24, end - begin)).ljust(24, b"\0")
        return int.from_bytes(head[20:24] if head[0] else head[12:16])

    def without_tables(self, track: Box, most_bytes: int) -> bytes | None:
        """The movie box as if it had this track only, and that no samples.

        None where a part of it is missing, is there twice, or has more than `most_bytes`.
        """
        return _kept(self._source, self._box, track, most_bytes)


def copied(source: IO[bytes], box: Box, most_bytes: int) -> bytes | None:
    """A box as it is; None where it has more than `most_bytes`."""
    length = box.end - box.content
    if length > most_bytes:
        return None
    source.seek(box.content)
    return _boxed(box.kind, source.read(length))


def _kept(source: IO[bytes], box: Box, track: Box, most_bytes: int) -> bytes | None:
    wanted = _KEPT.get(box.kind)
    if wanted is None:
        return copied(source, box, most_bytes)
    inside = [
        each
        for each in boxes(source, box.content, box.end)
        if each.kind in wanted and (each.kind != b"trak" or each == track)
    ]
    parts = [_kept(source, each, track, most_bytes) for each in inside]
    kinds = [each.kind for each in inside]
    if len(set(kinds)) < len(kinds) or not {*kinds, *_OPTIONAL} >= set(wanted):
        return None
    whole = [part for part in parts if part is not None]
    return _boxed(box.kind, b"".join(whole)) if len(whole) == len(parts) else None


def _boxed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


# A number for each sample.
Column = NDArray[np.int64]


class Columns(NamedTuple):
    """What the tables of a track say of its samples, in coding order."""

    decoded: Column  # when each is, in ticks; never before another
    shown: Column  # the same, as if there were no edit list
    last: int  # how long the last one lasts
    begins: Column  # where each lies in the file
    sizes: Column  # in bytes
    keys: Column  # numbers of those that are key frames


def columns_of(source: IO[bytes], track: Box, samples: int, start: int) -> Columns | None:
    """So many samples, in bulk; the first of them is decoded at `start`.

    None where they do not speak of so many, or of more than that: edits, key frames of other kinds.
    """
    begin, end = _stbl(source, track)
    tables = _contents(source, begin, end)
    if b"stps" in tables or _has_key_groups(source, begin, end) or _edits(source, track) > 1:
        return None
    times = _times(source, tables, samples, start)
    places = _places(source, tables, samples)
    keys = _keys(source, tables, samples)
    if times is None or places is None or keys is None:
        return None
    return Columns(*times, *places, keys)


def _edits(source: IO[bytes], track: Box) -> int:
    edts = _contents(source, track.content, track.end).get(b"edts")
    elst = _contents(source, *edts).get(b"elst") if edts else None
    return edits_of(source, *elst) if elst else 0


def edits_of(source: IO[bytes], begin: int, end: int) -> int:
    """How many edits of a list show something (ISO/IEC 14496-12, 8.6.6); two, where it is longer than any."""
    if end - begin > _MOST_EDIT_BYTES:
        return 2
    source.seek(begin)
    table = source.read(max(0, end - begin))
    row = struct.Struct(">QqI" if table[:1] == b"\1" else ">IiI")
    rows = table[8 : len(table) - (len(table) - 8) % row.size]
    return sum(time != -1 for _, time, _ in row.iter_unpack(rows))


def _keys(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int
) -> Column | None:
    if b"stss" not in tables:
        return np.arange(samples)
    keys = _rows(source, tables[b"stss"], ">u4")[:, 0] - 1
    ascend = len(keys) and keys[0] >= 0 and bool((np.diff(keys) > 0).all())
    return keys if ascend and keys[-1] < samples else None


def _times(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int, start: int
) -> tuple[Column, Column, int] | None:
    if b"stts" not in tables:
        return None
    durations = _runs(source, tables[b"stts"], samples)
    if durations is None or durations.min() < 0:
        return None
    decoded = start + _before(durations)[:-1]
    if b"ctts" not in tables:
        return decoded, decoded, int(durations[-1])
    offsets = _runs(source, tables[b"ctts"], samples)
    return None if offsets is None else (decoded, decoded + offsets, int(durations[-1]))


def _places(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int
) -> tuple[Column, Column] | None:
    if not tables.keys() >= {b"stsz", b"stsc"} or not tables.keys() & {b"stco", b"co64"}:
        return None
    offsets = (
        _rows(source, tables[b"stco"], ">u4")
        if b"stco" in tables
        else _rows(source, tables[b"co64"], ">u8")
    )[:, 0]
    source.seek(tables[b"stsz"][0] + 4)
    size = int.from_bytes(source.read(4))
    sizes = np.full(samples, size) if size else _rows(source, tables[b"stsz"], ">u4", skip=4)[:, 0]
    firsts, counts, _ = _rows(source, tables[b"stsc"], ">u4", columns=3).T
    if (
        len(sizes) != samples
        or not 1 <= len(firsts) <= len(offsets) <= samples
        or firsts[0] != 1
        or counts.max() > samples
    ):
        return None
    lengths = np.diff(firsts, append=len(offsets) + 1)
    if lengths.min() < 0 or counts @ lengths != samples:
        return None
    inside = np.repeat(counts, lengths)
    before = _before(sizes)
    # By how much the samples of each chunk lie behind where they would without anything between.
    behind = offsets - before[_before(inside)[:-1]]
    return before[:-1] + np.repeat(behind, inside), sizes


def _before(values: Column) -> Column:
    """The sum of what comes before each; and of all."""
    return np.concatenate(([0], np.cumsum(values)))


def _rows(
    source: IO[bytes], table: tuple[int, int], kind: str, columns: int = 1, skip: int = 0
) -> Column:
    """What a table has behind the number of its rows; those that are there."""
    begin, end = table
    source.seek(begin + 4 + skip)
    rows = int.from_bytes(source.read(4))
    row_bytes = columns * np.dtype(kind).itemsize
    content = source.read(max(0, min(rows * row_bytes, end - begin - 8 - skip)))
    whole = np.frombuffer(content, kind, len(content) // row_bytes * columns)
    return whole.astype(np.int64).reshape(-1, columns)


def _stbl(source: IO[bytes], track: Box) -> tuple[int, int]:
    """Where the tables of the track begin and end."""
    begin, end = track.content, track.end
    for kind in _PATH:
        begin, end = _contents(source, begin, end).get(kind, (end, end))
    return begin, end


def _has_key_groups(source: IO[bytes], begin: int, end: int) -> bool:
    """Whether samples are grouped by where decoding can start (ISO/IEC 14496-12, 10.4; 14496-15, 8.4)."""
    for box in boxes(source, begin, end):
        if box.kind == b"sbgp":
            source.seek(box.content + 4)
            if source.read(4) in (b"rap ", b"sync"):
                return True
    return False


def _contents(source: IO[bytes], begin: int, end: int) -> dict[bytes, tuple[int, int]]:
    return {box.kind: (box.content, box.end) for box in boxes(source, begin, end)}


def _runs(source: IO[bytes], table: tuple[int, int], samples: int) -> Column | None:
    """The value of each sample, from a table of runs: how many samples, and the value of each."""
    counts, values = _rows(source, table, ">i4", columns=2).T
    if not 1 <= len(counts) <= samples or counts.min() < 0 or counts.sum() != samples:
        return None
    return np.repeat(values, counts)
