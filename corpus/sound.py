"""Whether sound comes when it should: by its timestamps, and by what is heard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from corpus.decode import SOUND_RATE, Sound
from corpus.failures import Failure

_HEARD_SECONDS = 4
_MOST_LAG = SOUND_RATE // 2
_AAC_FRAME = 1024 / 48000
_PRE_ECHO = 1024  # samples of an AAC frame, over which what follows is smeared
_SILENCE = 0.01  # of full scale


def check_sound(
    name: str, one: Sound | None, other: Sound | None, film_end: float, frame: float
) -> Iterator[Failure]:
    """Start, end and what is heard at both are off by less than a frame."""
    if one is None or other is None:
        return
    # What comes before the first frame of the film may be left out.
    start = max(other.start, min(0.0, one.start))
    early = one.samples[: max(0, round((start - one.start) * SOUND_RATE) - _PRE_ECHO)]
    # What begins earlier with silence begins when the silence ends.
    if one.start - start >= frame + _AAC_FRAME or (len(early) and abs(early).max() > _SILENCE):
        yield Failure("sync", f"{name}: sound starts at {one.start:.3f} s, not {other.start:.3f} s")
    end = min(other.end, film_end)
    if not end - frame - _AAC_FRAME < one.end < max(other.end, end) + frame + 2 * _AAC_FRAME:
        yield Failure("sync", f"{name}: sound ends at {one.end:.3f} s, not {other.end:.3f} s")
    for place, lag in heard_lags(one, other).items():
        if abs(lag) >= frame:
            yield Failure(
                "sync", f"{name}: where the sound {place}, it is {1000 * lag:+.0f} ms off the film"
            )


def heard_lags(one: Sound, other: Sound) -> dict[str, float]:
    """Seconds by which `one` comes late where both of them begin, and end; as far as that can be told."""
    begins, ends = max(one.start, other.start), min(one.end, other.end)
    places = {"begins": begins, "ends": max(begins, ends - _HEARD_SECONDS)}
    lags = {place: heard_lag(one, other, at) for place, at in places.items()}
    return {place: lag for place, lag in lags.items() if lag is not None}


def heard_lag(one: Sound, other: Sound, at: float) -> float | None:
    """Seconds by which `one` comes late around `at`; None where the two are not told apart by ear."""
    a, b = (_window(sound, at) for sound in (one, other))
    energy = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if energy < 1e-3 * len(a):
        return None
    size = 2 * len(a)
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size) / energy
    lags = np.concatenate((np.arange(_MOST_LAG), -np.arange(1, _MOST_LAG)))
    heights = product[lags]
    if heights.max() < 0.5:
        return None
    # A steady tone has many peaks: the nearest counts.
    candidates = lags[heights > 0.97 * heights.max()]
    return float(candidates[np.abs(candidates).argmin()]) / SOUND_RATE


def _window(sound: Sound, at: float) -> NDArray[np.float64]:
    length = _HEARD_SECONDS * SOUND_RATE
    first = round((at - sound.start) * SOUND_RATE)
    found = sound.samples[max(0, first) : max(0, first + length)].astype(np.float64)
    window = np.zeros(length)
    offset = max(0, -first)
    window[offset : offset + len(found)] = found[: length - offset]
    return window
