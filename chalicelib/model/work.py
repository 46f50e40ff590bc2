"""Kinds of work: what one task does, as frozen data. `tasks/kinds.py` says how each is carried out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate, chain, pairwise, repeat
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from chalicelib.model.facts import Size
from chalicelib.model.mark import Mark

# Pools of workers, by what work needs of a machine. Each is a queue and a Lambda of that name.
PICTURES = "pictures"  # two cores, for Pillow and for a few frames of a film
ENCODE = "encode"  # all the cores that a Lambda can have
AUDIO = "audio"  # one core, and a disk that holds a film
PACKAGE = "package"  # neither decoder nor disk
POOLS = (PICTURES, ENCODE, AUDIO, PACKAGE)

# A thumbnail, or a poster, fits in so many pixels by so many.
POSTER_BOX = 512


class Thumbnail(msgspec.Struct, frozen=True, tag="thumbnail"):
    """A JPEG of an image that fits in box × box."""

    box: int
    output: str


class Watermark(msgspec.Struct, frozen=True, tag="watermark"):
    """A full-size JPEG of an image, with the mark on it."""

    mark: Mark
    output: str


class Pictures(msgspec.Struct, frozen=True, tag="pictures"):
    """What steps make of an image, by their names; it is decoded once for all of them."""

    pool: ClassVar[str] = PICTURES
    format: str  # Pillow's name of what the source is
    made: dict[str, Thumbnail | Watermark]


class Excerpt(msgspec.Struct, frozen=True):
    """Samples of one track that are read as a film of their own."""

    samples: tuple[int, int]  # the number of the first, and of the one behind the last
    at: int  # where in the film the first lies
    place: tuple[int, int]  # the bytes of the film that hold all of them


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
    """A JPEG of a film's frame: the first of the candidates that shows much, or else the best of two or more.

    Each run makes one, already at its final size.
    """

    pool: ClassVar[str] = PICTURES
    command: Command
    candidates: tuple[Run, ...]
    output: str
    otherwise: tuple[
        Run, ...
    ] = ()  # others where one of these finds nothing; else the last of them
    warning: str = ""


class Made(msgspec.Struct, frozen=True, tag="made"):
    """A picture that was made: its file's name, and its size in pixels."""

    name: str
    width: Size
    height: Size
    # A sentence, where it is not all that its source should be.
    warning: Annotated[str, Meta(max_length=500)] = ""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why one of several pictures cannot be made; as in a JobError."""

    code: Annotated[str, Meta(pattern="^[a-z_0-9]{1,40}$")]
    detail: Annotated[str, Meta(max_length=500)]


Drawn = Made | Refused


class Segment(msgspec.Struct, frozen=True):
    """A file of an HLS rendition: fragments that follow each other. `size` in bytes, 0 before it is made."""

    name: str
    seconds: float
    size: int = 0


class RunUp(msgspec.Struct, frozen=True):
    """A run's excerpt with more ahead of it, which is decoded and dropped."""

    excerpt: Excerpt
    ahead_us: int  # how much earlier it starts, in microseconds


class Exact(msgspec.Struct, frozen=True):
    """What a chunk must come out as: its frames by their times, and the segments they fill.

    Times are ticks of the output.
    """

    first: int  # when the first frame is shown
    steps: tuple[tuple[int, int], ...]  # frames in a row that last equally long: how many, how long
    starts: tuple[int, ...]  # of each segment
    end: int  # of the last one
    timescale: int  # ticks a second
    # What is read where what comes out is not exact, one after the other: the last one begins where the film
    # does, if that is within reach.
    again: tuple[RunUp, ...] = ()

    def times(self) -> list[int]:
        """When each frame is shown, and when the last one ends."""
        durations = chain.from_iterable(repeat(ticks, count) for count, ticks in self.steps)
        return list(accumulate(durations, initial=self.first))

    def lengths(self) -> list[float]:
        """Of each segment, in seconds."""
        return [round(ticks / self.timescale, 6) for ticks in self._lengths()]

    def longest(self) -> float:
        """Seconds of the longest segment."""
        return round(max(self._lengths()) / self.timescale, 6)

    def _lengths(self) -> Iterator[int]:
        return (until - start for start, until in pairwise((*self.starts, self.end)))


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """A part of a rendition's pictures, or all of them: one file of fragments."""

    pool: ClassVar[str] = ENCODE
    command: str  # one of the plan's
    run: Run
    prefix: str  # of the names of its segments
    delay: int  # ticks from decoding a frame to showing it, at most
    seconds: float
    exact: Exact | None = None  # None where nobody can tell before it is decoded
    extra: tuple[str, ...] = ()  # files of this package that the run reads


# The file that a run that makes sound may copy the first packet of its source to, if there is one.
FIRST_PACKET = "first_packet"


class Sound(msgspec.Struct, frozen=True, tag="sound"):
    """A part of the sound, or all of it: AAC packets of 1,024 samples at 48 kHz.

    Packet `first` of the whole is packet `skip` of this run; the first of all is the encoder's own.
    """

    pool: ClassVar[str] = AUDIO
    command: str  # one of the plan's
    run: Run
    prefix: str
    first: int
    skip: int
    packets: int | None  # None: to the end
    seconds: float
    most_seconds: float | None = None  # how long the run can be; None where nobody has counted


# AAC as it is in a stream: each frame says what it is (ISO/IEC 14496-3, 1.A.2.2).
SOUND_FRAMES = "sound.adts"


class Remux(msgspec.Struct, frozen=True, tag="remux"):
    """A copy of a film in a container with an index: one FFmpeg run that makes the file it names last.

    Where the frames of `SOUND_FRAMES`, which it may write, too, are not all of a kind, another run makes it
    `again`.
    """

    pool: ClassVar[str] = AUDIO
    args: Command
    again: Command = ()


class Source(msgspec.Struct, frozen=True):
    """A file that tasks read: an original, or the copy of one; always the version of this ETag."""

    key: str
    etag: str
    is_copy: bool = False  # in the output bucket
    size: int = 0  # in bytes; 0 where it does not matter


class Join(msgspec.Struct, frozen=True, tag="join"):
    """The parts of a rendition and its sound in one MP4 with its index first, by copying."""

    pool: ClassVar[str] = PACKAGE
    output: str
    width: int
    height: int
    seconds: float
    frames: int | None
    warning: str = ""


class Hls(msgspec.Struct, frozen=True, tag="hls"):
    """The playlists of a rendition whose segments are there."""

    pool: ClassVar[str] = PACKAGE
    width: int
    height: int
    seconds: float
    frames: int | None
    # What is told until the whole is measured: frames a second, and bits a second at most, sound included.
    frame_rate: float
    most_bits: int
    language: str | None  # of the sound, as BCP 47 has it; None where there is no sound
    warning: str = ""


Work = Pictures | Poster | Chunk | Sound | Remux | Join | Hls
