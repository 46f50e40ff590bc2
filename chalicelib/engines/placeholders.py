"""Placeholders: a picture in some thirty letters, to be shown, blurred, until it is loaded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from math import cos, floor, pi

from PIL import Image

# The longer side of what placeholders are computed of: they have at most seven waves across it.
SIDE = 32
# The least side: of fewer pixels than it has waves, a cosine transform tells waves that are not there.
_LEAST_SIDE = 8
# The part of the pixels that is shown.
_SOLID = 128


def blurhash(small: Image.Image) -> str:
    """The BlurHash of a small RGB or RGBA picture, which is on white: 4 × 3 waves, or 3 × 4."""
    import blurhash as codec

    rgb = _long_enough(on_white(small))
    pixels = list(zip(*[iter(rgb.tobytes())] * 3, strict=True))
    rows = [pixels[at : at + rgb.width] for at in range(0, len(pixels), rgb.width)]
    waves = (4, 3) if rgb.width >= rgb.height else (3, 4)
    encoded: str = codec.encode(rows, *waves)
    return encoded


def thumbhash(small: Image.Image) -> str:
    """The ThumbHash of a small RGB or RGBA picture, in base64.

    By Evan Wallace's reference implementation (github.com/evanw/thumbhash). The package of that name fails
    on transparent pictures.
    """
    longer, landscape = max(small.size), small.width > small.height
    shape = [side / longer for side in small.size]
    small = _long_enough(small)
    width, height = small.size
    data = small.convert("RGBA").tobytes()
    alpha = [of / 255 for of in data[3::4]]
    bands = [[of / 255 for of in data[number::4]] for number in range(3)]
    visible = sum(alpha)
    has_alpha = visible < width * height
    means = [sum(map(_times, band, alpha)) / (visible or 1) for band in bands]
    # What is transparent has the mean colour.
    red, green, blue = (
        [mean * (1 - a) + a * of for of, a in zip(band, alpha, strict=True)]
        for band, mean in zip(bands, means, strict=True)
    )
    limit = 5 if has_alpha else 7
    across, down = (max(1, _round(limit * side)) for side in shape)
    rgb = list(zip(red, green, blue, strict=True))
    light = _waves([(r + g + b) / 3 for r, g, b in rgb], width, max(3, across), max(3, down))
    yellow = _waves([(r + g) / 2 - b for r, g, b in rgb], width, 3, 3)
    reds = _waves([r - g for r, g, _ in rgb], width, 3, 3)
    head = (
        _round(63 * light[0])
        | _round(31.5 + 31.5 * yellow[0]) << 6
        | _round(31.5 + 31.5 * reds[0]) << 12
        | _round(31 * light[2]) << 18
        | has_alpha << 23
        | (down if landscape else across) << 24
        | _round(63 * yellow[2]) << 27
        | _round(63 * reds[2]) << 33
        | landscape << 39
    ).to_bytes(5, "little")
    nibbles = [*light[1], *yellow[1], *reds[1]]
    if has_alpha:
        mean, waves, most = _waves(alpha, width, 5, 5)
        nibbles = [_round(15 * mean), _round(15 * most), *nibbles, *waves]
    if len(nibbles) % 2:
        nibbles.append(0)
    packed = bytes(low | high << 4 for low, high in zip(*[iter(nibbles)] * 2, strict=True))
    return b64encode(head + packed).decode()


def _long_enough(small: Image.Image) -> Image.Image:
    size = max(_LEAST_SIDE, small.width), max(_LEAST_SIDE, small.height)
    return small if size == small.size else small.resize(size, Image.Resampling.NEAREST)


def _waves(
    channel: Sequence[float], width: int, across: int, down: int
) -> tuple[float, list[int], float]:
    """The mean of a channel, its other waves from 0 to 15, and the greatest of them (a cosine transform)."""
    height = len(channel) // width
    rows = [channel[at : at + width] for at in range(0, len(channel), width)]
    mean, found = 0.0, list[float]()
    columns = [[sum(map(_times, row, _cosine(cx, width))) for row in rows] for cx in range(across)]
    for cy in range(down):
        for cx in range(across):
            if cx * down >= across * (down - cy):
                break
            wave = sum(map(_times, columns[cx], _cosine(cy, height))) / len(channel)
            if cx or cy:
                found.append(wave)
            else:
                mean = wave
    most = max(map(abs, found), default=0.0)
    return mean, [_round(15 * (0.5 + 0.5 / most * of)) if most else 0 for of in found], most


@cache
def _cosine(waves: int, length: int) -> tuple[float, ...]:
    return tuple(cos(pi / length * waves * (at + 0.5)) for at in range(length))


def _times(one: float, other: float) -> float:
    return one * other


def _round(value: float) -> int:
    """Halves up, as JavaScript rounds."""
    return floor(value + 0.5)


def dominant(small: Image.Image) -> str:
    """The colour that most of a small RGB or RGBA picture has, as #rrggbb: the mean of like pixels."""
    data = small.convert("RGBA").tobytes()
    alike: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for red, green, blue, alpha in zip(*[iter(data)] * 4, strict=True):
        if alpha >= _SOLID:
            alike.setdefault((red >> 5, green >> 5, blue >> 5), []).append((red, green, blue))
    if not alike:
        return "#ffffff"
    most = max(alike.values(), key=len)
    return "#" + "".join(f"{round(sum(band) / len(most)):02x}" for band in zip(*most, strict=True))


def on_white(image: Image.Image) -> Image.Image:
    """An RGB or RGBA picture as RGB, on white."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white
