"""The index of a film's frames, read from its container without the media data: PyAV, in a child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, takewhile
from operator import attrgetter
from typing import IO, NamedTuple

import av
import msgspec
import numpy as np
from av.container import InputContainer
from av.index import IndexEntries
from av.stream import Discard, Stream

from chalicelib.engines.decoder import keep_memory
from chalicelib.errors import JobError
from chalicelib.formats import mp4, mp4_excerpt
from chalicelib.formats.mp4_excerpt import Packed
from chalicelib.formats.mp4_tables import Column, Columns, Moov, columns_of, copied, tables_of
from chalicelib.formats.preamble import MOST_BYTES, preamble
from chalicelib.model.facts import (
    FINEST_TIMESCALE,
    SOUND_SECONDS,
    Coded,
    Cut,
    Index,
    SoundCut,
    VideoFacts,
)
from chalicelib.probing.read_ahead import NO_KEYS, Layout
from chalicelib.probing.video import Film, facts_of, opened, to_fraction

_MOST_PARTS = 50_000
# Of what every plan of the film carries.
_MOST_TRACK_BYTES = 64 * 1024
# FFmpeg takes larger offsets between times for damage (libavformat/mov.c).
_MOST_LAG = 2**28
# Tables of an excerpt have 31 bits for the step from one time to the next: a gap, and twice the lag.
_MOST_TICKS = 2**30
# FFmpeg's index has no room for larger samples (AVIndexEntry): they come out negative.
_MOST_BYTES = 2**29
_MOST_SPAN = 2**62
# Packets at each end of a film.
_ASKED = 32
_ENTRY = attrgetter("timestamp", "pos", "size", "is_keyframe", "is_discard")


class Uncut(Exception):
    """The film has to be encoded as a whole; the message says why."""


class _Unindexed(Uncut):
    """Its container has no index."""


class _Packets(NamedTuple):
    """The packets of a stream in coding order, in columns: of a long film there are a million."""

    times: Column  # when each is shown or heard, in ticks
    begins: Column
    sizes: Column
    ends: Column
    keys: Column  # numbers of those that are key frames
    dropped: Column  # of those that an edit list leaves out: they are decoded only
    last: int  # how long the last one lasts
    packed: Packed | None  # them, where that is there already


def look_at(
    source: IO[bytes], demuxer: str, size: int, max_streams: int, max_pixels: int
) -> VideoFacts:
    """The facts of a film with its index. Raises JobError."""
    keep_memory()
    with opened(source, demuxer, size, max_streams) as film:
        return with_index(film, facts_of(film, max_pixels))


def with_index(film: Film, facts: VideoFacts) -> VideoFacts:
    """The facts with the index of the film, or with the reason why it has none that can be relied on.

    Nothing can be read of the pictures and the sound of the film after that. Raises FFmpegError.
    """
    try:
        return msgspec.structs.replace(facts, index=_index(film, facts))
    except Uncut as reason:
        unindexed = isinstance(reason, _Unindexed)
        return msgspec.structs.replace(facts, uncut=str(reason), unindexed=unindexed)


def _index(film: Film, facts: VideoFacts) -> Index:
    if film.demuxer != "mov":
        raise _Unindexed("its container has no index of every frame")
    if film.layout is None:
        raise _Unindexed("its container is in fragments")
    container, size = film.container, film.size
    film.hollow.hide(film.layout.media)
    video = container.streams[facts.video_stream]
    start_us = container.start_time or 0
    track = _Track(film, film.layout, video)
    packets = _pictures(container, track, size)
    timescale = 1 / (to_fraction(video.time_base) or Fraction(1))
    if timescale.denominator != 1 or timescale > FINEST_TIMESCALE:
        raise Uncut("its clock is finer than a cut can be")
    times = packets.times
    if int(times.max()) - int(times.min()) >= _MOST_SPAN:
        raise Uncut("its times are years apart")
    shown = np.sort(np.delete(times, packets.dropped))
    if not len(shown):
        raise Uncut("its index is empty")
    durations = tuple(_steps(shown, packets.last))
    _check_dropped(times[packets.dropped], shown, durations)
    latest = np.maximum.accumulate(times)  # up to each packet
    lag = int((latest - times).max())
    if lag >= _MOST_LAG:
        raise Uncut("its frames are coded hours before they are shown")
    pictures = _coded(packets, track, lag)
    sound, sound_cuts = None, list[SoundCut]()
    if facts.audio_stream is not None:
        audio = _Track(film, film.layout, container.streams[facts.audio_stream])
        heard = _heard(audio, size)
        _check_shared(size, *((each.begins, each.sizes, each.ends) for each in (packets, heard)))
        sound, sound_cuts = _sound(audio, heard, start_us)
    return Index(
        timescale=int(timescale),
        start=round(Fraction(start_us, av.time_base) * timescale),
        start_us=start_us,
        steps=durations,
        cuts=tuple(_cuts(packets, shown, latest, int(timescale))),
        pictures=msgspec.structs.replace(
            pictures, preamble=preamble(facts.video_codec, pictures.track, _first(film, packets))
        ),
        sound=sound,
        sound_cuts=tuple(sound_cuts),
    )


def _first(film: Film, packets: _Packets) -> bytes:
    """The first bytes of the first frame, which has been decoded: they are fetched already."""
    film.source.seek(int(packets.begins[0]))
    return film.source.read(min(int(packets.sizes[0]), MOST_BYTES))


def _coded(packets: _Packets, track: _Track, lag: int = 0) -> Coded:
    packed = packets.packed or mp4_excerpt.pack(
        packets.times, packets.begins, packets.sizes, packets.keys
    )
    return Coded(*packed, track.description(), packets.last or 1, lag)


def _check_dropped(times: Column, shown: Column, durations: Sequence[tuple[int, int]]) -> None:
    """Raises Uncut where frames are left out in the middle: by their times they must be told apart."""
    _, first_lasts = durations[0]
    _, last_lasts = durations[-1]
    ahead, behind = shown[0] - times, times - shown[-1]
    inside = (2 * ahead <= first_lasts) & (2 * behind <= last_lasts)
    if inside.any() or np.maximum(ahead, behind).max(initial=0) >= _MOST_TICKS:
        raise Uncut("it has more than one edit")


class _Track:
    """A stream, and the boxes that describe it."""

    def __init__(self, film: Film, layout: Layout, stream: Stream) -> None:
        moov = Moov(film.source, layout.moov) if layout.moov else None
        box = moov.track(stream.id) if moov else None
        if moov is None or box is None:
            raise _Unindexed("its index is hidden")
        self.source = film.source
        self.stream = stream
        self.box = box
        self._moov = moov
        self._ftyp = layout.ftyp
        self._ahead = film.ahead.get(box)

    def tables(self, samples: int) -> tuple[Columns, Packed | None] | None:
        """What the tables say of so many samples, and these packed, where that is there already."""
        prepared = self._ahead.result() if self._ahead else None
        if prepared and len(prepared.columns.sizes) == samples:
            # FFmpeg may believe another box of what kind a track is.
            is_kind = prepared.sound == (self.stream.type == "audio")
            return prepared.columns, prepared.packed if is_kind else None
        tables = tables_of(self.source, self.box)
        columns = columns_of(tables, samples) if tables else None
        return (columns, None) if columns else None

    def description(self) -> bytes:
        """What the container says of it, but for its samples."""
        kept = self._moov.without_tables(self.box, _MOST_TRACK_BYTES)
        if kept is None or len(kept) > _MOST_TRACK_BYTES:
            raise Uncut("its tracks are not described as usual")
        if mp4.descriptions_of(kept) != 1:
            raise Uncut("a track of it is coded in more than one way")
        if Fraction(1, mp4.timescale_of(kept) or 1) != to_fraction(self.stream.time_base):
            raise Uncut("its clocks are unclear")
        brands = copied(self.source, self._ftyp, _MOST_TRACK_BYTES) if self._ftyp else None
        return (brands or b"") + kept


class _Entries(NamedTuple):
    """FFmpeg's index of a stream, as _Packets; the times are those of decoding."""

    times: Column
    begins: Column
    sizes: Column
    ends: Column
    keys: Column
    dropped: Column
    tables: Columns | None  # where they say the same, but for when the first is
    packed: Packed | None


def _entries(track: _Track, size: int) -> _Entries:
    """FFmpeg's index, which knows of edits, entry by entry; or tables in bulk, where it only shifts them."""
    entries = track.stream.index_entries
    tables, packed = track.tables(len(entries)) or (None, None)
    start = entries[0].timestamp
    # Packets of sound before an edit are for the decoder only; frames are not in their order.
    sound = track.stream.type == "audio"
    ahead = sum(1 for _ in takewhile(attrgetter("is_discard"), entries)) if sound else 0
    if tables and _agree(entries, tables, start, ahead):
        times = tables.decoded + start
        begins, sizes, keys = tables.begins, tables.sizes, tables.keys
        dropped = np.arange(ahead)
    else:
        tables = packed = None
        told = np.array([*map(_ENTRY, entries)], dtype=np.int64)
        times, begins, sizes = np.ascontiguousarray(told.T[:3])
        keys, dropped = map(np.flatnonzero, told.T[3:])
    ends = begins + sizes
    _check_shared(size, (begins, sizes, ends))
    if begins.min() < 0 or ends.max() > size:
        raise Uncut("it ends before its index does")
    if sizes.min() < 0 or sizes.max() >= _MOST_BYTES:
        raise Uncut("a frame of it is larger than any")
    return _Entries(times, begins, sizes, ends, keys, dropped, tables, packed)


def _check_shared(size: int, *tracks: tuple[Column, Column, Column]) -> None:
    """Raises JobError where samples of a file share its bytes: begins, sizes and ends of each track.

    So a small file could be a film of any length. Each sample takes a byte at least, and none of those counts
    that a file which was cut off has no more.
    """
    taken = 0
    for begins, sizes, ends in tracks:
        inside = (begins >= 0) & (sizes >= 0) & (ends <= size)
        taken += int(np.maximum(sizes, 1)[inside].sum())
    if taken > size:
        detail = "The samples of the video share its bytes: it is damaged, or made to harm."
        raise JobError("source_damaged", detail)


def _agree(entries: IndexEntries, tables: Columns, start: int, dropped: int) -> bool:
    """Whether some samples of both are the same. As there is one edit at most, all others are then, too."""
    count = len(entries)
    asked = [
        *{*range(count)[:_ASKED], *range(count)[-_ASKED:], min(dropped, count - 1), count // 2},
    ]
    keys = tables.keys
    is_key = keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked
    columns = (tables.decoded[asked] + start, tables.begins[asked], tables.sizes[asked], is_key)
    told = zip(*(column.tolist() for column in columns), strict=True)
    return [_ENTRY(entries[n]) for n in asked] == [
        (*row, n < dropped) for n, row in zip(asked, told, strict=True)
    ]


def _pictures(container: InputContainer, track: _Track, size: int) -> _Packets:
    if not len(track.stream.index_entries):
        raise Uncut("its index is empty")
    for stream in container.streams:
        if stream is not track.stream:
            stream.discard = Discard.all
    entries = _entries(track, size)
    times, last, packed = _shown(container, track.stream, entries)
    begins, sizes, ends = entries.begins, entries.sizes, entries.ends
    return _Packets(times, begins, sizes, ends, entries.keys, entries.dropped, last, packed)


def _shown(
    container: InputContainer, video: Stream, entries: _Entries
) -> tuple[Column, int, Packed | None]:
    """When each packet is shown, how long the last one lasts, and the packets packed, if they are.

    FFmpeg tells that packet by packet, of which a film has hundreds of thousands. Where all it does is to
    shift what the tables say, it is asked for those at both ends.
    """
    container.seek(int(entries.times[0]), stream=video, any_frame=True)
    demuxed = _demuxed(container, video)
    head = list(islice(demuxed, _ASKED))
    if head and entries.tables:
        shown = entries.tables.shown
        times = shown + (head[0].time - int(shown[0]))
        if [asked.time for asked in head] == times[: len(head)].tolist():
            container.seek(int(entries.times[-_ASKED:][0]), stream=video, any_frame=True)
            tail = list(_demuxed(container, video))
            if not tail or [asked.time for asked in tail] != times[-len(tail) :].tolist():
                raise Uncut("its times cannot be told from its index")
            return times, tail[-1].duration, entries.packed
    told = [*head, *demuxed]
    if len(told) != len(entries.times):
        raise Uncut("its index is not that of its packets")
    return np.array([asked.time for asked in told]), told[-1].duration, None


class _Told(NamedTuple):
    """What FFmpeg says of a packet, in ticks."""

    time: int
    duration: int


def _demuxed(container: InputContainer, video: Stream) -> Iterator[_Told]:
    for packet in container.demux(video):
        if packet.pts is not None:
            yield _Told(packet.pts, packet.duration or 0)


def _steps(shown: Column, last: int) -> Iterator[tuple[int, int]]:
    """Frames in a row that last equally long: how many, and how long."""
    gaps = np.diff(shown)
    if gaps.min(initial=1) <= 0:
        raise Uncut("two of its frames have the same time")
    if gaps.max(initial=1) >= _MOST_TICKS:
        raise Uncut("it shows a frame for hours")
    gaps = np.append(gaps, last or (gaps[-1] if len(gaps) else 1))
    firsts = np.flatnonzero(np.diff(gaps, prepend=-1))
    counts = np.diff(firsts, append=len(gaps))
    return zip(counts.tolist(), gaps[firsts].tolist(), strict=True)


def _cuts(packets: _Packets, shown: Column, latest: Column, second: int) -> Iterator[Cut]:
    """Key frames, a second apart or more, after which nothing is shown that was coded before.

    Frames that are coded after a key frame and shown before it (ITU-T H.264 and H.265: leading pictures) need
    what was before it, and are decoded with that: `led` says how far that reads.
    """
    times, keys = packets.times, packets.keys
    if keys[:1].tolist() != [0] or times[0] > shown[0]:
        raise Uncut("it does not begin with a key frame")
    later = keys[1:]
    places = np.array([0, *_apart(later[times[later] > latest[later - 1]], packets, shown, second)])
    starts = np.maximum(times[places], shown[0])
    if starts[-1] > shown[-1]:
        raise Uncut("it ends with a key frame that is not shown")
    numbers = np.arange(len(times))
    group = np.repeat(np.arange(len(places)), np.diff(places, append=len(times)))
    led = places.copy()
    leading = np.flatnonzero(times < starts[group])
    np.maximum.at(led, group[leading], leading + 1)
    # Up to `led`, or the key frame alone.
    tails = np.where(numbers < np.maximum(led, places + 1)[group], packets.ends, 0)
    columns = (
        starts,
        np.searchsorted(shown, starts),
        places,
        packets.begins[places],
        led,
        np.minimum.reduceat(times, places),
        np.minimum.reduceat(packets.begins, places),
        np.maximum.reduceat(packets.ends, places),
        np.maximum.reduceat(tails, places),
    )
    return map(Cut, *(column.tolist() for column in columns))


def _apart(places: Column, packets: _Packets, shown: Column, second: int) -> Iterator[int]:
    """Those that are shown a second or more after the one before."""
    before = max(packets.times[0], shown[0])
    for place, time in zip(places.tolist(), packets.times[places].tolist(), strict=True):
        if time >= before + second:
            before = time
            yield place


def _heard(track: _Track, size: int) -> _Packets:
    """The packets of sound, in order. When each is decoded it is heard."""
    entries = _entries(track, size)
    times = entries.times
    # Those before the first one that is heard are for the decoder, which begins in silence.
    if not np.array_equal(entries.dropped, np.arange(len(entries.dropped))):
        raise Uncut("its sound has more than one edit")
    if (np.diff(times) < 0).any():
        raise Uncut("its sound is out of order")
    last = entries.tables.last if entries.tables else int(times[-1] - times[-2:][0])
    if track.stream.start_time is not None and track.stream.duration:
        # Not all of it may be meant to be heard.
        last = min(last, track.stream.start_time + track.stream.duration - int(times[-1]))
    begins, sizes, ends, packed = entries.begins, entries.sizes, entries.ends, entries.packed
    return _Packets(times, begins, sizes, ends, NO_KEYS, NO_KEYS, max(1, last), packed)


def _sound(track: _Track, packets: _Packets, start_us: int) -> tuple[Coded, list[SoundCut]]:
    """The packets of the sound, and where each SOUND_SECONDS of it are."""
    clock = to_fraction(track.stream.time_base) or Fraction(1)
    begins = round(Fraction(start_us, av.time_base) / clock)
    lasts = max(1, round(SOUND_SECONDS / clock))
    times = packets.times
    if np.diff(times).max(initial=0) >= _MOST_TICKS:
        raise Uncut("its sound is silent for hours")
    parts = max(0, int(times[-1]) - begins) // lasts + 1
    if parts > _MOST_PARTS:
        raise Uncut("its sound lasts for days")
    later = np.searchsorted(times, begins + lasts * np.arange(1, parts))
    firsts = np.concatenate(([0], later))
    filled = np.diff(firsts, append=len(times)) > 0
    places = np.zeros((2, parts), dtype=np.int64)
    places[0, filled] = np.minimum.reduceat(packets.begins, firsts[filled])
    places[1, filled] = np.maximum.reduceat(packets.ends, firsts[filled])
    first = np.minimum(firsts, len(times) - 1)
    heard, at = times[first].tolist(), packets.begins[first]
    tick_us, second = 1_000_000 * clock.numerator, clock.denominator
    us = [(time * tick_us + second // 2) // second - start_us for time in heard]
    cuts = list(map(SoundCut, us, firsts.tolist(), at.tolist(), *places.tolist()))
    return _coded(packets, track), cuts
