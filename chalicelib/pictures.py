"""Pillow: the only place that decodes, draws and writes still pictures. Runs in a child.

Every result is an upright 8-bit sRGB JPEG without any metadata of the source.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image, ImageCms, ImageStat

from chalicelib.errors import JobError
from chalicelib.media import ImageFacts, fit_box
from chalicelib.plan import Drawn, Made, Mark, Pictures, Refused, Thumbnail, Watermark
from chalicelib.renditions import margin_of, mark_box

# What Pillow's decoders raise where a file is damaged.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError)
_ORIENTATION = 0x0112
# A JPEG can hold no more.
_EXIF_BYTES = 65_536
_SIDEWAYS = frozenset({5, 6, 7, 8})
_TURNED_BY_PILLOW = frozenset({"TIFF", "HEIF"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# As libjpeg has it, whatever the format could say.
_JPEG_SIDE = 65_500
_SRGB = ImageCms.createProfile("sRGB")
# Our own limit is checked against the header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def probe_image(file: IO[bytes], image_format: str, max_pixels: int) -> ImageFacts:
    """Facts of an image, from its header. Raises JobError where it is damaged or too large."""
    with _open(file, image_format) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                "too_many_pixels",
                f"The image is {image.width} × {image.height}; at most {max_pixels} pixels are taken.",
            )
        width, height = _upright_size(image)
    return ImageFacts(image_format, width, height)


def draw(
    source: Path, work: Pictures, asset: Callable[[str], Path], folder: Path
) -> dict[str, Drawn]:
    """What each step makes of an image, as JPEGs in `folder`. Raises JobError where it cannot be decoded."""
    drawn: dict[str, Drawn] = {}
    # The mark comes last: it is drawn on the decoded picture itself.
    wanted = sorted(work.made.items(), key=lambda item: isinstance(item[1], Watermark))
    with source.open("rb") as file, _open(file, work.format) as image:
        if max(image.size) > _JPEG_SIDE:
            too_long = _too_long(*image.size)
            drawn |= {name: too_long for name, made in wanted if isinstance(made, Watermark)}
            wanted = [(name, made) for name, made in wanted if name not in drawn]
            if not wanted:
                return drawn
        size = _upright_size(image)
        boxes = [made.box for _, made in wanted if isinstance(made, Thumbnail)]
        # Of a thumbnail's longer side, twice the pixels are enough.
        enough = 2 * max(boxes) if len(boxes) == len(wanted) else None
        picture = _decoded(image, enough)
    for name, made in wanted:
        if isinstance(made, Thumbnail):
            small = picture.resize(
                fit_box(*size, made.box), Image.Resampling.LANCZOS, reducing_gap=2.0
            )
            drawn[name] = _save(small, folder / made.output, quality=85)
        else:
            _put_on(picture, made.mark, asset(made.mark.image))
            drawn[name] = _save(picture, folder / made.output, quality=90)
    return drawn


def _too_long(width: int, height: int) -> Refused:
    return Refused(
        "side_too_long",
        f"The image is {width} × {height}; a JPEG of that size, with the mark on it, "
        f"can have at most {_JPEG_SIDE} pixels a side. Make it smaller, or ask for the thumbnail.",
    )


def _put_on(picture: Image.Image, mark: Mark, mark_image: Path) -> None:
    with Image.open(mark_image) as drawn:
        layer = drawn.convert("RGBA")
    across, high = mark_box(mark, *picture.size)
    scale = min(across / layer.width, high / layer.height)
    size = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
    layer = layer.resize(size, Image.Resampling.LANCZOS)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * mark.opacity)))
    picture.paste(layer, _place(mark, picture.size, layer.size), layer)


def poster(candidate: Path, target: Path) -> Made:
    """A film's frame, as written by FFmpeg at its final size, as a JPEG."""
    with Image.open(candidate) as image:
        return _save(image.convert("RGB"), target, quality=85)


class Interest(NamedTuple):
    """What there is to see in a frame: how much its brightness varies, and how bright it is, of 255."""

    spread: float
    brightness: float


def interest(candidate: Path) -> Interest:
    """Of two frames, the one that compares higher shows more."""
    with Image.open(candidate) as image:
        seen = ImageStat.Stat(image.convert("L"))
        return Interest(round(seen.stddev[0]), seen.mean[0])


def _open(file: IO[bytes], image_format: str) -> Image.Image:
    if image_format == "HEIF":
        import pi_heif  # decodes only: no encoder, and none of its licence

        pi_heif.register_heif_opener()
    try:
        image = Image.open(file, formats=[image_format])
    except _DAMAGE as error:
        raise _damaged() from error
    _forget_texts(image)
    # Pillow would decode the picture to find out what follows it.
    if image_format == "PNG" and "exif" not in image.info and (exif := _exif_of_png(file)):
        image.info["exif"] = exif
    return image


def _forget_texts(image: Image.Image) -> None:
    """A PNG's texts, under whatever names they have, lie among what Pillow itself notes and reads again."""
    for name in ("exif", "xmp", "icc_profile", "transparency"):
        if isinstance(image.info.get(name), str):
            del image.info[name]


def _exif_of_png(file: IO[bytes]) -> bytes:
    """The chunk eXIf, which may follow the pixels; b"" where there is none."""
    position = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"eXIf":
                return file.read(min(length, _EXIF_BYTES))
            file.seek(length + 4, os.SEEK_CUR)
        return b""
    finally:
        file.seek(position)


def _decoded(image: Image.Image, enough: int | None = None) -> Image.Image:
    """Upright, 8-bit sRGB, on white where it was transparent.

    Where so many pixels are `enough` for the longer side, a JPEG is decoded at the smallest scale that has
    them, and others are made smaller at once. A large picture takes 4 bytes a pixel at each stage, so no
    stage holds on to the one before.
    """
    if enough and (longer := max(image.size)) > enough:
        width, height = image.size
        image.draft("RGB", (-(-width * enough // longer), -(-height * enough // longer)))
    profile = image.info.get("icc_profile")
    orientation = _orientation(image)
    try:
        image.load()
    except _DAMAGE as error:
        raise _damaged() from error
    _forget_texts(image)
    picture = _eight_bit(image)
    if enough and (factor := max(picture.size) // enough) > 1:
        picture = picture.reduce(factor)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if "A" in picture.getbands():
        alpha = picture.getchannel("A")
        picture = _in_srgb(picture.convert("L" if picture.mode == "LA" else "RGB"), profile)
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=alpha)
        return white
    return _in_srgb(picture, profile)


def _orientation(image: Image.Image) -> int:
    """As EXIF tells it (TIFF 6.0, Orientation), and Pillow has not applied by itself."""
    if image.format in _TURNED_BY_PILLOW:
        return 1
    try:
        # Not PngImageFile's own, which decodes the picture first.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except (*_DAMAGE, struct.error):  # the picture can still be shown as it lies
        return 1
    return found if isinstance(found, int) else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Samples of eight bits, without a palette; more are scaled down, for Pillow would clip them."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode == "F":  # white is 1, or whatever is brightest
        extrema: Any = image.getextrema()
        low, high = min(0.0, extrema[0]), max(1.0, extrema[1])
        scale = 255 / (high - low)
        return image.point(lambda value: value * scale + -low * scale).convert("L")
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
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
    return image if image.mode == "RGB" else image.convert("RGB")


def _place(mark: Mark, image: tuple[int, int], layer: tuple[int, int]) -> tuple[int, int]:
    margin = margin_of(*image)
    right, bottom = image[0] - layer[0] - margin, image[1] - layer[1] - margin
    return {
        "top_left": (margin, margin),
        "top_right": (right, margin),
        "center": ((image[0] - layer[0]) // 2, (image[1] - layer[1]) // 2),
        "bottom_left": (margin, bottom),
        "bottom_right": (right, bottom),
    }[mark.position]


def _save(image: Image.Image, target: Path, quality: int) -> Made:
    image.info.clear()
    image.save(target, "JPEG", quality=quality, optimize=True, progressive=True, exif=b"")
    return Made(target.name, *image.size)


def _damaged() -> JobError:
    return JobError("source_damaged", "The image cannot be read: it is damaged or incomplete.")
