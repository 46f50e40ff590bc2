"""Reads a film's tables of samples in bulk, in a thread, while FFmpeg makes lists of its own of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np

from chalicelib.engines import sandbox_child
from chalicelib.formats import mp4_excerpt
from chalicelib.formats.mp4_boxes import Box
from chalicelib.formats.mp4_excerpt import PackedSamples
from chalicelib.formats.mp4_tables import Columns, Tables, columns_of, tables_of
from chalicelib.formats.mp4_tracks import Layout, Movie, handler_of

# As much as a child keeps of a file, wherever in a block that begins.
MOST_BYTES = (sandbox_child.BLOCKS_KEPT - 2) * sandbox_child.BLOCK_BYTES
# Key frames of audio: none are marked, as each packet is decoded alone.
NO_KEYS = np.arange(0)
_VIDEO, _AUDIO = b"vide", b"soun"


class Prepared(NamedTuple):
    """A track as its tables describe it, and packed for excerpts."""

    columns: Columns
    packed: PackedSamples
    sound: bool  # packed as audio


Ahead = Mapping[Box, Future[Prepared | None]]


@contextmanager
def reading_ahead(source: IO[bytes], layout: Layout | None) -> Iterator[Ahead]:
    """Futures of the first video and the first audio track, by track box: steps rarely use others.

    Empty where the tables are so large that they would have to be fetched again, or fill the memory beside
    FFmpeg's lists.
    """
    moov = layout.moov if layout else None
    tracks: dict[bytes, Box] = {}
    if moov and moov.end - moov.content <= MOST_BYTES:
        for track in Movie(source, moov).tracks:
            tracks.setdefault(handler_of(source, track), track)
    with ThreadPoolExecutor(1) as pool:
        yield {
            tracks[handler]: pool.submit(_prepare, tables, samples, sound=handler == _AUDIO)
            for handler in (_VIDEO, _AUDIO)
            if handler in tracks
            and (tables := tables_of(source, tracks[handler]))
            and (samples := tables.samples)
        }


def _prepare(tables: Tables, samples: int, *, sound: bool) -> Prepared | None:
    columns = columns_of(tables, samples)
    if columns is None:
        return None
    times, keys = (columns.decoded, NO_KEYS) if sound else (columns.shown, columns.keys)
    packed = mp4_excerpt.pack(times, columns.offsets, columns.sizes, keys)
    return Prepared(columns, packed, sound)
