"""Find the part of an original that a cropped picture shows."""

from __future__ import annotations

from itertools import product

import numpy as np
from PIL import Image

from corpus.colour import Floats

Box = tuple[float, float, float, float]  # left, top, right, bottom
_COMPARED = 48  # pixels of the long side of pictures that are laid on each other at first
_FINE = 0.25  # pixels


def find(picture: Image.Image, original: Image.Image) -> Box:
    """The box in the original that the picture shows, if it shows as much as its shape can have; pixels."""
    pairs = list(zip(original.size, picture.size, strict=True))
    ratio = min(side / own for side, own in pairs)  # pixels of the original for one of the picture
    # A picture twice as large as the one that is looked for is enough to see where that lies.
    near = max(1.0, ratio / 2)
    width, height = (max(own, round(side / near)) for side, own in pairs)
    laid = original.resize((width, height), Image.Resampling.BOX)
    coarse = max(1.0, max(picture.size) / _COMPARED)
    corner = _best(picture, laid, (0.0, 0.0), float(max(laid.size)), coarse, coarse)
    left, top = _best(picture, laid, corner, coarse * ratio / near, _FINE, 1.0)
    across, down = original.width / laid.width, original.height / laid.height
    box_width, box_height = _part(picture, laid)
    return (
        left * across,
        top * down,
        min(original.width, (left + box_width) * across),
        min(original.height, (top + box_height) * down),
    )


def _part(picture: Image.Image, laid: Image.Image) -> tuple[float, float]:
    """The size of the part of `laid` that the picture shows."""
    ratio = min(side / own for side, own in zip(laid.size, picture.size, strict=True))
    return ratio * picture.width, ratio * picture.height


def _best(
    picture: Image.Image,
    laid: Image.Image,
    around: tuple[float, float],
    reach: float,
    step: float,
    smaller: float,
) -> tuple[float, float]:
    """Where in `laid` the picture lies best, up to `reach` from `around`, both made so much `smaller`."""
    width, height = _part(picture, laid)
    size = max(1, round(picture.width / smaller)), max(1, round(picture.height / smaller))
    wanted = _luma(picture.resize(size, Image.Resampling.LANCZOS))
    places = [
        np.unique(
            np.clip(np.arange(at - reach, at + reach + step, step * part / own), 0, side - part)
        )
        for at, side, part, own in zip(
            around, laid.size, (width, height), picture.size, strict=True
        )
    ]

    def off(place: tuple[float, float]) -> float:
        left, top = place
        box = left, top, min(laid.width, left + width), min(laid.height, top + height)
        return float(
            np.abs(_luma(laid.resize(size, Image.Resampling.LANCZOS, box)) - wanted).mean()
        )

    return min(product(*places), key=off)


def _luma(image: Image.Image) -> Floats:
    """Luma beside its mean: tones may have been mapped in another way."""
    luma = np.asarray(image.convert("L")).astype(np.float64)
    return luma - luma.mean()
