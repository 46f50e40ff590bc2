"""Loudness by ITU-R BS.1770-5 (EBU R 128) from what FFmpeg's filter `ebur128` measures. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import log10
from typing import NamedTuple

# Of a decoded file, in dB over full scale (EBU R 128, recommendation h).
MOST_TRUE_PEAK = -1.0
# By so many dB a lossy encoder may make a peak higher: the more of it is loud, the more.
ENCODER_DB = 1.5
# BS.1770-5, annex 1: blocks of 400 ms, one each 100 ms, below this are silence; and those that are so much
# below the rest are no foreground.
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
# Levels are counted in hundredths of an LU.
_STEPS = 100
_VALUE = re.compile(r"^lavfi\.r128\.(M|true_peak)=(\S+)$", re.MULTILINE)


class Measured(NamedTuple):
    """What was measured of sound."""

    levels: Mapping[int, int]  # blocks above the absolute gate, by hundredths of a LUFS
    true_peak: float  # 1.0 is full scale


def filters(levels: str, peaks: str) -> str:
    """FFmpeg's filters that measure, and write the level of each block and the peak so far to two files."""
    return (
        "ebur128=peak=true:metadata=1,"
        f"ametadata=print:key=lavfi.r128.M:file={levels},"
        f"ametadata=print:key=lavfi.r128.true_peak:file={peaks}"
    )


def parse(written: Iterable[str]) -> Measured:
    """What FFmpeg's filters have written, a line each.

    The first three blocks of a run have less than 400 ms, and no level: FFmpeg gives them one below the gate.
    """
    levels, peak = Counter[int](), 0.0
    for line in written:
        if found := _VALUE.match(line):
            name, value = found[1], float(found[2])
            if name == "true_peak":
                peak = max(peak, value)
            elif value > _ABSOLUTE_GATE:
                levels[round(_STEPS * value)] += 1
    return Measured(levels, peak)


def integrated(levels: Mapping[int, int]) -> float | None:
    """Loudness in LUFS; None of silence."""
    if not levels:
        return None
    gate = _mean(levels) + _RELATIVE_GATE
    return _mean({level: count for level, count in levels.items() if level > _STEPS * gate})


def gain(measured: Measured, target: float) -> float:
    """Decibels that bring sound to `target` LUFS, or as near as its peaks allow; 0 of silence."""
    loudness = integrated(measured.levels)
    if loudness is None or not measured.true_peak:
        return 0.0
    most = MOST_TRUE_PEAK - ENCODER_DB - 20 * log10(measured.true_peak)
    return round(min(target - loudness, most), 2)


def excess(true_peak: float) -> float:
    """Decibels by which a peak is above the highest that may be; 0 where it is not."""
    return max(0.0, 20 * log10(true_peak) - MOST_TRUE_PEAK) if true_peak else 0.0


def _mean(levels: Mapping[int, int]) -> float:
    """The level of the mean power."""
    power = sum(count * 10 ** (level / _STEPS / 10) for level, count in levels.items())
    return 10 * log10(power / sum(levels.values()))
