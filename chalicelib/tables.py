"""Boxes of ISO base media files (ISO/IEC 14496-12) read by ranges; times and places of samples, in bulk."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice, repeat
from operator import add, lt, mul, sub
from typing import IO, NamedTuple

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


class Columns(NamedTuple):
    """What the tables of a track say of its samples, in coding order."""

    decoded: Sequence[int]  # when each is, in ticks; never before another
    shown: Sequence[int]  # the same, as if there were no edit list
    last: int  # how long the last one lasts
    begins: Sequence[int]  # where each lies in the file
    sizes: Sequence[int]  # in bytes
    keys: Sequence[int]  # numbers of those that are key frames


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
    """How many edits show something (ISO/IEC 14496-12, 8.6.6)."""
    edts = _contents(source, track.content, track.end).get(b"edts")
    elst = _contents(source, *edts).get(b"elst") if edts else None
    if elst is None:
        return 0
    source.seek(elst[0])
    table = source.read(min(elst[1] - elst[0], _MOST_EDIT_BYTES))
    row = struct.Struct(">QqI" if table[:1] == b"\1" else ">IiI")
    rows = table[8 : len(table) - (len(table) - 8) % row.size]
    return sum(time != -1 for _, time, _ in row.iter_unpack(rows))


def _keys(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int
) -> Sequence[int] | None:
    if b"stss" not in tables:
        return range(samples)
    numbers = _numbers(source, tables[b"stss"], 0, "I")
    keys = [number - 1 for number in numbers]
    ascend = all(map(lt, keys, islice(keys, 1, None)))
    return keys if keys and ascend and 0 <= keys[0] <= keys[-1] < samples else None


def _times(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int, start: int
) -> tuple[Sequence[int], Sequence[int], int] | None:
    if b"stts" not in tables:
        return None
    durations = _runs(source, *tables[b"stts"], samples)
    offsets = _runs(source, *tables[b"ctts"], samples) if b"ctts" in tables else None
    if durations is None or min(durations) < 0 or (offsets is None and b"ctts" in tables):
        return None
    decoded = array("q", accumulate(islice(durations, samples - 1), initial=start))
    shown = array("q", map(add, decoded, offsets)) if offsets else decoded
    return decoded, shown, durations[-1]


def _places(
    source: IO[bytes], tables: Mapping[bytes, tuple[int, int]], samples: int
) -> tuple[Sequence[int], Sequence[int]] | None:
    if not tables.keys() >= {b"stsz", b"stsc"} or not tables.keys() & {b"stco", b"co64"}:
        return None
    offsets = (
        _numbers(source, tables[b"stco"], 0, "I")
        if b"stco" in tables
        else _numbers(source, tables[b"co64"], 0, "Q")
    )
    source.seek(tables[b"stsz"][0] + 4)
    size = int.from_bytes(source.read(4))
    sizes = [size] * samples if size else _numbers(source, tables[b"stsz"], 4, "I")
    runs = _numbers(source, tables[b"stsc"], 0, "I", columns=3)
    firsts, counts = runs[::3], runs[1::3]
    lengths = list(map(sub, [*firsts[1:], len(offsets) + 1], firsts))
    if (
        len(sizes) != samples
        or not len(runs) / 3 <= len(offsets) <= samples
        or list(firsts[:1]) != [1]
        or min(lengths) < 0
        or sum(map(mul, counts, lengths)) != samples
    ):
        return None
    if set(counts) == {1}:
        return offsets, sizes
    inside = list(chain.from_iterable(map(repeat, counts, lengths)))
    before = list(accumulate(sizes, initial=0))
    # By how much the samples of each chunk lie behind where they would without anything between.
    behind = map(sub, offsets, map(before.__getitem__, accumulate(inside, initial=0)))
    begins = map(add, before, chain.from_iterable(map(repeat, behind, inside)))
    return array("q", begins), sizes


def _numbers(
    source: IO[bytes], table: tuple[int, int], skip: int, kind: str, columns: int = 1
) -> array[int]:
    """The numbers that a table has behind the number of its rows; those that are there."""
    begin, end = table
    source.seek(begin + 4 + skip)
    rows = int.from_bytes(source.read(4))
    numbers = array(kind)
    content = source.read(min(rows * columns * numbers.itemsize, end - begin - 8 - skip))
    numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


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


def _runs(source: IO[bytes], begin: int, end: int, samples: int) -> list[int] | None:
    """The value of each sample, from a table of runs: how many samples, and the value of each."""
    table = _numbers(source, (begin, end), 0, "i", columns=2)
    if len(table) % 2 or len(table) > 2 * samples:
        return None
    counts, values = table[::2], table[1::2]
    if sum(counts) != samples or min(counts, default=0) < 0:
        return None
    return list(chain.from_iterable(map(repeat, values, counts)))
