"""Facts of a source, found by looking inside: Pillow for images, PyAV for films. Runs in a child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter, not_
from typing import IO, Any, NamedTuple

import av
import msgspec
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.rational import AVRational
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from chalicelib import child, chunks
from chalicelib.ahead import MOST_BYTES, Ahead, Layout, layout_of, looking_ahead
from chalicelib.errors import JobError
from chalicelib.languages import UNKNOWN, tag_of
from chalicelib.media import VideoFacts, rhythm
from chalicelib.tables import edits_of, read_box

# Files without an index of samples are read whole to count frames, if they are no larger than this.
COUNT_BYTES = 256 * 1024**2
# Streams in no container, whose length is a guess by their bit rate: however large they are.
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


class Hollow(child.SizedFile):
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
    layout: Layout | None  # of an MP4 or MOV that is not in fragments
    ahead: Ahead


@contextmanager
def opened(source: IO[bytes], demuxer: str, size: int, max_streams: int) -> Iterator[Film]:
    """A film, to be looked at. Raises JobError where it is damaged, then or while it is looked at."""
    hollow = Hollow(source, size)
    try:
        is_mov = demuxer == "mov"
        edits = _check_tables(source, size) if is_mov else 0
        layout = layout_of(source, size) if is_mov else None
        with (
            looking_ahead(source, layout) as ahead,
            av.open(hollow, format=demuxer, mode="r", **_OPTIONS.get(demuxer, {})) as container,
        ):
            # What is attached, such as fonts, is read once and is nothing to decode.
            streams = [s for s in container.streams if s.type != "attachment"]
            _check_streams(len(streams), max_streams)
            yield Film(container, source, hollow, demuxer, size, edits, layout, ahead)
    except MemoryError:  # FFmpeg's too
        raise
    except (av.error.FFmpegError, EOFError) as error:
        raise _damaged() from error


def facts_of(film: Film, max_pixels: int) -> VideoFacts:
    """Facts of a film. Raises JobError where it has no picture or is too large to decode; FFmpegError."""
    facts = _facts(film, max_pixels)
    if facts.frames is None and (film.size <= COUNT_BYTES or film.demuxer in _UNTIMED):
        # The film's own container counts on its place in the other.
        again = Hollow(film.source, film.size)
        with av.open(again, format=film.demuxer, mode="r") as container:
            facts = _counted(container, facts)
    return facts


# The boxes of ISO/IEC 14496-12 that lead to a table of samples.
_BOXES = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})


def _check_tables(source: IO[bytes], size: int) -> int:
    """How many edits a track has, at most.

    Raises JobError where a table claims more samples than a film of this size can have: FFmpeg makes a list
    of them all before anyone can look at it.
    """
    edits = 0
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
    source.seek(0)
    return edits


def _facts(film: Film, max_pixels: int) -> VideoFacts:
    container = film.container
    video = _first_picture(container)
    if len(video.index_entries) > film.size:
        raise _overstated()
    _check_pixels(video.width, video.height, max_pixels)
    video.codec_context.thread_count = 1
    frame = next(container.decode(video), None)
    if frame is None:
        raise _damaged()
    sar = video.sample_aspect_ratio or Fraction(1)
    width, height = _upright(frame.width * float(sar), frame.height, frame.rotation)
    _check_pixels(width, height, max_pixels)  # of what is shown: pixels may be wide
    audio = _first_sound(film)
    # Where frames do not say how long they last FFmpeg takes it for a tick; at the base rate all have a time.
    rates = [rate for rate in map(to_fraction, (video.average_rate, video.base_rate)) if rate]
    rate = min(rates, default=Fraction(25))
    time_base = to_fraction(video.time_base) or Fraction(1, 90000)
    seconds = _seconds(container, video)
    frames = (_shown(video, film.edits) or video.frames) if video.frames else None
    if not seconds or seconds <= 0:
        seconds = (frames or 1) / float(rate)
    return VideoFacts(
        demuxer=film.demuxer,
        width=width,
        height=height,
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
        interlaced=frame.interlaced_frame,
        steady=video.average_rate == video.base_rate
        and (frames is None or abs(seconds * rate - frames) < 2),
        matrix=_matrix(frame),
        transfer=_HDR_TRANSFERS.get(int(frame.color_trc), ""),
        video_codec=video.codec_context.codec.canonical_name,
        audio_codec=audio.codec_context.codec.canonical_name if audio else "",
        looks=_looks(frame, sar),
    )


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


# ITU-T H.273, in the order of its tables.
_HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
_RGB = 0
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
_HD_LINES = 720


def _matrix(frame: VideoFrame) -> str:
    if frame.format.is_rgb or int(frame.colorspace) == _RGB:
        return ""
    # Where a film does not say, players take HD for BT.709 and the rest for BT.601.
    untold = "bt709" if min(frame.width, frame.height) >= _HD_LINES else "smpte170m"
    return _MATRICES.get(int(frame.colorspace), untold)


def _first_picture(container: InputContainer) -> VideoStream:
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover and stream.codec_context is not None:
            return stream
    raise JobError("no_video_stream", "The file has no video stream; the steps need one.")


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
_LEAST_SOUND_SECONDS = chunks.PACKET_SAMPLES / chunks.SAMPLE_RATE


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


def _upright(width: float, height: float, rotation: int) -> tuple[int, int]:
    if rotation % 180:
        width, height = height, width
    return max(1, round(width)), max(1, round(height))


# Codecs with the longest groups that are out of order, at few frames a second.
_MOST_EARLY_SECONDS = 60.0


def _late(container: InputContainer, first: VideoFrame) -> float:
    """Seconds from the start of the film to its first picture."""
    if first.pts is None:
        return 0.0
    begins = first.pts * (to_fraction(first.time_base) or 0)
    late = float(begins - _start(container))
    return late if late >= -_MOST_EARLY_SECONDS else 0.0


def _start(container: InputContainer) -> Fraction:
    """When the film starts, in seconds: FFmpeg takes that for zero."""
    return Fraction(container.start_time or 0, av.time_base)


def _seconds(container: InputContainer, video: VideoStream) -> float | None:
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    return container.duration / av.time_base if container.duration else None


def _counted(container: InputContainer, facts: VideoFacts) -> VideoFacts:
    """The facts of a file without an index of samples, by reading every packet of it."""
    video = container.streams[facts.video_stream]
    time_base = to_fraction(video.time_base) or Fraction(1, 90000)
    used = [n for n in (facts.video_stream, facts.audio_stream) if n is not None]
    times, heard = [], []
    for packet in container.demux([container.streams[n] for n in used]):
        if packet.stream_index != facts.video_stream:
            if packet.size:
                heard.append((packet.pts, packet.duration or 0))
        elif packet.pts is not None:
            times.append(packet.pts)
    if not times:
        raise _damaged()
    times.sort()
    seconds = (times[-1] - times[0]) * time_base + 1 / Fraction(facts.frame_rate)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Elsewhere a packet can be half a frame, or one that is never shown.
    exact = facts.video_codec in ("h264", "hevc", "vp9", "av1") and not facts.interlaced
    finer = time_base * facts.timescale
    return msgspec.structs.replace(
        _with_sound(container, facts, heard),
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
    seconds = float(end * tick - _start(container)) if told else None
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


def _overstated() -> JobError:
    detail = "The file claims to hold more than it has room for: it is damaged, or made to harm."
    return JobError("source_damaged", detail)


def _damaged() -> JobError:
    return JobError("source_damaged", "The video cannot be read: it is damaged or incomplete.")
