"""Pillow: draws and writes still images. Runs in a child.

Every result is an upright 8-bit sRGB JPEG without any metadata of the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image, ImageChops, ImageFile, ImageStat, JpegImagePlugin

from chalicelib.engines.image_colours import (
    is_deep,
    to_eight_bits,
    to_srgb,
    told_colours,
    use_low_bytes,
)
from chalicelib.engines.image_files import (
    DAMAGE,
    JPEGS,
    damaged,
    forget_texts,
    load,
    open_image,
    orientation_of,
)
from chalicelib.errors import JobError
from chalicelib.model.facts import ImageFacts, Interest, fit_box
from chalicelib.model.mark import Mark, margin_of, mark_box
from chalicelib.model.work import (
    POSTER_BOX,
    Drawn,
    DrawnImage,
    Images,
    Refused,
    Thumbnail,
    Watermark,
)

# By EXIF's Orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
# Graphics are told from photographs by so many pixels, in so many bands.
_PIXELS_LOOKED_AT, _BANDS = 50_000, 16
# A difference of colour, of 255, whose loss is visible, and the part of the pixels that must have it.
# Photographs have it in a tenth of that part, or in half, and would be a quarter larger in 4:4:4.
_VISIBLE, _MANY = 24, 0.0025
# Pillow's number for a JPEG's 4:2:0. Fine colours in such a picture come from clipping: it has no more.
_SUBSAMPLED = 2
# libjpeg's limit, lower than the format's.
_JPEG_SIDE = 65_500
_THUMBNAIL_QUALITY, _WATERMARK_QUALITY, _POSTER_QUALITY = 85, 90, 85


def probe_image(file: IO[bytes], image_format: str, max_pixels: int) -> ImageFacts:
    """Facts of an image, from its header. Raises JobError where it is damaged or too large."""
    with open_image(file, image_format) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                "too_many_pixels",
                f"The image is {image.width} × {image.height}; at most {max_pixels} pixels are taken.",
            )
        width, height = _upright_size(image)
    return ImageFacts(image_format, width, height)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if orientation_of(image) in _SIDEWAYS else (width, height)


def draw(source: Path, work: Images, assets: Path, folder: Path) -> dict[str, Drawn]:
    """Draw the JPEG of each step in `folder`. Raises JobError where the image cannot be decoded."""
    drawn: dict[str, Drawn] = {}
    # The watermark comes last: it is drawn on the decoded picture itself.
    wanted = sorted(work.made.items(), key=lambda item: isinstance(item[1], Watermark))
    with source.open("rb") as file, open_image(file, work.format) as image:
        if max(image.size) > _JPEG_SIDE:
            too_long = _too_long(*image.size)
            drawn |= {name: too_long for name, made in wanted if isinstance(made, Watermark)}
            wanted = [(name, made) for name, made in wanted if name not in drawn]
            if not wanted:
                return drawn
        size = _upright_size(image)
        subsampled = image.format in JPEGS and JpegImagePlugin.get_sampling(image) == _SUBSAMPLED
        boxes = [made.box for _, made in wanted if isinstance(made, Thumbnail)]
        # Twice the pixels of a thumbnail's longer side are enough to make it of.
        longest = 2 * max(boxes) if len(boxes) == len(wanted) else None
        picture, warning = decode(image, file, longest)
    for name, made in wanted:
        if isinstance(made, Thumbnail):
            small = picture.resize(
                fit_box(*size, made.box), Image.Resampling.LANCZOS, reducing_gap=2.0
            )
            fine = not (subsampled and small.size == size) and _has_fine_colours(small)
            target = folder / made.output
            drawn[name] = save_jpeg(small, target, _THUMBNAIL_QUALITY, fine, warning)
        else:
            layer = _layer(made.mark, assets / made.mark.image, picture.size)
            fine = _has_fine_colours(_on_grey(layer)) or (
                not subsampled and _has_fine_colours(picture)
            )
            picture.paste(layer, _corner(made.mark, picture.size, layer.size), layer)
            target = folder / made.output
            drawn[name] = save_jpeg(picture, target, _WATERMARK_QUALITY, fine, warning)
    return drawn


def decode(
    image: ImageFile.ImageFile, file: IO[bytes], longest: int | None = None
) -> tuple[Image.Image, str]:
    """The picture upright, in 8-bit sRGB, on white where it was transparent; a warning if a part is missing.

    Where `longest` pixels of the longer side are enough, the picture may come out smaller, with at least
    those. A large picture takes 4 bytes a pixel at each stage: no stage holds on to the one before. Raises
    JobError.
    """
    profile, told = image.info.get("icc_profile"), told_colours(image, file)
    orientation = orientation_of(image)
    deep = is_deep(image)
    image, warning = load(image, file, longest)
    forget_texts(image)
    if deep:
        told = use_low_bytes(image, file, told)
    picture = to_eight_bits(image, told.gamma)
    if image.mode.startswith("I"):
        told = told._replace(gamma=0.0)
    if longest and (factor := max(picture.size) // longest) > 1:
        picture = picture.reduce(factor)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if "A" in picture.getbands():
        alpha = picture.getchannel("A")
        picture = to_srgb(picture.convert("L" if picture.mode == "LA" else "RGB"), profile, told)
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=alpha)
        return white, warning
    return to_srgb(picture, profile, told), warning


def _too_long(width: int, height: int) -> Refused:
    return Refused(
        "side_too_long",
        f"The image is {width} × {height}; a JPEG of that size, with the mark on it, "
        f"can have at most {_JPEG_SIDE} pixels a side. Make it smaller, or ask for the thumbnail.",
    )


def _layer(mark: Mark, mark_image: Path, picture: tuple[int, int]) -> Image.Image:
    """The watermark as it lies on a picture of that size."""
    with Image.open(mark_image) as drawn:
        layer = drawn.convert("RGBA")
    across, high = mark_box(mark, *picture)
    scale = min(across / layer.width, high / layer.height)
    size = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
    layer = layer.resize(size, Image.Resampling.LANCZOS)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * mark.opacity)))
    return layer


def _on_grey(layer: Image.Image) -> Image.Image:
    grey = Image.new("RGB", layer.size, "grey")
    grey.paste(layer, mask=layer)
    return grey


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


def poster(candidate: Path, target: Path) -> DrawnImage:
    """Write a film's frame, a PNG that FFmpeg wrote at its final size, as a JPEG. Raises JobError."""
    with _open_candidate(candidate) as image:
        picture = image.convert("RGB")
        return save_jpeg(picture, target, _POSTER_QUALITY, _has_fine_colours(picture))


def interest(candidate: Path) -> Interest:
    """How much there is to see in a film's frame. Raises JobError."""
    with _open_candidate(candidate) as image:
        brightness = ImageStat.Stat(image.convert("L"))
        return Interest(round(brightness.stddev[0]), brightness.mean[0])


def _open_candidate(path: Path) -> Image.Image:
    """Raises JobError where the file is not what FFmpeg was told to write."""
    try:
        image = Image.open(path, formats=["PNG"])
    except DAMAGE as error:
        raise damaged() from error
    if max(image.size) > POSTER_BOX:
        raise damaged()
    return image


def save_jpeg(
    image: Image.Image, target: Path, quality: int, fine_colours: bool, warning: str = ""
) -> DrawnImage:
    """Write a JPEG, in 4:4:4 where the image has fine colours, else in 4:2:0."""
    image.info.clear()
    # Pillow has room for a byte a pixel, and libjpeg must not run out of it: noise in 4:4:4 takes two.
    usual, needed = ImageFile.MAXBLOCK, 3 * image.width * image.height
    ImageFile.MAXBLOCK = max(usual, needed) if fine_colours else usual
    try:
        image.save(
            target,
            "JPEG",
            quality=quality,
            optimize=True,
            progressive=True,
            exif=b"",
            subsampling="4:4:4" if fine_colours else "4:2:0",
        )
    finally:
        ImageFile.MAXBLOCK = usual
    return DrawnImage(target.name, *image.size, warning)


def _has_fine_colours(image: Image.Image) -> bool:
    """Whether colours change from pixel to pixel, as in graphics, and would smear at half the resolution.

    Of a large picture only bands are looked at, so that it takes a millisecond.
    """
    width, height = image.size
    rows = max(2, _PIXELS_LOOKED_AT // (_BANDS * width) & ~1)
    if rows * _BANDS < height:
        bands = Image.new("RGB", (width, rows * _BANDS))
        for number in range(_BANDS):
            top = (height - rows) * number // (_BANDS - 1) & ~1
            bands.paste(image.crop((0, top, width, top + rows)), (0, number * rows))
        image = bands
    _, *chroma = image.convert("YCbCr").split()
    for band in chroma:
        smeared = band.reduce(2).resize(band.size, Image.Resampling.BILINEAR)
        changes = ImageChops.difference(band, smeared).histogram()
        if sum(changes[_VISIBLE:]) > _MANY * band.width * band.height:
            return True
    return False
