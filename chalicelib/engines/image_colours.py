"""Turns images into 8-bit sRGB with Pillow: by the colours that a file tells, from samples of any depth."""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from functools import reduce
from typing import IO, Any

from PIL import Image, ImageChops, ImageCms, ImageFile, ImageFilter, ImageMath, TiffImagePlugin

from chalicelib.engines import tiffs
from chalicelib.engines.image_files import DAMAGE, HEADER_BYTES, open_image, png_chunk
from chalicelib.model import colours
from chalicelib.model.colours import ColourSpace

# How Pillow reads samples of 16 bits, of which it keeps the high bytes, and how it would read the low ones.
_DEEP = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_ROWS_AT_ONCE = 64
# Primaries and transfer in a colr box (ISO/IEC 14496-12, 12.1.5).
_NCLX = re.compile(rb"colrnclx(.{4})", re.DOTALL)
_SRGB = ImageCms.createProfile("sRGB")
# A profile of more bytes is that of a printer, or hides something; each file would carry it.
_PROFILE_BYTES = 65_536
_NOT_A_PROFILE = (ImageCms.PyCMSError, OSError, ValueError, ArithmeticError, struct.error)

# ── what the file says ──────────────────────────────────────────────────────────────────────────


def told_colours(image: Image.Image, file: IO[bytes]) -> ColourSpace:
    """The colour space that a file tells otherwise than by an ICC profile, which counts more but in PNG."""
    nclx: dict[str, int] = {}
    if image.format == "PNG" and len(cicp := png_chunk(file, b"cICP")) == 4 and not cicp[2]:
        return colours.of_code_points(*cicp[:2])
    if image.info.get("icc_profile"):
        return ColourSpace()
    if image.format == "PNG":
        return _png_colours(image.info)
    if image.format == "HEIF":
        nclx = image.info.get("nclx_profile", {})
    elif image.format == "AVIF" and _may_tell_colours(file):
        import pi_heif  # Pillow does not read it

        with suppress(*DAMAGE):
            nclx = pi_heif.open_heif(file).info.get("nclx_profile", {})
    if not nclx:
        return ColourSpace()
    return colours.of_code_points(nclx["color_primaries"], nclx["transfer_characteristics"])


def _may_tell_colours(file: IO[bytes]) -> bool:
    """Whether the box of any picture in the file tells other colours than sRGB: most do not."""
    file.seek(0)
    boxes = (struct.unpack(">HH", box[1]) for box in _NCLX.finditer(file.read(HEADER_BYTES)))
    return any(colours.of_code_points(*box) != ColourSpace() for box in boxes)


def _png_colours(info: dict[Any, Any]) -> ColourSpace:
    """By the chunks gAMA and cHRM (PNG, 11.3.2); what is nearly sRGB is taken for it."""
    gamma_of_file = info.get("gamma")
    if "srgb" in info or not gamma_of_file or not 0.1 < gamma_of_file < 10:
        return ColourSpace()
    gamma = 0.0 if abs(2.2 * gamma_of_file - 1) < 0.05 else 1 / gamma_of_file
    chromaticity = info.get("chromaticity", ())
    primaries = (*chromaticity[2:], *chromaticity[:2]) or colours.SRGB
    if all(abs(x - of) < 0.01 for x, of in zip(primaries, colours.SRGB, strict=True)):
        primaries = colours.SRGB
    return ColourSpace(primaries, gamma)


# ── eight bits ──────────────────────────────────────────────────────────────────────────────────


def to_eight_bits(image: Image.Image, gamma: float) -> Image.Image:
    """The image with samples of eight bits and no palette; deep grey raised to 1/`gamma` becomes sRGB."""
    if image.mode == "LAB":  # its A is no alpha
        lab, whole = ImageCms.createProfile("LAB"), ImageCms.Flags.NOOPTIMIZE  # of coarse tables
        found = ImageCms.profileToProfile(image, lab, _SRGB, outputMode="RGB", flags=whole)
        return found or image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image, gamma)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _from_deep_grey(image: Image.Image, gamma: float) -> Image.Image:
    """Grey of more than eight bits scaled down to them: Pillow would clip it."""
    page = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        page = tiffs.Page(image.tell(), image.tag_v2)
    if image.mode == "F":  # white is 1, or the brightest sample
        extrema: Any = image.getextrema()
        low, high = min(0.0, extrema[0]), max(1.0, extrema[1])
        scale = 255 / (high - low)
        grey = image.point(lambda value: value * scale + -low * scale).convert("L")
    elif page and page.bits == 32 and not page.is_signed:
        # Pillow takes values above the middle for negative ones.
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


# ── PNG of 16 bits a sample, in colour: Pillow keeps the high bytes ─────────────────────────────


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow will leave out the low bytes of samples. To be asked before the image is loaded."""
    return any(tile.args in _DEEP for tile in image.tile)


def use_low_bytes(image: Image.Image, file: IO[bytes], told: ColourSpace) -> ColourSpace:
    """Apply to a loaded deep image, in place, what needs all 16 bits: gamma, and the transparent colour.

    Returns the colour space that is left to be converted.
    """
    if not told.gamma and "transparency" not in image.info:
        return told
    low = _low_bytes(file)
    alpha = _alpha_of_colour(image, low) if "transparency" in image.info else None
    if told.gamma:
        _apply_gamma(image, low, told.gamma)
        told = told._replace(gamma=0.0)
    if alpha:
        image.putalpha(alpha)
    return told


def _low_bytes(file: IO[bytes]) -> Image.Image:
    image = open_image(file, "PNG")
    image.tile = [tile._replace(args=_DEEP[str(tile.args)]) for tile in image.tile]
    image.load()
    return image


def _alpha_of_colour(image: Image.Image, low: Image.Image) -> Image.Image:
    """The alpha of a PNG in which one colour of three times 16 bits is transparent."""
    hidden = image.info.pop("transparency")
    wanted = *(value >> 8 for value in hidden), *(value & 255 for value in hidden)
    masks = [
        band.point([255 * (value == half) for value in range(256)])
        for band, half in zip((*image.split(), *low.split()), wanted, strict=True)
    ]
    return ImageChops.invert(reduce(ImageChops.multiply, masks))


def _apply_gamma(image: Image.Image, low: Image.Image, gamma: float) -> None:
    """Give sRGB's curve to an image whose samples, in high and low bytes, are raised to 1/`gamma`.

    Eight bits of light would leave bands in what is dark. Some rows at a time: they take much memory.
    """
    table = colours.in_srgb(gamma)
    for top in range(0, image.height, _ROWS_AT_ONCE):
        box = (0, top, image.width, min(top + _ROWS_AT_ONCE, image.height))
        bands = list(image.crop(box).split())
        for number, low_band in enumerate(low.crop(box).split()[:3]):
            sample = ImageMath.lambda_eval(
                lambda of: of["high"] * 256 + of["low"], high=bands[number], low=low_band
            )
            bands[number] = sample.point(table, "L")
        image.paste(Image.merge(image.mode, bands), box)


# ── sRGB ────────────────────────────────────────────────────────────────────────────────────────


def to_srgb(image: Image.Image, profile: bytes | None, told: ColourSpace) -> Image.Image:
    """The image in sRGB, by an ICC profile or by the colour space that the file tells."""
    if told.hdr:
        table = colours.tone_map(told)
        return image.convert("RGB").filter(ImageFilter.Color3DLUT(colours.POINTS, table))
    # A broken profile says nothing: the colours are taken as they stand.
    with suppress(*_NOT_A_PROFILE):
        if told != ColourSpace():
            image, profile = image.convert("RGB"), colours.profile(told)
        if profile:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), _SRGB, outputMode="RGB"
            )
            if converted is not None:
                return converted
    return image if image.mode == "RGB" else image.convert("RGB")


# ── colours that are kept ───────────────────────────────────────────────────────────────────────


def kept_profile(image: Image.Image, profile: bytes | None, told: ColourSpace) -> bytes | None:
    """The profile that tells an 8-bit image's colours as they are; None where only sRGB will do.

    Grey loses nothing in sRGB. HDR and CMYK are not what pictures on the web can be.
    """
    if told.hdr:
        return None
    with suppress(*_NOT_A_PROFILE):
        if told != ColourSpace():
            return colours.profile(told)
        if profile and len(profile) <= _PROFILE_BYTES and image.mode in ("RGB", "RGBA"):
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
            if opened.xcolor_space.strip() == "RGB" and opened.device_class.strip() != "link":
                return profile
    return None


def in_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB image in sRGB, in the colours of a profile instead; as it is if they do not convert."""
    with suppress(*_NOT_A_PROFILE):
        converted = ImageCms.profileToProfile(image, _SRGB, io.BytesIO(profile), outputMode="RGB")
        return converted or image
    return image
