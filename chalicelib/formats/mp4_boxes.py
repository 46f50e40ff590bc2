"""Boxes of ISO base media files (ISO/IEC 14496-12, 4.2): read, found, written.

Files that we have made lie in memory and are read strictly. Sources are read by ranges, and leniently, as
players read them: a box that is cut short is a box.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import IO, NamedTuple

# Boxes side by side in a source: real files have a dozen, a hostile one may have millions.
MOST_BOXES = 64


class Box(NamedTuple):
    """A box: its type, and at which bytes it starts, its content starts, and both end."""

    kind: bytes
    start: int
    content: int
    end: int


_HEAD = struct.Struct(">I4s")


def _read_head(data: bytes | mmap, start: int) -> tuple[bytes, int, int]:
    """Type and size of the box at `start`, and the length of its head."""
    size, kind = _HEAD.unpack_from(data, start)
    if size == 1:
        return kind, int.from_bytes(data[start + 8 : start + 16]), 16
    return kind, size, 8


# ── in memory ───────────────────────────────────────────────────────────────────────────────────


def boxes(data: bytes | mmap, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes side by side in data[start:end]. Raises ValueError where one ends outside of that."""
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise ValueError("A box has no room for its head.")
        kind, size, head = _read_head(data, start)
        if size < head or start + size > end:
            raise ValueError(f"A box {kind!r} ends outside of what it lies in.")
        yield Box(kind, start, start + head, start + size)
        start += size


def find(data: bytes | mmap, path: str, start: int = 0, end: int | None = None) -> Box:
    """The first box at a path such as "moov/trak". Raises ValueError where there is none."""
    kind, _, rest = path.partition("/")
    for box in boxes(data, start, end):
        if box.kind == kind.encode():
            return find(data, rest, box.content, box.end) if rest else box
    raise ValueError(f"There is no box {kind}.")


def payload(data: bytes, path: str) -> bytes:
    """The content of the first box at a path. Raises ValueError where there is none."""
    found = find(data, path)
    return data[found.content : found.end]


# ── in a file ───────────────────────────────────────────────────────────────────────────────────


def read_box(source: IO[bytes], start: int, end: int) -> Box:
    """The box at `start`. It ends at `end` where its size says more, or is 0."""
    source.seek(start)
    kind, size, head = _read_head(source.read(16).ljust(16, b"\0"), 0)
    content = start + head
    stop = max(start + size, content) if size else end
    return Box(kind, start, min(content, end), min(stop, end))


def file_boxes(source: IO[bytes], start: int, end: int) -> Iterator[Box]:
    """The first MOST_BOXES boxes side by side between two bytes of a file."""
    for _ in range(MOST_BOXES):
        if start >= end:
            return
        box = read_box(source, start, end)
        yield box
        start = box.end


def children(source: IO[bytes], parent: Box) -> dict[bytes, Box]:
    """The boxes in another by type; the last one of each type."""
    return {box.kind: box for box in file_boxes(source, parent.content, parent.end)}


# ── written ─────────────────────────────────────────────────────────────────────────────────────


def write_box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def write_full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box whose content begins with a version and 24 flags."""
    return write_box(kind, struct.pack(">I", version << 24 | flags), *parts)
