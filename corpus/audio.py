"""Check that audio starts, ends and sounds when it should, and as loud: by timestamps and by samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from corpus.decode import AUDIO_RATE, Audio
from corpus.failures import Failure

_HEARD_SECONDS = 4
_MOST_LAG = AUDIO_RATE // 2
_AAC_FRAME = 1024 / 48000
_PRE_ECHO = 1024  # samples over which AAC smears what follows: one frame
_SILENCE = 0.01  # of full scale
_MOST_PLACES = 24
_BLOCK_SECONDS = 0.5
# Decibels. The second is for more than two channels, for which there are several ways to mix them down.
_LEVEL_TOLERANCE, _MIXED_TOLERANCE = 1.5, 4.5


def check_audio(
    name: str, one: Audio | None, other: Audio | None, film_end: float, frame: float
) -> Iterator[Failure]:
    """Start, end and content of `one` are less than a video frame off `other`, the original's, and as loud.

    `film_end` and `frame`, the duration of a video frame, are in seconds.
    """
    if one is not None and other is None and not is_silent(one.samples):
        yield Failure("audio", f"{name}: it has sound, and the original has none")
    if one is None or other is None:
        return
    # Audio before the first video frame may be left out.
    start = max(other.start, min(0.0, one.start))
    early = one.samples[: max(0, round((start - one.start) * AUDIO_RATE) - _PRE_ECHO)]
    # Leading silence does not count as an early start.
    if one.start - start >= frame + _AAC_FRAME or not is_silent(early):
        yield Failure("sync", f"{name}: sound starts at {one.start:.3f} s, not {other.start:.3f} s")
    end = min(other.end, film_end)
    slack = frame + 2 * _AAC_FRAME
    # Silence may follow up to the end of the video.
    late = one.samples[max(0, round((other.end + slack - one.start) * AUDIO_RATE)) :]
    longest = max(other.end, film_end) if is_silent(late) else max(other.end, end)
    if not end - frame - _AAC_FRAME < one.end < longest + slack:
        yield Failure("sync", f"{name}: sound ends at {one.end:.3f} s, not {other.end:.3f} s")
    for at, lag in audio_lags(one, other).items():
        if abs(lag) >= frame:
            yield Failure(
                "sync", f"{name}: the sound at {at:.1f} s is {1000 * lag:+.0f} ms off the film"
            )
            break
    yield from _check_level(name, one, other)


def is_silent(samples: NDArray[np.float32]) -> bool:
    return not len(samples) or bool(abs(samples).max() <= _SILENCE)


def _check_level(name: str, one: Audio, other: Audio) -> Iterator[Failure]:
    """The output is as loud as the original on the whole, and both are silent at the same times."""
    begin, end = max(one.start, other.start), min(one.end, other.end)
    blocks = [_blocks(audio, begin, end) for audio in (one, other)]
    size = min(len(row) for row in blocks)
    ours, theirs = (row[:size] for row in blocks)
    for what, silent, loud in (("silent", ours, theirs), ("not silent", theirs, ours)):
        wrong = np.flatnonzero((silent < _SILENCE / 3) & (loud > 3 * _SILENCE))
        if wrong.size:
            at = begin + wrong[0] * _BLOCK_SECONDS
            yield Failure("sync", f"{name}: it is {what} at {at:.1f} s, unlike the original")
    levels = [float(np.sqrt((row**2).mean())) if size else 0.0 for row in (ours, theirs)]
    if min(levels) < _SILENCE / 3:
        return
    decibels = 20 * np.log10(levels[0] / levels[1])
    if abs(decibels) > (_LEVEL_TOLERANCE if other.channels <= 2 else _MIXED_TOLERANCE):
        yield Failure("level", f"{name}: its sound is {decibels:+.1f} dB beside the original's")


def _blocks(audio: Audio, begin: float, end: float) -> NDArray[np.float64]:
    """Root mean square of each block of _BLOCK_SECONDS, as a part of full scale."""
    first, last = (max(0, round((at - audio.start) * AUDIO_RATE)) for at in (begin, end))
    samples = audio.samples[first:last].astype(np.float64)
    size = round(_BLOCK_SECONDS * AUDIO_RATE)
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((whole**2).mean(axis=1)))


def audio_lags(one: Audio, other: Audio) -> dict[float, float]:
    """Seconds by which `one` is late, by time of measurement; times without a clear answer are left out."""
    begins, ends = max(one.start, other.start), min(one.end, other.end)
    last = max(begins, ends - _HEARD_SECONDS)
    places = np.linspace(begins, last, min(_MOST_PLACES, 2 + int((last - begins) / _HEARD_SECONDS)))
    lags = {float(at): audio_lag(one, other, float(at)) for at in places}
    return {at: lag for at, lag in lags.items() if lag is not None}


def audio_lag(one: Audio, other: Audio, at: float) -> float | None:
    """Seconds by which `one` is late around `at`; None where it is silent, or correlates with no shift."""
    a, b = (_window(audio, at) for audio in (one, other))
    energy = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if energy < 1e-3 * len(a):
        return None
    size = 2 * len(a)
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size) / energy
    lags = np.concatenate((np.arange(_MOST_LAG), -np.arange(1, _MOST_LAG)))
    heights = product[lags]
    if heights.max() < 0.5:
        return None
    # A steady tone has many peaks; the one nearest to zero counts.
    candidates = lags[heights > 0.97 * heights.max()]
    return float(candidates[np.abs(candidates).argmin()]) / AUDIO_RATE


def _window(audio: Audio, at: float) -> NDArray[np.float64]:
    length = _HEARD_SECONDS * AUDIO_RATE
    first = round((at - audio.start) * AUDIO_RATE)
    samples = audio.samples[max(0, first) : max(0, first + length)].astype(np.float64)
    window = np.zeros(length)
    offset = max(0, -first)
    window[offset : offset + len(samples)] = samples[: length - offset]
    return window
