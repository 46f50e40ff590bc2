"""What probing finds of a source, as frozen data, and pure arithmetic on it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

# Facts come from a process that a hostile file may have taken over: each field is bounded to what a file can
# have. What becomes an argument of FFmpeg is a number, or one of a few words: a graph of filters opens files.
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
# Of a track, as a file names it: it becomes a quoted string of a playlist (RFC 8216, 4.2).
Title = Annotated[
    str, Meta(pattern=r'^[^\x00-\x1f"\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]{0,60}\Z')
]
Clause = Annotated[str, Meta(pattern=r"^[a-z0-9 ,.:]{0,200}\Z")]
Looks = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_ :.-]{0,400}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,16}\Z")]
Row = Annotated[str, Meta(pattern=r"^<[bhiq][HIQ][bhiq]\Z")]
Boxes = Annotated[bytes, Meta(max_length=2**18)]
MOST_AUDIO = 16  # tracks of audio of a film
FEW = Meta(min_length=1, max_length=64)
MANY = Meta(min_length=1, max_length=2**22)
# Frame durations, run-length encoded: (frames, ticks each).
Durations = Annotated[tuple[tuple[Number, Ticks], ...], MANY]


class ImageFacts(msgspec.Struct, frozen=True, tag="image"):
    """A still picture. Width and height in pixels, after EXIF orientation."""

    format: Format  # Pillow's name: JPEG, PNG, …
    width: Size
    height: Size
    animated: bool = False  # it has more pictures than this one


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A key frame from which decoding loses no frame that is shown after it: a film can be cut there.

    Offsets are bytes from the start of the source. A cut's samples are those from it up to the next cut.
    """

    time: Ticks  # when it is shown, in ticks of the container
    frame: Number  # frames that are shown before it
    sample: Number  # samples that are coded before it
    at: Number  # offset of its own sample
    leading_stop: Number  # first sample after its leading pictures: coded after it, shown before it
    earliest: Ticks  # when the first frame of the cut's samples is shown
    begin: Number  # the cut's samples lie between the offsets `begin` and `end`
    end: Number
    leading_bytes_stop: (
        Number  # `end` of the samples up to `leading_stop`; of the key frame, if none leads
    )


class AudioCut(msgspec.Struct, frozen=True, array_like=True):
    """AUDIO_CUT_SECONDS of audio; `begin` and `end` are 0 where there is none."""

    us: Ticks  # when the first packet is heard, in microseconds from the start
    sample: Number  # packets before it
    at: Number  # its offset in the source, in bytes
    begin: Number  # the packets lie between the offsets `begin` and `end`
    end: Number


class TrackSamples(msgspec.Struct, frozen=True):
    """The samples of a track, in coding order: frames, or packets of audio."""

    row: Row  # format of a row, for `struct`
    rows: bytes  # one packed row for each sample: see mp4_excerpt.pack
    digest: Digest  # of the rows
    track: Boxes  # ftyp and moov of the source, without tables of samples
    last: Ticks = 1  # duration of the sample that is shown last
    reorder_delay: Number = (
        0  # how many ticks later than another that is coded after it one is shown, at most
    )
    preamble: Boxes = b""  # units of the first sample that later samples are decoded by, too


class IndexedAudio(msgspec.Struct, frozen=True):
    """Where the packets of a track of audio lie."""

    samples: TrackSamples
    cuts: Annotated[tuple[AudioCut, ...], Meta(max_length=2**22)]  # one for each AUDIO_CUT_SECONDS


class FrameIndex(msgspec.Struct, frozen=True):
    """Where every frame of a film lies and when it is shown, as its container says.

    Times are ticks of 1/`timescale` seconds of the container; the film starts at `start`.
    """

    timescale: Size
    start: Ticks
    start_us: Ticks  # `start` as FFmpeg has it, in microseconds
    durations: Durations
    cuts: Annotated[tuple[Cut, ...], MANY]  # the first one is the first frame
    video: TrackSamples
    audio: Annotated[tuple[IndexedAudio, ...], Meta(max_length=MOST_AUDIO)] = ()

    def tracks(self, *, audio: bool) -> list[TrackSamples]:
        """The tracks that tasks read: the video; with `audio`, the audio too, if there is any."""
        return [self.video, *(each.samples for each in self.audio if audio)]

    @property
    def end(self) -> int:
        """When the last frame ends."""
        return self.cuts[0].time + sum(count * ticks for count, ticks in self.durations)

    def times(self) -> array[int]:
        """When each frame is shown, in that order; then when the last one ends."""
        import numpy as np  # only the functions that probe films have it

        counts, ticks = np.array(self.durations, dtype=np.int64).T
        ends = np.cumsum(np.repeat(ticks, counts))
        found = array("q")
        found.frombytes((self.cuts[0].time + np.insert(ends, 0, 0)).tobytes())
        return found


AUDIO_CUT_SECONDS = 2
# FFmpeg seeks and shifts in microseconds: only ticks that are coarser come out exactly.
FINEST_TIMESCALE = 400_000


class Colours(msgspec.Struct, frozen=True, array_like=True):
    """How colours are coded: numbers of the tables of ITU-T H.273. 2 means unspecified."""

    primaries: Kind = 2
    transfer: Kind = 2
    matrix: Kind = 2  # 0: they are RGB


class Coding(msgspec.Struct, frozen=True, array_like=True):
    """How some frames of a film are coded, where not all are coded alike."""

    across: Size  # coded size, upright
    down: Size
    width: Size  # size to show them in, in square pixels
    height: Size
    format: Name  # FFmpeg's pixel format
    full: bool  # full range; else that of television


class AudioTrack(msgspec.Struct, frozen=True):
    """A track of a file that can be heard."""

    stream: Stream  # index in the container
    codec: Name = ""  # FFmpeg's name
    rate: Size = 48000  # samples a second
    channels: Number = 2
    # How many of the channels, the first ones, are a sound field (AmbiX).
    ambisonic: Number = 0
    # From the start of the file to the end of the audio; None if not counted.
    seconds: Seconds | None = None
    language: Language = "und"  # as BCP 47 has it
    title: Title = ""
    describes: bool = False  # it tells who cannot see what there is to be seen


class SubtitleTrack(msgspec.Struct, frozen=True, array_like=True):
    """A track of subtitles, of text or of pictures."""

    stream: Stream  # index in the container
    codec: Name  # FFmpeg's name
    language: Language
    title: Title = ""
    forced: bool = False  # only what is to be read by everybody, like signs and other languages
    hearing_impaired: bool = False  # it tells of sounds, too


class VideoFacts(msgspec.Struct, frozen=True, tag="video"):
    """A film. Size in square pixels, rotated, of its largest frames; times in seconds."""

    demuxer: Name  # FFmpeg's name, pinned with -f
    width: Size
    height: Size
    seconds: Seconds  # of the video stream
    frames: Number | None  # None where only decoding would count them
    frame_rate: Rate  # "30000/1001"
    timescale: Size  # ticks per second, so fine that every timestamp of the source is whole
    video_stream: Stream  # index in the container
    # The first is what players take, and steps that want one.
    audio: Annotated[tuple[AudioTrack, ...], Meta(max_length=MOST_AUDIO)] = ()
    sounds_left_out: Number = 0  # tracks of audio that there are besides
    # Seconds from the start of the film to its first frame. Negative where the container takes for the start
    # what is decoded first and shown later.
    video_start: Seconds = 0.0
    disordered: bool = False  # the container has times of decoding only
    interlaced: bool = False
    steady: bool = True  # all frames last equally long
    alpha: bool = False  # parts of it can be transparent
    colours: Annotated[tuple[Colours, ...], FEW] = (
        Colours(1, 1, 1),
    )  # of the frames looked at, each once
    # Each coding once, where frames are coded in several ways.
    changes: Annotated[tuple[Coding, ...], Meta(max_length=64)] = ()
    matrix: Matrix = "bt709"  # FFmpeg's name of the matrix of frames that do not say theirs
    index: FrameIndex | None = None
    whole_reason: Clause = (
        ""  # why the source cannot be cut, as a clause after a colon; "" where it can
    )
    copy_may_help: bool = False  # a copy in another container could be cut
    video_codec: Name = ""  # FFmpeg's name
    # For comparison with a copy: how the first frame is coded and shown; digest of all frame times, "" where
    # packets were not read.
    looks: Looks = ""
    rhythm: Digest = ""
    subtitles: Annotated[tuple[SubtitleTrack, ...], Meta(max_length=64)] = ()
    # FFmpeg's name of the demuxer of the file that has them, where a copy is read instead, too.
    subtitles_demuxer: Name = ""

    @property
    def end(self) -> float:
        """Seconds to the end of the video, from its start or the film's, whichever is earlier."""
        if self.index is not None:
            return (self.index.end - self.index.start) / self.index.timescale
        return max(0.0, self.video_start) + self.seconds

    @property
    def audio_end(self) -> float | None:
        """Seconds from the same start to the end of all audio; None where not all of it is counted."""
        if self.index is not None:
            return float(
                AUDIO_CUT_SECONDS * max((len(each.cuts) for each in self.index.audio), default=0)
            )
        ends = [each.seconds for each in self.audio]
        counted = [end for end in ends if end is not None]
        if not ends or len(counted) < len(ends):
            return None
        return max(counted) - min(0.0, self.video_start)


class AudioFacts(msgspec.Struct, frozen=True, tag="audio"):
    """A file of sound without a film; a cover is none."""

    demuxer: Name  # FFmpeg's name, pinned with -f
    seconds: Seconds  # a guess where `audio.seconds` is None
    audio: AudioTrack


Facts = ImageFacts | VideoFacts | AudioFacts


def seconds_of(facts: Facts) -> float | None:
    """How long it plays; None where it does not."""
    return None if isinstance(facts, ImageFacts) else facts.seconds


def kind_of(facts: Facts) -> str:
    """The kind of media: "image", "video" or "audio"."""
    return str(facts.__struct_config__.tag)


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
    return fit_inside(width, height, box, box)


def fit_inside(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """The size that fits in across × down, in the same shape; never larger than the source."""
    scale = min(1.0, across / width, down / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fps(facts: VideoFacts) -> float:
    return float(Fraction(facts.frame_rate))
