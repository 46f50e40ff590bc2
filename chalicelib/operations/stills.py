"""What the operations `image` and `poster` share: their parameters for sizes, formats and the watermark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.model.facts import fit_box
from chalicelib.model.mark import Mark, Position
from chalicelib.model.picture import QUALITY, ImageFormat
from chalicelib.planning import pictures
from chalicelib.planning.operation import Operation, PlanSettings
from chalicelib.planning.pictures import Sizes

# A WebP can have no longer side.
Side = Annotated[int, Meta(ge=16, le=16_383)]
Quality = Annotated[int, Meta(ge=1, le=100)]
Fraction = Annotated[float, Meta(gt=0, le=1)]

_PngName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}\.png$(?!\n)",
        extra={"form": "the name of a PNG, like acme.png, of letters, digits, dots, - and _"},
    ),
]


class Watermark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which watermark lies on a picture, and how; what is left out is as the stage has it."""

    image: Annotated[
        _PngName | None,
        Meta(
            description="Another one: the name of a PNG that an operator has put under `watermarks/` in the "
            "output bucket.",
            examples=["acme.png"],
        ),
    ] = None
    position: Annotated[
        Position | None, Meta(description="Where it lies.", examples=["center"])
    ] = None
    scale: Annotated[
        Fraction | None,
        Meta(description="Its width as a part of the picture's width.", examples=[0.3]),
    ] = None
    opacity: Annotated[
        Fraction | None,
        Meta(description="From nearly 0, hardly to be seen, to 1, opaque.", examples=[0.5]),
    ] = None


def mark_of(watermark: bool | Watermark, settings: PlanSettings) -> Mark | None:
    """The mark that a parameter `watermark` asks for."""
    if watermark is False:
        return None
    chosen = {} if watermark is True else msgspec.structs.asdict(watermark)
    changes = {field: value for field, value in chosen.items() if value is not None}
    if "image" in changes:
        changes["etag"] = settings.marks[changes["image"]]
    return msgspec.structs.replace(settings.mark, **changes)


def named_marks(watermark: bool | Watermark) -> tuple[str, ...]:
    """The operator's watermark that a parameter `watermark` names, if any."""
    if isinstance(watermark, bool) or watermark.image is None:
        return ()
    return (watermark.image,)


class Stills(Operation, frozen=True, kw_only=True):
    """Files of one picture: each size in each format."""

    widths: Annotated[
        Annotated[tuple[Side, ...], Meta(min_length=1, max_length=12)] | None,
        Meta(
            description="A file of each width in pixels. Instead of those above the picture's own width "
            "there is one of that.",
            examples=[[320, 640, 1280]],
        ),
    ] = None
    box: Annotated[
        Side | None, Meta(description="It fits in a square of so many pixels.", examples=[512])
    ] = None
    formats: Annotated[
        tuple[ImageFormat, ...],
        Meta(
            min_length=1,
            max_length=4,
            description="A file of each size in each format.",
            examples=[["avif", "webp", "jpeg"]],
        ),
    ] = ("jpeg",)
    quality: Annotated[
        Quality | dict[ImageFormat, Quality] | None,
        Meta(
            description=f"A number, or one for each format; by default {QUALITY['jpeg']} for JPEG, "
            f"{QUALITY['webp']} for WebP, {QUALITY['avif']} for AVIF, which look alike. PNG has none.",
            examples=[80],
        ),
    ] = None
    placeholder: Annotated[
        Literal["none", "thumbhash", "blurhash"],
        Meta(description="A text for a page to draw until the picture is there."),
    ] = "none"
    watermark: Annotated[
        bool | Watermark, Meta(description="Whether, or how, the watermark lies on it.")
    ] = False

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from repeated("widths", self.widths or ())
        yield from repeated("formats", self.formats)
        if isinstance(self.quality, Mapping):
            for other in self.quality.keys() - set(self.formats):
                yield f"quality/{other}", f"There is no {other} in `formats`."

    def marks(self) -> tuple[str, ...]:
        return named_marks(self.watermark)

    def sizes(self, width: int, height: int) -> Sizes:
        """The sizes of the files of a picture of width × height."""
        if self.widths:
            return pictures.by_widths(width, height, self.widths)
        box = self.box or max(width, height)
        return Sizes((fit_box(width, height, box),))


def one_of(operation: Operation, *parameters: str) -> Iterator[tuple[str, str]]:
    """The fault of an operation that has several of `parameters`."""
    given = [name for name in parameters if getattr(operation, name) is not None]
    for name in given[1:]:
        yield (
            name,
            f"Only one of `widths`, `box` and `size` can be said, and there is `{given[0]}`.",
        )


def repeated[T](parameter: str, values: tuple[T, ...]) -> Iterator[tuple[str, str]]:
    """The faults of a list that has a value more than once."""
    for number, value in enumerate(values):
        if values.index(value) < number:
            yield f"{parameter}/{number}", f"{value} is there already; once is enough."
