"""Draws the pictures of steps on a canvas: their crop and size, their background, their mark."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFilter

from chalicelib.engines import attention, placeholders
from chalicelib.engines.image_colours import in_profile, to_srgb
from chalicelib.engines.image_decoding import Box, Canvas
from chalicelib.errors import JobError
from chalicelib.model.colours import ColourSpace
from chalicelib.model.mark import Mark, margin_of, mark_box
from chalicelib.model.picture import Picture, Variant

# A picture is made smaller in two passes, of which the first leaves so many times the size; more, if its
# decoder was the first one.
_GAP, _GAP_AFTER_DECODER = 2.0, 3.0
# Pixels of the longer side, of which so many are enough to tell a picture's colours.
_ENOUGH = 512


class Shown(NamedTuple):
    """A picture in one size."""

    image: Image.Image
    mark: Image.Image | None  # the layer that lies on it; None: no mark
    whole: bool  # it has every pixel of the source


def keeps_alpha(picture: Picture, variant: Variant) -> bool:
    return variant.format != "jpeg" and not _is_colour(picture.background)


def needs_alpha(picture: Picture) -> bool:
    """Whether transparent parts of the source are not just white in all files."""
    white = picture.background.lower() == "#ffffff"
    return not white and (
        _is_colour(picture.background)
        or any(keeps_alpha(picture, variant) for variant in picture.variants)
    )


def _is_colour(background: str) -> bool:
    return background.startswith("#")


def sizes(picture: Picture) -> Iterator[tuple[tuple[int, int], list[Variant]]]:
    """The variants of a picture by their sizes, the smallest first."""
    by_size: dict[tuple[int, int], list[Variant]] = {}
    for variant in picture.variants:
        by_size.setdefault((variant.width, variant.height), []).append(variant)
    yield from sorted(by_size.items(), key=lambda item: item[0][0] * item[0][1])


class Drawing:
    """A picture on its canvas."""

    def __init__(self, picture: Picture, canvas: Canvas, marks: Path) -> None:
        self._picture, self._canvas, self._marks = picture, canvas, marks
        self._focuses: dict[float, tuple[float, float]] = {}
        self._mark: Image.Image | None = None

    def shown(self, size: tuple[int, int], *, last: bool) -> Shown:
        """The picture in that size. The `last` one may be the canvas itself."""
        image = self._shaped(size, last=last)
        image.info.clear()  # it would be written to files
        whole = (self._canvas.scale, *size) == (1, *self._canvas.image.size)
        mark = self._picture.mark
        return Shown(image, self._layer(mark, size) if mark else None, whole)

    def small(self, image: Image.Image) -> Image.Image:
        """A shown picture, still without its mark, in sRGB and few pixels."""
        if (step := max(image.size) // _ENOUGH) > 1:
            few = max(1, image.width // step), max(1, image.height // step)
            image = image.resize(few, Image.Resampling.NEAREST)
        scale = min(1.0, placeholders.SIDE / max(image.size))
        few = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image.resize(few, Image.Resampling.BOX)
        if self._canvas.profile is None:
            return small
        alpha = small.getchannel("A") if small.mode == "RGBA" else None
        small = to_srgb(small.convert("RGB"), self._canvas.profile, ColourSpace())
        if alpha:
            small.putalpha(alpha)
        return small

    def _shaped(self, size: tuple[int, int], *, last: bool) -> Image.Image:
        box = self._canvas.box
        match self._picture.fit:
            case "inside":
                return self._resized(size, box, last=last)
            case "cover":
                return self._resized(size, self._crop(box, size), last=last)
            case "contain":
                return self._contained(size, box)

    def _resized(self, size: tuple[int, int], box: Box, *, last: bool = False) -> Image.Image:
        image = self._canvas.image
        if last and image.size == size and box == (0, 0, *size):
            return image
        gap = _GAP if self._canvas.scale == 1 else _GAP_AFTER_DECODER
        small = image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=gap)
        ratio = (box[2] - box[0]) / size[0]
        if self._canvas.scale == 8 and ratio < _GAP:
            # Each pixel is a mean of 64; what such a mean takes from fine lines is given back (the second
            # term of its frequency response, sinc).
            sharper = 1 / (24 * ratio**2)
            cross = (0.0, -sharper, 0.0, -sharper, 1 + 4 * sharper, -sharper, 0.0, -sharper, 0.0)
            small = small.filter(ImageFilter.Kernel((3, 3), cross, 1))
        return small

    def _crop(self, box: Box, size: tuple[int, int]) -> Box:
        """The largest part of a box that has the shape of `size`, as near to the focus as can be."""
        left, top, right, bottom = box
        width, height, shape = right - left, bottom - top, size[0] / size[1]
        across, down = min(width, height * shape), min(height, width / shape)
        x, y = self._focus(shape)
        left += min(max(0.0, x * width - across / 2), width - across)
        top += min(max(0.0, y * height - down / 2), height - down)
        return left, top, min(left + across, right), min(top + down, bottom)

    def _focus(self, shape: float) -> tuple[float, float]:
        match self._picture.focus:
            case "center":
                return 0.5, 0.5
            case "attention":
                if shape not in self._focuses:
                    self._focuses[shape] = attention.centre(self._canvas.image, shape)
                return self._focuses[shape]
            case point:
                return point

    def _contained(self, size: tuple[int, int], box: Box) -> Image.Image:
        """The picture in the middle of a background; it is not made larger than the source."""
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(1.0, size[0] / width, size[1] / height)
        inner = (
            min(size[0], max(1, round(width * scale))),
            min(size[1], max(1, round(height * scale))),
        )
        image = self._resized(inner, box)
        if image.size == size:
            return image
        around = Image.new("RGBA", size, self._ground())
        around.paste(image, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        return around

    def _ground(self) -> str | tuple[int, int, int, int]:
        colour = self._picture.background
        return self._in_canvas_colours(colour) if _is_colour(colour) else (255, 255, 255, 0)

    def flat(self, image: Image.Image) -> Image.Image:
        """The picture without alpha, on its background."""
        if image.mode != "RGBA":
            return image
        colour = self._picture.background
        ground = self._in_canvas_colours(colour) if _is_colour(colour) else "white"
        below = Image.new("RGB", image.size, ground)
        below.paste(image, mask=image)
        return below

    def _in_canvas_colours(self, colour: str) -> str:
        if self._canvas.profile is None:
            return colour
        pixel = in_profile(Image.new("RGB", (1, 1), colour), self._canvas.profile)
        return "#" + pixel.tobytes().hex()

    def _layer(self, mark: Mark, picture: tuple[int, int]) -> Image.Image:
        """The watermark as it lies on a picture of that size."""
        if self._mark is None:
            try:
                with Image.open(self._marks / mark.file, formats=("PNG",)) as drawn:
                    self._mark = drawn.convert("RGBA")
            except (OSError, SyntaxError, ValueError) as error:
                detail = f"The watermark {mark.image} is damaged, and cannot be decoded."
                raise JobError("watermark_unusable", detail) from error
        layer = self._mark
        across, high = mark_box(mark, *picture)
        scale = min(across / layer.width, high / layer.height)
        size = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
        layer = layer.resize(size, Image.Resampling.LANCZOS)
        alpha = layer.getchannel("A").point(lambda alpha: round(alpha * mark.opacity))
        if self._canvas.profile:
            layer = in_profile(layer.convert("RGB"), self._canvas.profile)
        layer.putalpha(alpha)
        return layer


def lay(mark: Mark, layer: Image.Image, image: Image.Image) -> None:
    """Draw a mark's layer on a picture."""
    corner = _corner(mark, image.size, layer.size)
    if image.mode == "RGBA":
        image.alpha_composite(layer, corner)
    else:
        image.paste(layer, corner, layer)


def _corner(mark: Mark, image: tuple[int, int], layer: tuple[int, int]) -> tuple[int, int]:
    """Where the layer's top left pixel lies in the image."""
    margin = margin_of(*image)
    right, bottom = image[0] - layer[0] - margin, image[1] - layer[1] - margin
    return {
        "top_left": (margin, margin),
        "top_right": (right, margin),
        "center": ((image[0] - layer[0]) // 2, (image[1] - layer[1]) // 2),
        "bottom_left": (margin, bottom),
        "bottom_right": (right, bottom),
    }[mark.position]


def longest_needed(picture: Picture, size: tuple[int, int]) -> int:
    """Pixels of the longer side of a source of that size, as large as the picture's files need it."""
    return max(1, ceil(picture.scale(*size) * max(size) - 1e-6))
