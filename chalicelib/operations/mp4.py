"""The operation `mp4`: a film as one MP4 with AAC, that plays while it downloads."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Join
from chalicelib.operations.stills import Watermark, mark_of, named_marks
from chalicelib.planning import filters, video
from chalicelib.planning.operation import Operation, Packaging, PlanSettings

ShortSide = Annotated[int, Meta(ge=144, le=2160)]
ChosenCodec = Annotated[
    Literal["h264", "hevc", "av1"],
    Meta(description="H.264 plays everywhere; HEVC and AV1 are smaller, and cost more."),
]
MostFps = Annotated[
    Annotated[int, Meta(ge=1, le=240)] | None,
    Meta(description="Frames are left out where there are more in a second.", examples=[30]),
]
MostKbps = Annotated[
    Annotated[int, Meta(ge=64, le=100_000)] | None,
    Meta(description="Most kilobits per second of the video.", examples=[2500]),
]


class Mp4(Operation, frozen=True, kw_only=True, tag="mp4"):
    """A film, or an animated image, in one file. It is never enlarged, and gets no more frames."""

    kinds = ("video", "animation")

    height: Annotated[
        ShortSide | Literal["source"],
        Meta(
            description="Of the shorter side, in pixels, as in 720p; `source` keeps the film's size.",
            examples=[1080],
        ),
    ] = 720
    codec: ChosenCodec = "h264"
    max_fps: MostFps = None
    max_kbps: MostKbps = None
    watermark: Annotated[
        bool | Watermark, Meta(description="Whether, or how, the watermark lies on it.")
    ] = False

    def marks(self) -> tuple[str, ...]:
        return named_marks(self.watermark)

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Packaging:
        rendition = video.rendition(
            facts,
            short_side=None if self.height == "source" else self.height,
            codec=self.codec,
            max_fps=self.max_fps,
            max_kbps=self.max_kbps,
            mark=mark_of(self.watermark, settings),
        )
        work = Join(
            rendition.name,
            f"{stem}.mp4",
            rendition.width,
            rendition.height,
            facts.seconds,
            video.frames(facts, rendition),
            filters.warning(facts),
        )
        return Packaging((rendition,), work)
