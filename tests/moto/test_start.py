"""Films that begin otherwise than most, or go on so: each frame that can be decoded is shown, at its time."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy
import pytest

from infra.tools import samples
from testing.attacks import movie
from testing.clips import TONE
from testing.local import Result, run
from testing.planned import SHORT_CHUNKS, plan_settings_with

pytestmark = pytest.mark.media
BOTH = ("transcode_720p", "hls_720p")
variants = pytest.mark.variants


def made(
    path: Path, *output: str, seconds: float = 2, rate: str = "25", filters: str = "null"
) -> None:
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=128x72:rate={rate}:duration={seconds}",
        "-f", "lavfi", "-i", f"{TONE}:duration={seconds}",
        "-vf", filters, "-pix_fmt", "yuv420p", "-fps_mode", "passthrough",
        *output,
        str(path),
    )  # fmt: skip


def copied(source: Path, path: Path, *before: str, after: tuple[str, ...] = ()) -> None:
    samples.run_ffmpeg(*before, "-i", str(source), "-c", "copy", *after, str(path))


def shown(path: Path) -> list[float]:
    """When each frame that can be decoded is shown, in seconds after the first."""
    with av.open(str(path)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


def begins(path: Path) -> float:
    """When the first sound is heard, in seconds after the first picture is shown."""
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
        assert picture.time is not None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = abs(frame.to_ndarray()[0]) > 0.02
            if loud.any():
                assert frame.time is not None
                return float(frame.time + numpy.argmax(loud) / frame.sample_rate - picture.time)
    raise AssertionError("silent")


def check(path: Path, results: dict[str, Result]) -> None:
    wanted = shown(path)
    for step, result in results.items():
        times = shown(result.path)
        assert len(times) == len(wanted), step
        assert times == pytest.approx(wanted, abs=0.001)
        assert result.made.warning == ""
        check_order(result.path)


def check_order(path: Path) -> None:
    """Packets are decoded one after the other, none later than it is shown."""
    with av.open(str(path)) as container:
        packets = [(p.dts, p.pts) for p in container.demux(video=0) if p.dts is not None]
    for (dts, pts), (later, _) in pairwise(packets):
        assert dts is not None
        assert later is not None
        assert pts is not None
        assert dts <= later
        assert dts <= pts


# ── pictures before what the container takes for the start ──────────────────────────────────────


def vvc(path: Path, *, rate: str = "25", seconds: float = 2, after: tuple[str, ...] = ()) -> None:
    """Its first picture in coding order is shown as the last of a group."""
    whole = path.with_suffix(".whole.mp4")
    made(
        whole, "-pix_fmt", "yuv420p10le", "-c:v", "libvvenc", "-preset", "faster", "-c:a", "aac",
        rate=rate, seconds=seconds,
    )  # fmt: skip
    copied(whole, path, after=after)


def radl(path: Path, *before: str) -> None:
    """Cut before a key frame whose leading pictures can be decoded (ITU-T H.265: IDR_W_RADL)."""
    whole = path.with_suffix(".whole.mp4")
    made(
        whole, "-c:v", "libx265", "-preset", "fast", "-x265-params",
        "keyint=25:min-keyint=25:open-gop=0:radl=3:bframes=4:b-adapt=0:log-level=error",
        "-c:a", "aac", seconds=4,
    )  # fmt: skip
    copied(whole, path, "-ss", "1.4", *before)


EARLY: dict[str, Callable[[Path], None]] = {
    "vvc.ts": vvc,
    "vvc_fragmented.mp4": lambda path: vvc(path, after=("-movflags", "+frag_keyframe+empty_moov")),
}
MORE_EARLY: dict[str, Callable[[Path], None]] = {
    "vvc.mp4": vvc,
    "vvc_untrimmed.mp4": lambda path: vvc(path, after=("-use_editlist", "0")),
    "vvc.mkv": vvc,
    "vvc_slow.ts": lambda path: vvc(path, rate="5"),
    "vvc_slow.mp4": lambda path: vvc(path, rate="5", after=("-use_editlist", "0")),
    "vvc_fast.ts": lambda path: vvc(path, rate="60000/1001"),
    "vvc_long.ts": lambda path: vvc(path, seconds=5),
    "vvc_long.mp4": lambda path: vvc(path, seconds=5, rate="24"),
    "radl.ts": radl,
    "radl.mkv": radl,
}


@pytest.mark.parametrize(
    "name", [*EARLY, *(pytest.param(name, marks=variants) for name in MORE_EARLY)]
)
def test_pictures_before_the_start_are_shown_in_time_with_the_sound(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    (EARLY | MORE_EARLY)[name](path)
    results = run(path, tmp_path / "made", *BOTH, chosen=SHORT_CHUNKS)
    check(path, results)
    assert begins(results["transcode_720p"].path) == pytest.approx(begins(path), abs=0.03)


# ── trimmed without encoding, before a key frame ────────────────────────────────────────────────


def trimmed(path: Path, at: float, seed: int, group: int = 40, timescale: int = 15360) -> None:
    """What is shown begins before the first sync sample, at a rate that varies."""
    whole = path.with_suffix(".whole.mp4")
    made(
        whole, "-c:v", "libx264", "-preset", "medium", "-bf", "3", "-g", str(group), "-c:a", "aac",
        "-video_track_timescale", str(timescale),
        seconds=4, rate="30", filters=f"select='gt(random({seed}),0.3)'",
    )  # fmt: skip
    copied(whole, path, "-ss", str(at), after=("-video_track_timescale", str(timescale)))
    content = bytearray(path.read_bytes())
    table = content.index(b"stss") + 8
    (count,) = struct.unpack_from(">I", content, table)
    keys = struct.unpack_from(f">{count}I", content, table + 4)
    struct.pack_into(f">{count}I", content, table, count - 1, *keys[1:])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("at", "seed", "group"),
    [
        (0.6, 4, 40),
        (0.3, 8, 40),
        *[
            pytest.param(at, seed, group, marks=variants)
            for seed, at in enumerate((0.1, 0.4, 0.5, 0.8, 0.9, 1.1, 1.3, 1.6, 2.1, 2.5))
            for group in (20, 60)
        ],
    ],
)
def test_what_is_trimmed_before_its_first_sync_sample_is_shown(
    tmp_path: Path, at: float, seed: int, group: int
) -> None:
    path = tmp_path / "trimmed.mp4"
    trimmed(path, at, seed, group)
    results = run(path, tmp_path / "made", *BOTH, chosen=SHORT_CHUNKS)
    check(path, results)
    assert begins(results["transcode_720p"].path) == pytest.approx(begins(path), abs=0.03)


# ── frames that last long, and clocks that count fine ───────────────────────────────────────────

HOLDS = {
    # Of 25 frames a second, those that are there.
    "a moment, then a picture": "select='eq(n,0)+eq(n,1)+eq(n,80)+eq(n,81)+gt(n,100)'",
    "a picture, then a moment": "select='lt(n,20)+eq(n,99)+eq(n,100)'",
    "slides": "select='not(mod(n,76))+not(mod(n-1,76))'",
    "one after the other": "select='eq(n,0)+eq(n,10)+eq(n,62)+eq(n,63)+eq(n,64)+eq(n,120)'",
}


@pytest.mark.parametrize(
    ("hold", "container", "scale"),
    [
        ("a moment, then a picture", "mp4", 12800),
        pytest.param("slides", "mp4", 1_000_000, marks=variants),
        *[
            pytest.param(hold, container, scale, marks=variants)
            for hold in HOLDS
            for container, scale in (
                ("mp4", 600), ("mkv", 12800), ("mov", 3_000_000), ("mp4", 90_000)
            )
        ],
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunked", [False, True])
def test_frames_that_last_long_come_in_order_and_in_time(
    tmp_path: Path, hold: str, container: str, scale: int, chunked: bool
) -> None:
    path = tmp_path / f"held.{container}"
    made(
        path, "-c:v", "libx264", "-preset", "medium", "-bf", "2", "-g", "3", "-c:a", "aac",
        *(() if container == "mkv" else ("-video_track_timescale", str(scale))),
        seconds=8, filters=HOLDS[hold],
    )  # fmt: skip
    chosen = plan_settings_with(chunk_work_seconds=0.0001 if chunked else 60.0)
    check(path, run(path, tmp_path / "made", *BOTH, chosen=chosen))


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [(1_000_000_000, 3_000_000_000), (2_400_000, 2**31 - 1), (1_200_000, 5), (600, 30_000)],
)
def test_a_clock_may_be_as_fine_as_it_likes(tmp_path: Path, scale: int, ticks: int) -> None:
    path = tmp_path / "fine.mov"
    path.write_bytes(movie(timescale=scale, ticks=ticks))
    times = shown(run(path, tmp_path / "made", "transcode_720p")["transcode_720p"].path)
    assert times == pytest.approx([0, ticks / scale], abs=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_segment_of_few_frames_lasts_as_long_as_its_playlist_says(
    tmp_path: Path, frames: int
) -> None:
    """Its frames are decoded within a packet of sound, which is less than the last one is shown for."""
    source = tmp_path / "short.mp4"
    made(source, "-frames:v", str(frames), "-preset", "medium", seconds=frames / 10, rate="10")
    playlist = run(source, tmp_path / "made", "hls_720p")["hls_720p"].path.with_name("video.m3u8")
    (line,) = (line for line in playlist.read_text().splitlines() if line.startswith("#EXTINF:"))
    joined = tmp_path / "joined.mp4"
    names = "video_init.mp4", "video_00000.m4s"
    joined.write_bytes(b"".join((playlist.parent / name).read_bytes() for name in names))
    with av.open(str(joined)) as container:
        spans = [
            (packet.pts, packet.pts + (packet.duration or 0))
            for packet in container.demux(video=0)
            if packet.pts is not None
        ]
        tick = container.streams.video[0].time_base
    assert tick is not None
    lasts = (max(end for _, end in spans) - min(begin for begin, _ in spans)) * tick
    assert float(lasts) == pytest.approx(float(line[8:].rstrip(",")), abs=0.001)
    assert float(lasts) == pytest.approx(frames / 10, abs=0.001)


def test_sound_of_a_film_whose_clock_starts_anew_is_not_held_against_it(tmp_path: Path) -> None:
    part, joined = tmp_path / "part.ts", tmp_path / "joined.ts"
    made(part, "-c:a", "aac", seconds=4)
    joined.write_bytes(2 * part.read_bytes())
    outputs = run(joined, tmp_path / "made", "transcode_720p")
    with av.open(str(outputs["transcode_720p"].path)) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    assert 7.5 < heard < 9
