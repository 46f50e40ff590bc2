"""What the planner, its caller and operations hand to each other: settings, steps, renditions, encodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from chalicelib.formats.cmaf import SEGMENT_SECONDS
from chalicelib.model.facts import VideoFacts
from chalicelib.model.mark import Mark
from chalicelib.model.work import Audio, Chunk, Command, Hls, Join, Poster, Thumbnail, Watermark


class PlanSettings(msgspec.Struct, frozen=True):
    """What a plan depends on besides facts and steps: the caller takes it from its process's settings."""

    max_video_pixels: int  # of a frame, as the source is taken; FFmpeg gets its own limit from it
    max_video_seconds: float  # length of a source; no audio is padded beyond that
    chunk_work_seconds: float  # how long two cores work on a chunk, about
    mark: Mark  # the watermark
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
    """Work on a rendition instead of on the source."""

    rendition: Rendition
    work: Join | Hls


@dataclass(frozen=True)
class Step:
    """A name that a pipeline can have: what it makes of a film, and of an image if it takes images."""

    name: str
    video: Callable[[VideoFacts, PlanSettings], Poster | Packaging]
    image: Callable[[PlanSettings], Thumbnail | Watermark] | None = None
    folder: str = ""  # "hls/": a step with many files adds this to the prefix of their keys


class Part(msgspec.Struct, frozen=True):
    """The work of one of the tasks that make the video, or the audio."""

    work: Chunk | Audio
    cost: float  # estimated seconds of two cores


class Encode(msgspec.Struct, frozen=True):
    """How the video, or the audio, is made: its parts in order, and the commands that they name."""

    parts: list[Part]
    commands: dict[str, Command]
