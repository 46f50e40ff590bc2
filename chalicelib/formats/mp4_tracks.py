"""Boxes of a source film that tell of its tracks, read by ranges: where media data lies, tracks, edits.

Whatever a box claims, no more than a few kilobytes are read of it, unless the caller allows more.
"""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

from chalicelib.formats.mp4_boxes import MOST_BOXES, Box, children, file_boxes, read_box, write_box

# The boxes that describe a track without its samples, by the box they lie in.
_KEPT = {
    b"moov": (b"mvhd", b"trak"),
    b"trak": (b"tkhd", b"mdia"),
    b"mdia": (b"mdhd", b"hdlr", b"minf"),
    b"minf": (b"vmhd", b"smhd", b"dinf", b"stbl"),
    b"stbl": (b"stsd",),
}
_OPTIONAL = (b"vmhd", b"smhd", b"dinf")
# Real films have one edit, or two.
_MOST_EDIT_BYTES = 4096


class Layout(NamedTuple):
    """The boxes of a film that is not in fragments."""

    media: list[tuple[int, int]]  # from where to where media data lies, in bytes of the file
    ftyp: Box | None
    moov: Box | None


def layout_of(source: IO[bytes], size: int) -> Layout | None:
    """None where the film is in fragments: it has a moof, or more than MOST_BOXES boxes."""
    media: list[tuple[int, int]] = []
    found: dict[bytes, Box] = {}
    offset = number = 0
    while offset < size:
        box = read_box(source, offset, size)
        number += 1
        if box.kind == b"moof" or number > MOST_BOXES:
            return None
        found.setdefault(box.kind, box)
        if box.kind == b"mdat":
            media.append((box.content, box.end))
        offset = box.end
    return Layout(media, found.get(b"ftyp"), found.get(b"moov"))


class Movie:
    """The movie box of a file, and the track boxes in it."""

    def __init__(self, source: IO[bytes], moov: Box) -> None:
        self._source = source
        self._moov = moov
        inside = file_boxes(source, moov.content, moov.end)
        self.tracks = [box for box in inside if box.kind == b"trak"]

    def track(self, number: int) -> Box | None:
        """The track whose track_ID is `number`; None unless exactly one has it."""
        found = [track for track in self.tracks if self._track_id(track) == number]
        return found[0] if len(found) == 1 else None

    def _track_id(self, track: Box) -> int:
        tkhd = children(self._source, track).get(b"tkhd")
        if tkhd is None:
            return 0
        self._source.seek(tkhd.content)
        head = self._source.read(min(24, tkhd.end - tkhd.content)).ljust(24, b"\0")
        return int.from_bytes(head[20:24] if head[0] else head[12:16])

    def without_tables(self, track: Box, most_bytes: int) -> bytes | None:
        """The movie box as if it had this track only, and that no samples.

        None where a part of it is missing, is there twice, or has more than `most_bytes`.
        """
        return _without_tables(self._source, self._moov, track, most_bytes)


def copy_box(source: IO[bytes], wanted: Box, most_bytes: int) -> bytes | None:
    """The bytes of a box; None where its content has more than `most_bytes`."""
    length = wanted.end - wanted.content
    if length > most_bytes:
        return None
    source.seek(wanted.content)
    return write_box(wanted.kind, source.read(length))


def _without_tables(source: IO[bytes], parent: Box, track: Box, most_bytes: int) -> bytes | None:
    wanted = _KEPT.get(parent.kind)
    if wanted is None:
        return copy_box(source, parent, most_bytes)
    inside = [
        box
        for box in file_boxes(source, parent.content, parent.end)
        if box.kind in wanted and (box.kind != b"trak" or box == track)
    ]
    parts = [_without_tables(source, box, track, most_bytes) for box in inside]
    kinds = [box.kind for box in inside]
    if len(set(kinds)) < len(kinds) or not {*kinds, *_OPTIONAL} >= set(wanted):
        return None
    whole = [part for part in parts if part is not None]
    return write_box(parent.kind, *whole) if len(whole) == len(parts) else None


def handler_of(source: IO[bytes], track: Box) -> bytes:
    """The handler type of a track: b"vide", b"soun", …; b"" where it has none."""
    mdia = children(source, track).get(b"mdia")
    hdlr = children(source, mdia).get(b"hdlr") if mdia else None
    if hdlr is None:
        return b""
    source.seek(hdlr.content + 8)
    return source.read(4)


def edits_of(source: IO[bytes], track: Box) -> int:
    """How many edits of a track show something."""
    edts = children(source, track).get(b"edts")
    elst = children(source, edts).get(b"elst") if edts else None
    return count_edits(source, elst) if elst else 0


def count_edits(source: IO[bytes], elst: Box) -> int:
    """How many edits of a list show something (ISO/IEC 14496-12, 8.6.6); 2 where it is longer than any."""
    if elst.end - elst.content > _MOST_EDIT_BYTES:
        return 2
    source.seek(elst.content)
    table = source.read(elst.end - elst.content)
    row = struct.Struct(">QqI" if table[:1] == b"\1" else ">IiI")
    rows = table[8 : len(table) - (len(table) - 8) % row.size]
    return sum(time != -1 for _, time, _ in row.iter_unpack(rows))
