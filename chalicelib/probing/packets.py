"""The packets of a film's tracks, in columns: from tables in bulk, or from FFmpeg's index entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, takewhile
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.index import IndexEntries
from av.stream import Discard, Stream

from chalicelib.errors import JobError
from chalicelib.formats import mp4_excerpt, mp4_movie
from chalicelib.formats.mp4_excerpt import PackedSamples
from chalicelib.formats.mp4_tables import Column, Columns, columns_of, tables_of
from chalicelib.formats.mp4_tracks import Layout, Movie, copy_box
from chalicelib.model.facts import TrackSamples
from chalicelib.probing.film import Film, to_fraction
from chalicelib.probing.read_ahead import NO_KEYS

# Every plan of the film carries the descriptions of its tracks.
_MOST_TRACK_BYTES = 64 * 1024
# FFmpeg's index has no room for larger samples (AVIndexEntry): they come out negative.
_MOST_SAMPLE_BYTES = 2**29
# How many packets are compared at each end of a track.
_COMPARED = 32
_ENTRY = attrgetter("timestamp", "pos", "size", "is_keyframe", "is_discard")


class CannotCut(Exception):
    """The film has to be encoded as a whole; the message says why, as a clause."""


class NoIndex(CannotCut):
    """The container has no index of samples; a copy in another one could have it."""


class Packets(NamedTuple):
    """The packets of a track in coding order, in columns: a long film has a million of them."""

    times: Column  # of presentation, in ticks of the stream
    offsets: Column  # of the first byte in the file
    sizes: Column
    ends: Column  # of the last byte, plus 1
    keys: Column  # numbers of the key frames; of none for audio
    dropped: Column  # numbers of those that an edit list leaves out: they are decoded only
    last: int  # ticks for which the last one is shown
    packed: PackedSamples | None  # they packed, where the tables say the same


class IndexedTrack:
    """A stream and the box of its track. Raises NoIndex where that is not found."""

    def __init__(self, film: Film, layout: Layout, stream: Stream) -> None:
        movie = Movie(film.source, layout.moov) if layout.moov else None
        box = movie.track(stream.id) if movie else None
        if movie is None or box is None:
            raise NoIndex("its index is hidden")
        self.stream = stream
        self.is_audio = stream.type == "audio"
        self._source = film.source
        self._box = box
        self._movie = movie
        self._ftyp = layout.ftyp
        self._ahead = film.ahead.get(box)

    def tables(self, samples: int) -> tuple[Columns, PackedSamples | None] | None:
        """What the tables say of `samples` samples, and these packed where they were read ahead."""
        prepared = self._ahead.result() if self._ahead else None
        if prepared and len(prepared.columns.sizes) == samples:
            # FFmpeg may take the kind of a track from another box than we do.
            return prepared.columns, prepared.packed if prepared.sound == self.is_audio else None
        tables = tables_of(self._source, self._box)
        columns = columns_of(tables, samples) if tables else None
        return (columns, None) if columns else None

    def description(self) -> bytes:
        """ftyp and moov, without tables and without other tracks. Raises CannotCut."""
        moov = self._movie.without_tables(self._box, _MOST_TRACK_BYTES)
        if moov is None or len(moov) > _MOST_TRACK_BYTES:
            raise CannotCut("its tracks are not described as usual")
        if mp4_movie.descriptions_of(moov) != 1:
            raise CannotCut("a track of it is coded in more than one way")
        if Fraction(1, mp4_movie.timescale_of(moov) or 1) != to_fraction(self.stream.time_base):
            raise CannotCut("its clocks are unclear")
        ftyp = copy_box(self._source, self._ftyp, _MOST_TRACK_BYTES) if self._ftyp else None
        return (ftyp or b"") + moov


def coded(packets: Packets, track: IndexedTrack, lag: int = 0) -> TrackSamples:
    """The packets as plans and workers have them. Raises CannotCut."""
    packed = packets.packed or mp4_excerpt.pack(
        packets.times, packets.offsets, packets.sizes, packets.keys
    )
    return TrackSamples(*packed, track.description(), packets.last or 1, lag)


def video_packets(film: Film, track: IndexedTrack) -> Packets:
    """The packets of the video. Raises CannotCut, JobError, FFmpegError."""
    container = film.container
    if not len(track.stream.index_entries):
        raise CannotCut("its index is empty")
    for stream in container.streams:
        if stream is not track.stream:
            stream.discard = Discard.all
    entries = _entries(track, film.size)
    times, last, packed = _presentation(container, track.stream, entries)
    return Packets(
        times=times,
        offsets=entries.offsets,
        sizes=entries.sizes,
        ends=entries.ends,
        keys=entries.keys,
        dropped=entries.dropped,
        last=last,
        packed=packed,
    )


def audio_packets(film: Film, track: IndexedTrack) -> Packets:
    """The packets of the audio, which are heard when they are decoded. Raises CannotCut, JobError."""
    entries = _entries(track, film.size)
    times = entries.times
    # Those before the first one that is heard are for the decoder, which begins in silence.
    if not np.array_equal(entries.dropped, np.arange(len(entries.dropped))):
        raise CannotCut("its sound has more than one edit")
    if (np.diff(times) < 0).any():
        raise CannotCut("its sound is out of order")
    last = entries.tables.last if entries.tables else int(times[-1] - times[-2:][0])
    stream = track.stream
    if stream.start_time is not None and stream.duration:
        # An edit list may end before the last packet does.
        last = min(last, stream.start_time + stream.duration - int(times[-1]))
    return Packets(
        times=times,
        offsets=entries.offsets,
        sizes=entries.sizes,
        ends=entries.ends,
        keys=NO_KEYS,
        dropped=NO_KEYS,
        last=max(1, last),
        packed=entries.packed,
    )


def check_shared(size: int, *tracks: Packets | _Entries) -> None:
    """Raises JobError where samples of a file share its bytes.

    So a small file could be a film of any length. Each sample counts for a byte at least; those that lie
    behind the end of a file which was cut off do not count.
    """
    taken = 0
    for track in tracks:
        inside = (track.offsets >= 0) & (track.sizes >= 0) & (track.ends <= size)
        taken += int(np.maximum(track.sizes, 1)[inside].sum())
    if taken > size:
        detail = "The samples of the video share its bytes: it is damaged, or made to harm."
        raise JobError("source_damaged", detail)


class _Entries(NamedTuple):
    """FFmpeg's index of a stream, with columns as Packets has them; `times` are those of decoding."""

    times: Column
    offsets: Column
    sizes: Column
    ends: Column
    keys: Column
    dropped: Column
    tables: Columns | None  # where they say the same, but for the time of the first packet
    packed: PackedSamples | None


def _entries(track: IndexedTrack, size: int) -> _Entries:
    """From the tables, where FFmpeg only shifts them; entry by entry, where it has applied edits."""
    entries = track.stream.index_entries
    tables, packed = track.tables(len(entries)) or (None, None)
    start = entries[0].timestamp
    # Audio packets before an edit are for the decoder only. Frames are not in presentation order.
    is_dropped = attrgetter("is_discard")
    ahead = sum(1 for _ in takewhile(is_dropped, entries)) if track.is_audio else 0
    if tables and _agree(entries, tables, start, ahead):
        times = tables.decoded + start
        offsets, sizes, keys = tables.offsets, tables.sizes, tables.keys
        dropped = np.arange(ahead)
    else:
        tables = packed = None
        table = np.array([*map(_ENTRY, entries)], dtype=np.int64)
        times, offsets, sizes = np.ascontiguousarray(table.T[:3])
        keys, dropped = map(np.flatnonzero, table.T[3:])
    found = _Entries(times, offsets, sizes, offsets + sizes, keys, dropped, tables, packed)
    check_shared(size, found)
    if offsets.min() < 0 or found.ends.max() > size:
        raise CannotCut("it ends before its index does")
    if sizes.min() < 0 or sizes.max() >= _MOST_SAMPLE_BYTES:
        raise CannotCut("a frame of it is larger than any")
    return found


def _agree(entries: IndexEntries, tables: Columns, start: int, dropped: int) -> bool:
    """Whether the index and the tables agree: some samples at each end are compared, and two between.

    FFmpeg makes at most one edit of such tables: all other samples differ by the same shift.
    """
    count = len(entries)
    compared = [
        *{
            *range(count)[:_COMPARED],
            *range(count)[-_COMPARED:],
            min(dropped, count - 1),
            count // 2,
        }
    ]
    keys = tables.keys
    is_key = keys[np.minimum(np.searchsorted(keys, compared), len(keys) - 1)] == compared
    columns = (
        tables.decoded[compared] + start,
        tables.offsets[compared],
        tables.sizes[compared],
        is_key,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [_ENTRY(entries[n]) for n in compared] == [
        (*row, n < dropped) for n, row in zip(compared, rows, strict=True)
    ]


def _presentation(
    container: InputContainer, video: Stream, entries: _Entries
) -> tuple[Column, int, PackedSamples | None]:
    """Times of presentation, the duration of the last packet, and the packets packed, if they are.

    FFmpeg tells times packet by packet, of which a film has hundreds of thousands. Where it only shifts the
    tables, it is asked for packets at both ends.
    """
    container.seek(int(entries.times[0]), stream=video, any_frame=True)
    demuxed = _demux(container, video)
    head = list(islice(demuxed, _COMPARED))
    if head and entries.tables:
        shown = entries.tables.shown
        times = shown + (head[0].time - int(shown[0]))
        if [packet.time for packet in head] == times[: len(head)].tolist():
            container.seek(int(entries.times[-_COMPARED:][0]), stream=video, any_frame=True)
            tail = list(_demux(container, video))
            if not tail or [packet.time for packet in tail] != times[-len(tail) :].tolist():
                raise CannotCut("its times cannot be told from its index")
            return times, tail[-1].duration, entries.packed
    every = [*head, *demuxed]
    if len(every) != len(entries.times):
        raise CannotCut("its index is not that of its packets")
    return np.array([packet.time for packet in every]), every[-1].duration, None


class _Timing(NamedTuple):
    """What FFmpeg says of a packet, in ticks."""

    time: int  # of presentation
    duration: int


def _demux(container: InputContainer, video: Stream) -> Iterator[_Timing]:
    for packet in container.demux(video):
        if packet.pts is not None:
            yield _Timing(packet.pts, packet.duration or 0)
