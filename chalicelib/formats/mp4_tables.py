"""Boxes of ISO base media files (ISO/IEC 14496-12) read by ranges; times and places of samples, in bulk."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PATH = (b"mdia", b"minf", b"stbl")
# Tables of samples: what their numbers are, and how many are in a row.
_ROWS = {
    b"stts": (">i4", 2),
    b"ctts": (">i4", 2),
    b"stss": (">u4", 1),
    b"stsz": (">u4", 1),
    b"stsc": (">u4", 3),
    b"stco": (">u4", 1),
    b"co64": (">u8", 1),
}
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
        self.tracks = [
            track for track in boxes(source, box.content, box.end) if track.kind == b"trak"
        ]

    def track(self, number: int) -> Box | None:
        """The track that has this track_ID, if exactly one has."""
        found = [track for track in self.tracks if self._id(track) == number]
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

    decoded: Column  # when each is, in ticks after the first; never before another
    shown: Column  # the same, as if there were no edit list
    last: int  # how long the last one lasts
    begins: Column  # where each lies in the file
    sizes: Column  # in bytes
    keys: Column  # numbers of those that are key frames


def handler_of(source: IO[bytes], track: Box) -> bytes:
    """What a track is of: b"vide", b"soun", …; nothing where it does not say."""
    mdia = _contents(source, track.content, track.end).get(b"mdia")
    hdlr = _contents(source, *mdia).get(b"hdlr") if mdia else None
    if hdlr is None:
        return b""
    source.seek(hdlr[0] + 8)
    return source.read(4)


class Tables(NamedTuple):
    """The tables of a track as they stand in the file."""

    size: int  # of every sample; 0 where each has its own
    rows: Mapping[bytes, NDArray[Any]]  # by the boxes' types

    @property
    def samples(self) -> int | None:
        """Of how many they speak; None where that is not seen in their length."""
        return None if self.size else len(self.rows[b"stsz"])


def tables_of(source: IO[bytes], track: Box) -> Tables | None:
    """None where they do not say it all: edits, key frames of other kinds; or where one is missing."""
    begin, end = _stbl(source, track)
    places = _contents(source, begin, end)
    if b"stps" in places or _has_key_groups(source, begin, end) or _edits(source, track) > 1:
        return None
    if not places.keys() >= {b"stts", b"stsz", b"stsc"} or not places.keys() & {b"stco", b"co64"}:
        return None
    source.seek(places[b"stsz"][0] + 4)
    size = int.from_bytes(source.read(4))
    rows = {
        kind: _rows(source, places[kind], *_ROWS[kind], skip=4 if kind == b"stsz" else 0)
        for kind in _ROWS
        if kind in places and not (kind == b"stsz" and size)
    }
    return Tables(size, rows)


def columns_of(tables: Tables, samples: int) -> Columns | None:
    """So many samples, in bulk. None where the tables speak of others, or contradict each other."""
    times = _times(tables, samples)
    places = _places(tables, samples)
    keys = _keys(tables, samples)
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


def _keys(tables: Tables, samples: int) -> Column | None:
    if b"stss" not in tables.rows:
        return np.arange(samples)
    keys = _column(tables.rows[b"stss"]) - 1
    ascend = len(keys) and keys[0] >= 0 and bool((np.diff(keys) > 0).all())
    return keys if ascend and keys[-1] < samples else None


def _times(tables: Tables, samples: int) -> tuple[Column, Column, int] | None:
    durations = _runs(tables.rows[b"stts"], samples)
    if durations is None or durations.min() < 0:
        return None
    decoded = _before(durations)[:-1]
    if b"ctts" not in tables.rows:
        return decoded, decoded, int(durations[-1])
    offsets = _runs(tables.rows[b"ctts"], samples)
    return None if offsets is None else (decoded, decoded + offsets, int(durations[-1]))


def _places(tables: Tables, samples: int) -> tuple[Column, Column] | None:
    offsets = _column(tables.rows[b"stco" if b"stco" in tables.rows else b"co64"])
    sizes = np.full(samples, tables.size) if tables.size else _column(tables.rows[b"stsz"])
    firsts, counts, _ = tables.rows[b"stsc"].astype(np.int64).T
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
    source: IO[bytes], table: tuple[int, int], kind: str, columns: int, skip: int
) -> NDArray[Any]:
    """What a table has behind the number of its rows; those that are there."""
    begin, end = table
    source.seek(begin + 4 + skip)
    rows = int.from_bytes(source.read(4))
    row_bytes = columns * np.dtype(kind).itemsize
    content = source.read(max(0, min(rows * row_bytes, end - begin - 8 - skip)))
    return np.frombuffer(content, kind, len(content) // row_bytes * columns).reshape(-1, columns)


def _column(rows: NDArray[Any]) -> Column:
    return rows[:, 0].astype(np.int64)


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


def _runs(rows: NDArray[Any], samples: int) -> Column | None:
    """The value of each sample, from a table of runs: how many samples, and the value of each."""
    counts, values = rows.astype(np.int64).T
    if not 1 <= len(counts) <= samples or counts.min() < 0 or counts.sum() != samples:
        return None
    return np.repeat(values, counts)
