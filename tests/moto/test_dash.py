"""DASH: an MPD over the segments of HLS, judged by the segments' own bytes and by FFmpeg's demuxer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import m3u8
import msgspec
import pytest
from mpegdash.parser import MPEGDASHParser

from chalicelib.api import hls, jobs, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.errors import JobError, NotFound
from chalicelib.model.plan import Plan
from chalicelib.model.step import SUCCESS
from chalicelib.model.work import Audio, Chunk
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from corpus import boxes
from infra.tools.samples import ffmpeg, film
from testing.local import Result, carry_out, facts_of
from testing.planned import DEFAULTS
from testing.pump import deliver, drain, drop, take

pytestmark = pytest.mark.media

LADDER = [160, {"height": 160, "codec": "hevc"}, {"height": 144, "max_fps": 15}]
NAMES = ["160p", "144p_15fps", "160p_hevc", "audio"]
PARTS = {"least_chunk_seconds": 1.0, "chunk_work_seconds": 0.01, "audio_part_seconds": 12}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A film of 30 s at 29.97 frames a second, its pictures and its sound in several parts."""
    folder = tmp_path_factory.mktemp("dash")
    film(
        folder / "a.mp4", size="256x160", rate="30000/1001", seconds=30,
        output=("-g", "50", "-metadata:s:a:0", "language=deu"),
    )  # fmt: skip
    plan = planned(folder / "a.mp4", LADDER, **PARTS)
    for kind in (Chunk, Audio):
        assert sum(isinstance(task.work, kind) for task in plan.tasks) > 1
    return carry_out(plan, folder / "a.mp4", folder / "made")["hls"]


def planned(path: Path, ladder: object, **chosen: float) -> Plan:
    steps = find_steps([{"make": "hls", "ladder": ladder, "dash": True}], JobError)
    settings = msgspec.structs.replace(DEFAULTS, **chosen)
    return make_plan("job", path.name, facts_of(path), steps, settings)


@pytest.fixture(scope="module")
def folder(made: Result) -> Path:
    return made.path.parent


def parsed(folder: Path) -> Any:
    return MPEGDASHParser.parse((folder / "manifest.mpd").read_text())


def representations(folder: Path) -> dict[str, Any]:
    (period,) = parsed(folder).periods
    return {
        each.id: each
        for adaptation in period.adaptation_sets
        for each in adaptation.representations
    }


def segments(representation: Any) -> Iterator[tuple[str, int, int]]:
    """Name, start and end, in ticks, of each segment, as a player finds them."""
    (template,) = representation.segment_templates
    (timeline,) = template.segment_timelines
    number, at = template.start_number, 0
    for told in timeline.Ss:
        at = at if told.t is None else told.t
        for _ in range(1 + (told.r or 0)):
            name = template.media.replace("$RepresentationID$", representation.id)
            yield name.replace("$Number%05d$", f"{number:05d}"), at, at + told.d
            number, at = number + 1, at + told.d


def test_a_complete_film_tells_its_manifest(made: Result, folder: Path) -> None:
    assert made.made.manifest == "manifest.mpd"
    files = [path for path in folder.iterdir() if not path.name.endswith("init.mp4")]
    assert made.made.size == sum(path.stat().st_size for path in files)


def test_each_rung_is_told_with_what_it_is(folder: Path) -> None:
    mpd = parsed(folder)
    assert mpd.type == "static"
    assert mpd.profiles == "urn:mpeg:dash:profile:isoff-live:2011"
    (period,) = mpd.periods
    told = [
        (each.content_type, each.mime_type, each.lang, [one.id for one in each.representations])
        for each in period.adaptation_sets
    ]
    assert told == [
        ("video", "video/mp4", None, ["160p", "144p_15fps"]),
        ("video", "video/mp4", None, ["160p_hevc"]),
        ("audio", "audio/mp4", "de", ["audio"]),
    ]
    found = representations(folder)
    assert {
        name: (each.width, each.height, each.frame_rate)
        for name, each in found.items()
        if name != "audio"
    } == {
        "160p": (256, 160, "30000/1001"),
        "144p_15fps": (230, 144, "15000/1001"),
        "160p_hevc": (256, 160, "30000/1001"),
    }
    (channels,) = found["audio"].audio_channel_configurations
    assert (found["audio"].audio_sampling_rate, channels.value) == ("48000", "2")
    master = m3u8.load(str(folder / "master.m3u8"))
    for listed in master.playlists:
        each = found[listed.uri.removesuffix(".m3u8")]
        assert f"{each.codecs},{found['audio'].codecs}" == listed.stream_info.codecs
        # That of HLS is with sound.
        both = each.bandwidth + found["audio"].bandwidth
        assert both == pytest.approx(listed.stream_info.bandwidth, abs=3)


@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_segments_of_hls(folder: Path, name: str) -> None:
    found = list(segments(representations(folder)[name]))
    listed = m3u8.load(str(folder / f"{name}.m3u8")).segments
    assert [uri for uri, _, _ in found] == [each.uri for each in listed]
    assert [uri for uri, _, _ in found] == [f"{name}_{n:05d}.m4s" for n in range(len(found))]
    assert {path.name for path in folder.glob(f"{name}_0*")} == {uri for uri, _, _ in found}


@pytest.mark.parametrize("name", NAMES)
def test_its_ticks_are_those_in_the_segments(folder: Path, name: str) -> None:
    found = list(segments(representations(folder)[name]))
    check_ticks(folder, name)
    first = 48_000 - 1024 if name == "audio" else 30_000
    assert found[0][1] == first


def check_ticks(folder: Path, name: str) -> None:
    each = representations(folder)[name]
    (template,) = each.segment_templates
    init = (folder / f"{name}_init.mp4").read_bytes()
    scale = boxes.timescale(init)
    assert (template.timescale, template.presentation_time_offset) == (scale, scale)
    for uri, start, end in segments(each):
        span = boxes.span(init, (folder / uri).read_bytes())
        assert [round(seconds * scale, 3) for seconds in span] == [start, end]


@pytest.mark.parametrize("name", NAMES)
def test_ffmpeg_plays_it_as_it_plays_the_files(folder: Path, tmp_path: Path, name: str) -> None:
    number = NAMES.index(name)
    playlist = m3u8.load(str(folder / f"{name}.m3u8"))
    files = [f"{name}_init.mp4", *(each.uri for each in playlist.segments)]
    (tmp_path / "a.mp4").write_bytes(b"".join((folder / uri).read_bytes() for uri in files))
    kind = "a:0" if name == "audio" else f"v:{number}"
    dash = frames(folder / "manifest.mpd", kind)
    assert len(dash) > 400
    assert dash == frames(tmp_path / "a.mp4", kind[0])


def frames(path: Path, stream: str) -> list[str]:
    """Digests of what FFmpeg decodes."""
    told = subprocess.run(
        [ffmpeg(), "-v", "error", "-i", path, "-map", f"0:{stream}", "-f", "framemd5", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stderr == ""
    lines = (line for line in told.stdout.splitlines() if not line.startswith("#"))
    return [line.rpartition(",")[2].strip() for line in lines]


def test_a_film_that_only_decoding_counts_has_its_ticks_too(tmp_path: Path) -> None:
    """It is encoded as a whole, of frames of uneven length."""
    film(
        tmp_path / "a.mkv", size="256x160", rate="50", seconds=16,
        output=("-vf", "select=not(mod(n\\,7))+not(mod(n\\,5))", "-fps_mode", "vfr"),
    )  # fmt: skip
    plan = planned(tmp_path / "a.mkv", [160])
    folder = carry_out(plan, tmp_path / "a.mkv", tmp_path / "made")["hls"].path.parent
    assert list(representations(folder)) == ["video", "audio"]
    for name in ("video", "audio"):
        check_ticks(folder, name)
        assert len(list(segments(representations(folder)[name]))) > 2


def test_of_an_automatic_ladder_only_the_useful_rungs_are_told(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="640x360", seconds=4, output=("-vf", "drawbox=t=fill"))
    plan = planned(tmp_path / "a.mp4", "auto")
    folder = carry_out(plan, tmp_path / "a.mp4", tmp_path / "made")["hls"].path.parent
    listed = [each.uri for each in m3u8.load(str(folder / "master.m3u8")).playlists]
    assert 0 < len(listed) < len(list(folder.glob("*_iframes.m3u8")))
    told = [name for name in representations(folder) if name != "audio"]
    assert [f"{name}.m3u8" for name in told] == listed


@pytest.mark.usefixtures("cloud", "short_chunks")
def test_it_is_there_at_the_end_and_not_before(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="256x160", rate="10", seconds=8, output=("-g", "20"))
    drop("a.mp4", (tmp_path / "a.mp4").read_bytes())
    steps = [{"make": "hls", "ladder": [160], "dash": True}]
    job_id = submissions.from_key("-", FromKeyRequest("a.mp4", steps), None).job_id
    deliver("intake", *take("intake"))
    messages = take("encode", "audio")
    for body in messages:
        if '"film.0"' in body or "sound" in body:
            deliver("encode" if "film" in body else "audio", body)
    (growing,) = jobs.get_job("-", job_id, "https://x/api").outputs
    assert (growing.complete, growing.dash_url) == (False, "")
    token = urlsplit(growing.url).path.split("/")[-2]
    with pytest.raises(NotFound):
        hls.hls_file(job_id, token, "manifest.mpd")
    for body in messages:
        deliver("encode" if "film" in body else "audio", body)
    drain()
    job = jobs.get_job("-", job_id, "https://x/api")
    assert job.status == SUCCESS
    (output,) = job.outputs
    assert output.dash_url == output.url.replace("master.m3u8", "manifest.mpd")
    served = hls.hls_file(job_id, token, "manifest.mpd")
    assert served.content_type == "application/dash+xml"
    assert served.playlist.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<MPD ')
    assert served.max_age > 0
    for name in ("video_init.mp4", "video_00000.m4s", "audio_00000.m4s"):
        assert hls.hls_file(job_id, token, name).address
