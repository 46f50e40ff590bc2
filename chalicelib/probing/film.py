"""A film opened by FFmpeg in a child: its bytes, of which parts can be hidden, and its container."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import IO, Any, NamedTuple

import av
from av.container import InputContainer
from av.rational import AVRational

from chalicelib.engines import sandbox_child
from chalicelib.errors import JobError
from chalicelib.formats.mp4_boxes import Box, read_box
from chalicelib.formats.mp4_tracks import Layout, count_edits, layout_of
from chalicelib.probing.read_ahead import MOST_BYTES, Ahead, reading_ahead

_BUFFER_BYTES = 1024**2
_ZEROS = bytes(_BUFFER_BYTES)
# noparse: only the times of packets are needed, and a parser would read payload that HollowFile hides.
_OPTIONS: dict[str, Any] = {"mov": {"options": {"fflags": "noparse"}, "buffer_size": _BUFFER_BYTES}}
# The boxes of ISO/IEC 14496-12 that lead to tables of samples.
_PARENTS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})
# Audio that old QuickTime compresses well has more than one sample a byte.
_SAMPLES_PER_BYTE = 32


class HollowFile(sandbox_child.SizedFile):
    """A file of which parts can be hidden: they read as zeros, and are not fetched."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        super().__init__(size)
        self._source = source
        self._hidden: list[tuple[int, int]] = []

    def hide(self, parts: list[tuple[int, int]]) -> None:
        """Hide ranges of bytes, start and stop, in order, from now on."""
        self._hidden = parts

    def read(self, length: int = -1) -> bytes:
        """PyAV calls this instead of readinto(): of a long film gigabytes, a second for each copy of them."""
        part = self._read_part(max(0, min(length, self._size - self._position)))
        self._position += len(part)
        return part

    def _read_part(self, length: int) -> bytes:
        """At most `length` bytes from the position on, all hidden or none."""
        for start, stop in self._hidden:
            if start <= self._position < stop:
                length = min(length, stop - self._position)
                return _ZEROS[:length]  # a full slice is the same object, not a copy
            if self._position < start:
                length = min(length, start - self._position)
                break
        self._source.seek(self._position)
        return self._source.read(length)


class Film(NamedTuple):
    """A film that FFmpeg has opened."""

    container: InputContainer
    source: IO[bytes]
    hollow: HollowFile  # what the container reads of the source
    demuxer: str  # FFmpeg's name
    size: int  # in bytes
    edits: int  # the most that a track has
    descriptions: int  # the most sample descriptions that a track has
    layout: Layout | None  # of an MP4 or MOV that is not in fragments
    ahead: Ahead


@contextmanager
def open_film(source: IO[bytes], demuxer: str, size: int, max_streams: int) -> Iterator[Film]:
    """A film for the body to look at. Raises JobError where it is damaged, also when the body finds that."""
    hollow = HollowFile(source, size)
    try:
        is_mov = demuxer == "mov"
        edits, descriptions = _check_tables(source, size) if is_mov else (0, 1)
        layout = layout_of(source, size) if is_mov else None
        with (
            reading_ahead(source, layout) as ahead,
            av.open(hollow, format=demuxer, mode="r", **_OPTIONS.get(demuxer, {})) as container,
        ):
            # Attachments, such as fonts, are read once and never decoded.
            streams = [s for s in container.streams if s.type != "attachment"]
            _check_streams(len(streams), max_streams)
            yield Film(container, source, hollow, demuxer, size, edits, descriptions, layout, ahead)
    except MemoryError:  # FFmpeg's, too
        raise
    except (av.error.FFmpegError, EOFError) as error:
        raise damaged() from error


def _check_tables(source: IO[bytes], size: int) -> tuple[int, int]:
    """The most edits that a track has, and the most sample descriptions.

    Raises JobError where a table claims more samples than a film of `size` bytes can have: FFmpeg makes a
    list of them all before anyone can look at it.
    """
    edits = descriptions = 0
    budget = MOST_BYTES
    spans = [(0, size)]
    while spans:
        start, end = spans.pop()
        if start + 8 > end:
            continue
        box = read_box(source, start, end)
        spans.append((box.end, end))
        length = box.end - box.content
        if box.kind == b"moov" and 0 < length <= budget:
            # Nearly all of it will be read: in a row that takes fewer requests than here and there.
            source.seek(box.content)
            budget -= len(source.read(length))
        if box.kind in _PARENTS:
            spans.append((box.content, box.end))
        elif box.kind in (b"stsz", b"stz2"):
            if _number_at(source, box, 8) > _SAMPLES_PER_BYTE * size:
                raise overstated()
        elif box.kind == b"elst":
            edits = max(edits, count_edits(source, box))
        elif box.kind == b"stsd":
            descriptions = max(descriptions, _number_at(source, box, 4))
    source.seek(0)
    return edits, descriptions


def _number_at(source: IO[bytes], box: Box, offset: int) -> int:
    source.seek(box.content + offset)
    return int.from_bytes(source.read(4))


def _check_streams(number: int, most: int) -> None:
    if number > most:
        raise JobError(
            "too_many_streams", f"The file has {number} streams; at most {most} are taken."
        )


def start_seconds(container: InputContainer) -> Fraction:
    """When the film starts by its container's clock. FFmpeg takes that for zero."""
    return Fraction(container.start_time or 0, av.time_base)


def to_fraction(rational: AVRational | Fraction | None) -> Fraction | None:
    """None also where the rational is 0."""
    return Fraction(rational.numerator, rational.denominator) if rational else None


def overstated() -> JobError:
    detail = "The file claims to hold more than it has room for: it is damaged, or made to harm."
    return JobError("source_damaged", detail)


def damaged() -> JobError:
    return JobError("source_damaged", "The video cannot be read: it is damaged or incomplete.")
