"""What the tables of a film say, read in bulk by a thread while FFmpeg makes lists of its own of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np

from chalicelib.engines import decoder
from chalicelib.formats import mp4_excerpt
from chalicelib.formats.mp4_excerpt import Packed
from chalicelib.formats.mp4_tables import (
    Box,
    Columns,
    Moov,
    Tables,
    columns_of,
    handler_of,
    read_box,
    tables_of,
)

# As much as a child keeps of a file, wherever it begins.
MOST_BYTES = (decoder.BLOCKS_KEPT - 2) * decoder.BLOCK_BYTES
# A file has a handful of boxes, and a fragmented one thousands.
_MOST_BOXES = 64
# Key frames of sound: each packet is decoded alone.
NO_KEYS = np.arange(0)
_SOUND = b"soun"


class Layout(NamedTuple):
    """Where media data lie: from and to. And two boxes."""

    media: list[tuple[int, int]]
    ftyp: Box | None
    moov: Box | None


def layout_of(source: IO[bytes], size: int) -> Layout | None:
    """None where the film is in fragments."""
    media: list[tuple[int, int]] = []
    found: dict[bytes, Box] = {}
    boxes = 0
    offset = 0
    while offset < size:
        kind, content, following = read_box(source, offset, size)
        end = min(following, size)
        boxes += 1
        if kind == b"moof" or boxes > _MOST_BOXES:
            return None
        found.setdefault(kind, Box(kind, offset, content, end))
        if kind == b"mdat":
            media.append((content, end))
        offset = following
    return Layout(media, found.get(b"ftyp"), found.get(b"moov"))


class Prepared(NamedTuple):
    """What the tables of a track say, and its samples as excerpts are made of them."""

    columns: Columns
    packed: Packed
    sound: bool  # packed as sound


Ahead = Mapping[Box, Future[Prepared | None]]


@contextmanager
def looking_ahead(source: IO[bytes], layout: Layout | None) -> Iterator[Ahead]:
    """What will be known of the first track of pictures, and of sound: steps rarely use any other.

    Nothing of tables so large that they would have to be fetched once more, or fill the memory while FFmpeg's
    lists do.
    """
    moov = layout.moov if layout else None
    tracks: dict[bytes, Box] = {}
    if moov and moov.end - moov.content <= MOST_BYTES:
        for track in Moov(source, moov).tracks:
            tracks.setdefault(handler_of(source, track), track)
    with ThreadPoolExecutor(1) as pool:
        yield {
            tracks[handler]: pool.submit(_prepare, tables, samples, sound=handler == _SOUND)
            for handler in (b"vide", _SOUND)
            if handler in tracks
            and (tables := tables_of(source, tracks[handler]))
            and (samples := tables.samples)
        }


def _prepare(tables: Tables, samples: int, *, sound: bool) -> Prepared | None:
    columns = columns_of(tables, samples)
    if columns is None:
        return None
    decoded, shown, _, begins, sizes, keys = columns
    packed = (
        mp4_excerpt.pack(decoded, begins, sizes, NO_KEYS)
        if sound
        else mp4_excerpt.pack(shown, begins, sizes, keys)
    )
    return Prepared(columns, packed, sound)
