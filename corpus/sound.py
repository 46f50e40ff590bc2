"""Whether sound comes when it should and as loud: by its timestamps, and by what is heard."""

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
_MOST_PLACES = 24
_BLOCK_SECONDS = 0.5
# Decibels. More than two channels are mixed down in more than one way.
_LEVEL_TOLERANCE, _MIXED_TOLERANCE = 1.5, 4.5


def check_sound(
    name: str, one: Sound | None, other: Sound | None, film_end: float, frame: float
) -> Iterator[Failure]:
    """Start, end and what is heard all along are off by less than a frame; nothing is louder or quieter."""
    if one is not None and other is None and not is_silent(one.samples):
        yield Failure("audio", f"{name}: it has sound, and the original has none")
    if one is None or other is None:
        return
    # What comes before the first frame of the film may be left out.
    start = max(other.start, min(0.0, one.start))
    early = one.samples[: max(0, round((start - one.start) * SOUND_RATE) - _PRE_ECHO)]
    # What begins earlier with silence begins when the silence ends.
    if one.start - start >= frame + _AAC_FRAME or not is_silent(early):
        yield Failure("sync", f"{name}: sound starts at {one.start:.3f} s, not {other.start:.3f} s")
    end = min(other.end, film_end)
    slack = frame + 2 * _AAC_FRAME
    # What ends early may be followed by silence, for as long as there are pictures.
    late = one.samples[max(0, round((other.end + slack - one.start) * SOUND_RATE)) :]
    longest = max(other.end, film_end) if is_silent(late) else max(other.end, end)
    if not end - frame - _AAC_FRAME < one.end < longest + slack:
        yield Failure("sync", f"{name}: sound ends at {one.end:.3f} s, not {other.end:.3f} s")
    for at, lag in heard_lags(one, other).items():
        if abs(lag) >= frame:
            yield Failure(
                "sync", f"{name}: the sound at {at:.1f} s is {1000 * lag:+.0f} ms off the film"
            )
            break
    yield from _check_level(name, one, other)


def is_silent(samples: NDArray[np.float32]) -> bool:
    return not len(samples) or bool(abs(samples).max() <= _SILENCE)


def _check_level(name: str, one: Sound, other: Sound) -> Iterator[Failure]:
    """As loud as the original on the whole, and nowhere silent alone."""
    begin, end = max(one.start, other.start), min(one.end, other.end)
    blocks = [_blocks(sound, begin, end) for sound in (one, other)]
    size = min(len(found) for found in blocks)
    made, wanted = (found[:size] for found in blocks)
    for what, silent, loud in (("silent", made, wanted), ("not silent", wanted, made)):
        wrong = np.flatnonzero((silent < _SILENCE / 3) & (loud > 3 * _SILENCE))
        if wrong.size:
            at = begin + wrong[0] * _BLOCK_SECONDS
            yield Failure("sync", f"{name}: it is {what} at {at:.1f} s, unlike the original")
    levels = [float(np.sqrt((found**2).mean())) if size else 0.0 for found in (made, wanted)]
    if min(levels) < _SILENCE / 3:
        return
    decibels = 20 * np.log10(levels[0] / levels[1])
    if abs(decibels) > (_LEVEL_TOLERANCE if other.channels <= 2 else _MIXED_TOLERANCE):
        yield Failure("level", f"{name}: its sound is {decibels:+.1f} dB beside the original's")


def _blocks(sound: Sound, begin: float, end: float) -> NDArray[np.float64]:
    """The level, of full scale, of each half a second."""
    first, last = (max(0, round((at - sound.start) * SOUND_RATE)) for at in (begin, end))
    samples = sound.samples[first:last].astype(np.float64)
    size = round(_BLOCK_SECONDS * SOUND_RATE)
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((whole**2).mean(axis=1)))


def heard_lags(one: Sound, other: Sound) -> dict[float, float]:
    """Seconds by which `one` comes late, by when; where that can be told."""
    begins, ends = max(one.start, other.start), min(one.end, other.end)
    last = max(begins, ends - _HEARD_SECONDS)
    places = np.linspace(begins, last, min(_MOST_PLACES, 2 + int((last - begins) / _HEARD_SECONDS)))
    lags = {float(at): heard_lag(one, other, float(at)) for at in places}
    return {at: lag for at, lag in lags.items() if lag is not None}


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
