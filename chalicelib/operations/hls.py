"""The operation `hls`: a film as HTTP Live Streaming, in CMAF segments, audio and video apart."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Hls as HlsWork
from chalicelib.operations.mp4 import ShortSide
from chalicelib.planning import audio, filters, video
from chalicelib.planning.operation import Operation, Packaging, PlanSettings


class Hls(Operation, frozen=True, kw_only=True, tag="hls"):
    """A film to be streamed, which plays while it is encoded."""

    kinds = ("video",)

    ladder: Annotated[
        tuple[ShortSide],
        Meta(
            description="The shorter side of the rendition, in pixels; one for now.",
            examples=[[720]],
        ),
    ]

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Packaging:
        rendition = video.rendition(facts, short_side=self.ladder[0])
        max_bits, language = video.max_bits_per_second(facts, rendition), None
        if facts.audio_stream is not None:
            max_bits, language = max_bits + audio.BITS_PER_SECOND, facts.audio_language
        work = HlsWork(
            rendition.name,
            rendition.width,
            rendition.height,
            facts.seconds,
            video.frames(facts, rendition),
            frame_rate=video.frame_rate(facts, rendition),
            max_bits=max_bits,
            language=language,
            warning=filters.warning(facts),
        )
        return Packaging(rendition, work, f"{stem}/")
