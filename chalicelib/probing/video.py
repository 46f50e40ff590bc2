"""Facts of a source, found by looking inside: Pillow for images, PyAV for films. Runs in a child."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice, pairwise
from math import atan2, degrees, hypot
from operator import attrgetter, not_
from typing import IO, Any, NamedTuple

import av
import msgspec
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.rational import AVRational
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from chalicelib.engines import decoder
from chalicelib.errors import JobError
from chalicelib.formats import cmaf
from chalicelib.formats.languages import UNKNOWN, tag_of
from chalicelib.formats.mp4_tables import edits_of, read_box
from chalicelib.model.facts import Coding, Colours, VideoFacts, rhythm
from chalicelib.probing.read_ahead import MOST_BYTES, Ahead, Layout, layout_of, looking_ahead

# Files without an index of samples are read whole to count frames, if they are no larger than this.
COUNT_BYTES = 256 * 1024**2
# Streams in no container, of whose length nothing else tells: larger ones are refused.
_UNTIMED = frozenset({"mpegvideo"})
# No codec shows a frame later than so many that are coded after it.
_REORDERED = 32
_BUFFER_BYTES = 1024**2
_ZEROS = bytes(_BUFFER_BYTES)
# Whoever wants to know when packets are shown does not want them looked into: they may be hidden.
_OPTIONS: dict[str, Any] = {"mov": {"options": {"fflags": "noparse"}, "buffer_size": _BUFFER_BYTES}}
_LEFT_OUT = attrgetter("is_discard")
# Sound that old QuickTime compresses well has more than one sample a byte.
_SAMPLES_PER_BYTE = 32
# Frames of a film that are looked at beside the first one, at most; and at how many places anyway.
_MOST_LOOKS = 16
_PLACES = 4
# So many packets from there on a key frame is looked for: of 60 a second, half a minute.
_MOST_PACKETS = 1800


class Hollow(decoder.SizedFile):
    """A file of which parts can be hidden: they read as zeros, and are not fetched."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        super().__init__(size)
        self._source = source
        self._hidden: list[tuple[int, int]] = []

    def hide(self, parts: list[tuple[int, int]]) -> None:
        """From and to, in order; from now on."""
        self._hidden = parts

    def read(self, length: int = -1) -> bytes:
        """As PyAV calls it: of a long film gigabytes, of which each copy would take a second."""
        part = self._part(max(0, min(length, self._size - self._position)))
        self._position += len(part)
        return part

    def _part(self, length: int) -> bytes:
        """At most so many bytes from here on: of what is hidden, or of what lies between."""
        for begin, end in self._hidden:
            if begin <= self._position < end:
                length = min(length, end - self._position)
                return _ZEROS[:length]  # the same object, where it is all of them
            if self._position < begin:
                length = min(length, begin - self._position)
                break
        self._source.seek(self._position)
        return self._source.read(length)


class Film(NamedTuple):
    """A film that FFmpeg has opened."""

    container: InputContainer
    source: IO[bytes]
    hollow: Hollow  # what the container reads of the source
    demuxer: str
    size: int
    edits: int  # how many a track has, at most
    descriptions: int  # in how many ways the samples of a track are coded, at most
    layout: Layout | None  # of an MP4 or MOV that is not in fragments
    ahead: Ahead


@contextmanager
def opened(source: IO[bytes], demuxer: str, size: int, max_streams: int) -> Iterator[Film]:
    """A film, to be looked at. Raises JobError where it is damaged, then or while it is looked at."""
    hollow = Hollow(source, size)
    try:
        is_mov = demuxer == "mov"
        edits, descriptions = _check_tables(source, size) if is_mov else (0, 1)
        layout = layout_of(source, size) if is_mov else None
        with (
            looking_ahead(source, layout) as ahead,
            av.open(hollow, format=demuxer, mode="r", **_OPTIONS.get(demuxer, {})) as container,
        ):
            # What is attached, such as fonts, is read once and is nothing to decode.
            streams = [s for s in container.streams if s.type != "attachment"]
            _check_streams(len(streams), max_streams)
            yield Film(container, source, hollow, demuxer, size, edits, descriptions, layout, ahead)
    except MemoryError:  # FFmpeg's too
        raise
    except (av.error.FFmpegError, EOFError) as error:
        raise _damaged() from error


def facts_of(film: Film, max_pixels: int) -> VideoFacts:
    """Facts of a film. Raises JobError where it has no picture or is too large for us; FFmpegError."""
    if film.demuxer in _UNTIMED and film.size > COUNT_BYTES:
        raise JobError(
            "source_too_large",
            f"The video is in no container, and has {film.size} bytes; at most {COUNT_BYTES} of such are "
            "taken. Put it into one, such as MP4 or MPEG-TS.",
        )
    video = _picture(film)
    _check_pixels(video.width, video.height, max_pixels)
    looker = _Looker(video)
    facts, first = _facts(film, looker)
    if facts.frames is None and film.size <= COUNT_BYTES:
        # The film's own container counts on its place in the other.
        again = Hollow(film.source, film.size)
        with av.open(again, format=film.demuxer, mode="r") as container:
            video = next(s for s in container.streams.video if s.index == facts.video_stream)
            watch = _Watch(video, film.size)
            times, heard, taken = _packets(container, facts, watch)
            # Fragments whose samples share bytes: a film of any length. (Others unpack what they have.)
            if film.demuxer == "mov" and taken > film.size:
                raise _overstated()
            facts = _with_sound(container, facts, heard)
            clock = to_fraction(video.time_base) or Fraction(1, 90000)
        facts = _counted(_as_seen(facts, [first, *watch.looks]), times, clock)
    elif _can_change(film, facts):
        facts = _as_seen(facts, [first, *_around(film, looker)])
    else:
        facts = _as_seen(facts, [first])
    _check_pixels(facts.width, facts.height, max_pixels)  # of what is shown: pixels may be wide
    return facts


def _as_seen(facts: VideoFacts, looks: Sequence[_Look]) -> VideoFacts:
    """The facts of a film of which these frames were looked at.

    It is as large as its largest: recordings of calls begin small.
    """
    for look in looks:
        if unknown := _UNKNOWN_MATRICES.get(look.colours.matrix):
            raise _unsupported(f"coded as {unknown}")
    width, height = max((look.size for look in looks), key=lambda size: size[0] * size[1])
    codings = tuple(dict.fromkeys(look.coding for look in looks))
    return msgspec.structs.replace(
        facts,
        width=width,
        height=height,
        changes=codings if len(codings) > 1 else (),
        interlaced=any(look.interlaced for look in looks),
        alpha=any(look.alpha for look in looks),
        colours=tuple(dict.fromkeys(look.colours for look in looks)),
    )


# The boxes of ISO/IEC 14496-12 that lead to a table of samples.
_BOXES = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})


def _check_tables(source: IO[bytes], size: int) -> tuple[int, int]:
    """How many edits a track has, and in how many ways its samples are coded, at most.

    Raises JobError where a table claims more samples than a film of this size can have: FFmpeg makes a list
    of them all before anyone can look at it.
    """
    edits = descriptions = 0
    ahead = MOST_BYTES
    spans = [(0, size)]
    while spans:
        start, end = spans.pop()
        if start + 8 > end:
            continue
        name, content, following = read_box(source, start, end)
        spans.append((following, end))
        length = min(following, end) - content
        if name == b"moov" and 0 < length <= ahead:
            # Nearly all of it will be read: in a row that takes fewer requests than here and there.
            source.seek(content)
            ahead -= len(source.read(length))
        if name in _BOXES:
            spans.append((content, min(following, end)))
        if name in (b"stsz", b"stz2"):
            source.seek(content + 8)
            if int.from_bytes(source.read(4)) > _SAMPLES_PER_BYTE * size:
                raise _overstated()
        if name == b"elst":
            edits = max(edits, edits_of(source, content, min(following, end)))
        if name == b"stsd":
            source.seek(content + 4)
            descriptions = max(descriptions, int.from_bytes(source.read(4)))
    source.seek(0)
    return edits, descriptions


def _facts(film: Film, looker: _Looker) -> tuple[VideoFacts, _Look]:
    """What is known of a film without its frames, and how the first one is seen."""
    container, video = film.container, looker.video
    if len(video.index_entries) > film.size:
        raise _overstated()
    _check_dolby_vision(video)
    frame = next(container.decode(video), None)
    if frame is None:
        raise _damaged()
    look = looker.look(frame)
    sar = video.sample_aspect_ratio or Fraction(1)
    audio = _first_sound(film)
    # Where frames do not say how long they last FFmpeg takes it for a tick; at the base rate all have a time.
    rates = [rate for rate in map(to_fraction, (video.average_rate, video.base_rate)) if rate]
    rate = min(rates, default=Fraction(25))
    time_base = to_fraction(video.time_base) or Fraction(1, 90000)
    seconds = _seconds(container, video)
    frames = (_shown(video, film.edits) or video.frames) if video.frames else None
    if not seconds or seconds <= 0:
        seconds = (frames or 1) / float(rate)
    facts = VideoFacts(
        demuxer=film.demuxer,
        width=look.coding.width,
        height=look.coding.height,
        seconds=seconds,
        frames=frames,
        frame_rate=str(rate),
        timescale=_timescale(time_base),
        video_stream=video.index,
        audio_stream=audio.index if audio else None,
        audio_rate=audio.sample_rate if audio else 48000,
        audio_channels=audio.channels if audio else 2,
        audio_ambisonic=_ambisonic(audio) if audio else 0,
        audio_language=tag_of(audio.language) if audio else UNKNOWN,
        late=_late(container, frame),
        disordered=film.demuxer == "mxf" and _is_disordered(frame, container.decode(video)),
        steady=video.average_rate == video.base_rate
        and (frames is None or abs(seconds * rate - frames) < 2),
        # Where a film does not say, players take HD for BT.709 and the rest for BT.601.
        matrix="bt709" if min(frame.width, frame.height) >= _HD_LINES else "smpte170m",
        video_codec=video.codec_context.codec.canonical_name,
        audio_codec=audio.codec_context.codec.canonical_name if audio else "",
        looks=_looks(frame, sar),
    )
    return facts, look


def _shown(video: VideoStream, edits: int) -> int:
    """How many frames the index has; the count in the header knows nothing of what edits leave out."""
    entries = video.index_entries
    # One edit leaves frames out at its ends, where their order is not that in which they are shown.
    ends = (*entries[:_REORDERED], *entries[-_REORDERED:])
    if edits <= 1 and not any(map(_LEFT_OUT, ends)):
        return len(entries)
    return sum(map(not_, map(_LEFT_OUT, entries)))


def _looks(frame: VideoFrame, sar: AVRational | Fraction) -> str:
    turned = frame.side_data.get(Type.DISPLAYMATRIX)
    colours = (frame.color_primaries, frame.color_trc, frame.colorspace)
    return " ".join(
        (
            f"{frame.width}x{frame.height}",
            frame.format.name,
            f"{sar.numerator}:{sar.denominator}",
            "interlaced" if frame.interlaced_frame else "progressive",
            "full" if int(frame.color_range) == _FULL_RANGE else "limited",  # also where untold
            *(str(int(value)) for value in colours),
            bytes(turned).hex() if turned else "upright",
        )
    )


_RGB, _UNTOLD = 0, 2  # of ITU-T H.273
# Of the same; what nothing here can turn into RGB.
_UNKNOWN_MATRICES = {11: "YDzDx", 15: "IPT-PQ-c2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_HD_LINES = 720


class _Look(NamedTuple):
    """What a frame is seen to be."""

    coding: Coding
    colours: Colours
    interlaced: bool
    alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        """In square pixels, upright."""
        return self.coding.width, self.coding.height


class _Looker:
    """Looks at frames of a stream, of which none was decoded so far."""

    def __init__(self, video: VideoStream) -> None:
        self.video = video
        context = video.codec_context
        context.thread_count = 1
        # Some decoders forget what the container has told, where the stream tells nothing.
        self._told = [int(video.color_primaries), int(video.color_trc), int(video.colorspace)]
        self._first_sar = context.sample_aspect_ratio
        # FFmpeg's own decoders leave out what WebM has beside the pictures.
        self._alpha = video.metadata.get("alpha_mode") == "1"

    def look(self, frame: VideoFrame) -> _Look:
        sar = self.video.sample_aspect_ratio or Fraction(1)
        now = self.video.codec_context.sample_aspect_ratio
        if now and now != self._first_sar:
            sar = now
        coded = frame.width, frame.height
        shown = max(1, round(frame.width * float(sar))), frame.height
        if _is_turned(frame):
            coded, shown = coded[::-1], shown[::-1]
        return _Look(
            Coding(*coded, *shown, frame.format.name, int(frame.color_range) == _FULL_RANGE),
            self._colours(frame),
            frame.interlaced_frame,
            self._alpha or any(part.is_alpha for part in frame.format.components),
        )

    def _colours(self, frame: VideoFrame) -> Colours:
        own = [int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)]
        primaries, transfer, matrix = (
            other if number == _UNTOLD else number
            for number, other in zip(own, self._told, strict=True)
        )
        return Colours(primaries, transfer, _RGB if frame.format.is_rgb else matrix)

    def decoded(self, packet: Packet[Any]) -> Iterator[_Look]:
        """What a key frame is seen to be, if it can be decoded."""
        context = self.video.codec_context
        with suppress(av.error.FFmpegError, EOFError):
            for frame in [*context.decode(packet), *context.decode(None)]:
                yield self.look(frame)
        context.flush_buffers()


def _is_turned(frame: VideoFrame) -> bool:
    """Whether FFmpeg turns it by a quarter: at other angles what it makes is as large as the frame."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    across, down = hypot(a, c), hypot(b, d)
    if not across or not down:
        return False
    return abs(abs(degrees(atan2(b / down, a / across))) - 90) < 0.5


# Whose frames can be interlaced or not from one to the next.
_BY_FRAME = frozenset({"h264", "mpeg2video", "vc1"})


class _Watch:
    """Looks at the frames of a film where it changes, while its packets go by in their order."""

    def __init__(self, video: VideoStream, size: int) -> None:
        self.looks: list[_Look] = []
        self._looker = _Looker(video)
        self._codec = video.codec_context.codec.canonical_name
        self._headers: BitStreamFilterContext | None = None
        with suppress(av.error.FFmpegError):
            self._headers = BitStreamFilterContext("extract_extradata", video)
        self._last = b""
        self._step = size // _PLACES if self._codec in _BY_FRAME else size
        self._due = self._step

    def see(self, packet: Packet[Any]) -> None:
        if not packet.is_keyframe or len(self.looks) >= _MOST_LOOKS:
            return
        place = packet.pos or 0
        for each in self._with_header(packet):
            header = self._header(each) or self._last
            changes = bool(self._last) and header != self._last
            self._last = header
            if changes or place >= self._due:
                self._due = max(self._due, place) + self._step
                self.looks.extend(self._looker.decoded(each))

    def _with_header(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if self._headers is None:
            return [packet]
        with suppress(av.error.FFmpegError):
            return self._headers.filter(packet)
        self._headers = None  # it is not coded as it says
        return []

    def _header(self, packet: Packet[Any]) -> bytes:
        """What a key frame says of how it is coded; nothing where it does not, or nobody knows where."""
        if self._codec == "vp8":
            return bytes(memoryview(packet)[3:10])  # RFC 6386, 9.1
        if self._codec == "vp9":
            return bytes(memoryview(packet)[:9])  # as far as its size
        if packet.has_sidedata("new_extradata"):
            return bytes(packet.get_sidedata("new_extradata"))
        return b""


# Containers of several programmes, whose streams have no table of samples; they are read from any byte on.
_PROGRAMMES = frozenset({"mpegts", "mpeg"})


def _can_change(film: Film, facts: VideoFacts) -> bool:
    """Whether a film that is not read whole should be looked at here and there, which costs little."""
    if film.layout is None:
        return film.demuxer in _PROGRAMMES
    return film.descriptions > 1 or facts.video_codec in _BY_FRAME


def _around(film: Film, looker: _Looker) -> Iterator[_Look]:
    """How key frames at some places of a film are seen."""
    container, video = film.container, looker.video
    for number in range(1, _PLACES):
        with suppress(av.error.FFmpegError, EOFError):
            if film.demuxer in _PROGRAMMES:
                container.seek(film.size * number // _PLACES, unsupported_byte_offset=True)
            else:
                at = (video.start_time or 0) + (video.duration or 0) * number // _PLACES
                container.seek(at, stream=video)
            packets = islice(container.demux(video), _MOST_PACKETS)
            key = next((packet for packet in packets if packet.is_keyframe), None)
            if key is not None:
                yield from looker.decoded(key)


def _picture(film: Film) -> VideoStream:
    """The stream that is the film: others may be a preview of it, or not meant to be shown."""
    cover = av.stream.Disposition.attached_pic
    streams = [
        stream
        for stream in film.container.streams.video
        if not stream.disposition & cover and stream.codec_context is not None
    ]
    if not streams:
        raise JobError("no_video_stream", "The file has no video stream; the steps need one.")
    longest = max(map(_length, streams))

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        enabled = bool(stream.disposition & av.stream.Disposition.default)  # MP4: by tkhd
        is_film = stream.frames != 1 and 2 * _length(stream) >= longest
        # Of several programmes the first has the sound that is taken.
        pixels = 0 if film.demuxer in _PROGRAMMES else stream.width * stream.height
        return is_film, enabled, pixels

    return max(streams, key=rank)


def _length(video: VideoStream) -> float:
    """In seconds; 0 where it is not told."""
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    parts = video.metadata.get("DURATION", "").split(":")  # of Matroska: hours, minutes, seconds
    with suppress(ValueError):
        hours, minutes, seconds = map(float, parts)
        return 3600 * hours + 60 * minutes + seconds
    return 0.0


# Profiles whose colours are Dolby's own (IPT-PQ-c2), and mean nothing without the metadata beside them.
_DOLBY_OWN = frozenset({5, 10, 20})


def _check_dolby_vision(video: VideoStream) -> None:
    """By the configuration record (Dolby Vision Streams within the ISO base media file format, 3.2)."""
    record = video.codec_context.coded_side_data.get("dovi_conf", b"").ljust(8, b"\0")
    profile, compatible_with = record[2], record[7]
    if profile in _DOLBY_OWN and (profile == 5 or not compatible_with):
        raise _unsupported(f"those of Dolby Vision profile {profile}")


def _check_streams(number: int, most: int) -> None:
    if number > most:
        raise JobError(
            "too_many_streams", f"The file has {number} streams; at most {most} are taken."
        )


def _first_sound(film: Film) -> AudioStream | None:
    """The sound that players take: the first that its container marks as the default one, else the first."""
    has_index = film.layout is not None
    heard = [s for s in film.container.streams.audio if _can_be_heard(s, has_index=has_index)]
    default = av.stream.Disposition.default
    return next((s for s in heard if s.disposition & default), heard[0] if heard else None)


# As long as a packet of AAC; what is shorter is a track that was declared, and never filled.
_LEAST_SOUND_SECONDS = cmaf.PACKET_SAMPLES / cmaf.SAMPLE_RATE


def _can_be_heard(stream: AudioStream, *, has_index: bool) -> bool:
    context = stream.codec_context
    if context is None or context.sample_rate <= 0 or context.channels <= 0:
        return False
    if not has_index:
        return True
    lasts = (stream.duration or 0) * (to_fraction(stream.time_base) or 0)
    return len(stream.index_entries) > 0 and not 0 < lasts < _LEAST_SOUND_SECONDS


def _ambisonic(stream: AudioStream) -> int:
    """How many channels are of a sound field, in the order of AmbiX (RFC 8486, 3.1)."""
    return sum(channel.name.startswith("AMBI") for channel in stream.codec_context.layout.channels)


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise JobError(
            "too_many_pixels",
            f"The video is {width} × {height}; at most {most} pixels are taken.",
        )


# Codecs with the longest groups that are out of order, at few frames a second.
_MOST_EARLY_SECONDS = 60.0


def _late(container: InputContainer, first: VideoFrame) -> float:
    """Seconds from the start of the film to its first picture."""
    if first.pts is None:
        return 0.0
    begins = first.pts * (to_fraction(first.time_base) or 0)
    late = float(begins - _start(container))
    return late if late >= -_MOST_EARLY_SECONDS else 0.0


def _is_disordered(first: VideoFrame, following: Iterator[VideoFrame]) -> bool:
    """Whether times go back as frames are shown: an MXF need not tell how they are to be reordered."""
    frames = (first, *islice(following, _REORDERED))
    times = [frame.pts for frame in frames if frame.pts is not None]
    return any(later < earlier for earlier, later in pairwise(times))


def _start(container: InputContainer) -> Fraction:
    """When the film starts, in seconds: FFmpeg takes that for zero."""
    return Fraction(container.start_time or 0, av.time_base)


def _seconds(container: InputContainer, video: VideoStream) -> float | None:
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    return container.duration / av.time_base if container.duration else None


class _Packets(NamedTuple):
    """When the packets of a film are shown; when those of its sound are heard, and for how long. In ticks.

    And how many bytes they have.
    """

    times: list[int]
    heard: list[tuple[int | None, int]]
    taken: int


def _packets(container: InputContainer, facts: VideoFacts, watch: _Watch) -> _Packets:
    """Of every packet of a film, which are shown to `watch` as they go by."""
    used = [n for n in (facts.video_stream, facts.audio_stream) if n is not None]
    times, heard, taken = list[int](), list[tuple[int | None, int]](), 0
    for packet in container.demux([container.streams[n] for n in used]):
        taken += packet.size
        if packet.stream_index != facts.video_stream:
            if packet.size:
                heard.append((packet.pts, packet.duration or 0))
        elif packet.pts is not None:
            times.append(packet.pts)
            watch.see(packet)
    return _Packets(sorted(times), heard, taken)


def _counted(facts: VideoFacts, times: Sequence[int], time_base: Fraction) -> VideoFacts:
    """The facts of a file without an index of samples, of which every packet was read."""
    if not times:
        raise _damaged()
    seconds = (times[-1] - times[0]) * time_base + 1 / Fraction(facts.frame_rate)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Elsewhere a packet can be half a frame, or one that is never shown.
    exact = facts.video_codec in ("h264", "hevc", "vp9", "av1") and not facts.interlaced
    finer = time_base * facts.timescale
    return msgspec.structs.replace(
        facts,
        seconds=float(seconds),
        frames=len(times) if exact else None,
        # Containers that count in milliseconds round.
        steady=facts.steady and max(gaps, default=0) < 2 * min(gaps, default=1),
        rhythm=rhythm(int(time * finer) for time in times),
    )


def _with_sound(
    container: InputContainer, facts: VideoFacts, heard: Sequence[tuple[int | None, int]]
) -> VideoFacts:
    """The facts with when the sound ends, of whose packets this is when each is heard, and for how long."""
    if facts.audio_stream is None:
        return facts
    tick = to_fraction(container.streams[facts.audio_stream].time_base) or Fraction(1)
    told = [(time, time + lasts) for time, lasts in heard if time is not None]
    begin, end = min(told, default=(0, 0))[0], max((end for _, end in told), default=0)
    if not heard or (told and (end - begin) * tick < _LEAST_SOUND_SECONDS):
        return msgspec.structs.replace(facts, audio_stream=None)
    # Where a clock starts anew, as in films that were joined byte by byte, no packet says when it all ends.
    restarts = any((one - other) * tick > 1 for (one, _), (other, _) in pairwise(told))
    seconds = float(end * tick - _start(container)) if told and not restarts else None
    return msgspec.structs.replace(facts, audio_seconds=seconds)


def to_fraction(rational: AVRational | Fraction | None) -> Fraction | None:
    return Fraction(rational.numerator, rational.denominator) if rational else None


def _timescale(time_base: Fraction) -> int:
    """Ticks a second that are fine enough for any frame rate; whole in `time_base`, if they can be."""
    ticks = Fraction(1) / time_base
    scale = ticks.numerator
    while scale < 10_000:
        scale *= 2
    return scale if scale <= _FINEST_TIMESCALE else _MICROSECONDS


# MP4 has 31 bits for how long a frame lasts. Raw MPEG video counts as fine as this; where something is finer
# still, microseconds are finer than anybody sees.
_FINEST_TIMESCALE = 1_200_000
_MICROSECONDS = 1_000_000


def _unsupported(colours: str) -> JobError:
    return JobError(
        "unsupported_colours",
        f"The video's colours are {colours}, which Sluice cannot read. Export it as HDR10, HLG or SDR.",
    )


def _overstated() -> JobError:
    detail = "The file claims to hold more than it has room for: it is damaged, or made to harm."
    return JobError("source_damaged", detail)


def _damaged() -> JobError:
    return JobError("source_damaged", "The video cannot be read: it is damaged or incomplete.")
