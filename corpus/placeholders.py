"""Check a picture's placeholder, a ThumbHash, and its dominant colour."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator

import numpy as np
from PIL import Image

from corpus.colour import Floats, Rgb, difference, lab, resized, to_bytes, turnings
from corpus.failures import Failure

_LONG_SIDE = 32  # pixels of a placeholder that is drawn
_CELLS = 4  # a side, in which it is compared with the picture and with the picture turned
# ΔE of the mean colour. Of the 92 images of the corpus it is up to 12, where colours are as strong as can be,
# and up to 5 elsewhere.
_MOST_DIFFERENCE = 14.0
_PATCH = 60  # pixels
_COLOUR = re.compile("#[0-9a-f]{6}")
_COMPARED = 64  # pixels a side in which a dominant colour is looked for
_LOOKED_AT = 300
_LIKE = 10.0  # ΔE up to which a pixel has a colour
# Of the pixels that the most common colour has: where there are many colours, which one is it depends on how
# they are divided.
_LEAST_SHARE = 0.25


def check_placeholder(name: str, placeholder: str, shown: Image.Image) -> Iterator[Failure]:
    """The ThumbHash has the mean colour of the picture on white, and is no more like the picture turned."""
    try:
        drawn = thumbhash(b64decode(placeholder, validate=True))
    except (binascii.Error, IndexError, ZeroDivisionError) as error:
        yield Failure("placeholder", f"{name}: {placeholder!r} is no ThumbHash ({error!r})")
        return
    picture = np.asarray(shown)
    far = difference(resized(picture, 1, 1), resized(drawn, 1, 1))
    if far > _MOST_DIFFERENCE:
        yield Failure(
            "placeholder", f"{name}: its placeholder has other colours: ΔE {far:.1f} of the mean"
        )
    upright, *turned = (
        difference(resized(each, _CELLS, _CELLS), resized(drawn, _CELLS, _CELLS))
        for each in (picture, *turnings(picture))
    )
    if upright > min(turned) + 1:
        yield Failure("placeholder", f"{name}: its placeholder shows the picture turned")


def patch(colour: str) -> Image.Image:
    """A colour for people to see; grey, if it is none."""
    return Image.new("RGB", (_PATCH, _PATCH), colour if _COLOUR.fullmatch(colour) else "grey")


def drawn(placeholder: str) -> Image.Image:
    """A placeholder for people to see; grey, if it is none."""
    try:
        return Image.fromarray(thumbhash(b64decode(placeholder)))
    except (binascii.Error, IndexError, ZeroDivisionError):
        return Image.new("RGB", (_LONG_SIDE, _LONG_SIDE), "grey")


def thumbhash(content: bytes) -> Rgb:
    """The picture of a ThumbHash, on white.

    By the description of the format (evanw.github.io/thumbhash): a mean and waves of lightness, of yellow to
    blue, of red to green, and of alpha; four bits for each wave.
    """
    head = int.from_bytes(content[:5], "little")
    has_alpha, lies = bool(head >> 23 & 1), bool(head >> 39 & 1)
    longer, shorter = (5 if has_alpha else 7), head >> 24 & 7
    across, down = (longer, shorter) if lies else (shorter, longer)
    scale = _LONG_SIDE / max(across, down)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    start = 6 if has_alpha else 5
    waves = iter([half for byte in content[start:] for half in (byte & 15, byte >> 4)])
    light = _channel(
        (head & 63) / 63, (head >> 18 & 31) / 31, max(3, across), max(3, down), waves, size
    )
    yellow = _channel((head >> 6 & 63) / 31.5 - 1, (head >> 27 & 63) / 63 * 1.25, 3, 3, waves, size)
    red = _channel((head >> 12 & 63) / 31.5 - 1, (head >> 33 & 63) / 63 * 1.25, 3, 3, waves, size)
    b = light - 2 / 3 * yellow
    r = (3 * light - b + red) / 2
    alpha = np.ones(size[::-1])
    if has_alpha:
        alpha = _channel((content[5] & 15) / 15, (content[5] >> 4) / 15, 5, 5, waves, size)
    see = np.clip(alpha, 0, 1)[..., None]
    return to_bytes(np.clip(np.stack((r, r - red, b), axis=-1), 0, 1) * see + 1 - see)


def _channel(
    mean: float, scale: float, across: int, down: int, waves: Iterator[int], size: tuple[int, int]
) -> Floats:
    """A channel from its mean and its cosine waves; what has many in both directions is left out."""
    channel = np.full(size[::-1], mean)
    for y in range(down):
        for x in range(across):
            if (x or y) and x * down < across * (down - y):
                wave = np.outer(_cosine(y, size[1]), _cosine(x, size[0]))
                channel += 2 * (_next(waves) / 7.5 - 1) * scale * wave
    return channel


def _next(waves: Iterator[int]) -> int:
    for wave in waves:
        return wave
    raise IndexError("it ends too early")


def _cosine(halves: int, length: int) -> Floats:
    return np.cos(np.pi / length * halves * (np.arange(length) + 0.5))


def check_colour(
    name: str, colour: str, shown: Image.Image, alpha: Image.Image | None
) -> Iterator[Failure]:
    """`colour` is one that many pixels have, of those that are seen."""
    if not _COLOUR.fullmatch(colour):
        yield Failure("color", f"{name}: {colour!r} is no colour like #336699")
        return
    pixels = resized(np.asarray(shown), _COMPARED, _COMPARED).reshape(-1, 3)
    if alpha:
        few = alpha.resize((_COMPARED, _COMPARED), Image.Resampling.BOX)
        see = np.asarray(few).reshape(-1, 1) / 255
        seen = see[:, 0] >= 0.5
        # Their own colour, without the white below them.
        pixels = to_bytes(1 - (1 - pixels[seen] / 255) / see[seen])
    if not len(pixels):
        return
    seen_colours, wanted = lab(pixels), lab(np.frombuffer(bytes.fromhex(colour[1:]), np.uint8))
    share = _like(wanted, seen_colours)
    # Each pixel's colour is looked at, or that of a few hundred.
    some = seen_colours[:: max(1, len(pixels) // _LOOKED_AT)]
    most = max(_like(each, seen_colours) for each in some)
    if share < _LEAST_SHARE * most:
        yield Failure(
            "color",
            f"{name}: {share:.0%} of the picture have its color {colour}, {most:.0%} another one",
        )


def _like(colour: Floats, colours: Floats) -> float:
    """The part of colours that are like this one; in Lab."""
    return float((((colours - colour) ** 2).sum(axis=-1) <= _LIKE**2).mean())
