"""Convert colours that an image declares by code points (ITU-T H.273) or chromaticities to sRGB. Pure."""

from __future__ import annotations

import struct
from itertools import chain, product
from math import exp
from typing import NamedTuple

PQ, HLG = 16, 18  # TransferCharacteristics of H.273, Table 3
# Exponents by which samples become light, for those values of Table 3 that differ clearly from sRGB's curve.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# x and y of red, green, blue and white.
Primaries = tuple[float, ...]
SRGB: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
# ColourPrimaries of H.273, Table 2, with more colours than sRGB. All others are read as sRGB's, as in films.
_WIDE: dict[int, Primaries] = {
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),  # BT.2020
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),  # DCI-P3
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),  # Display P3
}
# SDR's white in nits, and the brightest light that is shown, in multiples of it; as with films
# (planning.colours.to_bt709).
WHITE_NITS = 100
_PEAK = 1000 / WHITE_NITS
# Points of a colour table along each of its three axes.
POINTS = 65

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


class ColourSpace(NamedTuple):
    """How samples encode light."""

    primaries: Primaries = SRGB
    gamma: float = 0.0  # samples are light to the power 1/gamma; 0: by the curve of sRGB
    hdr: int = 0  # PQ or HLG, which take the place of `gamma`; 0 for neither


def of_code_points(primaries: int, transfer: int) -> ColourSpace:
    """The colour space of two code points: H.273's ColourPrimaries and TransferCharacteristics."""
    return ColourSpace(
        _WIDE.get(primaries, SRGB),
        _GAMMAS.get(transfer, 0.0),
        transfer if transfer in (PQ, HLG) else 0,
    )


def profile(colours: ColourSpace) -> bytes:
    """An ICC profile (ICC.1:2022) of a colour space without HDR.

    Raises ArithmeticError if no light has such primaries, struct.error if a number does not fit.
    """
    if colours.gamma:
        curve = b"para" + struct.pack(">4xHxx", 0) + _fixed(colours.gamma)
    else:
        curve = b"para" + struct.pack(">4xHxx", 3)
        curve += _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    red, green, blue = _transposed(_to_xyz(colours.primaries))
    contents = {
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_D50),
        b"rXYZ": b"XYZ \0\0\0\0" + _fixed(*red),
        b"gXYZ": b"XYZ \0\0\0\0" + _fixed(*green),
        b"bXYZ": b"XYZ \0\0\0\0" + _fixed(*blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    body, tags, at = b"", struct.pack(">I", len(contents)), 132 + 12 * len(contents)
    for name, content in contents.items():
        tags += struct.pack(">4sII", name, at + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        at + len(body), 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", _fixed(*_D50),
    )  # fmt: skip
    return head + tags + body


def in_srgb(gamma: float) -> list[int]:
    """A table: for each 16-bit sample that is light to the power 1/`gamma`, the 8-bit sample of sRGB."""
    light = (_raised(value / 65535, gamma) for value in range(65536))
    return [
        round(255 * (12.92 * of if of <= 0.0031308 else 1.055 * _raised(of, 1 / 2.4) - 0.055))
        for of in light
    ]


def _fixed(*values: float) -> bytes:
    """The numbers as s15Fixed16Number. Raises struct.error if one is too large."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def tone_map(colours: ColourSpace) -> list[float]:
    """A table from HDR to SDR: red, green and blue, 0 to 1, at POINTS³ points; linear between them.

    Red varies fastest. The same mapping as FFmpeg's for films: Hable's curve for the brightest channel, and
    the other channels in proportion.
    """
    decode = _pq if colours.hdr == PQ else _hlg
    light = [decode(number / (POINTS - 1)) for number in range(POINTS)]
    convert = _multiply(_inverse(_to_xyz(SRGB)), _to_xyz(colours.primaries))
    # ITU-R BT.1886, with which renditions of films are coded, too.
    coded = [(number / 65535) ** (1 / 2.4) for number in range(65536)]
    of_white = 65535 / _hable(_PEAK)

    def mapped(point: tuple[float, ...]) -> tuple[float, ...]:
        blue, green, red = point
        rgb = _apply(convert, (red, green, blue))
        brightest = max(*rgb, 1e-6)
        scale = of_white * _hable(brightest) / brightest
        return tuple(coded[min(65535, max(0, round(value * scale)))] for value in rgb)

    return list(chain.from_iterable(map(mapped, product(light, repeat=3))))


def _pq(value: float) -> float:
    """Light of a PQ sample, in multiples of SDR's white (SMPTE ST 2084, 5.1)."""
    power = _raised(value, 1 / 78.84375)
    light = max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)
    return 10_000 / WHITE_NITS * _raised(light, 1 / 0.1593017578125)


def _hlg(value: float) -> float:
    """Light of an HLG sample on a display of 1,000 nits, in multiples of SDR's white.

    ITU-R BT.2100, Table 5; each channel is computed alone, as in FFmpeg's zscale.
    """
    low = value**2 / 3
    high = (exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _PEAK * _raised(low if value <= 0.5 else high, 1.2)


def _raised(value: float, exponent: float) -> float:
    power: float = value**exponent
    return power


def _hable(light: float) -> float:
    above = light * (0.15 * light + 0.05) + 0.004
    return above / (light * (0.15 * light + 0.50) + 0.06) - 0.02 / 0.30


# XYZ of the white point of ICC's profile connection space.
_D50: Vector = (0.9642, 1.0, 0.8249)
# Bradford's matrix from XYZ to cone responses, for adaptation to another white point.
_CONES: Matrix = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


def _to_xyz(primaries: Primaries) -> Matrix:
    """The matrix from linear RGB to CIE XYZ with the white point D50."""
    x, y = primaries[::2], primaries[1::2]
    red, green, blue, white = ((x[n] / y[n], 1.0, (1 - x[n] - y[n]) / y[n]) for n in range(4))
    columns = _transposed((red, green, blue))
    absolute = _multiply(columns, _diagonal(_apply(_inverse(columns), white)))
    source_cones, target_cones = _apply(_CONES, white), _apply(_CONES, _D50)
    gains = (
        target_cones[0] / source_cones[0],
        target_cones[1] / source_cones[1],
        target_cones[2] / source_cones[2],
    )
    adapt = _multiply(_inverse(_CONES), _multiply(_diagonal(gains), _CONES))
    return _multiply(adapt, absolute)


def _apply(matrix: Matrix, vector: Vector) -> Vector:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    x, y, z = vector
    return a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z


def _transposed(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return (a, d, g), (b, e, h), (c, f, i)


def _multiply(one: Matrix, other: Matrix) -> Matrix:
    columns = _transposed(other)
    first, second, third = (_apply(columns, row) for row in one)
    return first, second, third


def _diagonal(values: Vector) -> Matrix:
    a, b, c = values
    return (a, 0.0, 0.0), (0.0, b, 0.0), (0.0, 0.0, c)


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    adjugate: Matrix = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0]
    first, second, third = (
        (x / determinant, y / determinant, z / determinant) for x, y, z in adjugate
    )
    return first, second, third
