"""What is known of a source: facts found by probing, frozen, and pure arithmetic on them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

# Facts come from a process that foreign bytes may have taken over: what no file can be is none. What becomes
# an argument of FFmpeg is a number, or one of a few words: a graph of filters could open other files.
Number = Annotated[int, Meta(ge=0, le=2**50)]  # of things, or bytes
Size = Annotated[int, Meta(ge=1, le=2**31)]
Stream = Annotated[int, Meta(ge=0, le=2**16)]
Kind = Annotated[int, Meta(ge=0, le=2**10)]
Ticks = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Seconds = Annotated[float, Meta(ge=-1e15, le=1e15)]
Rate = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,18}(/[1-9][0-9]{0,18})?\Z")]
Format = Annotated[str, Meta(pattern=r"^[A-Z0-9]{1,10}\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9_.-]{0,40}\Z")]
Matrix = Literal["bt709", "smpte170m"]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}\Z")]
Clause = Annotated[str, Meta(pattern=r"^[a-z0-9 ,.:]{0,200}\Z")]
Looks = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_ :.-]{0,400}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,16}\Z")]
Row = Annotated[str, Meta(pattern=r"^<[bhiq][HIQ][bhiq]\Z")]
Boxes = Annotated[bytes, Meta(max_length=2**18)]
FEW = Meta(min_length=1, max_length=64)
MANY = Meta(min_length=1, max_length=2**22)
Steps = Annotated[tuple[tuple[Number, Ticks], ...], MANY]


class ImageFacts(msgspec.Struct, frozen=True, tag="image"):
    """A still picture. Width and height in pixels, after EXIF orientation."""

    format: Format  # Pillow's name: JPEG, PNG, …
    width: Size
    height: Size


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A key frame at which decoding can start and lose nothing: a place where a film can be cut."""

    time: Ticks  # when it is shown, in ticks of the container
    frame: Number  # how many are shown before it
    sample: Number  # how many are coded before it
    at: Number  # where in the source it lies
    led: Number  # number of the sample behind those that are coded after it and shown before
    earliest: Ticks  # when the first is shown of what is coded up to the next cut
    begin: Number  # bytes of the source from here to `end` hold that
    end: Number
    tail: Number  # so far they hold it up to `led`, or the key frame alone


class SoundCut(msgspec.Struct, frozen=True, array_like=True):
    """Two seconds of sound; where there is none, `begin` and `end` are 0."""

    us: Ticks  # when the first packet is heard, in microseconds after the start
    sample: Number  # how many come before it
    at: Number  # where in the source it lies
    begin: Number  # bytes of the source from here to `end` hold the packets
    end: Number


class Coded(msgspec.Struct, frozen=True):
    """The samples of a track, in coding order: frames, or packets of sound."""

    row: Row  # as `struct` writes it
    rows: bytes  # one for each, as `excerpt` packs them
    digest: Digest  # of the rows
    track: Boxes  # what else the container says of them: ftyp and moov, without tables
    last: Ticks = 1  # how many ticks the one lasts that is shown last
    lag: Number = (
        0  # how many ticks later than another that is coded after it one is shown, at most
    )
    preamble: Boxes = b""  # what the first sample says that the others are decoded by, too


class Index(msgspec.Struct, frozen=True):
    """Where every frame of a film lies and when it is shown, as its container tells.

    Times are ticks of 1/`timescale` second, as the container counts, whose start is at `start`.
    """

    timescale: Size
    start: Ticks
    start_us: Ticks  # the same, in FFmpeg's microseconds
    # Frames in a row that last equally long: how many, and how long.
    steps: Steps
    cuts: Annotated[tuple[Cut, ...], MANY]  # the first one is the first frame
    pictures: Coded
    sound: Coded | None = None
    sound_cuts: Annotated[
        tuple[SoundCut, ...], Meta(max_length=2**22)
    ] = ()  # one for each SOUND_SECONDS

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

    primaries: Kind = 2
    transfer: Kind = 2
    matrix: Kind = 2  # 0: they are RGB


class Coding(msgspec.Struct, frozen=True, array_like=True):
    """The size of frames, upright; the one to show them in, in square pixels; FFmpeg's format; the range."""

    across: Size
    down: Size
    width: Size
    height: Size
    format: Name
    full: bool


class VideoFacts(msgspec.Struct, frozen=True, tag="video"):
    """A film. Width and height in square pixels, after rotation, of its largest frames; times in seconds."""

    demuxer: Name  # FFmpeg's name, pinned with -f
    width: Size
    height: Size
    seconds: Seconds  # of the video stream
    frames: Number | None  # None where only decoding could tell
    frame_rate: Rate  # "30000/1001"
    timescale: Size  # ticks a second in which every timestamp of the source is whole
    video_stream: Stream  # index in the container
    audio_stream: Stream | None
    audio_rate: Size = 48000  # samples a second
    audio_channels: Number = 2
    audio_ambisonic: Number = 0  # so many of them, the first ones, are of a sound field (AmbiX)
    audio_seconds: Seconds | None = (
        None  # from the start of the film to its end; None where nobody counted
    )
    audio_language: Language = "und"  # as BCP 47 has it
    # Seconds from the start of the film to its first picture. Below zero where the container takes for the
    # start what is only decoded first.
    late: Seconds = 0.0
    disordered: bool = False  # its container tells when frames are decoded, not when they are shown
    interlaced: bool = False
    steady: bool = True  # every frame lasts as long as any other
    alpha: bool = False  # parts of it can be transparent
    colours: Annotated[tuple[Colours, ...], FEW] = (
        Colours(1, 1, 1),
    )  # of the frames looked at, each once
    changes: Annotated[
        tuple[Coding, ...], Meta(max_length=64)
    ] = ()  # the same, of a film with several
    matrix: Matrix = "bt709"  # FFmpeg's name of that of frames that do not tell theirs
    index: Index | None = None
    uncut: Clause = ""  # why there is no index in the source itself: a clause
    unindexed: bool = False  # a copy in another container could have one
    # FFmpeg's names.
    video_codec: Name = ""
    audio_codec: Name = ""
    # To compare with a copy: how its first frame is coded and to be shown; when frames are, if anyone looked.
    looks: Looks = ""
    rhythm: Digest = ""

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
