"""The operation `preview`: some seconds of a film, from several places, without sound."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chalicelib.model import work
from chalicelib.model.facts import VideoFacts
from chalicelib.planning.operation import Operation, PlanSettings
from chalicelib.planning.preview import PreviewFormat, preview


class Preview(Operation, frozen=True, kw_only=True, tag="preview"):
    """A few moments of a film, or of an animated image, one after the other: for a list, or to hover over."""

    kinds = ("video", "animation")

    seconds: Annotated[
        Annotated[float, Meta(ge=1, le=30)],
        Meta(description="How long it is; no longer than the film."),
    ] = 5
    width: Annotated[
        Annotated[int, Meta(ge=64, le=1280)], Meta(description="In pixels; no wider than the film.")
    ] = 480
    formats: Annotated[
        tuple[PreviewFormat, ...],
        Meta(
            min_length=1,
            max_length=2,
            description="H.264 in MP4 needs the fewest bits; an animated WebP is a picture to a page.",
            examples=[["mp4", "webp"]],
        ),
    ] = ("mp4",)

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> work.Preview:
        outputs = tuple(f"{stem}.{each}" for each in dict.fromkeys(self.formats))
        return preview(facts, outputs, self.seconds, self.width, settings)
