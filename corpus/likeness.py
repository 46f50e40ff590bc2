"""How alike two pictures of the same size are in what they show, whatever their tones."""

from __future__ import annotations

import numpy as np

from corpus.colour import Floats, Rgb

_WINDOW = 8  # pixels a side
# The constants of Wang et al. (2004) for 8 bits.
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WEIGHTS = np.array([0.299, 0.587, 0.114])
_FITTED = 20_000  # pixels by which tones are fitted


def ssim(one: Rgb, other: Rgb) -> float:
    """Mean structural similarity of luma, at most 1, once the tones of `other` are fitted to those of `one`.

    A cubic fits them: renderings of CMYK and of HDR differ in tones, and the colours are judged apart.
    """
    first, second = (picture @ _WEIGHTS for picture in (one, other))
    second = _fitted(second, first)
    mean_1, mean_2 = _means(first), _means(second)
    variance_1 = _means(first**2) - mean_1**2
    variance_2 = _means(second**2) - mean_2**2
    covariance = _means(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _C1) / (mean_1**2 + mean_2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)
    return float((luminance * structure).mean())


def _fitted(luma: Floats, wanted: Floats) -> Floats:
    step = max(1, luma.size // _FITTED)
    x, y = luma.ravel()[::step] / 255, wanted.ravel()[::step]
    powers = np.stack([x**degree for degree in range(4)], axis=1)
    curve = np.linalg.lstsq(powers, y, rcond=None)[0]
    return np.asarray(np.polyval(curve[::-1], luma / 255))


def _means(values: Floats) -> Floats:
    """The mean of each square of _WINDOW pixels a side; what is left over at the edges does not count."""
    high, wide = (min(_WINDOW, side) for side in values.shape)
    down, across = values.shape[0] // high, values.shape[1] // wide
    squares = values[: down * high, : across * wide].reshape(down, high, across, wide)
    return np.asarray(squares.mean(axis=(1, 3)))
