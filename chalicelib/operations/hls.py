"""The operation `hls`: a film as HTTP Live Streaming, and DASH, in CMAF segments, audio and video apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Hls as HlsWork
from chalicelib.operations.mp4 import ChosenCodec, MostFps, MostKbps, ShortSide
from chalicelib.planning import audio, filters, ladders
from chalicelib.planning.ladders import Wanted
from chalicelib.planning.operation import Operation, Packaging, PlanSettings


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rendition of a ladder."""

    height: Annotated[
        ShortSide, Meta(description="Of the shorter side, in pixels.", examples=[1080])
    ]
    codec: ChosenCodec = "h264"
    max_fps: MostFps = None
    max_kbps: MostKbps = None


class Hls(Operation, frozen=True, kw_only=True, tag="hls"):
    """A film to be streamed, which plays while it is encoded."""

    kinds = ("video",)

    ladder: Annotated[
        Literal["auto"] | Annotated[tuple[ShortSide | Rung, ...], Meta(min_length=1, max_length=8)],
        Meta(
            description="The renditions between which a player chooses. `auto`: 1080, 720, 480, 360 and 234 "
            "lines, as far as the film has them. Else each one's shorter side in pixels, or an object.",
            examples=[[1080, 720, 480]],
        ),
    ] = "auto"
    dash: Annotated[
        bool,
        Meta(
            description="Whether players of DASH find the complete film, too, in the same segments: the "
            "output then has a `dash_url`, which leads to an MPD."
        ),
    ] = False

    def faults(self) -> Iterator[tuple[str, str]]:
        wanted = [] if self.ladder == "auto" else list(map(_wanted, self.ladder))
        for number, rung in enumerate(wanted):
            if rung in wanted[:number]:
                yield f"ladder/{number}", "This rung is there already; once is enough."

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Packaging:
        wanted = (
            ladders.automatic(facts) if self.ladder == "auto" else list(map(_wanted, self.ladder))
        )
        renditions = ladders.renditions(facts, wanted)
        left_out = ladders.left_out(facts, wanted) if len(wanted) > 1 else ""
        work = HlsWork(
            tuple(ladders.rungs(facts, renditions, audio.BITS_PER_SECOND if facts.audio else 0)),
            facts.seconds,
            language=facts.audio.language if facts.audio else None,
            only_useful=self.ladder == "auto",
            dash=self.dash,
            warning=" ".join(filter(None, (left_out, filters.warning(facts)))),
        )
        return Packaging(tuple(renditions), work, f"{stem}/")


def _wanted(rung: int | Rung) -> Wanted:
    if isinstance(rung, int):
        return Wanted(rung)
    return Wanted(rung.height, rung.codec, rung.max_fps, rung.max_kbps)
