"""Sizes and files of pictures, for the operations `image` and `poster`. Nothing is enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chalicelib.model.picture import QUALITY, ImageFormat, Variant

_SUFFIXES: Mapping[ImageFormat, str] = {
    "jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png",
}  # fmt: skip


class Sizes(NamedTuple):
    """Sizes of a picture's files in pixels, and a sentence where they are not those that were asked for."""

    sizes: tuple[tuple[int, int], ...]
    warning: str = ""


def by_widths(width: int, height: int, widths: Sequence[int]) -> Sizes:
    """The picture at each of `widths`; at its own width once, instead of all that are larger."""
    smaller = sorted(wanted for wanted in widths if wanted <= width)
    larger = sorted(wanted for wanted in widths if wanted > width)
    warning = ""
    if larger:
        which = ", ".join(map(str, larger))
        warning = (
            f"It is {width} pixels wide, and was not enlarged: there is none of width {which}."
        )
    kept = [*smaller, *([width] if larger and width not in smaller else [])]
    return Sizes(tuple((wide, max(1, round(height * wide / width))) for wide in kept), warning)


def cover(width: int, height: int, across: int, down: int) -> Sizes:
    """The size across × down, or the largest of that shape that the picture can fill."""
    scale = min(1.0, width / across, height / down)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    if scale == 1:
        return Sizes((size,))
    return Sizes(
        (size,),
        f"It has {width} × {height} pixels, and was not enlarged to fill {across} × {down}: "
        f"it was cropped to {size[0]} × {size[1]}.",
    )


def variants(
    stem: str,
    sizes: Sequence[tuple[int, int]],
    formats: Sequence[ImageFormat],
    quality: int | Mapping[ImageFormat, int] | None,
    *,
    names_widths: bool,
) -> tuple[Variant, ...]:
    """A file of each size in each format; with `names_widths`, each file's name has its width."""
    return tuple(
        Variant(
            f"{stem}{f'_{size[0]}' if names_widths else ''}.{_SUFFIXES[image_format]}",
            *size,
            image_format,
            _quality(image_format, quality),
        )
        for size in sizes
        for image_format in formats
    )


def _quality(image_format: ImageFormat, quality: int | Mapping[ImageFormat, int] | None) -> int:
    if isinstance(quality, int):
        return quality
    return (quality or {}).get(image_format, QUALITY[image_format])
