"""What an operation and the planner hand to each other: steps, renditions, packagings, parts of an encode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from chalicelib.model.facts import VideoFacts
from chalicelib.model.mark import Mark
from chalicelib.model.plan import Chunk, Command, Hls, Join, Poster, Sound, Thumbnail, Watermark
from chalicelib.planning.settings import PlanSettings


class Rendition(msgspec.Struct, frozen=True):
    """One encode of a film's video. Steps that ask for equal ones share it."""

    name: str
    width: int  # pixels
    height: int
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
    """The work of one of the tasks that make a rendition, or the audio."""

    work: Chunk | Sound
    cost: float  # estimated seconds of two cores


class Encode(msgspec.Struct, frozen=True):
    """How a rendition, or the audio, is made: its parts in order, and the commands that they name."""

    parts: list[Part]
    commands: dict[str, Command]
