"""Pillow: the only place that decodes, draws and writes still pictures. Runs in a child.

Every result is an upright 8-bit sRGB JPEG without any metadata of the source.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path
from typing import IO, Any

from PIL import (
    AvifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    ImageFilter,
    ImageMath,
    ImageStat,
    JpegImagePlugin,
    MpoImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from chalicelib.engines import tiffs
from chalicelib.errors import JobError
from chalicelib.formats import jpegs
from chalicelib.formats.sniff import unsupported
from chalicelib.model import colours
from chalicelib.model.colours import ColourSpace
from chalicelib.model.facts import ImageFacts, Interest, fit_box
from chalicelib.model.mark import Mark, margin_of, mark_box
from chalicelib.model.work import POSTER_BOX, Drawn, Made, Pictures, Refused, Thumbnail, Watermark

# What Pillow's decoders raise where a file is damaged.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error)
_ORIENTATION = 0x0112
# Of a picture; as of films (packaging.shortfall).
_ENOUGH = 0.9
# With markers, for where blocks are told in intervals that begin with one.
_SOMETHING_ELSE = b"".join(
    bytes(number * 151 % 255 for number in range(512)) + bytes((0xFF, 0xD0 + marker))
    for marker in range(8)
)
# What comes before the pixels, with previews and profiles.
_HEADER_BYTES = 2**24
# How Pillow reads samples of 16 bits, and how it would read what comes second of each.
_DEEP = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_ROWS = 64
# What kind of item another box is about (ISO/IEC 14496-12, 8.11.6.2), and codings that libde265 is not for.
_HEIF_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_HEIF_CODINGS = {
    b"av01": "AV1", b"avc1": "AVC", b"evc1": "EVC", b"vvc1": "VVC",
    b"j2k1": "JPEG 2000", b"jpeg": "JPEG", b"unci": "uncompressed pictures",
}  # fmt: skip
# Primaries and transfer in a box (ISO/IEC 14496-12, 12.1.5).
_NCLX = re.compile(rb"colrnclx(.{4})", re.DOTALL)
# A JPEG can hold no more.
_EXIF_BYTES = 65_536
_JPEGS = frozenset({"JPEG", "MPO"})
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
# How much is looked at to tell graphics from photographs, and in how many places.
_LOOKED_AT, _BANDS = 50_000, 16
# A change of colour, of 255, that is seen to be missing; and in which part of the pixels. Photographs have it
# in a tenth of that, or half, and would be larger by a quarter in 4:4:4.
_SEEN, _MANY = 24, 0.0025
# As Pillow numbers a JPEG's 4:2:0. What there is to see then is what clipping has left: more is not told.
_HALVED = 2
# As libjpeg has it, whatever the format could say.
_JPEG_SIDE = 65_500
_SRGB = ImageCms.createProfile("sRGB")
# Our own limit is checked against the header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# Else each child would load them; of one that is not there, all that Pillow has.
Image.preinit()
_LOADED = (MpoImagePlugin, WebPImagePlugin)


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


def draw(source: Path, work: Pictures, assets: Path, folder: Path) -> dict[str, Drawn]:
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
        halved = image.format in _JPEGS and JpegImagePlugin.get_sampling(image) == _HALVED
        boxes = [made.box for _, made in wanted if isinstance(made, Thumbnail)]
        # Of a thumbnail's longer side, twice the pixels are enough.
        enough = 2 * max(boxes) if len(boxes) == len(wanted) else None
        picture, warning = _decoded(image, file, enough)
    for name, made in wanted:
        if isinstance(made, Thumbnail):
            small = picture.resize(
                fit_box(*size, made.box), Image.Resampling.LANCZOS, reducing_gap=2.0
            )
            fine = not (halved and small.size == size) and _has_fine_colours(small)
            drawn[name] = _save(small, folder / made.output, 85, fine, warning)
        else:
            layer = _layer(made.mark, assets / made.mark.image, picture.size)
            fine = _has_fine_colours(_on_grey(layer)) or (not halved and _has_fine_colours(picture))
            picture.paste(layer, _place(made.mark, picture.size, layer.size), layer)
            drawn[name] = _save(picture, folder / made.output, 90, fine, warning)
    return drawn


def _too_long(width: int, height: int) -> Refused:
    return Refused(
        "side_too_long",
        f"The image is {width} × {height}; a JPEG of that size, with the mark on it, "
        f"can have at most {_JPEG_SIDE} pixels a side. Make it smaller, or ask for the thumbnail.",
    )


def _layer(mark: Mark, mark_image: Path, of: tuple[int, int]) -> Image.Image:
    """The mark as it lies on a picture of that size."""
    with Image.open(mark_image) as drawn:
        layer = drawn.convert("RGBA")
    across, high = mark_box(mark, *of)
    scale = min(across / layer.width, high / layer.height)
    size = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
    layer = layer.resize(size, Image.Resampling.LANCZOS)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * mark.opacity)))
    return layer


def _on_grey(layer: Image.Image) -> Image.Image:
    grey = Image.new("RGB", layer.size, "grey")
    grey.paste(layer, mask=layer)
    return grey


def poster(candidate: Path, target: Path) -> Made:
    """A film's frame, as written by FFmpeg at its final size, as a JPEG."""
    with _candidate(candidate) as image:
        picture = image.convert("RGB")
        return _save(picture, target, 85, _has_fine_colours(picture))


def interest(candidate: Path) -> Interest:
    """What there is to see in a film's frame."""
    with _candidate(candidate) as image:
        seen = ImageStat.Stat(image.convert("L"))
        return Interest(round(seen.stddev[0]), seen.mean[0])


def _candidate(path: Path) -> Image.Image:
    """Raises JobError where it is not what FFmpeg was told to write."""
    try:
        image = Image.open(path, formats=["PNG"])
    except _DAMAGE as error:
        raise _damaged() from error
    if max(image.size) > POSTER_BOX:
        raise _damaged()
    return image


def _open(file: IO[bytes], image_format: str) -> ImageFile.ImageFile:
    page = None
    if image_format == "HEIF":
        import pi_heif  # decodes only: no encoder, and none of its licence

        # What it is has been found out, also where its first brand is one that Pillow does not know.
        Image.register_open("HEIF", pi_heif.HeifImageFile)
    elif image_format == "AVIF":
        Image.register_open("AVIF", AvifImagePlugin.AvifImageFile)
    try:
        if image_format == "TIFF" and (page := tiffs.picture_of(file)):
            TiffImagePlugin.READ_LIBTIFF = page.needs_libtiff
        try:
            image = Image.open(file, formats=[image_format])
        except UnidentifiedImageError:
            if image_format != "PNG":
                raise
            with _tolerance():  # of chunks that nobody needs
                image = Image.open(file, formats=[image_format])
        if page:
            image.seek(page.number)
    except _DAMAGE as error:
        raise _not_read(file, image_format, page) from error
    _forget_texts(image)
    # Pillow would decode the picture to find out what follows it.
    if image_format == "PNG" and "exif" not in image.info and (exif := _png_chunk(file, b"eXIf")):
        image.info["exif"] = exif
    return image


@contextmanager
def _tolerance() -> Iterator[None]:
    """What Pillow decodes meanwhile may be cut short, or have wrong checksums where it does not matter."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _not_read(file: IO[bytes], image_format: str, page: tiffs.Page | None) -> JobError:
    """Why a picture cannot be opened."""
    file.seek(0)
    if image_format == "JPEG" and (kind := jpegs.not_supported(file.read(_HEADER_BYTES))):
        return unsupported(kind)
    if page and not page.is_known:
        return unsupported(page.name)
    if image_format == "HEIF":
        items = {found[1] for found in _HEIF_ITEM.finditer(file.read(_HEADER_BYTES))}
        if b"hvc1" not in items and (codings := _HEIF_CODINGS.keys() & items):
            return unsupported(f"HEIF of {_HEIF_CODINGS[codings.pop()]}")
    return _damaged()


def _forget_texts(image: Image.Image) -> None:
    """A PNG's texts, under whatever names they have, lie among what Pillow itself notes and reads again."""
    noted = ("exif", "xmp", "icc_profile", "transparency", "gamma", "chromaticity", "srgb")
    for name in noted:
        if isinstance(image.info.get(name), str):
            del image.info[name]


def _png_chunk(file: IO[bytes], name: bytes) -> bytes:
    """The content of a chunk; b"" where there is none. It may follow the pixels."""
    position = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, found = struct.unpack(">I4s", head)
            if found == name:
                return file.read(min(length, _EXIF_BYTES))
            file.seek(length + 4, os.SEEK_CUR)
        return b""
    finally:
        file.seek(position)


def _decoded(
    image: ImageFile.ImageFile, file: IO[bytes], enough: int | None = None
) -> tuple[Image.Image, str]:
    """Upright, 8-bit sRGB, on white where it was transparent; and a warning where something is missing.

    Where so many pixels are `enough` for the longer side, a JPEG is decoded at the smallest scale that has
    them, and others are made smaller at once. A large picture takes 4 bytes a pixel at each stage, so no
    stage holds on to the one before.
    """
    profile, told = image.info.get("icc_profile"), _told_colours(image, file)
    orientation = _orientation(image)
    is_deep = any(tile.args in _DEEP for tile in image.tile)
    image, warning = _loaded(image, file, enough)
    _forget_texts(image)
    if is_deep and (told.gamma or "transparency" in image.info):
        low = _low_halves(file)
        alpha = _deep_alpha(image, low) if "transparency" in image.info else None
        if told.gamma:
            _bend(image, low, told.gamma)
            told = told._replace(gamma=0.0)
        if alpha:
            image.putalpha(alpha)
    picture = _eight_bit(image, told.gamma)
    if image.mode.startswith("I"):
        told = told._replace(gamma=0.0)
    if enough and (factor := max(picture.size) // enough) > 1:
        picture = picture.reduce(factor)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if "A" in picture.getbands():
        alpha = picture.getchannel("A")
        picture = _in_srgb(picture.convert("L" if picture.mode == "LA" else "RGB"), profile, told)
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=alpha)
        return white, warning
    return _in_srgb(picture, profile, told), warning


def _loaded(
    image: ImageFile.ImageFile, file: IO[bytes], enough: int | None
) -> tuple[ImageFile.ImageFile, str]:
    """The picture in memory, and a warning. Raises JobError where it is damaged, or cannot be read."""
    _draft(image, enough)
    try:
        image.load()
    except _DAMAGE as error:
        if image.format not in _JPEGS:
            raise _damaged() from error
        file.seek(0)
        content = file.read()
        if kind := jpegs.not_supported(content):
            raise unsupported(kind) from error
    else:
        if image.format not in _JPEGS or jpegs.has_end(file):
            return image, ""
        file.seek(0)
        content = file.read()
    image.close()  # its pixels are decoded twice more
    return _without_end(content, enough)


def _draft(image: Image.Image, enough: int | None) -> None:
    if enough and (longer := max(image.size)) > enough:
        width, height = image.size
        image.draft("RGB", (-(-width * enough // longer), -(-height * enough // longer)))


def _without_end(content: bytes, enough: int | None) -> tuple[ImageFile.ImageFile, str]:
    """A JPEG whose file ends before the picture does."""
    content = jpegs.whole_segments(content)
    if not jpegs.is_told(content):
        raise _damaged()
    image = _decoded_jpeg(content + jpegs.END, enough)
    if jpegs.is_told(jpegs.before_last_scan(content)):
        return image, "The file lacks its end: the picture is less sharp than it was."
    part = 1 - _missing(image, _decoded_jpeg(content + _SOMETHING_ELSE + jpegs.END, enough))
    if part < _ENOUGH:
        raise _damaged()
    return image, f"The file lacks its end: {part:.1%} of the picture could be decoded."


def _missing(image: Image.Image, other: Image.Image) -> float:
    """The part of a JPEG that comes out otherwise where its file goes on otherwise: it is not told."""
    difference = ImageChops.difference(image, other)
    box = difference.getbbox()
    if box is None:
        return 0.0
    # Blocks are told row by row: the first that is missing lies at `left`, and nothing is told from `row` on.
    width, height = image.size
    _, top, _, bottom = box
    left = (difference.crop((0, top, width, top + 1)).getbbox() or box)[0]
    edge = difference.crop((0, top, 1, height)).getbbox()
    row = top + edge[1] if edge else bottom
    return ((row - top) * (width - left) + (height - row) * width) / (width * height)


def _decoded_jpeg(content: bytes, enough: int | None) -> ImageFile.ImageFile:
    image = _open(io.BytesIO(content), "JPEG")
    _draft(image, enough)
    try:
        image.load()
    except _DAMAGE as error:
        raise _damaged() from error
    return image


def _told_colours(image: Image.Image, file: IO[bytes]) -> ColourSpace:
    """Those that a picture tells otherwise than by an ICC profile, which counts more but in PNG."""
    nclx: dict[str, int] = {}
    if image.format == "PNG" and len(cicp := _png_chunk(file, b"cICP")) == 4 and not cicp[2]:
        return colours.told(*cicp[:2])
    if image.info.get("icc_profile"):
        return ColourSpace()
    if image.format == "PNG":
        return _png_colours(image.info)
    if image.format == "HEIF":
        nclx = image.info.get("nclx_profile", {})
    elif image.format == "AVIF" and _may_tell_colours(file):
        import pi_heif  # Pillow does not tell

        with suppress(*_DAMAGE):
            nclx = pi_heif.open_heif(file).info.get("nclx_profile", {})
    if not nclx:
        return ColourSpace()
    return colours.told(nclx["color_primaries"], nclx["transfer_characteristics"])


def _may_tell_colours(file: IO[bytes]) -> bool:
    """Whether a box of any picture in the file tells of others than sRGB: most do not."""
    file.seek(0)
    boxes = (struct.unpack(">HH", box[1]) for box in _NCLX.finditer(file.read(_HEADER_BYTES)))
    return any(colours.told(*box) != ColourSpace() for box in boxes)


def _png_colours(info: dict[Any, Any]) -> ColourSpace:
    """By the chunks gAMA and cHRM (PNG, 11.3.2); what is nearly sRGB is taken for it."""
    told = info.get("gamma")
    if "srgb" in info or not told or not 0.1 < told < 10:
        return ColourSpace()
    gamma = 0.0 if abs(2.2 * told - 1) < 0.05 else 1 / told
    chromaticity = info.get("chromaticity", ())
    primaries = (*chromaticity[2:], *chromaticity[:2]) or colours.SRGB
    if all(abs(x - of) < 0.01 for x, of in zip(primaries, colours.SRGB, strict=True)):
        primaries = colours.SRGB
    return ColourSpace(primaries, gamma)


def _orientation(image: Image.Image) -> int:
    """As EXIF tells it (TIFF 6.0, Orientation), and Pillow has not applied by itself."""
    if image.format in _TURNED_BY_PILLOW:
        return 1
    try:
        # Not PngImageFile's own, which decodes the picture first.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except _DAMAGE:  # the picture can still be shown as it lies
        return 1
    return found if isinstance(found, int) else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def _eight_bit(image: Image.Image, gamma: float) -> Image.Image:
    """Samples of eight bits, without a palette; of deep grey that is raised to 1/`gamma`, as sRGB has it."""
    if image.mode == "LAB":  # its A is no alpha
        lab, whole = ImageCms.createProfile("LAB"), ImageCms.Flags.NOOPTIMIZE  # of coarse tables
        found = ImageCms.profileToProfile(image, lab, _SRGB, outputMode="RGB", flags=whole)
        return found or image
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, gamma)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _deep_grey(image: Image.Image, gamma: float) -> Image.Image:
    """Grey of more than eight bits, scaled down to them, for Pillow would clip it."""
    page = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        page = tiffs.Page(image.tell(), image.tag_v2)
    if image.mode == "F":  # white is 1, or whatever is brightest
        extrema: Any = image.getextrema()
        low, high = min(0.0, extrema[0]), max(1.0, extrema[1])
        scale = 255 / (high - low)
        grey = image.point(lambda value: value * scale + -low * scale).convert("L")
    elif page and page.bits == 32 and not page.is_signed:
        # Pillow takes what is above the middle for negative.
        shifted = image.point(lambda value: value / 2**24 + 128).convert("L")
        grey = shifted.point([value ^ 128 for value in range(256)])
    elif gamma:
        grey = image.convert("I").point(colours.in_srgb(gamma), "L")
    else:
        depth = page.bits - page.is_signed if page else 16
        grey = image.convert("I").point(lambda value: value / 2 ** (depth - 8)).convert("L")
    if page and page.is_inverted:
        return ImageChops.invert(grey)
    if isinstance(hidden := image.info.get("transparency"), int):
        alpha = [255 * (value != hidden) for value in range(65536)]
        return Image.merge("LA", (grey, image.convert("I").point(alpha, "L")))
    return grey


def _low_halves(file: IO[bytes]) -> Image.Image:
    """Of a PNG whose samples have 16 bits what Pillow leaves out: it keeps their upper halves."""
    image = _open(file, "PNG")
    image.tile = [tile._replace(args=_DEEP[str(tile.args)]) for tile in image.tile]
    image.load()
    return image


def _deep_alpha(image: Image.Image, low: Image.Image) -> Image.Image:
    """Of a PNG of three times 16 bits in which one colour is transparent."""
    hidden = image.info.pop("transparency")
    wanted = *(value >> 8 for value in hidden), *(value & 255 for value in hidden)
    masks = [
        band.point([255 * (value == half) for value in range(256)])
        for band, half in zip((*image.split(), *low.split()), wanted, strict=True)
    ]
    return ImageChops.invert(reduce(ImageChops.multiply, masks))


def _bend(image: Image.Image, low: Image.Image, gamma: float) -> None:
    """Give a picture the curve of sRGB, whose samples of 16 bits, in two halves, are raised to 1/`gamma`.

    Eight bits of light would leave bands in what is dark. Some rows at a time: they take much memory.
    """
    table = colours.in_srgb(gamma)
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(top + _ROWS, image.height))
        bands = list(image.crop(box).split())
        for number, low_half in enumerate(low.crop(box).split()[:3]):
            sample = ImageMath.lambda_eval(
                lambda of: of["high"] * 256 + of["low"], high=bands[number], low=low_half
            )
            bands[number] = sample.point(table, "L")
        image.paste(Image.merge(image.mode, bands), box)


def _in_srgb(image: Image.Image, profile: bytes | None, told: ColourSpace) -> Image.Image:
    if told.hdr:
        table = colours.tone_map(told)
        return image.convert("RGB").filter(ImageFilter.Color3DLUT(colours.POINTS, table))
    try:
        if told != ColourSpace():
            image, profile = image.convert("RGB"), colours.profile(told)
        if profile:
            converted = ImageCms.profileToProfile(
                image,
                io.BytesIO(profile),
                _SRGB,
                outputMode="RGB",
            )
            if converted is not None:
                return converted
    except (ImageCms.PyCMSError, OSError, ValueError, ArithmeticError, struct.error):
        pass  # what is broken says nothing: the colours are taken as they stand
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


def _save(
    image: Image.Image, target: Path, quality: int, fine_colours: bool, warning: str = ""
) -> Made:
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
    return Made(target.name, *image.size, warning)


def _has_fine_colours(image: Image.Image) -> bool:
    """Whether colours change from pixel to pixel, as in graphics, and would smear at half the resolution.

    Of a large picture bands are looked at, so that it takes a millisecond.
    """
    width, height = image.size
    rows = max(2, _LOOKED_AT // (_BANDS * width) & ~1)
    if rows * _BANDS < height:
        bands = Image.new("RGB", (width, rows * _BANDS))
        for number in range(_BANDS):
            top = (height - rows) * number // (_BANDS - 1) & ~1
            bands.paste(image.crop((0, top, width, top + rows)), (0, number * rows))
        image = bands
    _, *colours_of = image.convert("YCbCr").split()
    for colour in colours_of:
        halved = colour.reduce(2).resize(colour.size, Image.Resampling.BILINEAR)
        changes = ImageChops.difference(colour, halved).histogram()
        if sum(changes[_SEEN:]) > _MANY * colour.width * colour.height:
            return True
    return False


def _damaged() -> JobError:
    return JobError("source_damaged", "The image cannot be read: it is damaged or incomplete.")
