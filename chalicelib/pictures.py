"""Pillow: the only place that decodes, draws and writes still pictures. Runs in a child.

Every result is an upright 8-bit sRGB JPEG without any metadata of the source.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, ImageStat, UnidentifiedImageError

from chalicelib.errors import JobError
from chalicelib.media import ImageFacts, fit_box
from chalicelib.plan import Mark
from chalicelib.renditions import margin_of, mark_width

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_SRGB = ImageCms.createProfile("sRGB")
# Our own limit is checked against the header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def probe_image(path: Path, image_format: str, max_pixels: int) -> ImageFacts:
    """Facts of an image, from its header. Raises JobError where it is damaged or too large."""
    with _open(path, image_format) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                "too_many_pixels",
                f"The image is {image.width} × {image.height}; at most {max_pixels} pixels are taken.",
            )
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
            width, height = height, width
    return ImageFacts(image_format, width, height)


def thumbnail(source: Path, image_format: str, box: int, target: Path) -> tuple[int, int]:
    """A JPEG that fits in box × box; its size in pixels."""
    with _open(source, image_format) as image:
        size = fit_box(*image.size, box)
        # A JPEG is decoded at the smallest scale that still has twice the pixels that are needed.
        image.draft("RGB", (2 * size[0], 2 * size[1]))
        picture = _decoded(image)
    picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _save(ImageOps.exif_transpose(picture), target, quality=85)


def watermark(
    source: Path, image_format: str, mark: Mark, mark_image: Path, target: Path
) -> tuple[int, int]:
    """A full-size JPEG with the mark on it; its size in pixels."""
    with _open(source, image_format) as image:
        picture = ImageOps.exif_transpose(_decoded(image))
    with Image.open(mark_image) as drawn:
        layer = drawn.convert("RGBA")
    width = mark_width(mark, picture.width)
    height = max(1, round(layer.height * width / layer.width))
    layer = layer.resize((width, height), Image.Resampling.LANCZOS)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * mark.opacity)))
    picture.paste(layer, _place(mark, picture.size, layer.size), layer)
    return _save(picture, target, quality=90)


def poster(candidate: Path, target: Path) -> tuple[int, int]:
    """A film's frame, as written by FFmpeg at its final size, as a JPEG; its size in pixels."""
    with Image.open(candidate) as image:
        return _save(image.convert("RGB"), target, quality=85)


def interest(candidate: Path) -> float:
    """How much there is to see in a frame, by the spread of its brightness: 0 for a black one."""
    with Image.open(candidate) as image:
        return float(ImageStat.Stat(image.convert("L")).stddev[0])


def _open(path: Path, image_format: str) -> Image.Image:
    try:
        return Image.open(path, formats=[image_format])
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _damaged() from error


def _decoded(image: Image.Image) -> Image.Image:
    """8-bit sRGB, on white where it was transparent; the orientation still to be applied."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    profile = image.info.get("icc_profile")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise _damaged() from error
    image = _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    image = _in_srgb(image, profile)
    image.getexif()[_ORIENTATION] = orientation
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Sixteen bits and more, scaled down to eight: Pillow's own conversion would clip them."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode == "F":
        return image.convert("L")
    return image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGB")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image,
                io.BytesIO(profile),
                _SRGB,
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile says nothing: the colours are taken as they stand
        if converted is not None:
            return converted
    return image.convert("RGB")


def _place(mark: Mark, image: tuple[int, int], layer: tuple[int, int]) -> tuple[int, int]:
    margin = margin_of(image[0])
    right, bottom = image[0] - layer[0] - margin, image[1] - layer[1] - margin
    return {
        "top_left": (margin, margin),
        "top_right": (right, margin),
        "center": ((image[0] - layer[0]) // 2, (image[1] - layer[1]) // 2),
        "bottom_left": (margin, bottom),
        "bottom_right": (right, bottom),
    }[mark.position]


def _save(image: Image.Image, target: Path, quality: int) -> tuple[int, int]:
    image.info.clear()
    image.save(target, "JPEG", quality=quality, optimize=True, progressive=True, exif=b"")
    return image.size


def _damaged() -> JobError:
    return JobError("source_damaged", "The image cannot be read: it is damaged or incomplete.")
