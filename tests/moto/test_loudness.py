"""Loudness of what comes out, measured by a second meter: testing/loudness.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy
import pytest

from chalicelib.formats import loudness as meter
from infra.tools import samples
from infra.tools.samples import film
from testing import loudness
from testing.local import run

# By so much lossy encoders move the loudness of what they keep; LAME alone makes all quieter by 0.26 dB.
CLOSE = 0.5
# Sources by what makes them loud: FFmpeg's expressions, and the layouts. Noise has nothing above 6 kHz: what
# is up there is loud by the standard, and encoders leave it out.
SPEECH = "0.2*(random(0)-0.5)*max(0,sin(2*PI*0.7*t))*(1+sin(2*PI*5*t))"
SOURCES: dict[str, tuple[str, str]] = {
    "speech": (SPEECH, "mono"),
    "quiet": (f"0.1*({SPEECH})", "stereo"),
    "tone": ("0.05*sin(2*PI*997*t)", "stereo"),
    "pauses": ("if(lt(mod(t,4),2),0.3,0.001)*sin(2*PI*440*t)", "stereo"),
    "clipped": ("clip(4*sin(2*PI*110*t)+2*sin(2*PI*331*t)+random(0),-1,1)", "stereo"),
    "bass": ("0.9*sin(2*PI*50*t)", "mono"),
    "surround": (f"0.5*({SPEECH})", "5.1"),
    "peaks": ("if(lt(mod(t,1),0.005),0.95,0.01)*sin(2*PI*1000*t)", "stereo"),
}


def source(path: Path, name: str, *options: str, seconds: int = 8) -> Path:
    expression, layout = SOURCES[name]
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    each = "|".join([expression.replace("random(0)", f"random({n})") for n in range(channels)])
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"aevalsrc='{each}':d={seconds}:s=48000:c={layout}",
        "-af", "lowpass=f=6000,lowpass=f=6000", *options, str(path),
    )  # fmt: skip
    return path


def heard(path: Path) -> Any:
    """Samples of a file, a row for each channel."""
    with av.open(str(path)) as container:
        found = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return numpy.concatenate(found, axis=1)


CASES = [
    pytest.param(name, kind, target, marks=() if (number + at) % 6 == 0 else pytest.mark.variants)
    for number, name in enumerate(SOURCES)
    for at, (kind, target) in enumerate(
        (kind, target) for kind in ("m4a", "mp3", "opus") for target in (-16, -23)
    )
]


@pytest.mark.media
@pytest.mark.parametrize(("name", "audio_format", "target"), CASES)
def test_a_file_has_the_loudness_that_is_asked_for(
    tmp_path: Path, name: str, audio_format: str, target: int
) -> None:
    path = source(tmp_path / "a.wav", name, "-c:a", "pcm_f32le")
    step = {"make": "audio", "format": audio_format}
    plain = heard(run(path, tmp_path / "plain", step)["audio"].path)
    sound = heard(run(path, tmp_path / "made", {**step, "loudness": target})["audio"].path)
    found, peak = loudness.integrated(sound), loudness.true_peak(sound)
    assert peak <= meter.MOST_TRUE_PEAK
    if loudness.true_peak(plain) + target - loudness.integrated(plain) < -4:
        assert found == pytest.approx(target, abs=CLOSE)
    else:  # its peaks leave no room for more
        assert found < target + CLOSE
        assert found > target - CLOSE or peak > -5


@pytest.mark.media
def test_the_sound_of_a_film_is_brought_to_a_loudness(tmp_path: Path) -> None:
    made = tmp_path / "film.mp4"
    film(made, size="320x180", seconds=8, tone="sine=440:beep_factor=4:sample_rate=48000")
    for target in (-16, -30):
        step = {"make": "audio", "loudness": target}
        found = heard(run(made, tmp_path / f"made{target}", step)["audio"].path)
        assert loudness.integrated(found) == pytest.approx(target, abs=CLOSE)


@pytest.mark.media
def test_peaks_that_the_encoder_makes_are_found(tmp_path: Path) -> None:
    """FFmpeg's AAC encoder makes those of this tone higher by 4.7 dB."""
    path = source(tmp_path / "a.wav", "bass", "-c:a", "pcm_f32le")
    sound = heard(run(path, tmp_path / "made", {"make": "audio", "loudness": -9})["audio"].path)
    assert loudness.true_peak(sound) <= meter.MOST_TRUE_PEAK


@pytest.mark.media
def test_silence_stays_silence(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    samples.run_ffmpeg("-f", "lavfi", "-i", "anullsrc=d=3", str(path))
    sound = heard(run(path, tmp_path, {"make": "audio", "loudness": -16})["audio"].path)
    assert abs(sound).max() < 1e-4


def test_quiet_blocks_do_not_count() -> None:
    """BS.1770-5, annex 1: what is 10 LU below the mean is left out, and the rest is measured again."""
    assert meter.integrated({-2000: 30}) == pytest.approx(-20)
    assert meter.integrated({-2000: 100, -2500: 100}) == pytest.approx(-21.82, abs=0.01)
    assert meter.integrated({-2000: 300, -5000: 300}) == pytest.approx(-20)
    assert meter.integrated({}) is None


def test_what_the_filters_write_is_counted() -> None:
    """By hundredths of an LU; what is below the absolute gate is not."""
    written = ["frame:0", "lavfi.r128.M=-120.691", *["lavfi.r128.M=-23.456"] * 2]
    written += ["lavfi.r128.true_peak=0.500", "lavfi.r128.true_peak=0.250"]
    assert meter.parse(written) == meter.Measured({-2346: 2}, 0.5)


def test_a_gain_stops_where_peaks_would_be_too_high() -> None:
    sound = meter.Measured({-2300: 10}, 0.5)
    assert meter.gain(sound, -23) == 0
    assert meter.gain(sound, -30) == -7
    peak = 20 * numpy.log10(0.5) + meter.gain(sound, -9)
    assert peak == pytest.approx(meter.MOST_TRUE_PEAK - meter.ENCODER_DB, abs=0.01)
    assert meter.gain(meter.Measured({}, 0.5), -16) == 0
