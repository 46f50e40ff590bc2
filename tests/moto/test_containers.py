"""Containers that broadcasters and archives use, and what lies in them besides pictures and sound."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

import av
import pytest

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts
from chalicelib.planning import copying
from chalicelib.probing import inspect, video
from chalicelib.probing.film import open_film
from infra.tools import samples
from testing.local import facts_of, run
from testing.planned import plan_settings_with

pytestmark = pytest.mark.media
variants = pytest.mark.variants
BOTH = ("transcode_720p", "hls_720p")


def made(path: Path, *output: str, rate: str = "25", seconds: float = 3, sounds: int = 0) -> None:
    heard = [
        word
        for number in range(sounds)
        for word in ("-f", "lavfi", "-i", f"sine=f={440 * (number + 1)}:d={seconds}:r=48000")
    ]
    maps = [word for number in range(sounds + 1) for word in ("-map", str(number))]
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate={rate}:duration={seconds}",
        *heard, *maps, *output, str(path),
    )  # fmt: skip


def shown(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


def numbers(path: Path) -> list[int]:
    """Which frame each one is, of COUNTED."""
    with av.open(str(path)) as container:
        return [
            round((float(frame.to_ndarray()[: frame.height].mean()) - 20) / 4)
            for frame in container.decode(video=0)
        ]


# Every frame is brighter than the one before.
COUNTED = ("-vf", "geq=lum=20+4*N:cb=128:cr=128,format=yuv420p", "-c:v", "libx264")
MPEG2 = ("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-b:v", "3M", "-pix_fmt", "yuv420p")
PCM = ("-c:a", "pcm_s16le")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("name", "rate", "output", "sounds", "demuxer"),
    [
        ("raw.m2v", "25", MPEG2, 0, "mpegvideo"),
        ("op1a.mxf", "25", (*MPEG2, *PCM), 1, "mxf"),
        pytest.param("film.m2v", "24000/1001", MPEG2, 0, "mpegvideo", marks=variants),
        pytest.param("ntsc.m2v", "30000/1001", MPEG2, 0, "mpegvideo", marks=variants),
        pytest.param("fast.m2v", "60000/1001", MPEG2, 0, "mpegvideo", marks=variants),
        pytest.param(
            "raw.m1v", "30000/1001", ("-c:v", "mpeg1video", "-bf", "2", "-g", "12", "-b:v", "3M"),
            0, "mpegvideo", marks=variants,
        ),
        pytest.param(
            "intra.m2v", "25", ("-c:v", "mpeg2video", "-g", "1", "-b:v", "9M"), 0, "mpegvideo",
            marks=variants,
        ),
        pytest.param(
            "plain.m2v", "25", ("-c:v", "mpeg2video", "-bf", "0", "-g", "9", "-b:v", "3M"), 0,
            "mpegvideo", marks=variants,
        ),
        pytest.param("tracks.mxf", "25", (*MPEG2, *PCM), 4, "mxf", marks=variants),
        pytest.param("fine.mxf", "25", (*MPEG2, "-c:a", "pcm_s24le"), 2, "mxf", marks=variants),
        pytest.param("ntsc.mxf", "30000/1001", (*MPEG2, *PCM), 1, "mxf", marks=variants),
        pytest.param("silent.mxf", "25", MPEG2, 0, "mxf", marks=variants),
        pytest.param(
            "dnxhd.mxf", "25",
            ("-c:v", "dnxhd", "-profile:v", "dnxhr_lb", "-pix_fmt", "yuv422p", *PCM), 1, "mxf",
            marks=variants,
        ),
        pytest.param(
            "studio.mxf", "25", ("-c:v", "mpeg2video", "-g", "1", "-pix_fmt", "yuv422p", *PCM), 1, "mxf",
            marks=variants,
        ),
    ],
)  # fmt: skip
def test_what_broadcasters_send_is_taken(
    tmp_path: Path,
    name: str,
    rate: str,
    output: tuple[str, ...],
    sounds: int,
    demuxer: str,
    chunked: bool,
) -> None:
    path = tmp_path / name
    made(path, *output, rate=rate, sounds=sounds, seconds=14 if chunked else 3)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.demuxer == demuxer
    chosen = plan_settings_with(chunk_work_seconds=0.0001 if chunked else 60.0)
    results = run(path, tmp_path / "made", *BOTH, chosen=chosen)
    above, _, below = rate.partition("/")
    frames = ceil((14 if chunked else 3) * int(above) / int(below or 1))
    wanted = [number * int(below or 1) / int(above) for number in range(frames)]
    for result in results.values():
        assert shown(result.path) == pytest.approx(wanted, abs=0.001)
        assert result.made.warning == ""
        with av.open(str(result.path)) as container:
            assert len(container.streams.audio) == bool(sounds)


@pytest.mark.parametrize(
    "output",
    [
        ("-bf", "2"),
        *(
            pytest.param(output, marks=variants)
            for output in [
                ("-bf", "3", "-x264-params", "b-adapt=0:b-pyramid=normal"),
                ("-bf", "0"),
                ("-g", "1", "-pix_fmt", "yuv422p10le"),
                ("-bf", "2", "-flags", "+ilme+ildct", "-x264-params", "tff=1"),
            ]
        ),
    ],
)
def test_frames_of_an_mxf_that_are_reordered_are_shown_in_time(
    tmp_path: Path, output: tuple[str, ...]
) -> None:
    path = tmp_path / "film.mxf"
    made(path, *COUNTED, "-g", "12", *PCM, *output, seconds=2, sounds=1)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    # A copy would have the times of the container.
    assert bool(copying.obstacle(facts, 0)) == ("2" in output or "3" in output)
    result = run(path, tmp_path / "made", "transcode_720p")["transcode_720p"]
    assert shown(result.path) == pytest.approx([number / 25 for number in range(50)], abs=0.001)
    assert numbers(result.path) == list(range(50))
    with av.open(str(result.path)) as container:
        sound, pictures = container.streams.audio[0], container.streams.video[0]
        assert abs((pictures.start_time or 0) * pictures.time_base) < 0.03
        assert abs((sound.start_time or 0) * sound.time_base) < 0.03


def test_a_raw_stream_that_is_too_large_to_be_counted_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "raw.m2v"
    made(path, *MPEG2)
    size = video.COUNT_BYTES + 1
    os.truncate(path, size)  # with a hole
    fetched = 0

    def read(start: int, length: int) -> bytes:
        nonlocal fetched
        fetched += length
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    with pytest.raises(JobError, match=f"has {size} bytes; at most {size - 1}") as refusal:
        inspect.inspect(read, size, Budget(lambda: 20.0, 2 * 1024**3))
    assert refusal.value.code == "source_too_large"
    assert fetched < size // 4


def attached(path: Path, fonts: int, *, kind: str = "font/ttf") -> None:
    """A film with files in it, as subtitles need them."""
    film, font = path.with_suffix(".plain.mkv"), path.with_suffix(".ttf")
    made(film, "-c:v", "libx264", "-preset", "ultrafast", "-s", "160x96", seconds=1)
    font.write_bytes(b"\0\1\0\0" + bytes(100))
    samples.run_ffmpeg(
        "-i", str(film), *(word for _ in range(fonts) for word in ("-attach", str(font))),
        "-c", "copy", *(
            word for n in range(fonts) for word in (f"-metadata:s:t:{n}", f"mimetype={kind}")
        ),
        str(path),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fonts", "kind"),
    [
        (70, "font/ttf"),
        pytest.param(200, "application/x-truetype-font", marks=variants),
        pytest.param(100, "application/octet-stream", marks=variants),
        pytest.param(64, "application/vnd.ms-opentype", marks=variants),
    ],
)
def test_what_is_attached_is_no_stream(tmp_path: Path, fonts: int, kind: str) -> None:
    path = tmp_path / "fonts.mkv"
    attached(path, fonts, kind=kind)
    assert len(shown(run(path, tmp_path / "made", "transcode_720p")["transcode_720p"].path)) == 25


def test_too_many_streams_are_too_many_beside_what_is_attached(tmp_path: Path) -> None:
    path = tmp_path / "fonts.mkv"
    attached(path, 3)
    with (
        path.open("rb") as file,
        pytest.raises(JobError, match="1 streams; at most 0"),
        open_film(file, "matroska", path.stat().st_size, 0),
    ):
        pass
