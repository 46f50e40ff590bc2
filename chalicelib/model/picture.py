"""Pictures that steps make of images, and of films' frames: what is asked for, and what was drawn."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.model.facts import Size
from chalicelib.model.mark import Mark

ImageFormat = Literal["jpeg", "webp", "avif", "png"]
# Qualities that look the same, by SSIM: `python -m benchmarks formats`. PNG loses nothing.
QUALITY: dict[ImageFormat, int] = {"jpeg": 85, "webp": 86, "avif": 72, "png": 100}
# Most pixels a side: libjpeg's limit, that of WebP's headers, what libavif decodes if it is not told to take
# more, and what decoders of PNG take.
MOST_SIDE: dict[ImageFormat, int] = {
    "jpeg": 65_500, "webp": 16_383, "avif": 32_768, "png": 65_500,
}  # fmt: skip
# A picture of AV1's highest level (AV1 specification, A.3).
MOST_AVIF_PIXELS = 35_651_584


class Variant(msgspec.Struct, frozen=True):
    """One file of a picture."""

    output: str  # the file's name
    width: int  # pixels of the file
    height: int
    format: ImageFormat
    quality: int  # 1 to 100; PNG has none


class Picture(msgspec.Struct, frozen=True):
    """What a step makes of an image, or of a film's frame: files that show the same."""

    variants: tuple[Variant, ...]
    fit: Literal["inside", "cover", "contain"] = "inside"
    # Where `cover` crops; (x, y) as parts of the size.
    focus: Literal["center", "attention"] | tuple[float, float] = "center"
    # "#rrggbb", behind what is transparent and around what `contain` does not fill. "": transparent where the
    # format can be, else white.
    background: str = ""
    mark: Mark | None = None
    placeholder: Literal["none", "thumbhash", "blurhash"] = "none"
    keep: tuple[Literal["copyright", "icc"], ...] = ()
    warning: str = ""  # planned; what drawing finds is added

    def scale(self, width: int, height: int) -> float:
        """How large a source of that size must be shown, as a part of its size, for the largest file."""
        of = max if self.fit == "cover" else min
        wanted = (of(each.width / width, each.height / height) for each in self.variants)
        return min(1.0, max(wanted))


class DrawnImage(msgspec.Struct, frozen=True):
    """A file that was drawn: its name, its size in pixels."""

    name: str
    width: Size
    height: Size


class DrawnPicture(msgspec.Struct, frozen=True, tag="drawn_picture"):
    """A picture that was drawn."""

    files: Annotated[tuple[DrawnImage, ...], Meta(max_length=100)]
    placeholder: Annotated[str, Meta(pattern=r"^[!-~]{0,100}\Z")] = ""
    color: Annotated[str, Meta(pattern=r"^(#[0-9a-f]{6})?\Z")] = ""  # that most of it has
    # A sentence for the client, where something is missing in the picture.
    warning: Annotated[str, Meta(max_length=500)] = ""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why one of several pictures cannot be drawn: code and detail of a JobError."""

    code: Annotated[str, Meta(pattern="^[a-z_0-9]{1,40}$")]
    detail: Annotated[str, Meta(max_length=500)]


Drawn = DrawnPicture | Refused


def obstacle(picture: Picture) -> Refused | None:
    """Why a picture cannot be drawn: a file of it would be larger than its format can be."""
    for variant in picture.variants:
        size = f"{variant.output} would be {variant.width} × {variant.height}"
        name, most = variant.format.upper(), MOST_SIDE[variant.format]
        if max(variant.width, variant.height) > most:
            return Refused(
                "side_too_long",
                f"{size}; {_WITH_ARTICLE[name]} can have at most {most} pixels a side.",
            )
        if variant.format == "avif" and variant.width * variant.height > MOST_AVIF_PIXELS:
            return Refused(
                "side_too_long", f"{size}; an AVIF can have at most {MOST_AVIF_PIXELS} pixels."
            )
    return None


_WITH_ARTICLE = {"JPEG": "a JPEG", "WEBP": "a WebP", "AVIF": "an AVIF", "PNG": "a PNG"}
