"""Films as PyAV decodes them: every timestamp, a few small pictures, and the sound."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from corpus.colour import LIGHT_OF_HDR, Rgb, from_yuv, to_bytes, tone_mapped

SOUND_RATE = 8000
_PICTURES = 24
_PICTURE_BOX = 160
_SAME_INSTANT = 0.002

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
# Numbers of ITU-T H.273.
_MATRICES = {1: _BT709, 4: _BT601, 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020}


class NoFilm(Exception):
    """There is no film in it that PyAV could decode."""


@dataclass(frozen=True)
class Sound:
    """Times in seconds from the first picture on; one channel of 8 kHz, from `start` on."""

    start: float
    end: float
    samples: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Film:
    """Times in seconds from the first frame on; pictures upright, by the time of their frame."""

    shown: tuple[int, int]  # square pixels, upright
    zero: float  # when the first frame is shown, in the file's own time
    times: tuple[float, ...]
    pictures: dict[float, Rgb] = field(repr=False)
    sums: tuple[int, ...] = field(repr=False)  # of each frame's luma
    tick: float
    hdr: bool
    untagged: bool  # nothing says by which matrix
    damaged: bool
    sound: Sound | None

    @property
    def frame(self) -> float:
        """Seconds that a frame usually lasts."""
        gaps = np.diff(self.times)
        return float(np.median(gaps)) if gaps.size else 0.04

    @property
    def end(self) -> float:
        return self.times[-1] + self.frame


def first_film(container: InputContainer) -> VideoStream:
    """The first video stream that is not a cover. Raises NoFilm."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context:
            return stream
    raise NoFilm("there is no video stream in it")


def decode(source: str | Path, wanted: tuple[float, ...] | None = None) -> Film:
    """A film, decoded from its first frame to its last; pictures at `wanted`, or spread evenly.

    Raises NoFilm.
    """
    try:
        with av.open(str(source), "r") as container:
            return _Decoding(container, wanted).film()
    except av.error.FFmpegError as error:
        raise NoFilm(str(error)) from error


def hear(source: str | Path, zero: float) -> Sound | None:
    """The sound of a file that has only that; `zero` is when the film begins, in the file's time."""
    with av.open(str(source), "r") as container:
        hearing = _Hearing(container.streams.audio[0])
        for packet in container.demux(hearing.stream):
            hearing.take(packet.decode())
    return hearing.sound(zero)


class _Decoding:
    """One pass over a file. Keeps every picture at first, every second one once there are many …"""

    def __init__(
        self,
        container: InputContainer,
        wanted: tuple[float, ...] | None,
    ) -> None:
        self._container = container
        self._stream = first_film(container)
        self._stream.thread_type = "AUTO"
        self._audio = [_Hearing(s) for s in container.streams.audio if s.codec_context]
        self._wanted = wanted
        self._every = 1
        self._times: list[float] = []
        self._kept: dict[int, Rgb] = {}
        self._sums: list[int] = []
        self._shown: tuple[int, int] | None = None
        self._hdr = self._untagged = self._damaged = False

    def film(self) -> Film:
        streams = (self._stream, *(hearing.stream for hearing in self._audio))
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
                    next(h for h in self._audio if h.stream == packet.stream).take([frame])
        if self._shown is None:
            raise NoFilm("no frame of it can be decoded")
        # AVI tells times in the order of decoding, though frames come in the order of showing.
        self._times.sort()
        zero = self._times[0]
        sounds = (hearing.sound(zero) for hearing in self._audio)
        base = self._stream.time_base or Fraction(1, 1000)
        return Film(
            shown=self._shown,
            zero=zero,
            times=tuple(time - zero for time in self._times),
            pictures={self._times[n] - zero: picture for n, picture in self._kept.items()},
            sums=tuple(self._sums),
            tick=float(Fraction(base.numerator, base.denominator)),
            hdr=self._hdr,
            untagged=self._untagged,
            damaged=self._damaged,
            sound=next((sound for sound in sounds if sound), None),
        )

    def _see(self, frame: VideoFrame) -> None:
        number, time = len(self._times), frame.time
        if time is None:
            rate = self._stream.average_rate or Fraction(25)
            step = rate.denominator / rate.numerator
            time = self._times[-1] + step if self._times else 0.0
        self._times.append(time)
        self._damaged |= frame.is_corrupt
        if self._shown is None:
            self._shown = shown_size(self._stream, frame)
            self._hdr = frame.color_trc in LIGHT_OF_HDR
            self._untagged = not frame.format.is_rgb and frame.colorspace not in _MATRICES
        if self._wanted is not None:
            self._sums.append(zlib.crc32(bytes(frame.planes[0])))
        if self._is_wanted(number, time - self._times[0]):
            self._kept[number] = picture(frame, self._shown)
        if self._wanted is None and len(self._kept) > 2 * _PICTURES:
            self._every *= 2
            self._kept = {n: p for n, p in self._kept.items() if n % self._every == 0}

    def _is_wanted(self, number: int, time: float) -> bool:
        if self._wanted is None:
            return number % self._every == 0
        at = bisect_left(self._wanted, time - _SAME_INSTANT)
        return at < len(self._wanted) and self._wanted[at] <= time + _SAME_INSTANT


class _Hearing:
    """The sound of one stream, laid on a timeline of its own."""

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream
        self._resampler = AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
        self._pieces: list[NDArray[np.float32]] = []
        self._start: float | None = None
        self._end = 0.0

    def take(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            time = self._end if frame.time is None else frame.time
            if self._start is None:
                self._start = self._end = time
            missing = round((time - self._end) * SOUND_RATE)
            if missing > SOUND_RATE // 50:
                self._append(np.zeros(missing, np.float32))
            self._end = max(self._end, time + frame.samples / frame.sample_rate)
            frame.pts = None
            for resampled in self._resampler.resample(frame):
                self._append(resampled.to_ndarray().reshape(-1).astype(np.float32))

    def _append(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)

    def sound(self, zero: float) -> Sound | None:
        if self._start is None:
            return None
        samples = np.concatenate([*self._pieces, np.zeros(0, np.float32)])
        return Sound(self._start - zero, self._end - zero, samples)


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
    """In square pixels, upright; whole, whatever part of it the container would have shown."""
    sar = stream.sample_aspect_ratio
    ratio = sar.numerator / sar.denominator if sar and sar.numerator else 1.0
    width, height = max(1, round(frame.width * ratio)), frame.height
    return (height, width) if _orientation(frame)[0] else (width, height)


def picture(frame: VideoFrame, shown: tuple[int, int]) -> Rgb:
    """The frame as it is shown, small, in sRGB; an HDR one tone-mapped plainly."""
    swap, left_right, top_bottom = _orientation(frame)
    scale = min(1.0, _PICTURE_BOX / max(shown))
    width, height = (max(1, round(side * scale)) for side in (shown[::-1] if swap else shown))
    rgb = _rgb(frame, width, height)
    rgb = rgb.swapaxes(0, 1) if swap else rgb
    rgb = rgb[:, ::-1] if left_right else rgb
    return np.ascontiguousarray(rgb[::-1] if top_bottom else rgb)


def _rgb(frame: VideoFrame, width: int, height: int) -> Rgb:
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return (
            frame.reformat(width, height, "rgb24", interpolation="AREA")
            .to_ndarray()
            .astype(np.uint8)
        )
    # The matrix is applied here, and not by FFmpeg, whose guesses are under test.
    yuv = frame.reformat(width, height, "yuv444p", interpolation="AREA")
    planes = np.moveaxis(yuv.to_ndarray(), 0, -1).astype(np.uint8)
    encoded = from_yuv(planes, *matrix_of(frame), full=yuv.color_range == 2)
    if frame.color_trc in LIGHT_OF_HDR:
        return tone_mapped(encoded, frame.color_trc)
    return to_bytes(encoded)


def matrix_of(frame: VideoFrame) -> tuple[float, float]:
    """Where a file does not say, high definition is BT.709 and the rest BT.601."""
    guessed = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    return _MATRICES.get(frame.colorspace, guessed)
