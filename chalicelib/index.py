"""The index of a film's frames, read from its container without the media data: PyAV, in a child."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import IO, NamedTuple

import av
import msgspec
from av.container import InputContainer
from av.stream import Stream

from chalicelib.child import SizedFile
from chalicelib.chunks import steps
from chalicelib.media import FINEST_TIMESCALE, SOUND_SECONDS, Cut, Index, VideoFacts
from chalicelib.probe import read_box, to_fraction

# What FFmpeg reads of the media data to open a file.
_HEAD_BYTES = 64 * 1024
# A decoder with threads reads on, while the last frames of a part are not out.
_AHEAD = 12
# A file has a handful of boxes, and a fragmented one thousands.
_MOST_BOXES = 64
_BUFFER_BYTES = 1024**2
_ZEROS = bytes(_BUFFER_BYTES)


class Uncut(Exception):
    """The film has to be encoded as a whole; the message says why."""


class _Unindexed(Uncut):
    """Its container has no index."""


class _Packet(NamedTuple):
    time: int
    begin: int
    end: int
    key: bool
    shown: bool  # what an edit list leaves out is decoded only


def with_index(source: IO[bytes], size: int, facts: VideoFacts) -> VideoFacts:
    """The facts with the index of the film, or with the reason why it has none that can be relied on."""
    try:
        return msgspec.structs.replace(facts, index=_read(source, size, facts))
    except Uncut as reason:
        unindexed = isinstance(reason, _Unindexed)
        return msgspec.structs.replace(facts, uncut=str(reason), unindexed=unindexed)


def _read(source: IO[bytes], size: int, facts: VideoFacts) -> Index:
    if facts.demuxer != "mov":
        raise _Unindexed("its container has no index of every frame")
    layout = _layout(source, size)
    with av.open(
        _Hollow(source, size, layout.media),
        format=facts.demuxer,
        mode="r",
        options={"fflags": "noparse"},
        buffer_size=_BUFFER_BYTES,
    ) as container:
        return _index(container, facts, layout, size)


class _Layout(NamedTuple):
    """Byte ranges: what is outside of media data, with the head of it; media data; boxes of tracks."""

    header: list[tuple[int, int]]
    media: list[tuple[int, int]]
    tracks: list[tuple[int, int]]


def _layout(source: IO[bytes], size: int) -> _Layout:
    header: list[tuple[int, int]] = []
    media: list[tuple[int, int]] = []
    tracks: list[tuple[int, int]] = []
    offset = 0
    while offset < size:
        if len(header) > _MOST_BOXES:
            raise _Unindexed("its container is in fragments")
        kind, content, following = read_box(source, offset, size)
        end = min(following, size)
        if kind == b"moof":
            raise _Unindexed("its container is in fragments")
        if kind == b"mdat":
            media.append((min(end, offset + 16 + _HEAD_BYTES), end))
            end = media[-1][0]
        if kind == b"moov":
            tracks += _tracks(source, content, end)
        header.append((offset, end))
        offset = following
    return _Layout(header, media, tracks)


def _tracks(source: IO[bytes], offset: int, end: int) -> Iterator[tuple[int, int]]:
    """The boxes of tracks in a movie's box (ISO/IEC 14496-12, 8.3)."""
    for _ in range(_MOST_BOXES):
        if offset >= end:
            return
        kind, _, following = read_box(source, offset, end)
        if kind == b"trak":
            yield offset, min(following, end)
        offset = following


class _Hollow(SizedFile):
    """A file whose media data reads as zeros, and is not fetched."""

    def __init__(self, source: IO[bytes], size: int, media: list[tuple[int, int]]) -> None:
        super().__init__(size)
        self._source = source
        self._media = media

    def read(self, length: int = -1) -> bytes:
        """As PyAV calls it: of a long film gigabytes, of which each copy would take a second."""
        part = self._part(max(0, min(length, self._size - self._position)))
        self._position += len(part)
        return part

    def _part(self, length: int) -> bytes:
        """At most so many bytes from here on: of media data, or of what lies between."""
        for begin, end in self._media:
            if begin <= self._position < end:
                length = min(length, end - self._position)
                return _ZEROS[:length]  # the same object, where it is all of them
            if self._position < begin:
                length = min(length, begin - self._position)
                break
        self._source.seek(self._position)
        return self._source.read(length)


def _index(container: InputContainer, facts: VideoFacts, layout: _Layout, size: int) -> Index:
    video = container.streams[facts.video_stream]
    timescale = 1 / (to_fraction(video.time_base) or Fraction(1))
    if timescale.denominator != 1 or timescale > FINEST_TIMESCALE:
        raise Uncut("its clock is finer than a cut can be")
    # The key flags of packets would come from the parser, which has only zeros to look at.
    keys = {entry.pos for entry in video.index_entries if entry.is_keyframe}
    start = Fraction(container.start_time or 0, av.time_base)
    packets: list[_Packet] = []
    last = 0
    for packet in container.demux(video):
        if packet.pts is None or packet.pos is None:
            continue
        begin, end = packet.pos, packet.pos + packet.size
        if end > size:
            raise Uncut("it ends before its index does")
        packets.append(_Packet(packet.pts, begin, end, begin in keys, not packet.is_discard))
        last = packet.duration or last
    shown = sorted(packet.time for packet in packets if packet.shown)
    if not shown:
        raise Uncut("its index is empty")
    if any(packet.time > shown[0] for packet in packets if not packet.shown):
        raise Uncut("it has more than one edit")
    # FFmpeg numbers streams as their tracks come; where one is no stream, nobody knows which.
    apart = len(layout.tracks) == len(container.streams) and video.start_time is not None
    video_start = Fraction(video.start_time or 0) / timescale if apart else start
    return Index(
        size=size,
        header=tuple(layout.header),
        timescale=int(timescale),
        start=round(start * timescale),
        start_us=container.start_time or 0,
        video_start=round(video_start * timescale),
        video_start_us=round(video_start * av.time_base),
        steps=tuple(_steps(shown, last)),
        cuts=tuple(_cuts(packets, shown, int(timescale))),
        sound=(
            ()
            if facts.audio_stream is None
            else tuple(_sound(container.streams[facts.audio_stream], start, size))
        ),
        others=tuple(
            track for n, track in enumerate(layout.tracks) if apart and n != facts.video_stream
        ),
    )


def _steps(shown: list[int], last: int) -> Iterator[tuple[int, int]]:
    gaps = [later - earlier for earlier, later in pairwise(shown)]
    if min(gaps, default=1) <= 0:
        raise Uncut("two of its frames have the same time")
    return steps([*shown, shown[-1] + (last or (gaps[-1] if gaps else 1))])


def _cuts(packets: list[_Packet], shown: list[int], second: int) -> Iterator[Cut]:
    """Key frames, a second apart or more, after which nothing is shown that was coded before.

    Frames that are coded after a key frame and shown before it (ITU-T H.264 and H.265: leading pictures) need
    what was before it, and are decoded with that: `tail` says how far that reads.
    """
    if not packets[0].key or packets[0].time > shown[0]:
        raise Uncut("it does not begin with a key frame")
    places = [0]
    latest = shown[0]
    for number, packet in enumerate(packets):
        before = max(packets[places[-1]].time, shown[0])
        if packet.key and packet.time > latest and packet.time >= before + second:
            places.append(number)
        latest = max(latest, packet.time)
    for place, following in pairwise([*places, len(packets)]):
        group = packets[place:following]
        time = max(group[0].time, shown[0])
        leading = [number for number, packet in enumerate(group) if packet.time < time]
        read = packets[place : place + max(leading, default=0) + 1 + _AHEAD]
        yield Cut(
            time,
            bisect_left(shown, time),
            min(packet.begin for packet in group),
            max(packet.end for packet in group),
            max(packet.end for packet in read),
        )


def _sound(stream: Stream, start: Fraction, size: int) -> Iterator[tuple[int, int]]:
    """Bytes that hold each ten seconds of sound; none where there is nothing.

    Of sound, FFmpeg's entries have the times of packets; they are a tenth of the work.
    """
    clock = to_fraction(stream.time_base) or Fraction(1)
    begins, lasts = round(start / clock), max(1, round(SOUND_SECONDS / clock))
    found: dict[int, tuple[int, int]] = {}
    for entry in stream.index_entries:
        begin, end = entry.pos, entry.pos + entry.size
        if end > size:
            raise Uncut("it ends before its index does")
        part = max(0, (entry.timestamp - begins) // lasts)
        before = found.get(part, (begin, end))
        found[part] = min(begin, before[0]), max(end, before[1])
    for part in range(max(found, default=-1) + 1):
        yield found.get(part, (0, 0))
