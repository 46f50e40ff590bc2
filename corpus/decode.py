"""The reference decode of films by PyAV: all timestamps, all pictures small, a few larger, and the audio."""

from __future__ import annotations

import zlib
from dataclasses import astuple, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from corpus.colour import (
    LIGHT_OF_HDR,
    TO_BT709,
    Rgb,
    from_yuv,
    in_bt709,
    resized,
    to_bytes,
    tone_mapped,
)

AUDIO_RATE = 8000
_PICTURES = 24
_PICTURE_BOX = 240
_SMALL_BOX = 96
_LEAST_AUDIO = 0.1  # seconds; a shorter stream counts as no audio

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)  # (Kr, Kb)
# By MatrixCoefficients of ITU-T H.273. Constant luminance (10, 13) is read as the nearest matrix.
_MATRICES = {
    1: _BT709, 4: _BT601, 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020, 10: _BT2020,
}  # fmt: skip
# By ColourPrimaries, where the matrix follows from them (MatrixCoefficients 12 and 13).
_DERIVED = {1: _BT709, 9: _BT2020, 12: (0.22897, 0.07929)}
_UNKNOWN = 2


class NoFilm(Exception):
    """The file has no video that PyAV can decode."""


@dataclass(frozen=True)
class Audio:
    """A decoded audio stream. Times are in seconds from the first video frame."""

    start: float
    end: float
    samples: NDArray[np.float32] = field(repr=False)  # one channel at 8 kHz, from `start` on
    channels: int  # the most that the stream has at any time


@dataclass(frozen=True)
class Film:
    """A decoded film. Times are in seconds from the first frame; pictures are upright and in sRGB.

    A frame with another shape than the first one lies between black bars.
    """

    shown: tuple[int, int]  # (width, height) in square pixels, upright
    zero: float  # time of the first frame in the file's own timeline; seconds
    times: tuple[float, ...]
    declared_end: float | None  # by the stream's own duration, if it has one
    pictures: dict[float, Rgb] = field(repr=False)  # a few, by the time of their frame
    small: NDArray[np.uint8] = field(repr=False)  # every frame × height × width × 3
    corrupt: frozenset[int] = field(repr=False)  # numbers of frames that the decoder calls corrupt
    sums: tuple[int, ...] = field(repr=False)  # CRC-32 of each frame's luma
    tick: float  # seconds
    hdr: bool
    untagged: bool  # nothing declares the YUV matrix
    damaged: bool
    audio: Audio | None
    declares_audio: bool

    @property
    def frame(self) -> float:
        """The usual duration of a frame in seconds."""
        gaps = np.diff(self.times)
        return float(np.median(gaps)) if gaps.size else 0.04

    @property
    def end(self) -> float:
        """The declared end; without one, the last frame lasts as the others do."""
        last = self.times[-1]
        return last + self.frame if self.declared_end is None else max(last, self.declared_end)


def first_film(container: InputContainer) -> VideoStream:
    """The first video stream that is no cover picture. Raises NoFilm."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context:
            return stream
    raise NoFilm("there is no video stream in it")


def decode(source: str | Path, stream: int | None = None) -> Film:
    """Decode a whole film: video stream number `stream`, or the first. Raises NoFilm."""
    try:
        with av.open(str(source), "r") as container:
            chosen = first_film(container) if stream is None else container.streams.video[stream]
            return _Decoding(container, chosen).film()
    except av.error.FFmpegError as error:
        raise NoFilm(str(error)) from error


def decode_audio(source: str | Path, zero: float) -> Audio | None:
    """Decode a file that has only audio; `zero` is the film's start in the file's timeline, in seconds."""
    with av.open(str(source), "r") as container:
        decoder = _AudioDecoder(container.streams.audio[0])
        for packet in container.demux(decoder.stream):
            decoder.take(packet.decode())
    return decoder.audio(zero)


def stereo(source: str | Path) -> NDArray[np.float32]:
    """The first audio stream of a file in stereo, at its own rate: 2 × samples."""
    with av.open(str(source), "r") as container:
        resampler = AudioResampler(format="fltp", layout="stereo")
        pieces = [
            resampled.to_ndarray()
            for frame in container.decode(audio=0)
            for resampled in resampler.resample(frame)
        ]
    return np.concatenate([*pieces, np.zeros((2, 0), np.float32)], axis=1)


class _Decoding:
    """One pass over a file.

    It keeps every larger picture at first; when there are too many it drops every second one, and keeps only
    every second one from then on, and so forth.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._stream.thread_type = "AUTO"
        # The container's colours, read before the decoder overwrites them with the stream's.
        self._said = Colours.of(stream.codec_context)
        self._audio_decoders = [
            _AudioDecoder(s) for s in container.streams.audio if s.codec_context
        ]
        self._every = 1
        self._times: list[float] = []
        self._kept: dict[int, Rgb] = {}
        self._small: list[Rgb] = []
        self._corrupt: set[int] = set()
        self._sums: list[int] = []
        self._shown: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()
        self._hdr = self._untagged = self._damaged = False

    def film(self) -> Film:
        streams = (self._stream, *(decoder.stream for decoder in self._audio_decoders))
        for packet in self._container.demux(*streams):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._damaged = True
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    self._see(frame)
                elif isinstance(frame, AudioFrame):
                    next(h for h in self._audio_decoders if h.stream == packet.stream).take([frame])
        if self._shown is None:
            raise NoFilm("no frame of it can be decoded")
        # AVI's timestamps are in order of decoding, while frames are delivered in order of presentation.
        self._times.sort()
        zero = self._times[0]
        stream = self._stream
        base = stream.time_base or Fraction(1, 1000)
        return Film(
            shown=self._shown,
            zero=zero,
            times=tuple(time - zero for time in self._times),
            declared_end=(
                float(((stream.start_time or 0) + stream.duration) * base) - zero
                if stream.duration
                else None
            ),
            pictures={self._times[n] - zero: picture for n, picture in self._kept.items()},
            small=np.stack(self._small),
            corrupt=frozenset(self._corrupt),
            sums=tuple(self._sums),
            tick=float(Fraction(base.numerator, base.denominator)),
            hdr=self._hdr,
            untagged=self._untagged,
            damaged=self._damaged,
            audio=self._first_audio(zero),
            declares_audio=bool(self._audio_decoders),
        )

    def _first_audio(self, zero: float) -> Audio | None:
        """The first audio stream with audio in it, of those that are marked as default if any is."""
        marked = (Disposition.default & h.stream.disposition for h in self._audio_decoders)
        streams = [
            (not mark, h.audio(zero)) for mark, h in zip(marked, self._audio_decoders, strict=True)
        ]
        with_audio = [
            (n, s)
            for n, s in streams
            if s is not None and len(s.samples) > _LEAST_AUDIO * AUDIO_RATE
        ]
        return min(with_audio, key=lambda pair: pair[0], default=(True, None))[1]

    def _see(self, frame: VideoFrame) -> None:
        number, time = len(self._times), frame.time
        if time is None:
            rate = self._stream.average_rate or Fraction(25)
            step = rate.denominator / rate.numerator
            time = self._times[-1] + step if self._times else 0.0
        self._times.append(time)
        if frame.is_corrupt:
            self._damaged = True
            self._corrupt.add(number)
        colours = Colours.of(frame).or_else(self._said)
        if self._shown is None:
            self._shown = shown_size(self._stream, frame)
            self._hdr = colours.transfer in LIGHT_OF_HDR
            self._untagged = not frame.format.is_rgb and colours.matrix not in _MATRICES
        self._sums.append(zlib.crc32(bytes(frame.planes[0])))
        self._small.append(self._picture(frame, colours, _SMALL_BOX))
        if number % self._every == 0:
            self._kept[number] = self._picture(frame, colours, _PICTURE_BOX)
        if len(self._kept) > 2 * _PICTURES:
            self._every *= 2
            self._kept = {n: p for n, p in self._kept.items() if n % self._every == 0}

    def _picture(self, frame: VideoFrame, colours: Colours, box: int) -> Rgb:
        """The frame as it is shown, in sRGB, within `box` pixels; HDR is tone-mapped."""
        assert self._shown is not None
        scale = min(1.0, box / max(self._shown))
        width, height = (max(1, round(side * scale)) for side in self._shown)
        own = shown_size(self._stream, frame)
        fit = min(width / own[0], height / own[1])
        inner = min(width, max(1, round(own[0] * fit))), min(height, max(1, round(own[1] * fit)))
        swap, left_right, top_bottom = _orientation(frame)
        rgb = self._rgb(frame, colours, *(inner[::-1] if swap else inner))
        rgb = rgb.swapaxes(0, 1) if swap else rgb
        rgb = rgb[:, ::-1] if left_right else rgb
        rgb = rgb[::-1] if top_bottom else rgb
        if abs(width - inner[0]) <= 1 and abs(height - inner[1]) <= 1:
            return resized(np.ascontiguousarray(rgb), width, height)
        barred = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        barred[top : top + inner[1], left : left + inner[0]] = rgb
        return barred

    def _rgb(self, frame: VideoFrame, colours: Colours, width: int, height: int) -> Rgb:
        # FFmpeg scales the two fields of an interlaced frame apart: edges come out where neither has them.
        size = (frame.width, frame.height) if frame.interlaced_frame else (width, height)
        reformat = partial(self._reformatter.reformat, frame, *size, interpolation="AREA")
        if frame.format.is_rgb or len(frame.format.components) < 3:
            return resized(reformat("rgb24").to_ndarray().astype(np.uint8), width, height)
        # The matrix is applied here: FFmpeg's choice of a matrix is what is under test.
        yuv = reformat(
            "yuv444p", src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709
        )
        planes = np.moveaxis(yuv.to_ndarray(), 0, -1).astype(np.uint8)
        planes = resized(np.ascontiguousarray(planes), width, height)
        encoded = from_yuv(planes, *colours.weights(frame), full=yuv.color_range == 2)
        if colours.transfer in LIGHT_OF_HDR:
            return tone_mapped(encoded, colours.transfer)
        if colours.primaries in TO_BT709:
            return in_bt709(encoded, colours.primaries)
        return to_bytes(encoded)


@dataclass(frozen=True)
class Colours:
    """Code points of ITU-T H.273."""

    primaries: int
    transfer: int
    matrix: int

    @classmethod
    def of(cls, said: VideoFrame | VideoCodecContext) -> Colours:
        return cls(int(said.color_primaries), int(said.color_trc), int(said.colorspace))

    def or_else(self, other: Colours) -> Colours:
        """These code points, with the other's where one is unspecified."""
        own, others = astuple(self), astuple(other)
        return Colours(*(b if a == _UNKNOWN else a for a, b in zip(own, others, strict=True)))

    def weights(self, frame: VideoFrame) -> tuple[float, float]:
        """(Kr, Kb) of the YUV matrix. If unspecified, high definition is BT.709 and the rest BT.601."""
        guessed = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
        if self.matrix in (12, 13):
            return _DERIVED.get(self.primaries, guessed)
        return _MATRICES.get(self.matrix, guessed)


class _AudioDecoder:
    """Decodes one audio stream to mono at 8 kHz; gaps between its timestamps become silence."""

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream
        self._form: tuple[object, ...] = ()
        self._resampler = _resampler(1)
        self._pieces: list[NDArray[np.float32]] = []
        self._start: float | None = None
        self._end = 0.0
        self._channels = 0

    def take(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            time = self._end if frame.time is None else frame.time
            if self._start is None:
                self._start = self._end = time
            missing = round((time - self._end) * AUDIO_RATE)
            if abs(missing) > AUDIO_RATE // 50:
                self._go_on(missing)
                self._end = time
            self._end += frame.samples / frame.sample_rate
            self._channels = max(self._channels, frame.layout.nb_channels)
            self._resample(frame)

    def _go_on(self, missing: int) -> None:
        """Append so many samples of silence; if negative, drop so many samples from the end."""
        self._flush()
        samples = np.concatenate([*self._pieces, np.zeros(max(0, missing), np.float32)])
        self._pieces = [samples[: len(samples) + min(0, missing)]]

    def _resample(self, frame: AudioFrame) -> None:
        frame = _omnidirectional(frame) if "ambisonic" in frame.layout.name else frame
        frame.pts = None
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            # A resampler takes one format, layout and rate only.
            self._flush()
            self._form, self._resampler = form, _resampler(frame.layout.nb_channels)
        self._append(self._resampler.resample(frame))

    def _flush(self) -> None:
        if self._form:
            self._append(self._resampler.resample(None))
            self._form = ()

    def _append(self, frames: list[AudioFrame]) -> None:
        """Append the mean of the channels, which is as loud as one of two equal channels."""
        self._pieces += [frame.to_ndarray().mean(axis=0, dtype=np.float32) for frame in frames]

    def audio(self, zero: float) -> Audio | None:
        if self._start is None:
            return None
        self._flush()
        samples = np.concatenate([*self._pieces, np.zeros(0, np.float32)])
        return Audio(self._start - zero, self._end - zero, samples, self._channels)


def _resampler(channels: int) -> AudioResampler:
    layout = "mono" if channels == 1 else "stereo"
    return AudioResampler(format="fltp", layout=layout, rate=AUDIO_RATE)


def _omnidirectional(frame: AudioFrame) -> AudioFrame:
    """Channel W, the first of ambisonics: sound from all directions."""
    planes: Any = frame.to_ndarray()
    channels = frame.layout.nb_channels
    first = planes[:1] if frame.format.is_planar else planes[:, ::channels]
    mono = AudioFrame.from_ndarray(np.ascontiguousarray(first), frame.format.name, "mono")
    mono.sample_rate = frame.sample_rate
    return mono


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether to swap the axes, and then to mirror left-right and top-bottom.

    By the matrix of ISO/IEC 14496-12, 8.2.2: x' = ax + cy, y' = bx + dy.
    """
    data = next((s for kind, s in frame.side_data.items() if "DISPLAYMATRIX" in str(kind)), None)
    if data is None:
        return False, False, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), "<i4")[:5])
    if abs(a) >= abs(b):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def shown_size(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """(width, height) of the whole frame in square pixels, upright; the container's cropping is ignored."""
    sar = stream.sample_aspect_ratio
    ratio = sar.numerator / sar.denominator if sar and sar.numerator else 1.0
    width, height = max(1, round(frame.width * ratio)), frame.height
    return (height, width) if _orientation(frame)[0] else (width, height)
