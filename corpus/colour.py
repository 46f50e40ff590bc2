"""Colour differences in CIE Lab, and conversions of video's colours to sRGB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rgb = NDArray[np.uint8]  # height × width × 3, sRGB
Floats = NDArray[np.float64]

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])
_2020_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
_P3_TO_709 = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
_PLACE = 6  # pixels a side, in pictures whose long side has about a hundred
# By ColourPrimaries of ITU-T H.273: BT.2020, and P3 with the white point D65.
TO_BT709 = {9: _2020_TO_709, 12: _P3_TO_709}


def linear(encoded: Floats) -> Floats:
    """Linear light of sRGB samples; both are 0 to 1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb(light: Floats) -> Rgb:
    """8-bit sRGB samples of linear light, 0 to 1."""
    return to_bytes(
        np.where(
            light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055
        )
    )


def lab(rgb: Rgb) -> Floats:
    """CIE Lab with the white point D65."""
    xyz = linear(rgb.astype(np.float64) / 255) @ _XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def resized(rgb: Rgb, width: int, height: int) -> Rgb:
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def turnings(rgb: Rgb) -> list[Rgb]:
    """The picture upside down, mirrored, and both."""
    turned = (rgb[::-1], rgb[:, ::-1], rgb[::-1, ::-1])
    return [np.ascontiguousarray(each) for each in turned]


def differences(one: Rgb, other: Rgb) -> Floats:
    """ΔE (CIE76) of each pixel; `other` is scaled to the size of `one`."""
    height, width = one.shape[:2]
    if other.shape != one.shape:
        other = resized(other, width, height)
    return np.asarray(np.sqrt(((lab(one) - lab(other)) ** 2).sum(axis=-1)))


def difference(one: Rgb, other: Rgb) -> float:
    """Mean ΔE of two pictures."""
    return float(differences(one, other).mean())


def worst_place(values: Floats) -> float:
    """The greatest mean of a square of _PLACE pixels a side that lies within `values`."""
    side = min(_PLACE, *values.shape)
    places = np.lib.stride_tricks.sliding_window_view(values, (side, side))
    return float(places.mean(axis=(-1, -2)).max())


def lightness(rgb: Rgb) -> Floats:
    """L of Lab, 0 to 100."""
    return lab(rgb)[..., 0]


def from_yuv(yuv: Rgb, kr: float, kb: float, full: bool) -> Floats:
    """R'G'B', 0 to 1, of 8-bit Y'CbCr with the matrix of Kr and Kb; `full`: of full range."""
    planes = yuv.astype(np.float64)
    y = planes[..., 0] / 255 if full else (planes[..., 0] - 16) / 219
    cb, cr = ((planes[..., n] - 128) / (255 if full else 224) for n in (1, 2))
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack((r, g, b), axis=-1), 0, 1)


def in_bt709(encoded: Floats, primaries: int) -> Rgb:
    """8-bit sRGB of R'G'B', 0 to 1, with the primaries of a wider gamut."""
    return srgb(linear(encoded) @ TO_BT709[primaries].T)


def to_bytes(encoded: Floats) -> Rgb:
    return np.asarray(np.round(np.clip(encoded, 0, 1) * 255), dtype=np.uint8)


def _pq_light(encoded: Floats) -> Floats:
    """SMPTE ST 2084: light in units of the reference white, 203 cd/m² (BT.2408)."""
    power = encoded ** (1 / 78.84375)
    top = np.maximum(power - 0.8359375, 0)
    return np.asarray((top / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125) * 10000 / 203)


def _hlg_light(encoded: Floats) -> Floats:
    """ARIB STD-B67 on a display of 1000 cd/m²: light in units of the reference white, 203 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(encoded <= 0.5, encoded**2 / 3, (np.exp((encoded - c) / a) + b) / 12)
    luma = scene @ np.array([0.2627, 0.678, 0.0593])
    return np.asarray(scene * (luma**0.2)[..., None] * 1000 / 203)


LIGHT_OF_HDR: dict[int, Callable[[Floats], Floats]] = {16: _pq_light, 18: _hlg_light}


def tone_mapped(encoded: Floats, transfer: int) -> Rgb:
    """An SDR picture of HDR samples, for loose comparison: Reinhard's curve, BT.709 primaries."""
    light = np.maximum(LIGHT_OF_HDR[transfer](encoded) @ _2020_TO_709.T, 0)
    luma = light @ np.array([0.2126, 0.7152, 0.0722])
    mapped = light * ((1 + luma / 25) / (1 + luma))[..., None] * 1.2
    return to_bytes(np.clip(mapped, 0, 1) ** (1 / 2.2))
