"""What the planner, its caller and operations hand to each other: settings, steps, renditions, encodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import JobError
from chalicelib.formats.cmaf import SEGMENT_SECONDS
from chalicelib.model.facts import AudioFacts, ImageFacts, VideoFacts
from chalicelib.model.mark import Mark
from chalicelib.model.picture import Picture
from chalicelib.model.work import (
    Audio,
    AudioFile,
    Captions,
    Chunk,
    Command,
    Hls,
    Join,
    Poster,
    Preview,
    Source,
    Storyboard,
)

# An item of a pipeline: the name of a preset, or an operation as an object.
type Item = str | dict[str, Any]


class PlanSettings(msgspec.Struct, frozen=True):
    """What a plan depends on besides facts and steps: the caller takes it from its process's settings."""

    max_video_pixels: int  # of a frame, as the source is taken; FFmpeg gets its own limit from it
    max_video_seconds: float  # length of a source; no audio is padded beyond that
    chunk_work_seconds: float  # how long two cores work on a chunk, about
    mark: Mark  # the watermark
    marks: dict[str, str] = {}  # ETags of the operators' that steps name, by their names
    sidecars: dict[str, Source] = {}  # files of captions that steps name, by their keys
    least_chunk_seconds: float = float(SEGMENT_SECONDS)  # of film; no chunk is planned shorter
    audio_part_seconds: float = (
        60.0  # length of a part of the audio, but for the first and the last
    )


Codec = Literal["h264", "hevc", "av1"]


class Rendition(msgspec.Struct, frozen=True):
    """One encode of a film's video. Steps that ask for equal ones share it: `video.rendition` makes them."""

    name: str  # says all of its fields: renditions of a film that differ have different names
    width: int  # pixels
    height: int
    codec: Codec = "h264"
    max_fps: int | None = None  # None where the film has no more
    max_kbps: int | None = None  # None where the encoder never needs more
    mark: Mark | None = None


class Packaging(msgspec.Struct, frozen=True):
    """Work on renditions instead of on the source: on one, or on those of a ladder."""

    renditions: tuple[Rendition, ...]
    work: Join | Hls | Storyboard
    folder: str = (
        ""  # "hls/": where there are many files, their keys have this behind the job's prefix
    )
    captions: Captions | None = None  # which lie beside what the work makes


# On a film: alone, or on renditions of it that steps share.
type FilmWork = Poster | AudioFile | Preview | Packaging


StepName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$(?!\n)",
        extra={"form": "1 to 32 small letters, digits, - and _, and begins with a letter"},
    ),
]


class Operation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="make",
):
    """What can be made of one kind of media. The fields are its parameters, as a client writes them."""

    # Of media: "image", "video", "audio"; "animation", an image of several pictures, taken for a film.
    kinds: ClassVar[tuple[str, ...]]

    name: Annotated[
        StepName | None,
        Meta(
            description="Of the step, once in a pipeline; by default it is what `make` says.",
            examples=["cover"],
        ),
    ] = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """What the types of the parameters cannot say: the place of a parameter, and a sentence."""
        yield from ()

    def marks(self) -> tuple[str, ...]:
        """Names of the operators' watermarks that it lays."""
        return ()

    def sidecars(self) -> tuple[str, ...]:
        """Keys of the files of captions that it reads."""
        return ()

    def plan(self, stem: str, facts: Any, settings: PlanSettings) -> Any:
        """The work on media of its kinds: a Picture, Poster, AudioFile or Packaging.

        Names of files begin with `stem`.

        Raises JobError.
        """
        raise NotImplementedError


def tag_of(operation: type[Operation]) -> str:
    """What a pipeline calls an operation by `make`."""
    return str(operation.__struct_config__.tag)


@dataclass(frozen=True)
class Step:
    """What a pipeline asks for by one of its items."""

    name: str
    item: Item
    stem: str  # names of its files begin with it
    operations: Mapping[str, Operation]  # what it makes, by the kind of media

    @property
    def marks(self) -> set[str]:
        """Names of the operators' watermarks that it may lay."""
        return {mark for each in self.operations.values() for mark in each.marks()}

    def makes_of(self, kind: str) -> bool:
        """Whether it makes something of this kind of media; of an image it may need that it is animated."""
        return kind in self.operations or (kind == "image" and "animation" in self.operations)

    @property
    def sidecars(self) -> set[str]:
        """Keys of the files of captions that it may read."""
        return {key for each in self.operations.values() for key in each.sidecars()}

    def moves(self, facts: ImageFacts) -> bool:
        """Whether it makes a film of an image, which has several pictures."""
        return facts.animated and "animation" in self.operations and "image" not in self.operations

    def image(self, facts: ImageFacts, settings: PlanSettings) -> Picture:
        """The work on an image. Raises JobError."""
        if "image" not in self.operations:
            still = "a still image" if "animation" in self.operations else "an image"
            detail = f"The step {self.name} needs a video, but the file is {still}."
            raise JobError("step_needs_video", detail)
        made: Picture = self.operations["image"].plan(self.stem, facts, settings)
        return made

    def video(self, facts: VideoFacts, settings: PlanSettings) -> FilmWork:
        """The work on a film. Raises JobError."""
        if "video" not in self.operations:
            detail = f"The step {self.name} needs an image, but the file is a video."
            raise JobError("step_needs_image", detail)
        made: FilmWork = self.operations["video"].plan(self.stem, facts, settings)
        return made

    def audio(self, facts: AudioFacts, settings: PlanSettings) -> AudioFile:
        """The work on sound. Raises JobError."""
        if "audio" not in self.operations:
            needed = " or ".join(
                {"image": "an image", "video": "a video"}[kind]
                for kind in self.operations
                if kind != "animation"
            )
            detail = f"The step {self.name} needs {needed}, but the file is sound only."
            raise JobError("no_video_stream", detail)
        made: AudioFile = self.operations["audio"].plan(self.stem, facts, settings)
        return made


class Part(msgspec.Struct, frozen=True):
    """The work of one of the tasks that make the video, or the audio."""

    work: Chunk | Audio
    cost: float  # estimated seconds of two cores


class Encode(msgspec.Struct, frozen=True):
    """How the video, or the audio, is made: its parts in order, and the commands that they name."""

    parts: list[Part]
    commands: dict[str, Command]
