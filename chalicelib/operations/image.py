"""The operation `image`: files of an image, in sizes and formats for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from chalicelib.model.facts import ImageFacts, fit_inside
from chalicelib.model.picture import Picture
from chalicelib.operations.stills import Side, Stills, mark_of, one_of, repeated
from chalicelib.planning import pictures
from chalicelib.planning.operation import PlanSettings
from chalicelib.planning.pictures import Sizes

_Background = Annotated[
    str,
    Meta(
        pattern=r"^(#[0-9a-f]{6}|transparent)$(?!\n)",
        extra={"form": "transparent, or a colour like '#ffffff' in small letters"},
    ),
]
# Pixels of a picture with a background around it, which is as large as a client says.
MOST_PADDED = 36_000_000
Part = Annotated[float, Meta(ge=0, le=1)]


class Image(Stills, frozen=True, kw_only=True, tag="image"):
    """Files of an image; at its own size, where none of `widths`, `box` and `size` is said."""

    kinds = ("image",)

    size: Annotated[
        tuple[Side, Side] | None,
        Meta(description="Width and height in pixels, as `fit` says.", examples=[[1200, 630]]),
    ] = None
    fit: Annotated[
        Literal["inside", "cover", "contain"],
        Meta(
            description="`inside` keeps the shape, within `size`. `cover` fills it, and crops what is too "
            "much. `contain` puts the whole picture on a `background` of that size."
        ),
    ] = "inside"
    focus: Annotated[
        Literal["center", "attention"] | tuple[Part, Part],
        Meta(
            description="What `cover` keeps in sight: the middle, what draws attention, or a point, as parts "
            "of width and height from the top left corner.",
            examples=[[0.5, 0.3]],
        ),
    ] = "center"
    background: Annotated[
        _Background | None,
        Meta(
            description="The colour, like `#336699`, behind what is transparent and around what `contain` "
            "leaves empty. By default, or with `transparent`, that is left transparent; white in JPEG, which "
            "cannot be.",
            examples=["#ffffff"],
        ),
    ] = None
    keep: Annotated[
        tuple[Literal["copyright", "icc"], ...],
        Meta(
            max_length=2,
            description="`copyright` keeps who made it and whose it is; `icc` keeps its colours as they are, "
            "with their profile, instead of sRGB. Nothing else of its metadata is ever kept.",
            examples=[["copyright"]],
        ),
    ] = ()

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from super().faults()
        yield from repeated("keep", self.keep)
        yield from one_of(self, "widths", "box", "size")
        if self.fit != "inside" and self.size is None:
            yield "fit", f"`{self.fit}` needs a `size`: say width and height."
        if self.fit == "contain" and self.size and self.size[0] * self.size[1] > MOST_PADDED:
            yield "size", f"`contain` makes at most {MOST_PADDED / 1e6:.0f} megapixels."
        if self.focus != "center" and self.fit != "cover":
            yield "focus", "`focus` is of `cover`, which crops: say so by `fit`."

    def sizes(self, width: int, height: int) -> Sizes:
        if self.size is None:
            return super().sizes(width, height)
        match self.fit:
            case "cover":
                return pictures.cover(width, height, *self.size)
            case "contain":
                return Sizes((self.size,))
            case "inside":
                return Sizes((fit_inside(width, height, *self.size),))

    def plan(self, stem: str, facts: ImageFacts, settings: PlanSettings) -> Picture:
        sizes, warning = self.sizes(facts.width, facts.height)
        return Picture(
            pictures.variants(
                stem, sizes, self.formats, self.quality, names_widths=self.widths is not None
            ),
            fit=self.fit,
            focus=self.focus,
            background="" if self.background == "transparent" else self.background or "",
            mark=mark_of(self.watermark, settings),
            placeholder=self.placeholder,
            keep=self.keep,
            warning=warning,
        )
