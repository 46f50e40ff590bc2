"""What is known of a source: facts found by probing, frozen, and pure arithmetic on them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import msgspec


class ImageFacts(msgspec.Struct, frozen=True, tag="image"):
    """A still picture. Width and height in pixels, after EXIF orientation."""

    format: str  # Pillow's name: JPEG, PNG, …
    width: int
    height: int


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A key frame at which decoding can start and lose nothing: a place where a film can be cut."""

    time: int  # when it is shown, in ticks of the container
    frame: int  # how many are shown before it
    sample: int  # how many are coded before it
    at: int  # where in the source it lies
    led: int  # number of the sample behind those that are coded after it and shown before
    earliest: int  # when the first is shown of what is coded up to the next cut
    begin: int  # bytes of the source from here to `end` hold that
    end: int
    tail: int  # so far they hold it up to `led`, or the key frame alone


class SoundCut(msgspec.Struct, frozen=True, array_like=True):
    """Two seconds of sound; where there is none, `begin` and `end` are 0."""

    us: int  # when the first packet is heard, in microseconds after the start
    sample: int  # how many come before it
    at: int  # where in the source it lies
    begin: int  # bytes of the source from here to `end` hold the packets
    end: int


class Coded(msgspec.Struct, frozen=True):
    """The samples of a track, in coding order: frames, or packets of sound."""

    row: str  # as `struct` writes it
    rows: bytes  # one for each, as `excerpt` packs them
    digest: str  # of the rows
    track: bytes  # what else the container says of them: ftyp and moov, without tables
    last: int = 1  # how many ticks the one lasts that is shown last
    lag: int = 0  # how many ticks later than another that is coded after it one is shown, at most
    preamble: bytes = b""  # what the first sample says that the others are decoded by, too


class Index(msgspec.Struct, frozen=True):
    """Where every frame of a film lies and when it is shown, as its container tells.

    Times are ticks of 1/`timescale` second, as the container counts, whose start is at `start`.
    """

    timescale: int
    start: int
    start_us: int  # the same, in FFmpeg's microseconds
    # Frames in a row that last equally long: how many, and how long.
    steps: tuple[tuple[int, int], ...]
    cuts: tuple[Cut, ...]  # the first one is the first frame
    pictures: Coded
    sound: Coded | None = None
    sound_cuts: tuple[SoundCut, ...] = ()  # one for each SOUND_SECONDS

    def tracks(self, *, sound: bool) -> list[Coded]:
        """Those that tasks read: pictures, and the sound if it is wanted and there is any."""
        return [self.pictures, self.sound] if sound and self.sound else [self.pictures]

    @property
    def end(self) -> int:
        """When the last frame ends."""
        return self.cuts[0].time + sum(count * ticks for count, ticks in self.steps)

    def times(self) -> array[int]:
        """When each frame is shown, in that order; and when the last one ends."""
        import numpy as np  # which is there where films are looked at, and nowhere else

        counts, ticks = np.array(self.steps, dtype=np.int64).T
        ends = np.cumsum(np.repeat(ticks, counts))
        found = array("q")
        found.frombytes((self.cuts[0].time + np.insert(ends, 0, 0)).tobytes())
        return found


SOUND_SECONDS = 2
# FFmpeg seeks and shifts in microseconds: coarser ticks come out exactly.
FINEST_TIMESCALE = 400_000


class Colours(msgspec.Struct, frozen=True, array_like=True):
    """How colours are coded: numbers of ITU-T H.273's tables, of which 2 says nothing."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2  # 0: they are RGB


class Coding(msgspec.Struct, frozen=True, array_like=True):
    """The size of frames, upright; the one to show them in, in square pixels; FFmpeg's format; the range."""

    across: int
    down: int
    width: int
    height: int
    format: str
    full: bool


class VideoFacts(msgspec.Struct, frozen=True, tag="video"):
    """A film. Width and height in square pixels, after rotation, of its largest frames; times in seconds."""

    demuxer: str  # FFmpeg's name, pinned with -f
    width: int
    height: int
    seconds: float  # of the video stream
    frames: int | None  # None where only decoding could tell
    frame_rate: str  # "30000/1001"
    timescale: int  # ticks a second in which every timestamp of the source is whole
    video_stream: int  # index in the container
    audio_stream: int | None
    audio_rate: int = 48000  # samples a second
    audio_channels: int = 2
    audio_ambisonic: int = 0  # so many of them, the first ones, are of a sound field (AmbiX)
    audio_seconds: float | None = (
        None  # from the start of the film to its end; None where nobody counted
    )
    audio_language: str = "und"  # as BCP 47 has it
    # Seconds from the start of the film to its first picture. Below zero where the container takes for the
    # start what is only decoded first.
    late: float = 0.0
    interlaced: bool = False
    steady: bool = True  # every frame lasts as long as any other
    alpha: bool = False  # parts of it can be transparent
    colours: tuple[Colours, ...] = (Colours(1, 1, 1),)  # of the frames looked at, each once
    changes: tuple[Coding, ...] = ()  # the same, of a film with several
    matrix: str = "bt709"  # FFmpeg's name of that of frames that do not tell theirs
    index: Index | None = None
    uncut: str = ""  # why there is no index in the source itself: a clause
    unindexed: bool = False  # a copy in another container could have one
    # FFmpeg's names.
    video_codec: str = ""
    audio_codec: str = ""
    # To compare with a copy: how its first frame is coded and to be shown; when frames are, if anyone looked.
    looks: str = ""
    rhythm: str = ""

    @property
    def end(self) -> float:
        """Seconds from the start, of the film or of the pictures if that is earlier, to their end."""
        if self.index is not None:
            return (self.index.end - self.index.start) / self.index.timescale
        return max(0.0, self.late) + self.seconds

    @property
    def sound_end(self) -> float | None:
        """The same to the end of its sound; None where nobody has counted."""
        if self.index is not None:
            return float(SOUND_SECONDS * len(self.index.sound_cuts))
        return None if self.audio_seconds is None else self.audio_seconds - min(0.0, self.late)


Facts = ImageFacts | VideoFacts


class Interest(NamedTuple):
    """What there is to see in a frame: how much its brightness varies, and how bright it is, of 255.

    Of two, the one that compares higher shows more.
    """

    spread: float
    brightness: float


def rhythm(times: Iterable[int]) -> str:
    """A digest of when frames are shown, in ticks from the first one on; `times` are in order."""
    ticks = array("q", times)
    first = ticks[0]
    return hashlib.sha256(array("q", (time - first for time in ticks))).hexdigest()[:16]


def even(pixels: float) -> int:
    """The even number of pixels next to `pixels`, at least two: 4:2:0 has no half samples."""
    return max(2, round(pixels / 2) * 2)


def fit_short_side(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The even size whose shorter side is `short_side`, in the same shape; never larger than the source."""
    scale = min(1.0, short_side / min(width, height))
    return even(width * scale), even(height * scale)


def fit_box(width: int, height: int, box: int) -> tuple[int, int]:
    """The size that fits in box × box, in the same shape; never larger than the source."""
    scale = min(1.0, box / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def fps(facts: VideoFacts) -> float:
    return float(Fraction(facts.frame_rate))
