"""Opens images with Pillow and loads their pixels, or says why not; also JPEGs that are cut short."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import (
    AvifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    MpoImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from chalicelib.engines import tiffs
from chalicelib.errors import JobError
from chalicelib.formats import jpegs
from chalicelib.formats.sniff import unsupported

# What Pillow's decoders raise where a file is damaged.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error)
# What comes before the pixels, with previews and profiles.
HEADER_BYTES = 2**24
JPEGS = frozenset({"JPEG", "MPO"})
# A picture of which less is there is refused; films have the same limit (packaging.shortfall).
_LEAST_PART = 0.9
# Put behind a JPEG that is cut short: its blocks come out otherwise where they were missing. With restart
# markers, as blocks can be coded in intervals that begin with one.
_FILLER = b"".join(
    bytes(number * 151 % 255 for number in range(512)) + bytes((0xFF, 0xD0 + marker))
    for marker in range(8)
)
# By how much a JPEG can be decoded smaller, if so many times the sides of the result are left: with less,
# thumbnails of sharp photographs are below 47 dB to those of a whole decoding. Cameras of so many pixels a
# side are not that sharp.
_SPARE = {8: 3.0, 4: 3.0, 2: 2.0}
_MORE_PIXELS_THAN_SHARP, _SPARE_OF_MANY = 5000, 1.25
# The type of an HEIF item (ISO/IEC 14496-12, 8.11.6.2), and codings that libde265 does not decode.
_HEIF_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_HEIF_CODINGS = {
    b"av01": "AV1", b"avc1": "AVC", b"evc1": "EVC", b"vvc1": "VVC",
    b"j2k1": "JPEG 2000", b"jpeg": "JPEG", b"unci": "uncompressed pictures",
}  # fmt: skip
# A JPEG can hold no more EXIF.
_EXIF_BYTES = 65_536
_ORIENTATION = 0x0112
_TURNED_BY_PILLOW = frozenset({"TIFF", "HEIF"})
# The limit of our own is checked against the header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# Otherwise each child would load plugins; for one that is missing, all that Pillow has.
Image.preinit()
_LOADED = (MpoImagePlugin, WebPImagePlugin)


def open_image(file: IO[bytes], image_format: str) -> ImageFile.ImageFile:
    """The image of a file, its header read. Raises JobError where it is damaged or not supported."""
    page = None
    if image_format == "HEIF":
        import pi_heif  # decodes only: no encoder, and none of its licence

        # Pillow's own check refuses first brands that it does not know; the format has been sniffed already.
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
    except DAMAGE as error:
        raise _refusal(file, image_format, page) from error
    forget_texts(image)
    # Pillow would decode the picture to find a chunk that follows it.
    if image_format == "PNG" and "exif" not in image.info and (exif := png_chunk(file, b"eXIf")):
        image.info["exif"] = exif
    return image


@contextmanager
def _tolerance() -> Iterator[None]:
    """In the body, Pillow takes files that are cut short, and wrong checksums where they do not matter."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _refusal(file: IO[bytes], image_format: str, page: tiffs.Page | None) -> JobError:
    """Why an image cannot be opened."""
    file.seek(0)
    if image_format == "JPEG" and (kind := jpegs.not_supported(file.read(HEADER_BYTES))):
        return unsupported(kind)
    if page and not page.is_known:
        return unsupported(page.name)
    if image_format == "HEIF":
        items = {found[1] for found in _HEIF_ITEM.finditer(file.read(HEADER_BYTES))}
        if b"hvc1" not in items and (codings := _HEIF_CODINGS.keys() & items):
            return unsupported(f"HEIF of {_HEIF_CODINGS[codings.pop()]}")
    return damaged()


def damaged() -> JobError:
    return JobError("source_damaged", "The image cannot be read: it is damaged or incomplete.")


def forget_texts(image: Image.Image) -> None:
    """Remove a PNG's texts from where Pillow keeps, and reads again, what it has parsed itself."""
    parsed = ("exif", "xmp", "icc_profile", "transparency", "gamma", "chromaticity", "srgb")
    for name in parsed:
        if isinstance(image.info.get(name), str):
            del image.info[name]


def png_chunk(file: IO[bytes], name: bytes) -> bytes:
    """The content of a chunk, which may follow the pixels; b"" where there is none."""
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


def orientation_of(image: Image.Image) -> int:
    """EXIF's Orientation (TIFF 6.0), from 1 to 8, that Pillow has not applied by itself."""
    if image.format in _TURNED_BY_PILLOW:
        return 1
    try:
        # Not PngImageFile's own getexif, which decodes the picture first.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except DAMAGE:  # the picture can still be shown as it lies
        return 1
    return found if isinstance(found, int) else 1


def load(
    image: ImageFile.ImageFile, file: IO[bytes], longest: int | None
) -> tuple[ImageFile.ImageFile, str]:
    """The image with its pixels, and a warning where a part of them is missing.

    A JPEG is decoded at a smaller scale if that is enough for a result whose longer side has `longest`
    pixels. Raises JobError where the image is damaged, or of a kind that cannot be read.
    """
    _draft(image, longest)
    try:
        image.load()
    except DAMAGE as error:
        if image.format not in JPEGS:
            raise damaged() from error
        file.seek(0)
        content = file.read()
        if kind := jpegs.not_supported(content):
            raise unsupported(kind) from error
    else:
        if image.format not in JPEGS or jpegs.has_end(file):
            return image, ""
        file.seek(0)
        content = file.read()
    image.close()  # the pixels are decoded twice more
    return _load_without_end(content, longest)


def _draft(image: Image.Image, longest: int | None) -> None:
    """Choose the smallest scale at which a JPEG can be decoded for a result of that longer side."""
    if longest is None:
        return
    width, height = image.size
    longer = max(width, height)
    for by, spare in _SPARE.items():
        if by == 8 and longer >= _MORE_PIXELS_THAN_SHARP:
            spare = _SPARE_OF_MANY
        if longer >= by * spare * longest:
            image.draft("RGB", (max(1, width // by), max(1, height // by)))
            return


def scale_of(decoded: Image.Image, size: tuple[int, int]) -> int:
    """1, 2, 4 or 8: by how much a JPEG of that size came out smaller. libjpeg rounds sides up."""
    if decoded.format not in JPEGS:
        return 1
    return next(
        (by for by in (8, 4, 2) if decoded.size == (-(-size[0] // by), -(-size[1] // by))), 1
    )


def _load_without_end(content: bytes, longest: int | None) -> tuple[ImageFile.ImageFile, str]:
    """A JPEG whose file ends before the picture does, and a warning. Raises JobError where much is gone."""
    content = jpegs.whole_segments(content)
    if not jpegs.has_all_scans(content):
        raise damaged()
    image = _decode_jpeg(content + jpegs.END, longest)
    if jpegs.has_all_scans(jpegs.before_last_scan(content)):
        return image, "The file lacks its end: the picture is less sharp than it was."
    part = 1 - _missing(image, _decode_jpeg(content + _FILLER + jpegs.END, longest))
    if part < _LEAST_PART:
        raise damaged()
    return image, f"The file lacks its end: {part:.1%} of the picture could be decoded."


def _missing(image: Image.Image, other: Image.Image) -> float:
    """The part of a JPEG that depends on how its file goes on, and so is not in the file."""
    difference = ImageChops.difference(image, other)
    box = difference.getbbox()
    if box is None:
        return 0.0
    # Blocks are coded row by row: the first that is missing lies at `left`, and all are from `row` on.
    width, height = image.size
    _, top, _, bottom = box
    left = (difference.crop((0, top, width, top + 1)).getbbox() or box)[0]
    edge = difference.crop((0, top, 1, height)).getbbox()
    row = top + edge[1] if edge else bottom
    return ((row - top) * (width - left) + (height - row) * width) / (width * height)


def _decode_jpeg(content: bytes, longest: int | None) -> ImageFile.ImageFile:
    image = open_image(io.BytesIO(content), "JPEG")
    _draft(image, longest)
    try:
        image.load()
    except DAMAGE as error:
        raise damaged() from error
    return image
