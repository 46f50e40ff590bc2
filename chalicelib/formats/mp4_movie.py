"""What an MP4 has before its samples: ftyp, moov with the tables of samples, and the head of mdat.

FFmpeg would write a joined file to a disk that grows with the film; here samples are only passed on.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from chalicelib.formats.codecs import sample_entry_of
from chalicelib.formats.mp4_boxes import boxes, find, payload, write_box, write_full_box

if TYPE_CHECKING:
    from chalicelib.formats.mp4_fragments import Fragment

# Durations of the movie have 32 bits: at this timescale, twelve hours.
MAX_MOVIE_TIMESCALE = 90_000
_FTYP = b"isom\x00\x00\x02\x00isomiso2%smp41"
# Brands that say how the video is coded, by the kind of its sample description.
_BRANDS = {b"avc1": b"avc1", b"av01": b"av01"}
_MEDIA_RATE_1 = 0x00010000


def descriptions_of(header: bytes) -> int:
    """How many sample descriptions the track of an initialisation has."""
    return int.from_bytes(payload(header, "moov/trak/mdia/minf/stbl/stsd")[4:8])


def timescale_of(header: bytes) -> int:
    """Ticks a second of the track of an initialisation."""
    mdhd = payload(header, "moov/trak/mdia/mdhd")
    at = 12 if mdhd[:1] == b"\0" else 20
    return int.from_bytes(mdhd[at : at + 4])


@dataclass
class Track:
    """The samples of a track, in coding order, as they are added.

    `header` is the initialisation of its fragments. Samples with a time before `start`, in seconds, are
    decoded and not shown.
    """

    header: bytes
    start: int
    sizes: array[int] = field(default_factory=lambda: array("I"))
    times: array[int] = field(default_factory=lambda: array("q"))  # ticks after `start`
    keys: array[int] = field(default_factory=lambda: array("I"))  # numbers of samples, from 1
    chunks: list[tuple[int, int]] = field(default_factory=list)  # offset, and number of samples
    last: int = 0  # ticks for which the last sample in presentation order is shown

    def add(self, fragment: Fragment, offset: int) -> None:
        """Add samples that lie at `offset` bytes of the media data.

        Of a fragment, the sample that is decoded last tells how long the one lasts that is shown last:
        durations are those of decoding, whose order of times is the order of presentation.
        """
        self.chunks.append((offset, len(fragment.sizes)))
        before = len(self.sizes)
        self.keys.extend(before + n + 1 for n, key in enumerate(fragment.keys) if key)
        self.sizes.extend(fragment.sizes)
        origin = self.start * self.timescale
        self.times.extend(time - origin for time in fragment.times)
        self.last = fragment.durations[-1]

    @property
    def timescale(self) -> int:
        return timescale_of(self.header)


def movie_header(tracks: Sequence[Track], media_bytes: int) -> bytes:
    """Everything before the samples of an MP4: ftyp, moov, and the head of an mdat of `media_bytes`."""
    brand = _BRANDS.get(sample_entry_of(tracks[0].header), b"")
    return _head(write_box(b"ftyp", _FTYP % brand), partial(_moov, tracks), media_bytes)


def excerpt_header(track: Track, lag: int, media_bytes: int) -> bytes:
    """Everything before some samples of a track that has no edit list.

    They are decoded from 0 on, in the order of their times, each `lag` ticks before that.
    """
    ftyp = {box.kind: track.header[box.start : box.end] for box in boxes(track.header)}
    mvhd = write_box(b"mvhd", payload(track.header, "moov/mvhd"))
    tkhd = write_box(b"tkhd", payload(track.header, "moov/trak/tkhd"))
    order = sorted(track.times)

    def moov(media_start: int) -> bytes:
        return write_box(
            b"moov", mvhd, write_box(b"trak", tkhd, _mdia(track, order, lag, media_start))
        )

    return _head(ftyp.get(b"ftyp", b""), moov, media_bytes)


def _head(ftyp: bytes, moov: Callable[[int], bytes], media_bytes: int) -> bytes:
    """`moov` is called with the byte at which the media data begins, of which its own length is a part."""
    mdat = struct.pack(">I4sQ", 1, b"mdat", media_bytes + 16)
    return ftyp + moov(len(ftyp) + len(moov(0)) + len(mdat)) + mdat


def _moov(tracks: Sequence[Track], media_start: int) -> bytes:
    scale = min(MAX_MOVIE_TIMESCALE, tracks[0].timescale)
    traks = [_trak(number, track, media_start, scale) for number, track in enumerate(tracks, 1)]
    mvhd = bytearray(payload(tracks[0].header, "moov/mvhd"))
    struct.pack_into(">II", mvhd, 12, scale, max(duration for _, duration in traks))
    struct.pack_into(">I", mvhd, len(mvhd) - 4, len(tracks) + 1)
    return write_box(b"moov", write_box(b"mvhd", bytes(mvhd)), *(trak for trak, _ in traks))


def _trak(number: int, track: Track, media_start: int, movie_scale: int) -> tuple[bytes, int]:
    """The track, and its duration in ticks of the movie."""
    scale = track.timescale
    order = sorted(track.times)
    # Samples are decoded in presentation order, so much earlier that each is there in time.
    delay = max(shown - coded for shown, coded in zip(order, track.times, strict=True))
    begin = max(0, order[0])
    # An edit of no length shows nothing.
    shown_movie = max(1, round((order[-1] + track.last - begin) * movie_scale / scale))
    begin_movie = round(begin * movie_scale / scale)
    edits = [(begin_movie, -1)] if begin_movie else []
    edits.append((shown_movie, delay + begin - order[0]))
    tkhd = bytearray(payload(track.header, "moov/trak/tkhd"))
    struct.pack_into(">I", tkhd, 12, number)
    struct.pack_into(">I", tkhd, 20, begin_movie + shown_movie)
    trak = write_box(
        b"trak",
        write_box(b"tkhd", bytes(tkhd)),
        write_box(b"edts", _elst(edits)),
        _mdia(track, order, delay, media_start),
    )
    return trak, begin_movie + shown_movie


def _mdia(track: Track, order: Sequence[int], delay: int, media_start: int) -> bytes:
    """The track's description and tables; samples are decoded at the times in `order`, less `delay`."""
    length = order[-1] + track.last - order[0]
    mdhd = payload(track.header, "moov/trak/mdia/mdhd")
    handler = find(track.header, "moov/trak/mdia/hdlr")
    minf = find(track.header, "moov/trak/mdia/minf")
    kept = [
        track.header[box.start : box.end]
        for box in boxes(track.header, minf.content, minf.end)
        if box.kind != b"stbl"
    ]
    return write_box(
        b"mdia",
        write_full_box(
            b"mdhd", 1, 0, bytes(16), struct.pack(">IQ", track.timescale, length), mdhd[-4:]
        ),
        track.header[handler.start : handler.end],
        write_box(b"minf", *kept, _stbl(track, order, delay, media_start)),
    )


def _elst(edits: Sequence[tuple[int, int]]) -> bytes:
    """`edits` are duration in the movie and time in the media, -1 for nothing."""
    rows = (struct.pack(">QqI", duration, time, _MEDIA_RATE_1) for duration, time in edits)
    return write_full_box(b"elst", 1, 0, struct.pack(">I", len(edits)), *rows)


def _stbl(track: Track, order: Sequence[int], delay: int, media_start: int) -> bytes:
    stsd = find(track.header, "moov/trak/mdia/minf/stbl/stsd")
    gaps = [later - earlier for earlier, later in pairwise(order)] + [track.last]
    shifts = [coded - shown + delay for coded, shown in zip(track.times, order, strict=True)]
    parts = [track.header[stsd.start : stsd.end], _runs(b"stts", gaps)]
    if any(shifts):
        parts.append(_runs(b"ctts", shifts))
    if len(track.keys) < len(track.sizes):
        parts.append(_numbers(b"stss", track.keys))
    counts = [(number, count) for number, (_, count) in enumerate(track.chunks, 1)]
    changes = [next(group) for _, group in groupby(counts, lambda chunk: chunk[1])]
    rows = (struct.pack(">III", number, count, 1) for number, count in changes)
    parts.append(write_full_box(b"stsc", 0, 0, struct.pack(">I", len(changes)), *rows))
    parts.append(_numbers(b"stsz", track.sizes, struct.pack(">I", 0)))  # no size for all of them
    parts.append(
        _numbers(b"co64", array("Q", (media_start + offset for offset, _ in track.chunks)))
    )
    return write_box(b"stbl", *parts)


def _runs(kind: bytes, values: Sequence[int]) -> bytes:
    """A table of equal values in a row: how many, and the value."""
    runs = [(sum(1 for _ in group), value) for value, group in groupby(values)]
    rows = (struct.pack(">II", *run) for run in runs)
    return write_full_box(kind, 0, 0, struct.pack(">I", len(runs)), *rows)


def _numbers(kind: bytes, values: array[int], before: bytes = b"") -> bytes:
    """A table of numbers: `before`, how many there are, and they, big-endian."""
    swapped = values[:]
    swapped.byteswap()
    return write_full_box(kind, 0, 0, before, struct.pack(">I", len(values)), swapped.tobytes())
