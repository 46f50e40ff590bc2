"""Kinds of work: what one task does, as frozen data. `tasks/kinds.py` says how each is carried out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate, chain, pairwise, repeat
from math import ceil
from typing import ClassVar, NamedTuple

import msgspec

from chalicelib.model.mark import Mark
from chalicelib.model.picture import Picture
from chalicelib.model.pools import AUDIO, ENCODE, PACKAGE, PICTURES
from chalicelib.model.streams import Caption, Rung, Sound


class Images(msgspec.Struct, frozen=True, tag="images"):
    """Pictures of an image, by the steps that ask for them. The image is decoded once for all."""

    pool: ClassVar[str] = PICTURES
    format: str  # Pillow's name of the source's format
    made: dict[str, Picture]


class Excerpt(msgspec.Struct, frozen=True):
    """Samples of one track that are read as a film of their own. Offsets are bytes in the source."""

    samples: tuple[int, int]  # numbers: start and stop
    first_offset: int  # of the first sample
    byte_range: tuple[int, int]  # start and stop of the bytes that hold the samples
    track: str  # the name of the samples in Plan.samples


# FFmpeg's arguments. The input is always the local file `source`, the last argument the output. A name in
# braces, like {start}, is a placeholder, which Run.values fills: hundreds of runs share one command.
Command = tuple[str, ...]
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Run(msgspec.Struct, frozen=True):
    """One run of a command."""

    values: dict[str, str] = {}  # of the command's placeholders, by their names
    excerpt: Excerpt | None = None  # what `source` is; None: the whole film

    def args(self, command: Command) -> Command:
        """FFmpeg's arguments: the command with its placeholders filled.

        Braces that hold no name of a value stay as they are, and values are not searched for placeholders.
        """
        return tuple(
            _PLACEHOLDER.sub(lambda found: self.values.get(found[1], found[0]), arg)
            for arg in command
        )


class Poster(msgspec.Struct, frozen=True, tag="poster"):
    """A picture of a film's frame: the first candidate that shows enough, else the best one.

    Each run makes one candidate, as large as the picture's largest file needs it.
    """

    pool: ClassVar[str] = PICTURES
    command: Command
    candidates: tuple[Run, ...]
    picture: Picture
    frame: tuple[int, int]  # most pixels of a candidate: width and height
    # Further candidates, where one of those above finds no frame; the last of them is always one, unless the
    # frame was chosen.
    otherwise: tuple[Run, ...] = ()
    is_chosen: bool = False  # the first candidate that finds a frame is taken, whatever it shows


class KeyFrame(NamedTuple):
    """The bytes of a segment that show one key frame: its fragment, up to the end of its first sample."""

    offset: int
    length: int
    seconds: float  # until the next key frame


class Segment(msgspec.Struct, frozen=True):
    """A file of a track: consecutive fragments. `size` in bytes, 0 before it is made."""

    name: str  # as it is told apart within its track, like "00012.m4s"
    seconds: float
    size: int = 0
    keys: tuple[KeyFrame, ...] = ()


class RunUp(msgspec.Struct, frozen=True):
    """A longer excerpt for a run: what it has more, at its start, is decoded and dropped."""

    excerpt: Excerpt
    ahead_us: int  # microseconds by which it starts earlier


class Exact(msgspec.Struct, frozen=True):
    """The frames that a rendition of a chunk must have, by their times, and the segments that they fill.

    Times are ticks of the output.
    """

    first: int  # when the first frame is shown
    durations: tuple[tuple[int, int], ...]  # of frames, run-length encoded: (frames, ticks each)
    starts: tuple[int, ...]  # of the segments
    end: int  # of the last segment
    timescale: int  # ticks per second

    @property
    def frames(self) -> int:
        return sum(count for count, _ in self.durations)

    def times(self) -> list[int]:
        """When each frame is shown; then when the last one ends."""
        durations = chain.from_iterable(repeat(ticks, count) for count, ticks in self.durations)
        return list(accumulate(durations, initial=self.first))

    def lengths(self) -> list[float]:
        """Seconds of each segment."""
        return [round(ticks / self.timescale, 6) for ticks in self._lengths()]

    def longest(self) -> float:
        """Seconds of the longest segment."""
        return round(max(self._lengths()) / self.timescale, 6)

    def _lengths(self) -> Iterator[int]:
        return (until - start for start, until in pairwise((*self.starts, self.end)))


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """A part of a film's video, or all of it: decoded once, and encoded in every rendition.

    FFmpeg writes a file of fragments for each rendition: `file_of` its name.
    """

    pool: ClassVar[str] = ENCODE
    command: str  # key of Plan.commands
    run: Run
    renditions: tuple[str, ...]  # their names
    first_segment: int  # number of its first segment, in the whole track
    seconds: float
    exact: Exact | None = None  # None where only decoding tells
    fewer: dict[str, Exact] = {}  # of renditions that do not keep all frames of the film
    # Excerpts to try, in this order, where the frames are not those. The last one starts with the film, if
    # that is near enough.
    again: tuple[RunUp, ...] = ()
    marks: tuple[Mark, ...] = ()  # whose files the run reads

    def exact_of(self, rendition: str) -> Exact | None:
        """What comes out as a rendition; None where only decoding tells."""
        return self.fewer.get(rendition, self.exact)


def file_of(rendition: str) -> str:
    """The file into which the run of a chunk writes a rendition."""
    return f"{rendition}.mp4"


def audio_room(seconds: float) -> float:
    """Seconds by which audio may be longer than its container says: a packet or two, and rounding."""
    return max(2.0, 0.01 * seconds)


# A run that encodes audio may copy the first packet of its source to this file, if there is one.
FIRST_PACKET = "first_packet"


class Audio(msgspec.Struct, frozen=True, tag="audio"):
    """A part of the audio, or all of it, of each track: AAC packets of 1,024 samples at 48 kHz.

    Packet `first` of all audio is packet `skip` of a run. Packet 0 of a run is the encoder's delay.
    """

    pool: ClassVar[str] = AUDIO
    runs: dict[str, Run]  # by the names of the tracks; each has its commands in Plan.commands
    first_segment: int  # its number, in the whole track
    first: int
    skip: int
    packets: int | None  # None: to the end
    seconds: float
    max_seconds: float | None = None  # of a run's audio; None where the source's is not counted

    def command_of(self, track: str) -> str:
        """The key of Plan.commands for a track."""
        return f"{track}_to_the_end" if self.packets is None else track


# Where a run that measures loudness writes the levels, and the peaks.
LEVELS, PEAKS = "levels", "peaks"


class AudioFile(msgspec.Struct, frozen=True, tag="audio_file"):
    """One file of a film's audio, or of sound: FFmpeg's output as it is.

    With a `loudness`, a run of `measure` goes first, and the command has the placeholder `gain`, in dB.
    """

    pool: ClassVar[str] = AUDIO
    command: Command
    run: Run
    output: str  # the last argument, too
    seconds: float
    bits_per_second: int  # about
    is_counted: bool = False  # whether the source has sound of that length
    loudness: float | None = None  # to which it is brought, in LUFS
    measure: Command = ()


# Frames of one place of a preview, raw; and those of all, one after the other.
PIECE, PIECES = "piece.yuv", "pieces.yuv"


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    """Some seconds of a film from several places, in one file or several.

    Each run of `command` writes PIECE, frames of 4:2:0 of 8 bits; `encode` reads PIECES.
    """

    pool: ClassVar[str] = ENCODE
    command: Command
    pieces: tuple[Run, ...]
    encode: Command
    outputs: tuple[str, ...]
    width: int
    height: int
    rate: float  # frames a second
    seconds: float
    otherwise: Run | None = None  # where none of the runs finds a frame
    warning: str = ""


# The pictures of an animation as files, numbered from 0 on; by its time a file tells when it is shown.
PICTURE = "picture_%06d.ppm"
# The longest time that a picture of an animation is shown, in milliseconds: formats have room for more.
MOST_MILLISECONDS = 600_000


class Animation(msgspec.Struct, frozen=True, tag="animation"):
    """A copy of an animated image as a film without loss, with an index; its last argument is the file.

    The command has the placeholders `last`, the number of the last picture from 0 on, and `milliseconds`, how
    long that is shown.
    """

    pool: ClassVar[str] = PICTURES
    format: str  # Pillow's name of the source's format
    command: Command


# AAC frames in ADTS: each says its channels and rate (ISO/IEC 14496-3, 1.A.2.2).
AUDIO_FRAMES = "sound_{}.adts"


class Remux(msgspec.Struct, frozen=True, tag="remux"):
    """A copy of a film in a container with an index, made by one FFmpeg run; its last argument is the file.

    The run may also write `frames`, files of AAC frames, each of a stream. Where those of one are not all
    of a kind, the run `again` makes the copy.
    """

    pool: ClassVar[str] = AUDIO
    args: Command
    again: Command = ()
    frames: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """A file that tasks read, an original or a copy of one, in the version of this ETag."""

    key: str
    etag: str
    is_copy: bool = False  # it lies in the output bucket
    size: int = 0  # bytes; 0 where nobody asks


# Captions of a film itself, as FFmpeg writes them before they are made WebVTT: for `format`.
SUBRIP = "{}.srt"


class Captions(msgspec.Struct, frozen=True, tag="captions"):
    """The captions of a film, as WebVTT: sidecars, and tracks of the film itself.

    One run of FFmpeg writes those of the film, each to the file that SUBRIP makes of its playlist's name.
    """

    pool: ClassVar[str] = AUDIO
    sidecars: dict[str, Source]  # by names of playlists
    embedded: tuple[str, ...]  # names of playlists
    command: Command  # () where there are only sidecars
    seconds: float  # of the film; what would be shown later is left out


class Join(msgspec.Struct, frozen=True, tag="join"):
    """One MP4 of the parts of a rendition and of the audio, by copying, with its index first."""

    pool: ClassVar[str] = PACKAGE
    rendition: str  # its name
    output: str
    width: int
    height: int
    seconds: float
    frames: int | None
    warning: str = ""


class Hls(msgspec.Struct, frozen=True, tag="hls"):
    """The playlists of renditions whose segments exist."""

    pool: ClassVar[str] = PACKAGE
    rungs: tuple[
        Rung, ...
    ]  # in the order of the multivariant playlist: players start with the first
    seconds: float
    sounds: tuple[Sound, ...] = ()  # players take the first
    # Whether a rung is left out that turns out to need hardly fewer bits than the next larger one.
    only_useful: bool = False
    dash: bool = False  # whether an MPD is written, too
    warning: str = ""
    captions: tuple[Caption, ...] = ()

    @property
    def largest(self) -> Rung:
        return max(self.rungs, key=lambda rung: rung.width * rung.height)


def renditions_of(work: Work) -> tuple[str, ...]:
    """Names of the renditions that a package is made of."""
    match work:
        case Join(rendition=rendition) | Storyboard(rendition=rendition):
            return (rendition,)
        case Hls(rungs=rungs):
            return tuple(rung.rendition for rung in rungs)
        case _:
            return ()


def marks_of(work: Work) -> list[Mark]:
    """The marks that a task lays, each once."""
    match work:
        case Images(made=made):
            marks = [picture.mark for picture in made.values()]
        case Poster(picture=picture):
            marks = [picture.mark]
        case Chunk(marks=of_renditions):
            marks = list(of_renditions)
        case _:
            marks = []
    return list({mark.file: mark for mark in marks if mark}.values())


def count_tiles(seconds: float, every: float) -> int:
    """Tiles of a film of so many seconds: one for `every` so many, a millionth of one aside."""
    return max(1, ceil(seconds / every - 1e-6))


class Storyboard(msgspec.Struct, frozen=True, tag="storyboard"):
    """Tiles of a film's key frames on sheets, from the parts of a rendition."""

    pool: ClassVar[str] = PICTURES
    rendition: str  # its name
    command: Command  # from a film of the key frames to sheets
    width: int  # of a tile
    height: int
    grid: tuple[int, int]  # tiles of a sheet: across, and down
    every: float  # seconds of the film for each tile
    seconds: float
    warning: str = ""

    @property
    def tiles(self) -> int:
        return count_tiles(self.seconds, self.every)

    @property
    def sheets(self) -> int:
        across, down = self.grid
        return ceil(self.tiles / (across * down))


Work = (
    Animation
    | Images
    | Poster
    | Chunk
    | Audio
    | AudioFile
    | Preview
    | Captions
    | Remux
    | Join
    | Hls
    | Storyboard
)
