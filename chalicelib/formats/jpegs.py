"""JPEG by its markers (ITU-T T.81, Annex B): which kinds cannot be read, and what is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

# A marker with a length after it. In coded data 0xFF is followed by 0, or starts a restart marker.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xda-\xfe])")
_START_OF_SCAN = 0xDA
END = b"\xff\xd9"
# Start of frame, of all kinds; the numbers between are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
_COEFFICIENTS = 64


class _Segment(NamedTuple):
    """A marker, and the bytes of the file where it begins and its content ends."""

    marker: int
    begin: int
    end: int


def _segments(content: bytes) -> Iterator[_Segment]:
    at = 2
    while found := _MARKER.search(content, at):
        length = int.from_bytes(content[found.end() : found.end() + 2])
        at = found.end() + max(2, length)
        yield _Segment(found[1][0], found.start(), at)


def _body(content: bytes, segment: _Segment) -> bytes:
    return content[segment.begin + 4 : segment.end]


def not_supported(content: bytes) -> str:
    """The kind of JPEG, as the subject of a sentence, where libjpeg does not read it; else ""."""
    for segment in _segments(content):
        body = _body(content, segment)
        if segment.marker == _START_OF_SCAN:
            return ""
        if segment.marker in _FRAMES and len(body) > 5:
            if segment.marker in _HIERARCHICAL:
                return "A hierarchical JPEG"
            if body[0] != 8:
                return f"A JPEG of {body[0]} bits"
            if body[5] not in (1, 3, 4):
                return f"A JPEG of {body[5]} colours"
    return ""


def has_end(file: IO[bytes]) -> bool:
    """Whether the picture has its end marker, which other data may follow."""
    file.seek(-len(END), os.SEEK_END)
    if file.read() == END:
        return True
    file.seek(0)
    content = file.read()
    scans = (segment.begin for segment in _segments(content) if segment.marker == _START_OF_SCAN)
    return content.find(END, next(scans, 0)) >= 0


def whole_segments(content: bytes) -> bytes:
    """The file without a last segment that is cut short."""
    for segment in _segments(content):
        if segment.end > len(content):
            return content[: segment.begin]
    return content.rstrip(b"\xff")


def before_last_scan(content: bytes) -> bytes:
    """What comes before the last scan, which in progressive pictures may only add precision."""
    begins = [seg.begin for seg in _segments(content) if seg.marker == _START_OF_SCAN]
    return content[: begins[-1]] if begins else content


def has_all_scans(content: bytes) -> bool:
    """Whether each coefficient of each component has a scan, at least the begin of one."""
    found: dict[int, set[int]] = {}  # coefficients, by component
    for segment in _segments(content):
        body = _body(content, segment)
        if segment.marker in _FRAMES:
            found = {component: set() for component in body[6::3]}
        elif segment.marker == _START_OF_SCAN and body:
            stop = 1 + 2 * body[0]
            if stop + 1 >= len(body):  # it claims more components than it has room for
                return False
            coefficients = range(body[stop], body[stop + 1] + 1)
            for component in body[1:stop:2]:
                found.setdefault(component, set()).update(coefficients)
    return bool(found) and all(len(ones) >= _COEFFICIENTS for ones in found.values())
