"""A film that is encoded in chunks from a copy of it is the film encoded as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying
from chalicelib.planning.planner import make_plan
from infra.tools.samples import run_ffmpeg
from testing.local import audio_samples, carry_out, copy_of
from testing.planned import SHORT_CHUNKS
from tests.moto.test_chunks import decoded

pytestmark = pytest.mark.media

# A second of a chirp and one of silence, so that a lag has one place only.
_CHIRP = "aevalsrc=0.4*sin(2*PI*t*(200+t*40))*lt(mod(t\\,2)\\,1):s=48000:d=13"


class Film(NamedTuple):
    """Thirteen seconds of a picture in motion, with sound; each begins at its second."""

    output: tuple[str, ...]
    picture_at: float = 0.0
    sound_at: float = 0.0
    rate: str = "10"
    filters: str = "null"
    # Copied once more, with these arguments.
    again: tuple[str, ...] = ()

    def make(self, path: Path) -> None:
        first = path.with_stem("first") if self.again else path
        run_ffmpeg(
            "-itsoffset", str(self.picture_at),
            "-f", "lavfi", "-i", f"testsrc2=size=128x96:rate={self.rate}:duration=13",
            "-itsoffset", str(self.sound_at),
            "-f", "lavfi", "-i", _CHIRP,
            "-vf", self.filters, *self.output, str(first),
        )  # fmt: skip
        if self.again:
            run_ffmpeg("-copyts", "-i", str(first), "-c", "copy", *self.again, str(path))


_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "20", "-pix_fmt", "yuv420p")
_FRAGMENTS = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof")
FILMS = {
    "starts_late.mkv": Film((*_H264, "-c:a", "aac"), again=("-output_ts_offset", "1.483")),
    "sound_is_late.mkv": Film((*_H264, "-c:a", "ac3"), sound_at=0.7, rate="30000/1001"),
    "picture_is_late.mkv": Film((*_H264, "-c:a", "flac"), picture_at=0.7),
    "vp9.webm": Film(("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "20")),
    "picture_is_late.ts": Film((*_H264, "-c:a", "aac"), picture_at=0.7),
    "interlaced.ts": Film(
        ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-bf", "2", "-g", "15", "-c:a", "mp2"),
        rate="50",
        filters="tinterlace=interleave_top,setfield=tff",
    ),
    "fragments.mp4": Film((*_H264, *_FRAGMENTS)),
    "mpeg4.avi": Film(("-c:v", "mpeg4", "-bf", "0", "-g", "20", "-c:a", "pcm_s16le")),
    "h264.flv": Film((*_H264, "-c:a", "aac")),
}


def chirp() -> Any:
    """What is heard in a film whose sound begins at once, at 48 kHz."""
    t = numpy.arange(13 * 48000) / 48000
    return 0.4 * numpy.sin(2 * numpy.pi * t * (200 + t * 40)) * (t % 2 < 1)


def lag(one: Any, other: Any) -> float:
    """How much later, in seconds, the second of two sounds at 48 kHz is."""
    size = 1 << (len(one) + len(other)).bit_length()
    product = numpy.fft.rfft(other, size) * numpy.conj(numpy.fft.rfft(one, size))
    best = int(numpy.argmax(numpy.fft.irfft(product, size)))
    return (best - size if best > size // 2 else best) / 48000


def sound_starts(path: Path) -> float:
    """When the first sample is heard, in seconds."""
    with av.open(str(path)) as container:
        frame = next(container.decode(container.streams.audio[0]))
        assert frame.pts is not None
        return float(frame.pts * frame.time_base)


@pytest.mark.parametrize("name", FILMS)
def test_chunks_of_a_copy_give_every_frame_and_sound_at_its_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    film = FILMS[name]
    film.make(path)
    facts, copied, copy = copy_of(path, tmp_path / "copy")
    assert facts.copy_may_help
    assert copying.difference(facts, copied) == ""
    steps = find_steps(["transcode_720p"], JobError)
    as_whole = make_plan("job", name, facts, steps, SHORT_CHUNKS)
    as_chunks = make_plan("job", name, copying.as_copied(facts, copied), steps, SHORT_CHUNKS)
    assert as_chunks.sizes()["film"] > 1
    whole = carry_out(as_whole, path, tmp_path / "whole")["transcode_720p"]
    parts = carry_out(as_chunks, copy, tmp_path / "chunks")["transcode_720p"]
    whole_times, whole_pictures = decoded(whole.path)
    times, pictures = decoded(parts.path)
    assert times == whole_times
    # Whoever is a frame off is far off: the picture moves.
    assert abs(pictures - whole_pictures).mean(axis=(1, 2)).max() < 6
    assert parts.made.warning == ""
    sound = audio_samples(parts.path)
    assert sound_starts(parts.path) == sound_starts(whole.path)
    assert abs(lag(audio_samples(whole.path), sound)) < 0.002
    ahead = sound_starts(parts.path) + lag(chirp(), sound) - float(times[0])
    assert abs(ahead - (film.sound_at - film.picture_at)) < 1 / 60


@pytest.mark.parametrize("codec", [("mpeg4", "-bf", "2"), ("libx264", "-bf", "2")])
def test_a_film_whose_frames_have_no_times_is_not_trusted_in_a_copy(
    tmp_path: Path, codec: tuple[str, ...]
) -> None:
    path = tmp_path / "b_frames.avi"
    Film(("-c:v", *codec, "-c:a", "mp3")).make(path)
    with pytest.raises(JobError, match="times"):
        copy_of(path, tmp_path / "copy")
