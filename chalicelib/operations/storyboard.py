"""The operation `storyboard`: small pictures of a film on sheets, for a player to show while one scrubs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Storyboard as StoryboardWork
from chalicelib.model.work import count_tiles
from chalicelib.planning import storyboards
from chalicelib.planning.operation import Operation, Packaging, PlanSettings


class Storyboard(Operation, frozen=True, kw_only=True, tag="storyboard"):
    """Sheets of tiles as JPEG, and where each is: as WebVTT, and as JSON."""

    kinds = ("video",)

    every: Annotated[
        Annotated[float, Meta(ge=2, le=3600)] | None,
        Meta(
            description="Seconds of the film for each tile; by default there are 50 tiles, 100 of a film "
            "above 15 minutes, and none for less than two seconds.",
            examples=[10],
        ),
    ] = None
    width: Annotated[
        Annotated[int, Meta(ge=64, le=640)], Meta(description="Of a tile, in pixels.")
    ] = 256

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Packaging:
        tile = storyboards.size(facts, self.width)
        chosen = storyboards.tiles(facts.seconds, self.every)
        rendition = storyboards.rendition(facts, tile)
        grid = storyboards.grid(count_tiles(facts.seconds, chosen.every))
        command = storyboards.command(tile, grid)
        work = StoryboardWork(
            rendition.name, command, *tile, grid, chosen.every, facts.seconds, chosen.warning
        )
        return Packaging((rendition,), work, f"{stem}/")
