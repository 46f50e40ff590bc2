"""Files of sound, judged by decoding: which tone for how long, how loud, in how many channels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import av
import msgspec
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.model.facts import AudioFacts
from chalicelib.model.step import Output
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from infra.tools import samples
from testing.local import carry_out, facts_of, run
from testing.planned import DEFAULTS
from testing.prepared import CORPUS

pytestmark = pytest.mark.media

TONE, PEAK = 440, 0.4
FORMATS = ("m4a", "mp3", "opus")
CODECS = {"m4a": "aac", "mp3": "mp3float", "opus": "opus"}
MIMES = {"m4a": "audio/mp4", "mp3": "audio/mpeg", "opus": "audio/ogg"}


class Heard(NamedTuple):
    """What a player plays of a file."""

    codec: str
    rate: int
    channels: int
    samples: Any  # a row for each channel

    @property
    def seconds(self) -> float:
        return float(self.samples.shape[1] / self.rate)

    def tone(self, begin: float, end: float, channel: int = 0) -> int:
        """The loudest frequency, to ten hertz; 0 where it is silent."""
        window = self.samples[channel][int(begin * self.rate) : int(end * self.rate)]
        if self.level(begin, end, channel) < 0.005:
            return 0
        spectrum = abs(numpy.fft.rfft(window * numpy.hanning(len(window))))
        return round(float(spectrum.argmax()) / (end - begin) / 10) * 10

    def level(self, begin: float, end: float, channel: int = 0) -> float:
        window = self.samples[channel][int(begin * self.rate) : int(end * self.rate)]
        return float(numpy.sqrt(numpy.mean(window**2)))


def decoded(path: Path) -> Heard:
    with av.open(str(path)) as container:
        assert not container.metadata.keys() - {"major_brand", "minor_version", "compatible_brands"}
        (stream,) = container.streams.audio
        assert len(container.streams) == 1
        found = [frame.to_ndarray() for frame in container.decode(audio=0)]
        name = stream.codec_context.codec.name
        return Heard(
            name, stream.rate, stream.codec_context.channels, numpy.concatenate(found, axis=1)
        )


def made(path: Path, folder: Path, **parameters: Any) -> tuple[Output, Heard]:
    result = run(path, folder, {"make": "audio", **parameters})["audio"]
    assert result.made.size == result.path.stat().st_size
    return result.made, decoded(result.path)


def sound(
    path: Path, *options: str, layout: str = "stereo", rate: int = 48000, seconds: float = 3
) -> Path:
    """A tone in each channel."""
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    each = "|".join([f"{PEAK}*sin(2*PI*t*{TONE})"] * channels)
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"aevalsrc={each}:d={seconds}:s={rate}:c={layout}",
        *options, str(path),
    )  # fmt: skip
    return path


SOURCES = {
    "a.wav": ("mono", 44100, ()),
    "b.wav": ("stereo", 96000, ("-c:a", "pcm_s24le")),
    "c.mp3": ("stereo", 44100, ("-metadata", "title=Secret")),
    "d.flac": ("5.1", 48000, ()),
    "e.m4a": ("stereo", 44100, ("-metadata", "location=+48.1+011.5/")),
    "f.ogg": ("stereo", 48000, ("-c:a", "libvorbis")),
    "g.opus": ("mono", 48000, ("-c:a", "libopus")),
    "h.aiff": ("stereo", 22050, ()),
    "i.aac": ("stereo", 48000, ("-c:a", "aac", "-f", "adts")),
    "j.webm": ("stereo", 48000, ("-c:a", "libopus")),
    "k.mka": ("mono", 8000, ("-c:a", "pcm_s16le")),
    "l.rf64": ("stereo", 48000, ("-rf64", "always", "-f", "wav")),
    "m.wma": ("stereo", 44100, ("-f", "asf")),
}


# Each source in one format; in the others where all variants run.
EACH = [
    pytest.param(name, made, marks=() if number % 3 == at else pytest.mark.variants)
    for number, name in enumerate(SOURCES)
    for at, made in enumerate(FORMATS)
]


@pytest.mark.parametrize(("name", "audio_format"), EACH)
def test_sound_of_every_kind_becomes_a_file(tmp_path: Path, name: str, audio_format: str) -> None:
    layout, rate, options = SOURCES[name]
    path = sound(tmp_path / name, *options, layout=layout, rate=rate)
    output, heard = made(path, tmp_path / "made", format=audio_format)
    assert (heard.codec, heard.channels) == (CODECS[audio_format], 1 if layout == "mono" else 2)
    keeps = rate % 11025 == 0 and audio_format != "opus"
    assert heard.rate == (44100 if keeps else 48000)
    assert heard.seconds == pytest.approx(3, abs=0.1)
    assert output.duration == pytest.approx(3, abs=0.1)
    assert (output.format, output.content_type) == (audio_format, MIMES[audio_format])
    assert (output.width, output.height, output.warning) == (None, None, "")
    for channel in range(heard.channels):
        assert heard.tone(0.5, 2.5, channel) == TONE
        if layout != "5.1":  # FFmpeg adds up what is the same in all of its channels
            assert heard.level(0.5, 2.5, channel) == pytest.approx(PEAK / 2**0.5, rel=0.1)


def test_bits_are_those_that_are_asked_for(tmp_path: Path) -> None:
    path = sound(tmp_path / "noise.wav", "-af", "aeval=random(0)-0.5|random(1)-0.5", seconds=20)
    for audio_format in FORMATS:
        for kbps in (64, 160):
            folder = tmp_path / f"{audio_format}-{kbps}"
            output, _ = made(path, folder, format=audio_format, kbps=kbps)
            # Opus takes fewer for noise.
            least = 0.6 if audio_format == "opus" else 0.85
            assert least * kbps < 8 * output.size / 20_000 < 1.15 * kbps, audio_format


# But one of a few packets of which none can be decoded.
REAL = [path for path in sorted(CORPUS.glob("audio/*")) if "coverArt" not in path.name]


def film(path: Path, *options: str, seconds: float = 4) -> Path:
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=160x96:rate=10:duration={seconds}",
        *options,
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10",
        str(path),
    )  # fmt: skip
    return path


TONE_LATE = ("-itsoffset", "1", "-f", "lavfi", "-i", f"sine={TONE}:d=2:r=48000")


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_the_sound_of_a_film_is_as_long_as_the_film(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, *TONE_LATE, "-c:a", "aac")
    for audio_format in FORMATS:
        output, heard = made(path, tmp_path / audio_format, format=audio_format)
        assert heard.channels == 2
        assert heard.seconds == pytest.approx(4, abs=0.1)
        assert output.duration == pytest.approx(4, abs=0.1)
        assert [heard.tone(begin, begin + 0.5) for begin in (0.25, 1.25, 2.25, 3.25)] == [
            0, TONE, TONE, 0,
        ]  # fmt: skip


def test_the_sound_of_a_film_is_read_without_its_pictures(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", *TONE_LATE, "-c:a", "aac", "-movflags", "+faststart")
    run(path, tmp_path / "made", {"make": "audio"})
    assert (tmp_path / "made/tasks/audio/source").stat().st_size < path.stat().st_size / 3


def test_a_film_without_sound_has_none_to_make_a_file_of(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    with pytest.raises(JobError) as refusal:
        run(path, tmp_path / "made", {"make": "audio"})
    assert refusal.value.code == "no_audio_stream"


def test_a_cover_is_no_film(tmp_path: Path) -> None:
    cover = tmp_path / "cover.jpg"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=1:d=1", "-frames:v", "1", str(cover)
    )
    path = tmp_path / "song.mp3"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"sine={TONE}:d=3", "-i", str(cover),
        "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", str(path),
    )  # fmt: skip
    assert isinstance(facts_of(path), AudioFacts)
    _, heard = made(path, tmp_path / "made")
    assert (heard.channels, heard.tone(0.5, 2.5)) == (1, TONE)


def test_what_is_cut_off_is_refused_or_told(tmp_path: Path) -> None:
    whole = sound(tmp_path / "whole.flac", seconds=60).read_bytes()
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JobError) as refusal:
        run(cut, tmp_path / "half", {"make": "audio"})
    assert refusal.value.code == "source_damaged"
    assert refusal.value.detail == "Only 50% of the sound can be decoded: the file is damaged."
    cut.write_bytes(whole[: int(len(whole) * 0.95)])
    output, heard = made(cut, tmp_path / "most")
    assert output.warning == "The file is damaged: 95.0% of the sound could be decoded."
    assert heard.seconds == pytest.approx(57, abs=0.1)


def test_sound_that_never_was_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.mp3"
    path.write_bytes(b"ID3\4\0\0\0\0\0\0" + bytes(5000))
    with pytest.raises(JobError) as refusal:
        facts_of(path)
    assert refusal.value.code in ("source_damaged", "no_video_stream", "unsupported_media")


@pytest.mark.parametrize("seconds", [2.5, 3.0])
def test_sound_of_any_length_is_whole(tmp_path: Path, seconds: float) -> None:
    """An index counts sound in pieces of two seconds."""
    tone = ("-f", "lavfi", "-i", f"sine={TONE}:d={seconds}")
    path = film(tmp_path / "film.mp4", *tone, "-c:a", "aac", seconds=seconds)
    output, heard = made(path, tmp_path / "made")
    assert output.warning == ""
    assert output.duration == pytest.approx(seconds, abs=0.1)
    assert heard.seconds == pytest.approx(seconds, abs=0.1)


def test_sound_that_is_longer_than_its_film_is_whole(tmp_path: Path) -> None:
    path = film(
        tmp_path / "film.mp4", "-f", "lavfi", "-i", f"sine={TONE}:d=9", "-c:a", "aac", seconds=2
    )
    output, heard = made(path, tmp_path / "made")
    assert heard.seconds == pytest.approx(9, abs=0.1)
    assert output.duration == pytest.approx(heard.seconds, abs=0.1)


def test_a_file_that_has_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", seconds=60)
    facts = facts_of(path)
    assert isinstance(facts, AudioFacts)
    track = msgspec.structs.replace(facts.audio, seconds=20.0)
    lies = msgspec.structs.replace(facts, seconds=20.0, audio=track)
    plan = make_plan("job", path.name, lies, find_steps([{"make": "audio"}], JobError), DEFAULTS)
    with pytest.raises(JobError) as refusal:
        carry_out(plan, path, tmp_path / "made")
    assert refusal.value.code == "source_damaged"
    made_of_it = tmp_path / "made/tasks/audio/audio.m4a"
    assert decoded(made_of_it).seconds < 23  # it is not encoded to its end


def test_samples_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.m4a", seconds=20)
    content = bytearray(path.read_bytes())
    at = content.index(b"stsz") + 12
    (count,) = struct.unpack_from(">I", content, at)
    for number in range(count):
        struct.pack_into(">I", content, at + 4 + 4 * number, len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(JobError) as refusal:
        facts_of(path)
    assert refusal.value.code == "source_damaged"


def test_tags_before_other_formats_are_no_mp3(tmp_path: Path) -> None:
    tag = b"ID3\4\0\0\0\0\0\x20" + bytes(32)
    for name, options in (("a.aac", ("-f", "adts")), ("a.flac", ())):
        path = sound(tmp_path / name, *options)
        path.write_bytes(tag + path.read_bytes())
        facts = facts_of(path)
        assert isinstance(facts, AudioFacts)
        assert facts.demuxer == name[2:]
        assert facts.seconds == pytest.approx(3, abs=0.1)


def test_a_film_that_nobody_can_decode_is_no_sound(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", *TONE_LATE, "-c:a", "aac")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz1"))
    with pytest.raises(JobError) as refusal:
        facts_of(path)
    assert refusal.value.code == "no_video_stream"
    assert "codec" in refusal.value.detail


@pytest.mark.corpus
@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_sound_becomes_a_file(tmp_path: Path, path: Path, audio_format: str) -> None:
    output, heard = made(path, tmp_path, format=audio_format)
    samples.run_ffmpeg(
        "-i",
        str(path),
        "-map",
        "0:a:0",
        "-map_metadata",
        "-1",
        "-bitexact",
        str(tmp_path / "right.wav"),
    )
    with av.open(str(tmp_path / "right.wav")) as container:
        seconds = sum(frame.samples / frame.rate for frame in container.decode(audio=0))
    assert heard.seconds == pytest.approx(seconds, abs=0.15)
    assert output.duration == pytest.approx(seconds, abs=0.15)
    assert output.warning == ""
