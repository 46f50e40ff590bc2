"""Where a picture shows most: edges, colours unlike the others, skin. By Pillow alone."""

from __future__ import annotations

from functools import reduce
from itertools import accumulate

from PIL import Image, ImageChops, ImageFilter

from chalicelib.model.facts import fit_box

# The longer side of what is looked at.
_SIDE = 96
# Where it is less high, or less wide, no edges can be found in it.
_LEAST = 3
# What counts, of a sum of 1.
_EDGES, _UNLIKE, _SKIN = 0.4, 0.45, 0.15
# Hues of skin, of 255, about; and how saturated and bright it is, at least and at most.
_SKIN_HUES, _SKIN_SATURATION, _SKIN_VALUE = (0, 26), (40, 150), (80, 250)
# How much less a part counts whose middle lies at the edge of the picture.
_AT_EDGE = 0.4


def centre(image: Image.Image, shape: float) -> tuple[float, float]:
    """The middle of the part of that shape which shows most, as parts of the image's size.

    `shape`: its width, divided by its height. It has one side of the image, and lies along the other.
    """
    small = image.resize(fit_box(*image.size, _SIDE), Image.Resampling.BOX).convert("RGB")
    if min(small.size) < _LEAST:
        return 0.5, 0.5
    interest = _interest(small)
    if small.width > small.height * shape:
        along = interest.resize((small.width, 1), Image.Resampling.BOX)
        return _middle(along.tobytes(), small.height * shape), 0.5
    along = interest.resize((1, small.height), Image.Resampling.BOX)
    return 0.5, _middle(along.tobytes(), small.width / shape)


def _interest(small: Image.Image) -> Image.Image:
    """How much each pixel of a small picture counts."""
    edges = small.convert("L").filter(ImageFilter.FIND_EDGES)
    # The filter leaves the outermost pixels as they are.
    inner = Image.new("L", edges.size)
    inner.paste(edges.crop((1, 1, edges.width - 1, edges.height - 1)), (1, 1))
    mean = small.resize((1, 1), Image.Resampling.BOX).resize(small.size)
    unlike = reduce(ImageChops.lighter, ImageChops.difference(small, mean).split())
    hue, saturation, value = small.convert("HSV").split()
    skin = ImageChops.multiply(
        ImageChops.multiply(_within(hue, _SKIN_HUES), _within(saturation, _SKIN_SATURATION)),
        _within(value, _SKIN_VALUE),
    )
    total = Image.new("L", small.size)
    for part, weight in ((inner, _EDGES), (unlike, _UNLIKE), (skin, _SKIN)):
        total = ImageChops.add(total, part.point([round(of * weight) for of in range(256)]))
    return total


def _within(band: Image.Image, bounds: tuple[int, int]) -> Image.Image:
    low, high = bounds
    return band.point([255 * (low <= value <= high) for value in range(256)])


def _middle(interest: bytes, length: float) -> float:
    """The middle, from 0 to 1, of the part of this length along a row that shows most.

    What lies in the middle of a part counts more than what lies at its edges.
    """
    size = min(len(interest), max(1, round(length)))
    sums = list(accumulate(interest, initial=0))
    moments = list(accumulate((at * of for at, of in enumerate(interest)), initial=0))

    def score(start: int) -> float:
        whole = sums[start + size] - sums[start]
        middle = start + (size - 1) / 2
        away = abs(moments[start + size] - moments[start] - middle * whole) / size
        off = abs(2 * (middle + 0.5) / len(interest) - 1)
        return (whole - away) * (1 - _AT_EDGE * off)

    best = max(range(len(interest) - size + 1), key=score)
    return (best + size / 2) / len(interest)
