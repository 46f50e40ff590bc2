"""What the planner asks of an operation, and what it is given: renditions, parts, packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from chalicelib.model.facts import VideoFacts
from chalicelib.model.mark import Mark
from chalicelib.model.work import Chunk, Command, Hls, Join, Poster, Sound, Thumbnail, Watermark


class Rendition(msgspec.Struct, frozen=True):
    """An encode that steps may share: two that compare equal are made once."""

    name: str
    width: int
    height: int
    mark: Mark | None = None


class Packaging(msgspec.Struct, frozen=True):
    """Work on a rendition instead of on the source."""

    rendition: Rendition
    work: Join | Hls


@dataclass(frozen=True)
class Step:
    """One name in a pipeline: what it makes of a film, and of an image if it can."""

    name: str
    video: Callable[[VideoFacts], Poster | Packaging]
    image: Callable[[], Thumbnail | Watermark] | None = None
    folder: str = ""  # for a step that makes many files: what their keys share, with a slash


class Part(msgspec.Struct, frozen=True):
    """One of the tasks that a rendition, or the sound, is made by."""

    work: Chunk | Sound
    cost: float


class Encode(msgspec.Struct, frozen=True):
    """How a rendition, or the sound, is made: its parts, and the commands that they name."""

    parts: list[Part]
    commands: dict[str, Command]
