"""Colours that a picture tells by code points (ITU-T H.273) or chromaticities: how they become sRGB. Pure."""

from __future__ import annotations

import struct
from itertools import chain, product
from math import exp
from typing import NamedTuple

PQ, HLG = 16, 18  # of H.273, Table 3
# The other curves of that table that are none like that of sRGB: what a sample is raised to.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# x and y of red, green, blue and white.
Primaries = tuple[float, ...]
SRGB: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
# Of H.273, Table 2, those that hold more colours than sRGB: others are taken for it, as of films.
_WIDE: dict[int, Primaries] = {
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),  # BT.2020
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),  # DCI-P3
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),  # Display P3
}
# As films have it (planning.colours.to_bt709): nits that are white in SDR, and the brightest that are shown.
WHITE_NITS = 100
_PEAK = 1000 / WHITE_NITS
# Points of a table along each side.
POINTS = 65

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


class ColourSpace(NamedTuple):
    """How samples are meant: PQ, HLG, raised to 1/`gamma`, or by the curve of sRGB where that is 0."""

    primaries: Primaries = SRGB
    gamma: float = 0.0
    hdr: int = 0


def told(primaries: int, transfer: int) -> ColourSpace:
    """What two code points mean."""
    return ColourSpace(
        _WIDE.get(primaries, SRGB),
        _GAMMAS.get(transfer, 0.0),
        transfer if transfer in (PQ, HLG) else 0,
    )


def profile(colours: ColourSpace) -> bytes:
    """An ICC profile (ICC.1:2022), but not of HDR. Raises ArithmeticError where no light has such colours."""
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
    """The samples of sRGB, 0 to 255, of light that is raised to 1/`gamma`, 0 to 65535."""
    light = (_raised(value / 65535, gamma) for value in range(65536))
    return [
        round(255 * (12.92 * of if of <= 0.0031308 else 1.055 * _raised(of, 1 / 2.4) - 0.055))
        for of in light
    ]


def _fixed(*values: float) -> bytes:
    """As s15Fixed16Number; struct.error where one is too large."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def tone_map(colours: ColourSpace) -> list[float]:
    """Of HDR: red, green and blue of SDR, 0 to 1, at POINTS³ points, between which it is linear.

    Red varies fastest. As FFmpeg does it with a film: Hable's curve for the brightest channel, and the
    others in proportion.
    """
    decode = _pq if colours.hdr == PQ else _hlg
    light = [decode(number / (POINTS - 1)) for number in range(POINTS)]
    convert = _multiply(_inverse(_to_xyz(SRGB)), _to_xyz(colours.primaries))
    # ITU-R BT.1886, by which what is made of films is coded, too.
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
    """SMPTE ST 2084, 5.1, in multiples of SDR's white."""
    power = _raised(value, 1 / 78.84375)
    light = max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)
    return 10_000 / WHITE_NITS * _raised(light, 1 / 0.1593017578125)


def _hlg(value: float) -> float:
    """ITU-R BT.2100, Table 5, of a display of 1,000 nits; each channel alone, as FFmpeg's zscale has it."""
    low = value**2 / 3
    high = (exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _PEAK * _raised(low if value <= 0.5 else high, 1.2)


def _raised(value: float, exponent: float) -> float:
    power: float = value**exponent
    return power


def _hable(light: float) -> float:
    above = light * (0.15 * light + 0.05) + 0.004
    return above / (light * (0.15 * light + 0.50) + 0.06) - 0.02 / 0.30


# Of what ICC profiles connect by.
_D50: Vector = (0.9642, 1.0, 0.8249)
# Bradford's: how an eye adapts to another white.
_CONES: Matrix = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


def _to_xyz(primaries: Primaries) -> Matrix:
    """From linear RGB to CIE XYZ, where white is D50."""
    x, y = primaries[::2], primaries[1::2]
    red, green, blue, white = ((x[n] / y[n], 1.0, (1 - x[n] - y[n]) / y[n]) for n in range(4))
    columns = _transposed((red, green, blue))
    absolute = _multiply(columns, _diagonal(_apply(_inverse(columns), white)))
    seen, wanted = _apply(_CONES, white), _apply(_CONES, _D50)
    gains = wanted[0] / seen[0], wanted[1] / seen[1], wanted[2] / seen[2]
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
