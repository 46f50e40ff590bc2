"""A second meter of loudness, by the text of ITU-R BS.1770-5: it shares nothing with FFmpeg's."""

from __future__ import annotations

from typing import Any

import numpy

# Annex 1, tables 1 and 2: the two filters of the K-weighting at 48 kHz, as (b0, b1, b2), (1, a1, a2).
_FILTERS = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)  # fmt: skip
RATE = 48000
_TIMES = 4  # oversampling of true peaks: annex 2


def integrated(samples: Any) -> float:
    """LUFS of one or two channels at 48 kHz, a row each; -inf of silence."""
    length = 2 ** int(numpy.ceil(numpy.log2(samples.shape[1] + RATE)))  # the filters ring for less
    z = numpy.exp(-2j * numpy.pi * numpy.fft.rfftfreq(length))
    response = numpy.ones_like(z)
    for above, below in _FILTERS:
        response *= numpy.polyval(above[::-1], z) / numpy.polyval(below[::-1], z)
    weighted = numpy.fft.irfft(numpy.fft.rfft(samples, length) * response, length)
    hop = RATE // 10
    hops = (weighted[:, : samples.shape[1] // hop * hop] ** 2).sum(axis=0).reshape(-1, hop)
    powers = numpy.convolve(hops.sum(axis=1), numpy.ones(4), "valid") / (4 * hop)
    for gate in (10 ** ((-70 + 0.691) / 10), None):
        if gate is None:
            gate = powers.mean() / 10 if len(powers) else 0
        powers = powers[powers > gate]
    return float(-0.691 + 10 * numpy.log10(powers.mean())) if len(powers) else -numpy.inf


def true_peak(samples: Any) -> float:
    """dBTP of the loudest channel."""
    length = samples.shape[1]
    spectrum = numpy.fft.rfft(samples, axis=1)
    between = numpy.fft.irfft(spectrum, _TIMES * length, axis=1) * _TIMES
    peak = float(abs(between).max(initial=0.0))
    return float(20 * numpy.log10(peak)) if peak else -numpy.inf
