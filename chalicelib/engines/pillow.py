"""Pillow: probes and draws still images. Runs in a child, which starts with this module.

Every file is upright, in 8 bits and, unless its colours are to be kept, sRGB, without any metadata of the
source but what is to be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from msgspec.structs import replace
from PIL import Image, ImageStat, JpegImagePlugin

from chalicelib.engines import placeholders
from chalicelib.engines.animations import is_animated
from chalicelib.engines.image_decoding import Canvas, Decoded, decode, upright_size
from chalicelib.engines.image_encoders import ORDER, Encoders, Extras, has_fine_colours
from chalicelib.engines.image_files import DAMAGE, JPEGS, damaged, open_image
from chalicelib.engines.image_rights import rights_of
from chalicelib.engines.pictures import (
    Drawing,
    keeps_alpha,
    lay,
    longest_needed,
    needs_alpha,
    sizes,
)
from chalicelib.errors import JobError
from chalicelib.model.facts import ImageFacts, Interest
from chalicelib.model.picture import Drawn, DrawnImage, DrawnPicture, Picture, obstacle
from chalicelib.model.work import Images

# Pillow's number for a JPEG's 4:2:0. Fine colours in such a picture come from clipping: it has no more.
_SUBSAMPLED = 2


def probe_image(file: IO[bytes], image_format: str, max_pixels: int) -> ImageFacts:
    """Facts of an image, from its header. Raises JobError where it is damaged or too large."""
    with open_image(file, image_format) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                "too_many_pixels",
                f"The image is {image.width} × {image.height}; at most {max_pixels} pixels are taken.",
            )
        width, height = upright_size(image)
        return ImageFacts(image_format, width, height, is_animated(image))


def draw(source: Path, work: Images, marks: Path, folder: Path) -> dict[str, Drawn]:
    """Draw the files of each step in `folder`. `marks` is the folder of watermarks.

    Raises JobError where the image cannot be decoded.
    """
    drawn: dict[str, Drawn] = {
        step: refused for step, picture in work.made.items() if (refused := obstacle(picture))
    }
    wanted = {step: picture for step, picture in work.made.items() if step not in drawn}
    if not wanted:
        return drawn
    with source.open("rb") as file, open_image(file, work.format) as image:
        size = upright_size(image)
        subsampled = image.format in JPEGS and JpegImagePlugin.get_sampling(image) == _SUBSAMPLED
        keeps_rights = any("copyright" in picture.keep for picture in wanted.values())
        rights = rights_of(image) if keeps_rights else b""
        longest = max(longest_needed(picture, size) for picture in wanted.values())
        canvases = _canvases(decode(image, file, longest), wanted)
    del image  # its pixels
    with Encoders(sum(len(picture.variants) for picture in wanted.values())) as encoders:
        for canvas, warning, steps, is_last in canvases:
            for number, step in enumerate(steps, 1):
                picture = wanted[step]
                drawing = Drawing(picture, canvas, marks)
                exif = rights if "copyright" in picture.keep else b""
                target = _Target(folder, encoders, Extras(canvas.profile, exif), subsampled)
                last = is_last and number == len(steps)
                drawn[step] = _draw(picture, drawing, target, warning, last=last)
            del canvas, drawing  # before the next one is made
    return drawn


def _canvases(
    decoded: Decoded, wanted: Mapping[str, Picture]
) -> Iterator[tuple[Canvas, str, list[str], bool]]:
    """Canvases, with the warning and the names of the steps to be drawn on each; whether it is the last.

    The largest picture of a canvas comes last: it may be drawn on the canvas itself.
    """
    warning, kept = decoded.warning, decoded.kept_profile is not None
    steps: dict[tuple[bool, bool], list[str]] = {}
    for step, picture in sorted(wanted.items(), key=lambda item: _most_pixels(item[1])):
        keeps = kept and "icc" in picture.keep, decoded.has_alpha and needs_alpha(picture)
        steps.setdefault(keeps, []).append(step)
    for number, (keeps, names) in enumerate(steps.items(), 1):
        canvas = decoded.canvas(keep_colours=keeps[0], keep_alpha=keeps[1])
        is_last = number == len(steps)
        if is_last:
            del decoded
        yield canvas, warning, names, is_last


def _most_pixels(picture: Picture) -> int:
    return max(variant.width * variant.height for variant in picture.variants)


class _Target(NamedTuple):
    """Where files are written, and how."""

    folder: Path
    encoders: Encoders
    extras: Extras
    subsampled: bool  # the source has colours at half the resolution


def _draw(
    picture: Picture, drawing: Drawing, target: _Target, warning: str, *, last: bool
) -> DrawnPicture:
    """Draw all files of a picture; the `last` one on a canvas may change it."""
    by_size = list(sizes(picture))
    color = placeholder = ""
    for number, (size, variants) in enumerate(by_size, 1):
        shown = drawing.shown(size, last=last and number == len(by_size))
        image = shown.image
        if not color:
            small = drawing.small(image)
            color, placeholder = placeholders.dominant(small), _placeholder(picture, small)
        fine = any(variant.format in ("jpeg", "avif") for variant in variants) and (
            not (target.subsampled and shown.whole) and has_fine_colours(image)
        )
        if picture.mark and shown.mark:
            fine |= has_fine_colours(_on_grey(shown.mark))
            lay(picture.mark, shown.mark, image)
        flat = None
        for variant in sorted(variants, key=lambda variant: ORDER.index(variant.format)):
            if not keeps_alpha(picture, variant):
                flat = flat or drawing.flat(image)
            chosen = image if keeps_alpha(picture, variant) or flat is None else flat
            target.encoders.write(chosen, variant, target.folder, fine, target.extras)
    files = (DrawnImage(each.output, each.width, each.height) for each in picture.variants)
    return DrawnPicture(tuple(files), placeholder, color, warning)


def _placeholder(picture: Picture, small: Image.Image) -> str:
    match picture.placeholder:
        case "thumbhash":
            return placeholders.thumbhash(small)
        case "blurhash":
            return placeholders.blurhash(small)
        case "none":
            return ""


def _on_grey(layer: Image.Image) -> Image.Image:
    grey = Image.new("RGB", layer.size, "grey")
    grey.paste(layer, mask=layer)
    return grey


def poster(
    candidate: Path, picture: Picture, frame: tuple[int, int], marks: Path, folder: Path
) -> DrawnPicture:
    """Draw the files of a picture of a film's frame, a PNG that FFmpeg wrote. Raises JobError."""
    with _open_candidate(candidate, frame) as image:
        canvas = Canvas(image.convert("RGB"), (0, 0, *image.size))
    if picture.fit == "inside" and image.size != frame:
        picture = _in_shape(picture, image.width / frame[0], image.height / frame[1])
    with Encoders(len(picture.variants)) as encoders:
        target = _Target(folder, encoders, Extras(), subsampled=False)
        return _draw(picture, Drawing(picture, canvas, marks), target, "", last=True)


def _in_shape(picture: Picture, across: float, down: float) -> Picture:
    """The picture of a frame that has another shape than its film."""
    variants = (
        replace(
            variant,
            width=max(1, round(variant.width * across)),
            height=max(1, round(variant.height * down)),
        )
        for variant in picture.variants
    )
    return replace(picture, variants=tuple(variants))


def interest(candidate: Path, frame: tuple[int, int]) -> Interest:
    """How much there is to see in a film's frame. Raises JobError."""
    with _open_candidate(candidate, frame) as image:
        brightness = ImageStat.Stat(image.convert("L"))
        return Interest(round(brightness.stddev[0]), brightness.mean[0])


def _open_candidate(path: Path, frame: tuple[int, int]) -> Image.Image:
    """A frame of at most that size. Raises JobError where the file is not what FFmpeg was told to write."""
    try:
        image = Image.open(path, formats=["PNG"])
    except DAMAGE as error:
        raise damaged() from error
    if max(image.size) > max(frame):
        raise damaged()
    return image
