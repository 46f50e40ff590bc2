"""The test chart in the hunted inputs: eight patches of known colours in the upper half."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from corpus.colour import Rgb

Colour = tuple[int, int, int]

# 640 × 400, sRGB; four patches a row, each 160 × 100. Below them are a ramp, and text on grey.
COLOURS: dict[str, Colour] = {
    "red": (200, 60, 50),
    "green": (60, 160, 70),
    "blue": (50, 80, 190),
    "yellow": (230, 200, 60),
    "white": (240, 240, 240),
    "skin": (225, 172, 150),
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
}
_COLUMNS = 4
_ROWS = 4  # patches fill the upper two
_MARGIN = (
    0.25  # the part of a patch on each side that is not measured: a neighbour may bleed into it
)


def patches(picture: Rgb) -> dict[str, Colour]:
    """The colour of each patch of a chart that fills the picture."""
    height, width = picture.shape[:2]
    colours = {}
    for number, name in enumerate(COLOURS):
        row, column = divmod(number, _COLUMNS)
        area = picture[
            _within(row, height / _ROWS),
            _within(column, width / _COLUMNS),
        ]
        red, green, blue = (round(float(value)) for value in np.median(area, axis=(0, 1)))
        colours[name] = (red, green, blue)
    return colours


def _within(number: int, side: float) -> slice:
    return slice(round((number + _MARGIN) * side), round((number + 1 - _MARGIN) * side))


def in_grey() -> dict[str, Colour]:
    """The colours of the chart in greyscale, by the weights of BT.601."""
    return {
        name: (luma,) * 3
        for name, (red, green, blue) in COLOURS.items()
        for luma in (round(0.299 * red + 0.587 * green + 0.114 * blue),)
    }


def drawn(colours: dict[str, Colour] = COLOURS) -> Image.Image:
    """The chart without its text, 640 × 400."""
    picture = Image.new("RGB", (640, 400), COLOURS["grey"])
    pen = ImageDraw.Draw(picture)
    for number, colour in enumerate(colours.values()):
        row, column = divmod(number, _COLUMNS)
        pen.rectangle((160 * column, 100 * row, 160 * column + 159, 100 * row + 99), fill=colour)
    ramp = Image.linear_gradient("L").rotate(90).resize((640, 51))
    picture.paste(ramp.convert("RGB"), (0, 200))
    pen.polygon([(20, 320), (20, 380), (80, 380)], fill=(255, 0, 255))
    return picture
