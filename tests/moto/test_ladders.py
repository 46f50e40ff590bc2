"""Ladders, encoded: each frame at its time on every rung, and switches between any two segments."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import av
import m3u8
import msgspec
import numpy
import pytest

from chalicelib.api import hls, jobs, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.errors import JobError
from chalicelib.model.facts import VideoFacts
from chalicelib.model.step import SUCCESS
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from infra.tools.samples import film
from testing.local import Result, carry_out, facts_of
from testing.planned import DEFAULTS
from testing.pump import deliver, drain, drop, take

pytestmark = pytest.mark.media

LADDER = [288, 200, {"height": 200, "codec": "hevc"}, {"height": 144, "max_fps": 25}]
NAMES = ["288p", "200p", "144p_25fps", "200p_hevc"]
CHUNKED = {"least_chunk_seconds": 1.0, "chunk_work_seconds": 0.01}


class Seen(NamedTuple):
    time: float  # seconds
    key: bool
    grey: numpy.ndarray  # the picture in 16 × 9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """A ladder and an MP4 of a film of 14 s at 50 frames a second, in several chunks."""
    folder = tmp_path_factory.mktemp("ladder")
    film(folder / "a.mp4", size="512x288", rate="50", seconds=14, output=("-g", "60"))
    facts = facts_of(folder / "a.mp4")
    assert isinstance(facts, VideoFacts)
    pipeline = [{"make": "hls", "ladder": LADDER}, {"make": "mp4", "height": 200}]
    chosen = msgspec.structs.replace(DEFAULTS, **CHUNKED)
    plan = make_plan("job", "a.mp4", facts, find_steps(pipeline, JobError), chosen)
    assert plan.encoding.startswith("In ")
    return carry_out(plan, folder / "a.mp4", folder / "made")


@pytest.fixture(scope="module")
def folder(made: dict[str, Result]) -> Path:
    return made["hls"].path.parent


def media(folder: Path, name: str) -> m3u8.M3U8:
    return m3u8.load(str(folder / f"{name}.m3u8"))


def decoded(content: bytes, path: Path) -> list[Seen]:
    path.write_bytes(content)
    with av.open(str(path), "r") as container:
        return [
            Seen(
                float(frame.time),
                bool(frame.key_frame),
                frame.reformat(16, 9, "gray").to_ndarray().astype(float),
            )
            for frame in container.decode(video=0)
        ]


def segment(folder: Path, uri: str) -> bytes:
    return (folder / uri).read_bytes()


def whole(folder: Path, name: str) -> bytes:
    playlist = media(folder, name)
    uris = [each.uri for each in playlist.segments]
    return b"".join(segment(folder, uri) for uri in (f"{name}_init.mp4", *uris))


def test_each_rung_is_listed_with_what_it_is(folder: Path) -> None:
    master = m3u8.load(str(folder / "master.m3u8"))
    listed = {each.uri.removesuffix(".m3u8"): each.stream_info for each in master.playlists}
    assert list(listed) == NAMES
    assert [info.resolution for info in listed.values()] == [
        *((512, 288), (356, 200), (256, 144), (356, 200)),
    ]
    assert [info.frame_rate for info in listed.values()] == [50.0, 50.0, 25.0, 50.0]
    assert [info.codecs[:4] for info in listed.values()] == ["avc1"] * 3 + ["hvc1"]
    keys = [each.uri for each in master.iframe_playlists]
    assert keys == [f"{name}_iframes.m3u8" for name in NAMES]
    for name, info in listed.items():
        sizes = [(folder / each.uri).stat().st_size for each in media(folder, name).segments]
        seconds = [each.duration for each in media(folder, name).segments]
        peak = max(8 * size / length for size, length in zip(sizes, seconds, strict=True))
        assert info.bandwidth > peak
        assert info.bandwidth >= info.average_bandwidth > 8 * sum(sizes) / sum(seconds)


def test_all_rungs_have_their_frames_at_the_times_of_the_film(folder: Path, tmp_path: Path) -> None:
    every = decoded(whole(folder, "288p"), tmp_path / "a.mp4")
    assert len(every) == 700
    for name in NAMES[1:]:
        found = decoded(whole(folder, name), tmp_path / "b.mp4")
        wanted = every[::2] if name == "144p_25fps" else every
        assert [each.time for each in found] == pytest.approx(
            [each.time for each in wanted], abs=1e-4
        )
        off = [abs(one.grey - other.grey).mean() for one, other in zip(found, wanted, strict=True)]
        assert max(off) < 8
        keys = {round(each.time, 3) for each in found if each.key}
        assert keys == {round(each.time, 3) for each in every if each.key}


def test_segments_begin_and_end_at_the_same_instants(folder: Path) -> None:
    lengths = [[each.duration for each in media(folder, name).segments] for name in NAMES]
    assert len(lengths[0]) >= 3
    assert all(each == lengths[0] for each in lengths)


@pytest.mark.parametrize("names", [("288p", "144p_25fps"), ("200p", "288p")])
def test_a_player_switches_without_a_gap_or_a_repeated_frame(
    folder: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    """Each segment by turns from one of two rungs: every frame is there once, at its time."""
    every = [each.time for each in decoded(whole(folder, "288p"), tmp_path / "a.mp4")]
    seen: list[float] = []
    for number, listed in enumerate(media(folder, names[0]).segments):
        name = names[number % 2]
        uri = listed.uri.replace(names[0], name)
        content = segment(folder, f"{name}_init.mp4") + segment(folder, uri)
        frames = decoded(content, tmp_path / "b.mp4")
        assert frames[0].key
        seen += [each.time for each in frames]
        step = 2 if name == "144p_25fps" else 1
        begin = int(numpy.abs(numpy.array(every) - frames[0].time).argmin())
        assert [each.time for each in frames] == pytest.approx(
            every[begin : begin + step * len(frames) : step], abs=1e-4
        )
    assert seen == sorted(set(seen))
    assert max(numpy.diff(seen)) <= 0.0401
    assert (seen[0], seen[-1]) == pytest.approx((every[0], every[-1]), abs=0.0201)


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_of_a_key_frame_show_that_frame(folder: Path, tmp_path: Path, name: str) -> None:
    keys = [each for each in decoded(whole(folder, name), tmp_path / "a.mp4") if each.key]
    playlist = media(folder, f"{name}_iframes")
    assert playlist.is_i_frames_only
    assert playlist.is_endlist
    assert len(playlist.segments) == len(keys)
    at = keys[0].time
    for listed, key in zip(playlist.segments, keys, strict=True):
        length, _, offset = listed.byterange.partition("@")
        content = segment(folder, listed.uri)[int(offset) :][: int(length)]
        # All samples are named in the fragment, and only the first is there.
        with av.open(
            _written(tmp_path, segment(folder, f"{name}_init.mp4") + content), "r"
        ) as film:
            frame = next(film.decode(video=0))
        assert float(frame.time) == pytest.approx(key.time, abs=1e-4)
        grey = frame.reformat(16, 9, "gray").to_ndarray().astype(float)
        assert abs(grey - key.grey).mean() < 1
        assert at == pytest.approx(key.time, abs=1e-3)
        at += listed.duration


def _written(folder: Path, content: bytes) -> str:
    (folder / "key.mp4").write_bytes(content)
    return str(folder / "key.mp4")


def test_an_mp4_that_is_like_a_rung_is_made_of_its_files(
    made: dict[str, Result], folder: Path, tmp_path: Path
) -> None:
    rung = decoded(whole(folder, "200p"), tmp_path / "a.mp4")
    mp4 = decoded(made["mp4"].path.read_bytes(), tmp_path / "b.mp4")
    assert len(mp4) == len(rung)
    assert all((one.grey == other.grey).all() for one, other in zip(rung, mp4, strict=True))


def test_the_output_is_as_large_as_the_largest_rung_and_counts_all_files(
    made: dict[str, Result], folder: Path
) -> None:
    output = made["hls"].made
    assert (output.width, output.height, output.complete) == (512, 288, True)
    files = [path for path in folder.iterdir() if not path.name.endswith("init.mp4")]
    assert output.size == sum(path.stat().st_size for path in files)


@pytest.mark.usefixtures("cloud", "short_chunks")
def test_all_rungs_play_and_grow_together(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="256x160", seconds=16, output=("-g", "50"))
    drop("a.mp4", (tmp_path / "a.mp4").read_bytes())
    step = {"make": "hls", "ladder": [160, 144]}
    job_id = submissions.from_key("-", FromKeyRequest("a.mp4", [step]), None).job_id
    deliver("intake", *take("intake"))
    messages = take("encode", "audio")
    for body in messages:
        if '"film.0"' in body or "sound" in body:
            deliver("encode" if "film" in body else "audio", body)
    job = jobs.get_job("-", job_id, "https://x/api")
    (output,) = job.outputs
    assert (job.status, output.complete, output.width) == ("STARTED", False, 256)
    token = urlsplit(output.url).path.split("/")[-2]

    def read(name: str) -> m3u8.M3U8:
        return m3u8.loads(hls.hls_file(job_id, token, name).playlist)

    assert [each.uri for each in read("master.m3u8").playlists] == ["160p.m3u8", "144p.m3u8"]
    for name in ("160p", "144p"):
        growing = read(f"{name}.m3u8")
        assert not growing.is_endlist
        assert [each.uri for each in growing.segments] == [f"{name}_00000.m4s"]
        assert hls.hls_file(job_id, token, f"{name}_00000.m4s").address
    for body in messages:
        deliver("encode" if "film" in body else "audio", body)
    drain()
    assert jobs.get_job("-", job_id, "https://x/api").status == SUCCESS
    for name in ("160p", "144p", "160p_iframes", "144p_iframes", "audio"):
        assert read(f"{name}.m3u8").is_endlist
