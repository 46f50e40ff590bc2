"""The operation `poster`: a film's frame as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from chalicelib.model import work
from chalicelib.model.facts import VideoFacts, fps
from chalicelib.model.picture import Picture
from chalicelib.operations.stills import Stills, mark_of, one_of
from chalicelib.planning import pictures, poster
from chalicelib.planning.operation import PlanSettings

_PART = Annotated[
    str,
    Meta(
        pattern=r"^(auto|(100|[0-9]{1,2}(\.[0-9]{1,3})?)%)$(?!\n)",
        extra={"form": "auto, a number of seconds, or a part of the length like '25%'"},
    ),
]


class Poster(Stills, frozen=True, kw_only=True, tag="poster"):
    """A frame of a film; at the film's own size, where neither `widths` nor `box` is said."""

    kinds = ("video",)

    at: Annotated[
        _PART | Annotated[float, Meta(ge=0, le=1e6)],
        Meta(
            description="Which frame: `auto` looks for one that is not blank; else seconds from the start, "
            "or a part of the length, like `25%`.",
            examples=["25%"],
        ),
    ] = "auto"

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from super().faults()
        yield from one_of(self, "widths", "box")

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> work.Poster:
        sizes, warning = self.sizes(facts.width, facts.height)
        at, late = self._seconds(facts)
        picture = Picture(
            pictures.variants(
                stem, sizes, self.formats, self.quality, names_widths=self.widths is not None
            ),
            mark=mark_of(self.watermark, settings),
            placeholder=self.placeholder,
            warning=" ".join(filter(None, (warning, late))),
        )
        return poster.poster(facts, picture, settings, at)

    def _seconds(self, facts: VideoFacts) -> tuple[float | None, str]:
        """When the frame is shown, None for any; and a sentence where the film has ended by then."""
        if self.at == "auto":
            return None, ""
        last = max(0.0, facts.seconds - 0.5 / fps(facts))
        if isinstance(self.at, str):
            return min(last, facts.seconds * float(self.at.rstrip("%")) / 100), ""
        if self.at < facts.seconds:
            return min(last, self.at), ""
        return last, f"The film ends after {facts.seconds:.3f} s: the poster is its last frame."
