"""How frames of a film are coded: of the first one, and of others wherever that may change."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from math import atan2, degrees, hypot
from typing import Any, NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.rational import AVRational
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from chalicelib.model.facts import Coding, Colours
from chalicelib.probing.film import Film
from chalicelib.probing.streams import PROGRAMMES

# Codecs whose frames can be interlaced or not from one to the next.
CHANGE_BY_FRAME = frozenset({"h264", "mpeg2video", "vc1"})
# Frames that are inspected beside the first one, at most, and at how many places in any case.
_MOST_FRAMES = 16
_PLACES = 4
# A key frame is looked for in so many packets from a place on: of 60 a second, half a minute.
_MOST_PACKETS = 1800
_RGB, _UNSPECIFIED = 0, 2  # matrices of ITU-T H.273
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


class FrameFacts(NamedTuple):
    """How a frame is coded."""

    coding: Coding
    colours: Colours
    interlaced: bool
    alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in square pixels, upright."""
        return self.coding.width, self.coding.height


class FrameInspector:
    """Inspects frames of a stream. None of the stream may have been decoded before."""

    def __init__(self, video: VideoStream) -> None:
        self.video = video
        context = video.codec_context
        context.thread_count = 1
        # Some decoders forget the container's colours where the stream has none of its own.
        self._of_container = (
            int(video.color_primaries),
            int(video.color_trc),
            int(video.colorspace),
        )
        self._first_sar = context.sample_aspect_ratio
        # FFmpeg's own decoders leave out the alpha that WebM has beside the pictures.
        self._alpha = video.metadata.get("alpha_mode") == "1"

    def inspect(self, frame: VideoFrame) -> FrameFacts:
        sar = self.video.sample_aspect_ratio or Fraction(1)
        now = self.video.codec_context.sample_aspect_ratio
        if now and now != self._first_sar:
            sar = now
        coded = frame.width, frame.height
        shown = max(1, round(frame.width * float(sar))), frame.height
        if _is_turned(frame):
            coded, shown = coded[::-1], shown[::-1]
        return FrameFacts(
            Coding(*coded, *shown, frame.format.name, _has_full_range(frame)),
            self._colours(frame),
            frame.interlaced_frame,
            self._alpha or any(part.is_alpha for part in frame.format.components),
        )

    def _colours(self, frame: VideoFrame) -> Colours:
        of_frame = int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)
        primaries, transfer, matrix = (
            other if number == _UNSPECIFIED else number
            for number, other in zip(of_frame, self._of_container, strict=True)
        )
        return Colours(primaries, transfer, _RGB if frame.format.is_rgb else matrix)

    def decode(self, packet: Packet[Any]) -> Iterator[FrameFacts]:
        """Inspect the frames of a packet with a key frame; nothing where it cannot be decoded."""
        context = self.video.codec_context
        with suppress(av.error.FFmpegError, EOFError):
            for frame in [*context.decode(packet), *context.decode(None)]:
                yield self.inspect(frame)
        context.flush_buffers()


def _is_turned(frame: VideoFrame) -> bool:
    """Whether FFmpeg turns the frame by a quarter. At other angles the result is as large as the frame."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    across, down = hypot(a, c), hypot(b, d)
    if not across or not down:
        return False
    return abs(abs(degrees(atan2(b / down, a / across))) - 90) < 0.5


def _has_full_range(frame: VideoFrame) -> bool:
    """False also where it is not said."""
    return int(frame.color_range) == _FULL_RANGE


def describe(frame: VideoFrame, sar: AVRational | Fraction) -> str:
    """What two first frames have in common that are coded, and to be shown, in the same way."""
    turned = frame.side_data.get(Type.DISPLAYMATRIX)
    colours = (frame.color_primaries, frame.color_trc, frame.colorspace)
    return " ".join(
        (
            f"{frame.width}x{frame.height}",
            frame.format.name,
            f"{sar.numerator}:{sar.denominator}",
            "interlaced" if frame.interlaced_frame else "progressive",
            "full" if _has_full_range(frame) else "limited",
            *(str(int(value)) for value in colours),
            bytes(turned).hex() if turned else "upright",
        )
    )


class ChangeWatcher:
    """Inspects the frames at which a film changes, while its packets go by in their order."""

    def __init__(self, video: VideoStream, size: int) -> None:
        self.frames: list[FrameFacts] = []
        self._inspector = FrameInspector(video)
        self._codec = video.codec_context.codec.canonical_name
        self._headers: BitStreamFilterContext | None = None
        with suppress(av.error.FFmpegError):
            self._headers = BitStreamFilterContext("extract_extradata", video)
        self._last = b""
        self._step = size // _PLACES if self._codec in CHANGE_BY_FRAME else size
        self._due = self._step

    def see(self, packet: Packet[Any]) -> None:
        if not packet.is_keyframe or len(self.frames) >= _MOST_FRAMES:
            return
        place = packet.pos or 0
        for each in self._with_header(packet):
            header = self._header(each) or self._last
            changes = bool(self._last) and header != self._last
            self._last = header
            if changes or place >= self._due:
                self._due = max(self._due, place) + self._step
                self.frames.extend(self._inspector.decode(each))

    def _with_header(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if self._headers is None:
            return [packet]
        with suppress(av.error.FFmpegError):
            return self._headers.filter(packet)
        self._headers = None  # the stream is not coded as its header says
        return []

    def _header(self, packet: Packet[Any]) -> bytes:
        """What a key frame says of how it is coded; b"" where it says nothing, or its codec is not known."""
        if self._codec == "vp8":
            return bytes(memoryview(packet)[3:10])  # RFC 6386, 9.1
        if self._codec == "vp9":
            return bytes(memoryview(packet)[:9])  # as far as the size of frames
        if packet.has_sidedata("new_extradata"):
            return bytes(packet.get_sidedata("new_extradata"))
        return b""


def sample_frames(film: Film, inspector: FrameInspector) -> Iterator[FrameFacts]:
    """Inspect key frames at some places of a film, which is not read whole."""
    container, video = film.container, inspector.video
    for number in range(1, _PLACES):
        with suppress(av.error.FFmpegError, EOFError):
            if film.demuxer in PROGRAMMES:
                container.seek(film.size * number // _PLACES, unsupported_byte_offset=True)
            else:
                at = (video.start_time or 0) + (video.duration or 0) * number // _PLACES
                container.seek(at, stream=video)
            packets = islice(container.demux(video), _MOST_PACKETS)
            key = next((packet for packet in packets if packet.is_keyframe), None)
            if key is not None:
                yield from inspector.decode(key)
