"""Boxes of ISO base media files (ISO/IEC 14496-12): fragments read and written, an index built. Pure bytes.

FFmpeg makes the fragments; what is done here is what it cannot do without a disk that grows with the film:
cut fragments into segments, and put an index before samples that are only passed on.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, groupby, pairwise, repeat
from mmap import mmap
from typing import NamedTuple

# The durations of the movie have 32 bits, which last for twelve hours of these.
_MOST_MOVIE_TIMESCALE = 90_000
_NOT_A_KEY = 0x00010000  # sample_is_non_sync_sample
_FTYP = b"isom\x00\x00\x02\x00isomiso2avc1mp41"


class Box(NamedTuple):
    """A box: its type, and where it begins, its payload begins and it ends."""

    kind: bytes
    start: int
    inside: int
    end: int


def boxes(data: bytes | mmap, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that lie side by side in `data`. Raises ValueError where one ends outside."""
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise ValueError("A box has no room for its head.")
        size, kind = struct.unpack_from(">I4s", data, start)
        inside = start + 8
        if size == 1:
            size, inside = struct.unpack_from(">Q", data, inside)[0], inside + 8
        if size < inside - start or start + size > end:
            raise ValueError(f"A box {kind!r} ends outside of what it lies in.")
        yield Box(kind, start, inside, start + size)
        start += size


def _child(data: bytes | mmap, path: str, start: int = 0, end: int | None = None) -> Box:
    found: Box | None = None
    for kind in path.split("/"):
        found = next(b for b in boxes(data, start, end) if b.kind == kind.encode())
        start, end = found.inside, found.end
    assert found is not None
    return found


def _payload(data: bytes, path: str) -> bytes:
    found = _child(data, path)
    return data[found.inside : found.end]


def _box(kind: str, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind.encode()) + body


def _full(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


# ── fragments ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fragment:
    """One moof and its mdat. Times in ticks of the track: when each sample is shown, in coding order."""

    data: int  # where its samples begin in the file
    end: int
    sizes: tuple[int, ...]
    times: tuple[int, ...]
    durations: tuple[int, ...]
    keys: tuple[bool, ...]

    @property
    def shown_at(self) -> int:
        return min(self.times)

    @property
    def shown_until(self) -> int:
        return max(time + last for time, last in zip(self.times, self.durations, strict=True))


def split(data: bytes | mmap) -> tuple[bytes, list[Fragment]]:
    """The initialisation (ftyp and moov) of a fragmented file with one track, and its fragments."""
    header, fragments, moof = 0, [], None
    for box in boxes(data):
        if box.kind in (b"ftyp", b"moov"):
            header = box.end
        elif box.kind == b"moof":
            moof = box
        elif box.kind == b"mdat" and moof is not None:
            fragments.append(_fragment(data, moof, box))
            moof = None
    return data[:header], fragments


def _fragment(data: bytes | mmap, moof: Box, mdat: Box) -> Fragment:
    traf = _child(data, "traf", moof.inside, moof.end)
    duration, size, flags = 0, 0, 0
    time = 0
    sizes, times, durations, keys = [], [], [], []
    for box in boxes(data, traf.inside, traf.end):
        (has,) = struct.unpack_from(">I", data, box.inside)
        at = box.inside + 4
        if box.kind == b"tfhd":
            at += 4 + 8 * bool(has & 0x1) + 4 * bool(has & 0x2)
            for bit in (0x8, 0x10, 0x20):
                if has & bit:
                    (value,) = struct.unpack_from(">I", data, at)
                    at += 4
                    duration, size, flags = (
                        value if bit == 0x8 else duration,
                        value if bit == 0x10 else size,
                        value if bit == 0x20 else flags,
                    )
        elif box.kind == b"tfdt":
            (time,) = struct.unpack_from(">Q" if has >> 24 else ">I", data, at)
        elif box.kind == b"trun":
            (count,) = struct.unpack_from(">I", data, at)
            at += 4 + 4 * bool(has & 0x1)
            first = struct.unpack_from(">I", data, at)[0] if has & 0x4 else None
            at += 4 * bool(has & 0x4)
            columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if has & bit]
            row = struct.Struct(">" + "".join("i" if bit == 0x800 else "I" for bit in columns))
            end = at + count * row.size
            rows = row.iter_unpack(data[at:end]) if columns else repeat((), count)
            for number, values in enumerate(rows):
                told = dict(zip(columns, values, strict=True))
                flag = first if number == 0 and first is not None else told.get(0x400, flags)
                durations.append(told.get(0x100, duration))
                sizes.append(told.get(0x200, size))
                times.append(time + told.get(0x800, 0))
                keys.append(not flag & _NOT_A_KEY)
                time += durations[-1]
    return Fragment(
        mdat.inside,
        mdat.end,
        tuple(sizes),
        tuple(times),
        tuple(durations),
        tuple(keys),
    )


def fragment(
    number: int,
    times: Sequence[int],
    decoded: Sequence[int],
    keys: Sequence[bool],
    samples: Sequence[bytes],
) -> bytes:
    """A moof and its mdat of samples in coding order: when each is shown, and when it is decoded.

    `decoded` has one time more, that of what follows.
    """
    durations = [later - earlier for earlier, later in pairwise(decoded)]
    shifts = [shown - at for shown, at in zip(times, decoded, strict=False)]
    flags = [0 if key else _NOT_A_KEY for key in keys]
    # What is the same for all is said once, in tfhd.
    defaults, columns = b"", [list(map(len, samples))]
    told, has = 0x20000, 0x201
    if len(set(durations)) > 1:
        columns.insert(0, list(durations))
        has |= 0x100
    else:
        defaults += struct.pack(">I", durations[0])
        told |= 0x8
    if len(set(flags)) > 1:
        columns.append(flags)
        has |= 0x400
    else:
        defaults += struct.pack(">I", flags[0])
        told |= 0x20
    if any(shifts):
        columns.append(shifts)
        has |= 0x800
    row = struct.Struct(f">{len(columns)}i")
    rows = [row.pack(*values) for values in zip(*columns, strict=True)]

    def moof(offset: int) -> bytes:
        return _box(
            "moof",
            _full("mfhd", 0, 0, struct.pack(">I", number)),
            _box(
                "traf",
                _full("tfhd", 0, told, struct.pack(">I", 1), defaults),
                _full("tfdt", 1, 0, struct.pack(">Q", decoded[0])),
                _full("trun", 1, has, struct.pack(">Ii", len(rows), offset), *rows),
            ),
        )

    return moof(len(moof(0)) + 8) + _box("mdat", *samples)


def samples_of(data: bytes | mmap, found: Fragment) -> list[bytes]:
    """The samples of a fragment, in coding order."""
    ends = list(accumulate(found.sizes, initial=found.data))
    return [data[begin:end] for begin, end in pairwise(ends)]


def codec_of(header: bytes) -> str:
    """The codec's name (RFC 6381, 3.3) by the profile and level in avcC (ISO/IEC 14496-15, 5.3.3)."""
    start = header.index(b"avcC") + 5
    return f"avc1.{header[start : start + 3].hex()}"


def descriptions_of(header: bytes) -> int:
    """In how many ways samples of the track are coded that an initialisation describes."""
    return int.from_bytes(_payload(header, "moov/trak/mdia/minf/stbl/stsd")[4:8])


def timescale_of(header: bytes) -> int:
    """Ticks a second of the track that an initialisation describes."""
    mdhd = _payload(header, "moov/trak/mdia/mdhd")
    at = 12 if mdhd[:1] == b"\0" else 20
    return int.from_bytes(mdhd[at : at + 4])


# ── an index before the samples ─────────────────────────────────────────────────────────────────


@dataclass
class Track:
    """Samples of one track, as they are added; `header` is the initialisation of its fragments.

    What has a time before `start`, in seconds, is decoded and not shown.
    """

    header: bytes
    start: int
    sizes: array[int] = field(default_factory=lambda: array("I"))
    times: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("I"))
    runs: list[tuple[int, int]] = field(default_factory=list)  # offset, and number of samples
    last: int = 0  # how long the last sample is shown

    def add(self, fragment: Fragment, offset: int) -> None:
        """Samples that lie at `offset` of the media data."""
        self.runs.append((offset, len(fragment.sizes)))
        before = len(self.sizes)
        self.keys.extend(before + n + 1 for n, key in enumerate(fragment.keys) if key)
        self.sizes.extend(fragment.sizes)
        origin = self.start * self.timescale
        self.times.extend(time - origin for time in fragment.times)
        self.last = fragment.durations[fragment.times.index(max(fragment.times))]

    @property
    def timescale(self) -> int:
        return timescale_of(self.header)


def index(tracks: Sequence[Track], media_bytes: int) -> bytes:
    """Everything that comes before the samples: ftyp, moov, and the head of an mdat of `media_bytes`."""
    return _before(_box("ftyp", _FTYP), partial(_moov, tracks), media_bytes)


def excerpt(track: Track, lag: int, media_bytes: int) -> bytes:
    """The same for some samples of a track, without an edit list.

    They are decoded from 0 on, in the order in which they are shown, each `lag` ticks earlier.
    """
    kept = {box.kind: track.header[box.start : box.end] for box in boxes(track.header)}
    mvhd = _box("mvhd", _payload(track.header, "moov/mvhd"))
    tkhd = _box("tkhd", _payload(track.header, "moov/trak/tkhd"))
    order = sorted(track.times)

    def moov(first: int) -> bytes:
        return _box("moov", mvhd, _box("trak", tkhd, _mdia(track, order, lag, first)))

    return _before(kept.get(b"ftyp", b""), moov, media_bytes)


def _before(ftyp: bytes, moov: Callable[[int], bytes], media_bytes: int) -> bytes:
    """What comes before media data, with a moov that knows where they begin."""
    mdat = struct.pack(">I4sQ", 1, b"mdat", media_bytes + 16)
    return ftyp + moov(len(ftyp) + len(moov(0)) + len(mdat)) + mdat


def _moov(tracks: Sequence[Track], first: int) -> bytes:
    scale = min(_MOST_MOVIE_TIMESCALE, tracks[0].timescale)
    traks = [_trak(number, track, first, scale) for number, track in enumerate(tracks, 1)]
    mvhd = bytearray(_payload(tracks[0].header, "moov/mvhd"))
    struct.pack_into(">II", mvhd, 12, scale, max(duration for _, duration in traks))
    struct.pack_into(">I", mvhd, len(mvhd) - 4, len(tracks) + 1)
    return _box("moov", _box("mvhd", bytes(mvhd)), *(trak for trak, _ in traks))


def _trak(number: int, track: Track, first: int, movie_scale: int) -> tuple[bytes, int]:
    """The track, and how long it is shown in ticks of the movie."""
    scale = track.timescale
    order = sorted(track.times)
    # Decoded in the order in which they are shown, so much earlier that each is there in time.
    delay = max(shown - coded for shown, coded in zip(order, track.times, strict=True))
    begin = max(0, order[0])
    # An edit of no length shows nothing.
    shown_movie = max(1, round((order[-1] + track.last - begin) * movie_scale / scale))
    begin_movie = round(begin * movie_scale / scale)
    edits = [(begin_movie, -1)] if begin_movie else []
    edits.append((shown_movie, delay + begin - order[0]))
    tkhd = bytearray(_payload(track.header, "moov/trak/tkhd"))
    struct.pack_into(">I", tkhd, 12, number)
    struct.pack_into(">I", tkhd, 20, begin_movie + shown_movie)
    trak = _box(
        "trak",
        _box("tkhd", bytes(tkhd)),
        _box("edts", _elst(edits)),
        _mdia(track, order, delay, first),
    )
    return trak, begin_movie + shown_movie


def _mdia(track: Track, order: Sequence[int], delay: int, first: int) -> bytes:
    """What the track's samples are, and when and where: they are decoded in the `order` of their times."""
    length = order[-1] + track.last - order[0]
    mdhd = _payload(track.header, "moov/trak/mdia/mdhd")
    handler = _child(track.header, "moov/trak/mdia/hdlr")
    minf = _child(track.header, "moov/trak/mdia/minf")
    kept = [
        track.header[b.start : b.end]
        for b in boxes(track.header, minf.inside, minf.end)
        if b.kind != b"stbl"
    ]
    return _box(
        "mdia",
        _full("mdhd", 1, 0, bytes(16), struct.pack(">IQ", track.timescale, length), mdhd[-4:]),
        track.header[handler.start : handler.end],
        _box("minf", *kept, _stbl(track, order, delay, first)),
    )


def _elst(edits: Sequence[tuple[int, int]]) -> bytes:
    rows = (struct.pack(">QqI", duration, time, 0x00010000) for duration, time in edits)
    return _full("elst", 1, 0, struct.pack(">I", len(edits)), *rows)


def _stbl(track: Track, order: Sequence[int], delay: int, first: int) -> bytes:
    stsd = _child(track.header, "moov/trak/mdia/minf/stbl/stsd")
    gaps = [later - earlier for earlier, later in pairwise(order)] + [track.last]
    shifts = [coded - shown + delay for coded, shown in zip(track.times, order, strict=True)]
    parts = [track.header[stsd.start : stsd.end], _runs("stts", gaps)]
    if any(shifts):
        parts.append(_runs("ctts", shifts))
    if len(track.keys) < len(track.sizes):
        parts.append(_table("stss", track.keys))
    counts = [(number, count) for number, (_, count) in enumerate(track.runs, 1)]
    changes = [next(group) for _, group in groupby(counts, lambda run: run[1])]
    rows = (struct.pack(">III", number, count, 1) for number, count in changes)
    parts.append(_full("stsc", 0, 0, struct.pack(">I", len(changes)), *rows))
    parts.append(_full("stsz", 0, 0, struct.pack(">II", 0, len(track.sizes)), _big(track.sizes)))
    offsets = array("Q", (first + offset for offset, _ in track.runs))
    parts.append(_full("co64", 0, 0, struct.pack(">I", len(offsets)), _big(offsets)))
    return _box("stbl", *parts)


def _runs(kind: str, values: Sequence[int]) -> bytes:
    runs = [(sum(1 for _ in group), value) for value, group in groupby(values)]
    rows = (struct.pack(">II", *run) for run in runs)
    return _full(kind, 0, 0, struct.pack(">I", len(runs)), *rows)


def _table(kind: str, values: array[int]) -> bytes:
    return _full(kind, 0, 0, struct.pack(">I", len(values)), _big(values))


def _big(values: array[int]) -> bytes:
    swapped = values[:]
    swapped.byteswap()
    return swapped.tobytes()
