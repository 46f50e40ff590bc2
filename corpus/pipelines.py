"""What is asked of files: presets by their names, and steps with parameters, as far as they are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

Format = Literal["jpeg", "webp", "avif", "png"]
Codec = Literal["h264", "hevc", "av1"]
Item = Any  # as a request has it: a name, or an object
Pipelines = Mapping[str, Sequence[Item]]  # by kind of file

# Of presigned uploads. A file of any other kind is dropped, and gets the default recipe.
PRESETS: Pipelines = {
    "image": ("thumbnail", "watermark"),
    "video": ("thumbnail", "watermark", "transcode_720p", "hls_720p"),
    "audio": ("thumbnail", "transcode_720p"),  # sound where a film is expected
}


class NotJudged(Exception):
    """Pipelines that cannot be read, or ask for what nothing here judges; the message says what."""


class Preset(msgspec.Struct, frozen=True):
    """One of the four names."""

    name: str


class Still(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="make"
):
    """Files of one picture: each size in each format."""

    name: str = ""  # "": as `make` says
    widths: tuple[int, ...] = ()
    formats: tuple[Format, ...] = ("jpeg",)
    placeholder: Literal["none", "thumbhash"] = "none"

    def sizes(self, width: int, height: int) -> list[tuple[float, float]]:
        """The sizes of the files in one format, before rounding; nothing is enlarged."""
        if not self.widths:
            return [(width, height)]
        wanted = {min(width, across) for across in self.widths}
        return [(across, height * across / width) for across in sorted(wanted)]


class Image(Still, frozen=True, tag="image"):
    """Files of an image."""

    size: tuple[int, int] | None = None
    fit: Literal["inside", "cover"] = "inside"
    focus: Literal["center", "attention"] = "center"

    @property
    def crops(self) -> bool:
        return self.fit == "cover"

    def sizes(self, width: int, height: int) -> list[tuple[float, float]]:
        if self.size is None:
            return super().sizes(width, height)
        scale = min(1.0, self.size[0] / width, self.size[1] / height)
        if not self.crops:
            return [(width * scale, height * scale)]
        scale = min(1.0, width / self.size[0], height / self.size[1])
        return [(self.size[0] * scale, self.size[1] * scale)]


class Poster(Still, frozen=True, tag="poster"):
    """A film's frame: one that is not blank, or one at a time, in seconds or as a part of the length."""

    at: float | str = "auto"

    def moment(self, length: float) -> float | None:
        """When the frame is shown; None for any. Seconds, as `length` is."""
        if self.at == "auto":
            return None
        return float(self.at.rstrip("%")) / 100 * length if isinstance(self.at, str) else self.at


class Mp4(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="make", tag="mp4"):
    """A film whose shorter side is `height`, or the film's own where that is less."""

    name: str = ""
    height: int = 720
    codec: Codec = "h264"


class Hls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="make", tag="hls"):
    """A film in several renditions; judged beside an MP4 with all of its frames."""

    name: str = ""
    ladder: Literal["auto"] = "auto"
    dash: bool = False


Step = Preset | Image | Poster | Mp4 | Hls


def read(path: Path) -> Pipelines:
    """The pipelines of a JSON file, by kind of file. Raises NotJudged."""
    try:
        pipelines = msgspec.json.decode(path.read_bytes(), type=dict[str, list[Item]])
    except (OSError, msgspec.DecodeError) as error:
        raise NotJudged(f"{path} has no pipelines: {error}") from error
    for pipeline in pipelines.values():
        steps(pipeline)
    return pipelines


def steps(pipeline: Sequence[Item]) -> list[Step]:
    """The steps that a pipeline asks for, each with its name. Raises NotJudged."""
    return [_step(item) for item in pipeline]


def _step(item: Item) -> Step:
    if isinstance(item, str):
        return Preset(item)
    try:
        step = msgspec.convert(item, Image | Poster | Mp4 | Hls)
    except msgspec.ValidationError as error:
        raise NotJudged(f"{item} is not judged: {error}") from error
    return msgspec.structs.replace(step, name=name_of(item))


def name_of(item: Item) -> str:
    """The name of the step that an item asks for."""
    return item if isinstance(item, str) else item.get("name") or item["make"]
