"""The reference decode of images by Pillow, and the checks of JPEG outputs against it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pi_heif
from PIL import Image, ImageCms, ImageOps

from corpus.colour import Rgb, difference, differences, lightness, resized, turnings
from corpus.failures import Failure

BOX = 512  # pixels of a thumbnail's longest side

# Mean ΔE of a whole picture, without the loss of JPEG. For CMYK another rendering intent makes up to 5.
MOST_DIFFERENCE = 3.0
MOST_DIFFERENCE_CMYK = 7.0
# ΔE by which the corner differs more than the rest. On the noise of ogv.js__3seconds.ogv it is 2.2 with a
# mark, and 1.2 without one.
_MARK_DIFFERENCE = 2.0
_COMPARED = 128  # pixels of the long side of pictures that are compared
_MARKED = 64  # pixels of the short side from which on the mark must be visible

# The mark's region, in parts of the picture's width, from the right edge and from the lower edge.
_MARK_RIGHT, _MARK_BELOW = 0.27, 0.13

_SRGB = ImageCms.createProfile("sRGB")
_MODE_OF_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# JPEG segments without metadata: SOF, DHT, DQT, DRI, SOS, EOI, JFIF's APP0 and Adobe's APP14.
_HARMLESS = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, 0xE0, 0xEE}


def reference(path: Path) -> Image.Image:
    """The original as it is meant to be seen: its first frame, upright, in sRGB, on white."""
    picture, profile = _upright(path)
    opaque = picture.convert({"RGBA": "RGB", "LA": "L"}.get(picture.mode, picture.mode))
    colours = _in_srgb(opaque, profile)
    return colours if picture.mode == opaque.mode else _on_white(colours, picture.getchannel("A"))


def alpha(path: Path) -> Image.Image | None:
    """The alpha channel of the original as Pillow reads it, upright; None: it has none. Raises OSError."""
    picture, _ = _upright(path)
    return picture.getchannel("A") if "A" in picture.getbands() else None


def _upright(path: Path) -> tuple[Image.Image, bytes | None]:
    """The first frame with 8 bits a sample, and its profile."""
    pi_heif.register_heif_opener()
    with Image.open(path) as image:
        image.load()
        profile = image.info.get("icc_profile")
        return _eight_bit(ImageOps.exif_transpose(image)), profile


def _on_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        samples = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(np.clip(np.round(samples), 0, 255).astype(np.uint8))
    if image.mode == "F":
        floats = np.asarray(image, dtype=np.float64)
        low, high = min(0.0, floats.min()), max(1.0, floats.max())
        return Image.fromarray(np.round((floats - low) / (high - low) * 255).astype(np.uint8))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L") if image.mode == "1" else image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = _MODE_OF_SPACE[source.profile.xcolor_space.strip()]
            if mode == "L" or mode == image.mode:
                converted = ImageCms.profileToProfile(
                    image.convert(mode), source, _SRGB, outputMode="RGB"
                )
                assert converted is not None
                return converted
        except (ImageCms.PyCMSError, OSError, KeyError):
            pass  # a broken profile is ignored
    return image.convert("RGB")


def has_gamma(path: Path) -> bool:
    """Whether gAMA tells a PNG's colours, which Pillow does not apply (PNG, third edition, 4.3 and 13.13)."""
    try:
        with Image.open(path) as image:
            named = {"icc_profile", "srgb"} & image.info.keys()
            return image.format == "PNG" and "gamma" in image.info and not named
    except (OSError, ValueError, SyntaxError):
        return False


def most_difference(path: Path) -> float:
    """The largest mean ΔE that outputs of this file may have."""
    try:
        with Image.open(path) as image:
            return MOST_DIFFERENCE_CMYK if image.mode == "CMYK" else MOST_DIFFERENCE
    except OSError:  # Pillow cannot read it, but another reference decoder may
        return MOST_DIFFERENCE


def check_jpeg(name: str, content: bytes) -> Iterator[Failure]:
    """The file is a JPEG in RGB without metadata."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            found = (image.format, image.mode)
    except OSError as error:
        yield Failure("jpeg", f"{name}: it cannot be decoded ({error})")
        return
    if found != ("JPEG", "RGB"):
        yield Failure("jpeg", f"{name}: it is {found[0]}, {found[1]}, not a JPEG in RGB")
    for marker, start in _segments(content):
        if marker not in _HARMLESS:
            yield Failure("metadata", f"{name}: segment {marker:#x} is left in it: {start!r}")


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, first 20 bytes) of each segment before the first scan."""
    offset = 2
    while content[offset] == 0xFF and content[offset + 1] != 0xDA:
        length = int.from_bytes(content[offset + 2 : offset + 4])
        yield content[offset + 1], content[offset + 4 : offset + 24]
        offset += 2 + length


def opened(content: bytes) -> Image.Image:
    """The picture in a file, on white."""
    with Image.open(io.BytesIO(content)) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        picture = image.convert("RGBA")
        return _on_white(picture.convert("RGB"), picture.getchannel("A"))


def check_thumbnail(
    content: bytes, original: Image.Image, most: float = MOST_DIFFERENCE
) -> Iterator[Failure]:
    """The thumbnail fits in BOX × BOX, has the original's shape and picture, and is not enlarged."""
    yield from check_jpeg("thumbnail", content)
    output = opened(content)
    yield from check_fit("thumbnail", output.size, original.size)
    yield from _check_same("thumbnail", output, original, most, marked=False)


def check_fit(name: str, output: tuple[int, int], original: tuple[int, int]) -> Iterator[Failure]:
    """The size is the largest that fits in the box without enlarging, up to rounding; in pixels."""
    scale = min(1.0, BOX / max(original))
    wanted = [max(1.0, side * scale) for side in original]
    if max(output) > BOX or any(abs(m - w) > 1 for m, w in zip(output, wanted, strict=True)):
        yield Failure(
            "size",
            f"{name}: it is {output[0]} × {output[1]}, not {wanted[0]:.0f} × {wanted[1]:.0f} "
            f"as of {original[0]} × {original[1]}",
        )


def check_watermark(
    content: bytes,
    original: Image.Image,
    most: float = MOST_DIFFERENCE,
    unmarked: Image.Image | None = None,
) -> Iterator[Failure]:
    """The output has full size, shows the same picture outside the mark, and has the mark.

    The mark is detected by comparing with the original; where that may differ (`most`), since HDR is
    tone-mapped in another way, with `unmarked`, another output of the same picture.
    """
    yield from check_jpeg("watermark", content)
    output = opened(content)
    if output.size != original.size:
        yield Failure(
            "size",
            f"watermark: it is {output.width} × {output.height}, "
            f"not {original.width} × {original.height}",
        )
    yield from _check_same("watermark", output, original, most, marked=True)
    base = unmarked if unmarked and most > MOST_DIFFERENCE_CMYK else original
    one, other = small(output, _COMPARED), small(base, _COMPARED)
    if min(output.size) >= _MARKED and not shows_mark(one, other):
        yield Failure("mark", "watermark: there is no mark in its lower right corner")


def _check_same(
    name: str, output: Image.Image, original: Image.Image, most: float, marked: bool
) -> Iterator[Failure]:
    one, other = small(output, _COMPARED), small(original, _COMPARED)
    allowed = most + _cost_of_jpeg(original.resize(output.size), other)
    delta = differences(one, other)
    kept = delta[~mark_region(one)] if marked else delta
    if kept.size and kept.mean() > allowed:
        yield Failure(
            "picture",
            f"{name}: its colours or its orientation differ from the original's: "
            f"mean ΔE {kept.mean():.1f}, at most {allowed:.1f}",
        )


def _cost_of_jpeg(image: Image.Image, seen: Rgb) -> float:
    """Mean ΔE of JPEG compression alone, which is large where an image has few and colourful pixels."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return difference(small(opened(content.getvalue()), _COMPARED), seen)


def shows_mark(one: Rgb, other: Rgb) -> bool:
    """Whether the pictures differ more in the mark's corner than elsewhere."""
    delta = differences(one, other)
    inside = mark_region(one)
    if not inside.any() or inside.all():
        return False
    corner, rest = (np.percentile(delta[region], 90) for region in (inside, ~inside))
    return bool(corner > rest + _MARK_DIFFERENCE)


def mark_region(picture: Rgb) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    height, width = picture.shape[:2]
    region = np.zeros((height, width), dtype=bool)
    below = min(height, int(np.ceil(width * _MARK_BELOW)) + 1)
    region[height - below :, width - int(np.ceil(width * _MARK_RIGHT)) - 1 :] = True
    return region


def small(image: Image.Image, box: int) -> Rgb:
    """The image scaled to at most `box` pixels on the long side."""
    scale = min(1.0, box / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return resized(np.asarray(image), width, height)


def check_poster(
    content: bytes, shown: tuple[int, int], frames: Rgb, most: float
) -> Iterator[Failure]:
    """A film's thumbnail has its shape, and shows one of its frames.

    `frames`: all frames of the film, frames × height × width × 3. `shown`: the film's size in pixels.
    """
    yield from check_jpeg("thumbnail", content)
    output = opened(content)
    yield from check_fit("thumbnail", output.size, shown)
    yield from check_not_blank("thumbnail", output, frames)
    yield from check_shows_frame("thumbnail", output, frames, most)


def check_not_blank(name: str, output: Image.Image, frames: Rgb) -> Iterator[Failure]:
    """The picture is blank only if all frames are."""
    picture = resized(np.asarray(output), *frames.shape[2:0:-1])
    empty = lightness(picture).std() < 3 and any(lightness(frame).std() > 10 for frame in frames)
    black = lightness(picture).max() < 5 and any(lightness(frame).max() > 20 for frame in frames)
    if empty or black:
        yield Failure("poster", f"{name}: there is nothing to be seen in it")


def check_shows_frame(
    name: str, output: Image.Image, frames: Rgb, most: float
) -> Iterator[Failure]:
    """The picture is one of the frames, upright."""
    picture = resized(np.asarray(output), *frames.shape[2:0:-1])
    upright = _nearest(picture, frames)
    turned = min(_nearest(other, frames) for other in turnings(picture))
    if upright > 3 and turned < 0.7 * upright:
        yield Failure(
            "poster",
            f"{name}: it is not upright: mean ΔE {upright:.1f}, turned or mirrored {turned:.1f}",
        )
    elif upright > most:
        yield Failure("poster", f"{name}: it is no frame of the film: mean ΔE {upright:.1f}")


def _nearest(picture: Rgb, frames: Rgb) -> float:
    """Mean ΔE to the most similar frame."""
    far = [np.abs(frame.astype(np.int16) - picture).mean() for frame in frames]
    return difference(picture, frames[int(np.argmin(far))])
