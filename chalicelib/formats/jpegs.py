"""JPEG as its markers tell it (ITU-T T.81, Annex B): what cannot be read, and what is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

# One with a length behind it. In coded pictures 0xFF is followed by 0, or starts a restart marker.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xda-\xfe])")
_START_OF_SCAN = 0xDA
END = b"\xff\xd9"
# Of frames; the others between them are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
_COEFFICIENTS = 64


class _Segment(NamedTuple):
    """A marker, where it stands, and where the content that it has ends."""

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
    """What kind of JPEG it is where that is none of those that libjpeg reads; "" where it is."""
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
    """Whether a picture is ended, which something else may follow."""
    file.seek(-len(END), os.SEEK_END)
    if file.read() == END:
        return True
    file.seek(0)
    content = file.read()
    scans = (each.begin for each in _segments(content) if each.marker == _START_OF_SCAN)
    return content.find(END, next(scans, 0)) >= 0


def whole_segments(content: bytes) -> bytes:
    """A file without what it has, at its end, of a segment that is cut short."""
    for segment in _segments(content):
        if segment.end > len(content):
            return content[: segment.begin]
    return content.rstrip(b"\xff")


def before_last_scan(content: bytes) -> bytes:
    """What comes before the last scan, which in progressive pictures may add nothing but precision."""
    begins = [each.begin for each in _segments(content) if each.marker == _START_OF_SCAN]
    return content[: begins[-1]] if begins else content


def is_told(content: bytes) -> bool:
    """Whether there is a scan, or the begin of one, for each coefficient of each component."""
    told: dict[int, set[int]] = {}
    for segment in _segments(content):
        body = _body(content, segment)
        if segment.marker in _FRAMES:
            told = {component: set() for component in body[6::3]}
        elif segment.marker == _START_OF_SCAN and body:
            behind = 1 + 2 * body[0]
            if behind + 1 >= len(body):  # it says that it has more than it has
                return False
            coefficients = range(body[behind], body[behind + 1] + 1)
            for component in body[1:behind:2]:
                told.setdefault(component, set()).update(coefficients)
    return bool(told) and all(len(each) >= _COEFFICIENTS for each in told.values())
