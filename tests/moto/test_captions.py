"""Captions of streams: tracks of a film and files beside it, at its times, before it can be watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import m3u8
import pytest

from chalicelib.api import estimates, hls, jobs, submissions, uploads
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.api.views import JobView
from chalicelib.errors import NotFound, Unprocessable
from chalicelib.model.facts import SubtitleTrack, VideoFacts
from chalicelib.model.step import FAILURE, STARTED, SUCCESS
from chalicelib.settings import settings
from chalicelib.store.clients import s3
from infra.tools.samples import film, run_ffmpeg
from testing.local import Result, facts_of, run
from testing.pump import deliver, drain, drop, take
from testing.webvtt import Cue, cues_of

pytestmark = pytest.mark.media

SRT = (
    "1\n00:00:01,234 --> 00:00:02,500\n<i>First</i> & 1 < 2\n\n"
    "2\n00:00:02,000 --> 00:00:03,001\n{\\an8}Second\nline\n\n"
    "3\n00:00:50,000 --> 00:00:51,000\nBeyond the end\n"
)
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment, Encoding
Style: Default,Arial,20,&H00FFFFFF,0,0,2,1
Style: Loud,Arial,40,&H000000FF,-1,0,8,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.50,0:00:02.00,Default,,0,0,0,,{\\i1}Slanted{\\i0} & plain\\N\\NBelow < it
Dialogue: 0,0:00:02.25,0:00:02.75,Loud,,0,0,0,,{\\pos(10,10)\\fade(9,9)}At the top
"""
VTT = "WEBVTT\n\n00:01.500 --> 00:02.000 line:0\n<v Fred>Of &lt;WebM&gt;\n"


def captioned(path: Path, tracks: dict[str, str], *options: str, late: float = 0.0) -> None:
    """A film of six seconds with tracks of subtitles: texts by file name, in that order."""
    folder = path.parent
    film(folder / "plain.mp4", size="160x96", rate="25", seconds=6, sound=True, output=("-g", "50"))
    inputs, maps = list[str](), list[str]()
    for number, (name, text) in enumerate(tracks.items(), 1):
        (folder / name).write_text(text)
        inputs += ("-i", str(folder / name))
        maps += ("-map", f"{number}:0")
    run_ffmpeg(
        *(("-itsoffset", str(late)) if late else ()), "-i", str(folder / "plain.mp4"), *inputs,
        "-map", "0:v", "-map", "0:a", *maps, "-c", "copy", *options, str(path),
    )  # fmt: skip


def stream_of(path: Path, tmp_path: Path) -> dict[str, Result]:
    return run(path, tmp_path / "made", "hls_720p")


def shown(folder: Path, name: str) -> list[Cue]:
    (listed,) = m3u8.load(str(folder / f"{name}.m3u8")).segments
    assert listed.uri == f"{name}.vtt"
    return cues_of((folder / listed.uri).read_text())


FIRST = (1.234, 2.5, "First & 1 < 2")
SECOND = (2.0, 3.001, "Second\nline")


def near(cues: list[Cue], later: float = 0.0) -> Any:
    """Times and texts, to the millisecond to which containers round."""
    return [
        (
            pytest.approx(cue.start - later, abs=0.0011),
            pytest.approx(cue.end - later, abs=0.0011),
            cue.text,
        )
        for cue in cues
    ]


def test_tracks_of_an_mkv_become_captions(tmp_path: Path) -> None:
    captioned(
        tmp_path / "a.mkv", {"a.srt": SRT, "b.ass": ASS, "c.vtt": VTT},
        "-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=ger",
        "-metadata:s:s:1", 'title=Mit "Stil"', "-disposition:s:1", "hearing_impaired",
        "-disposition:s:2", "forced",
    )  # fmt: skip
    facts = facts_of(tmp_path / "a.mkv")
    assert isinstance(facts, VideoFacts)
    assert facts.subtitles == (
        SubtitleTrack(2, "subrip", "en"),
        SubtitleTrack(3, "ass", "de", "Mit  Stil", hearing_impaired=True),
        SubtitleTrack(4, "webvtt", "und", forced=True),
    )
    made = stream_of(tmp_path / "a.mkv", tmp_path)["hls_720p"]
    folder = made.path.parent
    master = m3u8.load(str(made.path))
    listed = {each.uri: each for each in master.media if each.type == "SUBTITLES"}
    assert [(each.name, each.language, each.forced) for each in listed.values()] == [
        ("English", "en", "NO"),
        ("Mit  Stil", "de", "NO"),
        ("Captions (forced)", "und", "YES"),
    ]
    assert listed["subs_de_sdh.m3u8"].characteristics
    assert {each.stream_info.subtitles for each in master.playlists} == {"subs"}
    srt, ass, vtt = (shown(folder, uri.removesuffix(".m3u8")) for uri in listed)
    assert near(srt) == [FIRST, SECOND]
    assert (srt[0].raw, srt[1].settings) == ("<i>First</i> &amp; 1 &lt; 2", "line:0")
    assert near(ass) == [(1.5, 2.0, "Slanted & plain\nBelow < it"), (2.25, 2.75, "At the top")]
    assert ass[1].settings == "line:0"
    assert near(vtt) == [(1.5, 2.0, "Of <WebM>")]
    assert made.made.warning == ""
    media = [path for path in folder.iterdir() if not path.name.endswith("init.mp4")]
    assert made.made.size == sum(path.stat().st_size for path in media)


def test_a_track_of_an_mp4_becomes_captions_also_where_the_film_is_cut(tmp_path: Path) -> None:
    captioned(
        tmp_path / "a.mp4", {"a.srt": SRT}, "-c:s", "mov_text", "-metadata:s:s:0", "language=fre"
    )
    made = stream_of(tmp_path / "a.mp4", tmp_path)["hls_720p"]
    assert near(shown(made.path.parent, "subs_fr")) == [
        (1.234, 2.0, "First & 1 < 2"),  # mov_text shows one text at a time
        SECOND,
    ]


def test_cues_keep_their_times_where_the_video_starts_late(tmp_path: Path) -> None:
    """Of an MP4: times count from the start of the film, which is not that of its first frame."""
    film(
        tmp_path / "plain.mp4", size="160x96", rate="25", seconds=6, sound=True, output=("-g", "50")
    )
    (tmp_path / "a.srt").write_text(SRT)
    run_ffmpeg(
        "-i", str(tmp_path / "plain.mp4"), "-itsoffset", "0.8", "-i", str(tmp_path / "plain.mp4"),
        "-i", str(tmp_path / "a.srt"), "-map", "1:v", "-map", "0:a", "-map", "2:0",
        "-c", "copy", "-c:s", "mov_text", str(tmp_path / "a.mp4"),
    )  # fmt: skip
    facts = facts_of(tmp_path / "a.mp4")
    assert isinstance(facts, VideoFacts)
    assert facts.video_start == pytest.approx(0.8, abs=0.05)
    made = stream_of(tmp_path / "a.mp4", tmp_path)["hls_720p"]
    assert near(shown(made.path.parent, "subs_und"))[0] == (1.234, 2.0, "First & 1 < 2")


def test_cues_count_from_the_start_of_a_film_whose_clock_starts_later(tmp_path: Path) -> None:
    """Of an MKV that starts at 1.5 s: there the first frame is shown, and players call that 0."""
    captioned(tmp_path / "plain.mkv", {"a.srt": SRT})
    run_ffmpeg(
        "-itsoffset", "1.5", "-i", str(tmp_path / "plain.mkv"), "-map", "0", "-c", "copy",
        "-copyts", str(tmp_path / "a.mkv"),
    )  # fmt: skip
    made = stream_of(tmp_path / "a.mkv", tmp_path)["hls_720p"]
    assert near(shown(made.path.parent, "subs_und")) == [FIRST, SECOND]


def test_pictures_are_left_out_with_a_warning(tmp_path: Path) -> None:
    captioned(tmp_path / "text.mkv", {"a.srt": SRT})
    run_ffmpeg(
        "-i", str(tmp_path / "text.mkv"), "-f", "lavfi", "-i", "color=s=160x96:d=1",
        "-map", "0:v", "-map", "0:s", "-c:v", "copy", "-c:s", "copy", str(tmp_path / "b.mkv"),
    )  # fmt: skip
    # FFmpeg draws no text for a track of pictures: the codec's name is changed where Matroska has it.
    content = (tmp_path / "b.mkv").read_bytes()
    assert content.count(b"S_TEXT/UTF8") == 1
    (tmp_path / "a.mkv").write_bytes(content.replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0"))
    made = stream_of(tmp_path / "a.mkv", tmp_path)["hls_720p"]
    assert made.made.warning == (
        "Subtitles that are no text, like pictures, are left out: hdmv_pgs_subtitle (und)."
    )
    assert not m3u8.load(str(made.path)).media


@pytest.mark.usefixtures("cloud", "short_chunks")
def test_captions_of_a_film_that_is_copied_are_read_from_the_film_itself(tmp_path: Path) -> None:
    """The copy has neither the subtitles nor the film's clock, which starts at 1.5 s."""
    film(tmp_path / "plain.mp4", size="160x96", rate="25", seconds=24, output=("-g", "50"))
    (tmp_path / "a.srt").write_text(SRT)
    run_ffmpeg(
        "-itsoffset", "1.5", "-i", str(tmp_path / "plain.mp4"), "-itsoffset", "1.5",
        "-i", str(tmp_path / "a.srt"), "-map", "0", "-map", "1", "-c", "copy", "-copyts",
        "-metadata:s:s:0", "language=eng", str(tmp_path / "a.mkv"),
    )  # fmt: skip
    drop("a.mkv", (tmp_path / "a.mkv").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.mkv", ["hls_720p"]), None).job_id
    drain()
    job = view(job_id)
    assert (job.status, job.warnings) == (SUCCESS, [])
    assert "chunks at once, from a copy" in job.encoding
    assert near(cues_of(read(job, "subs_en.vtt"))) == [FIRST, SECOND]


@pytest.mark.usefixtures("cloud")
def test_subtitles_that_are_too_much_are_left_out_with_a_warning(tmp_path: Path) -> None:
    """Their text is taken for a file, and becomes more WebVTT than the API can answer with."""
    block = "{}\n00:00:0{},{:03} --> 00:00:05,900\n" + "&" * 4_000 + "\n\n"
    texts = (block.format(n, *divmod(10 * n, 1000)) for n in range(1, 301))
    captioned(tmp_path / "a.mkv", {"a.srt": "".join(texts)})
    drop("a.mkv", (tmp_path / "a.mkv").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.mkv", ["hls_720p"]), None).job_id
    drain()
    job = view(job_id)
    assert job.status == SUCCESS
    (warning,) = job.warnings
    assert "own subtitles could not be read: there are none in the captions." in warning
    assert cues_of(read(job, "subs_und.vtt")) == []


# ── files beside the film ───────────────────────────────────────────────────────────────────────


def put_film(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    drop("a.mp4", (tmp_path / "a.mp4").read_bytes())


STEP = {"make": "hls", "ladder": [144], "captions": {"en": "a.srt", "zh-hant": "b.vtt"}}


def view(job_id: str) -> JobView:
    return jobs.get_job("-", job_id, "https://x/api")


def read(job: JobView, name: str) -> str:
    (output,) = job.outputs
    token = urlsplit(output.url).path.split("/")[-2]
    found = hls.hls_file(job.id, token, name)
    assert found.content_type == ("text/vtt" if name.endswith("vtt") else found.content_type)
    return found.playlist


@pytest.mark.usefixtures("cloud", "short_chunks")
def test_sidecars_are_there_when_the_film_can_be_watched_first(tmp_path: Path) -> None:
    put_film(tmp_path)
    drop("a.srt", SRT.encode())
    drop("b.vtt", VTT.encode())
    asked = FromKeyRequest("a.mp4", [STEP])
    estimated = estimates.estimate("-", asked).usage
    job_id = submissions.from_key("-", asked, None).job_id
    deliver("intake", *take("intake"))
    messages = take("encode", "audio")
    first = [body for body in messages if '"film.0"' in body or "sound" in body]
    for body in first:
        deliver("encode" if "film" in body else "audio", body)
    assert view(job_id).outputs == []
    (captions,) = (body for body in messages if "captions" in body)
    deliver("audio", captions)
    job = view(job_id)
    assert (job.status, job.outputs[0].complete) == (STARTED, False)
    master = m3u8.loads(read(job, "master.m3u8"))
    listed = [each for each in master.media if each.type == "SUBTITLES"]
    assert [(each.uri, each.name, each.language) for each in listed] == [
        ("subs_en.m3u8", "English", "en"),
        ("subs_zh_hant.m3u8", "中文 (Hant)", "zh-Hant"),
    ]
    assert near(cues_of(read(job, "subs_en.vtt"))) == [FIRST, SECOND]
    playlist = m3u8.loads(read(job, "subs_en.m3u8"))
    assert not playlist.is_endlist  # or Shaka would take all of the film for complete
    assert (playlist.segments[0].uri, playlist.target_duration) == ("subs_en.vtt", 16)
    with pytest.raises(NotFound):
        read(job, "subs_fr.m3u8")
    for body in messages:
        deliver("encode" if "film" in body else "audio", body)
    drain()
    job = view(job_id)
    assert (job.status, job.warnings) == (SUCCESS, [])
    assert m3u8.loads(read(job, "subs_en.m3u8")).is_endlist
    assert m3u8.loads(read(job, "master.m3u8")).media[-1].name == "中文 (Hant)"
    assert job.usage
    for pool in ("intake", "audio"):
        assert job.usage.functions[pool].requests.s3 == estimated.functions[pool].requests.s3, pool


@pytest.mark.usefixtures("cloud", "short_chunks")
@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (
            lambda: None,
            "captions_not_found",
            "There is no file a.srt of yours in the upload bucket",
        ),
        (lambda: b"", "captions_unusable", "The file a.srt is neither WebVTT nor SRT."),
        (
            lambda: b"WEBVTT\n\nNOTE nothing\n",
            "captions_unusable",
            "The file a.srt has no captions.",
        ),
        (lambda: b"\xe4" + SRT.encode(), "captions_unusable", "is not in UTF-8"),
        (lambda: b"x" * 5_000_000, "captions_unusable", "has 5000000 bytes, and at most 2000000"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_refused_before_work(
    content: Callable[[], bytes | None], code: str, sentence: str, tmp_path: Path
) -> None:
    put_film(tmp_path)
    if (body := content()) is not None:
        drop("a.srt", body)
    asked = FromKeyRequest("a.mp4", [{"make": "hls", "captions": {"en": "a.srt"}}])
    with pytest.raises(Unprocessable) as refused:
        estimates.estimate("-", asked)
    job_id = submissions.from_key("-", asked, None).job_id
    drain()
    job = view(job_id)
    assert (job.status, job.error_code, refused.value.code) == (FAILURE, code, code)
    assert sentence in job.error
    assert job.usage
    assert job.usage.functions.keys() == {"intake"}


@pytest.mark.usefixtures("cloud")
def test_another_owners_file_is_as_none(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="160x96", seconds=2)
    keys = {}
    for owner, name, body in (
        ("alice", "a.srt", SRT.encode()),
        ("bob", "film.mp4", (tmp_path / "a.mp4").read_bytes()),
        ("bob", "b.srt", SRT.encode()),
    ):
        key = keys[name] = uploads.presign(owner, PresignRequest(name, "text/plain")).key
        s3().put_object(Bucket=settings().upload_bucket, Key=key, Body=body)
    for name, code in (("a.srt", "captions_not_found"), ("b.srt", "")):
        step = {"make": "hls", "ladder": [144], "captions": {"en": keys[name]}}
        asked = FromKeyRequest(keys["film.mp4"], [step])
        if code:
            with pytest.raises(Unprocessable) as refused:
                estimates.estimate("bob", asked)
            assert refused.value.code == code
        else:
            estimates.estimate("bob", asked)
        job_id = submissions.from_key("bob", asked, None).job_id
        drain()
        assert jobs.get_job("bob", job_id, "https://x/api").error_code == code


@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_sidecar_that_changes_while_the_job_runs_ends_its_step(tmp_path: Path) -> None:
    put_film(tmp_path)
    drop("a.srt", SRT.encode())
    step = {"make": "hls", "ladder": [144], "captions": {"en": "a.srt"}}
    job_id = submissions.from_key("-", FromKeyRequest("a.mp4", [step, "thumbnail"]), None).job_id
    deliver("intake", *take("intake"))
    drop("a.srt", SRT.replace("First", "Other").encode())
    drain()
    job = view(job_id)
    assert (job.status, job.error_code) == (FAILURE, "captions_changed")
    assert [output.type for output in job.outputs] == ["thumbnail"]


@pytest.mark.usefixtures("cloud")
def test_subtitles_that_cannot_be_read_leave_the_film_as_it_is(tmp_path: Path) -> None:
    """A track that claims to be ASS, without what ASS begins with."""
    captioned(tmp_path / "text.mkv", {"a.srt": SRT})
    content = (tmp_path / "text.mkv").read_bytes()
    drop("a.mkv", content.replace(b"S_TEXT/UTF8", b"S_TEXT/ASS\0"))
    job_id = submissions.from_key("-", FromKeyRequest("a.mkv", ["hls_720p"]), None).job_id
    drain()
    job = view(job_id)
    assert job.status == SUCCESS
    assert cues_of(read(job, "subs_und.vtt")) == []
