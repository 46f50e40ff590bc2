"""Captions: whatever people write as SRT or WebVTT comes out as one safe form; and which a film gets."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import msgspec
import pytest

from chalicelib.errors import Unprocessable
from chalicelib.formats import captions, playlists
from chalicelib.formats.captions import Unusable
from chalicelib.formats.languages import canonical, name_of
from chalicelib.model.facts import SubtitleTrack
from chalicelib.model.streams import Rung, Sound
from chalicelib.model.work import Hls, Source
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import captions as planning
from chalicelib.planning.planner import make_plan
from testing.planned import FILM, plan_settings_with
from testing.webvtt import Cue, cues_of

SRT = "1\n00:00:01,234 --> 00:00:02,500\nFirst\n\n2\n00:01:00,000 --> 01:02:03,004\nSecond\nline\n"
TWO = [(1.234, 2.5, "First"), (60.0, 3723.004, "Second\nline")]
VTT = """WEBVTT - a title
X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000

STYLE
::cue { background: url(https://evil.example/) }

REGION
id:fred
width:40%

NOTE not
to be shown

intro
00:01.234 --> 00:02.500 region:fred line:0 position:10%,line-left align:start evil:1
<v.loud Fred>Hi <c.yellow>you</c> <i>&amp; me</v>

00:03.000 --> 00:04.000 align:javascript size:500000000000%
<script>alert(1)</script><img src=x onerror=alert(1)><00:03.500>&lt;b&gt; 1 &lt; 2
"""


def made(body: bytes, seconds: float = 7200.0) -> list[Cue]:
    return cues_of(captions.to_webvtt(captions.until(captions.read(body), seconds)).decode())


def plain(body: bytes, seconds: float = 7200.0) -> list[tuple[float, float, str]]:
    return [cue[:3] for cue in made(body, seconds)]


@pytest.mark.parametrize(
    "body",
    [
        SRT.encode(),
        b"\xef\xbb\xbf" + SRT.encode(),
        SRT.replace("\n", "\r\n").encode(),
        SRT.replace("\n", "\r").encode(),
        b"\xff\xfe" + SRT.encode("utf-16-le"),
        b"\xfe\xff" + SRT.encode("utf-16-be"),
        ("\r\n\n" + SRT).encode(),
        SRT.replace(",", ".").encode(),
        SRT.replace("\n\n", "\n \n").rstrip().encode(),
        f"WEBVTT\n\n{SRT.replace(',', '.')}".encode(),
    ],
)
def test_the_same_captions_in_any_form_are_the_same(body: bytes) -> None:
    assert plain(body) == TWO


def test_webvtt_keeps_what_is_shown_and_where_and_nothing_else() -> None:
    one, other = made(VTT.encode())
    assert one == Cue(
        1.234,
        2.5,
        "Hi you & me",
        "line:0 position:10%,line-left align:start",
        "Hi you <i>&amp; me</i>",
    )
    assert (other.start, other.end, other.settings) == (3.0, 4.0, "")
    assert other.text == "alert(1)<b> 1 < 2"


def srt(text: str) -> bytes:
    return f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n".encode()


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("<i>Hello</i> <B>you</B>", "<i>Hello</i> <b>you</b>"),
        ('<font color="red">Red</font>', "Red"),
        ("a < b & c > d <3", "a &lt; b &amp; c &gt; d &lt;3"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("<i onclick=x()>a <b>b</i> c", "<i>a <b>b</b></i> c"),
        ("</i>a<u>b", "a<u>b</u>"),
        ("&lt;i&gt; &amp;", "&amp;lt;i&amp;gt; &amp;amp;"),
        ("00:00:05.000 --> 00:00:06.000 x", "00:00:05.000 --&gt; 00:00:06.000 x"),
        ("above\n\nbelow an empty line", "above\nbelow an empty line"),
        ("a\x00b\x1bc\x85d", "abcd"),
        (f"{'<i>' * 40}deep", f"{'<i>' * 8}deep{'</i>' * 8}"),
    ],
)
def test_text_of_srt_stays_text(text: str, raw: str) -> None:
    assert [cue.raw for cue in made(srt(text))] == [raw]


def test_an_entity_does_not_become_a_line_of_another_cue() -> None:
    body = b"WEBVTT\n\n00:01.000 --> 00:02.000\na&#10;&#10;00:00:03.000 --&gt; 00:00:04.000&#13;b\n"
    (cue,) = made(body)
    assert cue.text == "a\n00:00:03.000 --> 00:00:04.000b"


def test_codes_of_ass_say_where_a_cue_is() -> None:
    for code, settings in (("\\an8", "line:0"), ("\\an5", "line:50%"), ("\\an2", ""), ("\\b1", "")):
        (cue,) = made(srt(f"{{{code}}}Text"))
        assert (cue.settings, cue.text) == (settings, "Text")


def test_overlapping_cues_come_in_order_and_the_film_ends_them() -> None:
    times = [(4, 6), (1, 3), (2, 5), (9, 12), (10, 11), (3, 3), (5, 4)]
    blocks = [
        f"{n}\n00:00:{a:02},000 --> 00:00:{b:02},000\n{n}\n" for n, (a, b) in enumerate(times)
    ]
    found = plain("\n".join(blocks).encode(), seconds=10.0)
    assert found == [(1, 3, "1"), (2, 5, "2"), (4, 6, "0"), (9, 10, "3")]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is neither WebVTT nor SRT"),
        (b"%PDF-1.7 and more", "is neither WebVTT nor SRT"),
        (b"[Script Info]\nScriptType: v4.00+\n", "is neither WebVTT nor SRT"),
        (
            SRT.replace("First", "Für").encode("cp1252"),
            "is not in UTF-8, nor in UTF-16 with a byte",
        ),
        (b"\xff\xfe\x00\xd8", "is not in UTF-8, nor in UTF-16 with a byte"),
        (b"\n" * 2_000_001, "has 2000001 bytes, and at most 2000000 are taken"),
        (b"WEBVTT\n\n" + b"00:01.000 --> 00:02.000\na\n\n" * 20_001, "has 20001 cues"),
    ],
)
def test_what_is_no_captions_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(Unusable) as refused:
        captions.read(body)
    assert why in str(refused.value)


def test_what_would_be_more_than_the_api_can_answer_is_refused() -> None:
    with pytest.raises(Unusable, match="bytes of WebVTT"):
        captions.to_webvtt(captions.read(b"\n".join([srt("&" * 4_000)] * 480)))


@pytest.mark.parametrize(
    "piece", ["<", "<i", "<i>", "{\\", "{\\an8}", "&", "-->\n", "1\n", "00:", "a", "&#1"]
)
@pytest.mark.timeout(120)  # a second is usual; if it were quadratic, hours
def test_hostile_text_takes_no_longer_than_it_is(piece: str) -> None:
    long = piece * (400_000 // len(piece))
    cue = f"WEBVTT\n\n00:01.000 --> 00:02.000\n{long}"
    for body in (srt(long), srt(f"<{long}"), cue.encode(), f"WEBVTT\n\n{long}".encode()):
        with suppress(Unusable):
            captions.to_webvtt(captions.read(body))


def test_a_number_that_no_character_has_is_none() -> None:
    (cue,) = captions.read(f"WEBVTT\n\n00:01.000 --> 00:02.000\na&#{'9' * 30};b &#233;".encode())
    assert cue.text == "a\ufffdb é"
    cue = captions.read(b"WEBVTT\n\n00:01.000 --> 00:02.000\n" + b"a" * 10_000)[0]
    assert len(cue.text) == 4000


@pytest.mark.parametrize("text", ["m 0 0 l 100 0 100 100", "{\\p1}m 0 0 l 1.5 0 b 1 2 3 4 5 6"])
def test_what_ass_draws_is_no_caption(text: str) -> None:
    assert captions.read(srt(text)) == []
    assert captions.read(srt("m 5 and l")) != []


# ── languages ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "tag", "name"),
    [
        ("en", "en", "English"),
        ("ENG", "en", "English"),
        ("por-br", "pt-BR", "Português (BR)"),
        ("zh-hant-tw", "zh-Hant-TW", "中文 (Hant-TW)"),
        ("es-419", "es-419", "Español (419)"),
        ("tlh", "tlh", "tlh"),
        ("de-1996", "de-1996", "Deutsch (1996)"),
        ("english", None, None),
        ("en_US", None, None),
        ("en\n", None, None),
        ("", None, None),
        ('en"', None, None),
    ],
)
def test_languages_are_named_in_one_way(given: str, tag: str | None, name: str | None) -> None:
    assert canonical(given) == tag
    if tag:
        assert name_of(tag) == name


@pytest.mark.parametrize(
    ("sidecars", "pointer", "detail"),
    [
        ({"english": "a.srt"}, "english", "'english' is no language of BCP 47, like 'en'"),
        ({"a/b~": "a.srt"}, "a~1b~0", "is no language"),
        ({"en": "a.srt", "eng": "b.srt"}, "eng", "This is the language of 'en'; once is enough."),
        ({"en": ""}, "en", "It is the key of a file in the upload bucket."),
    ],
)
def test_a_wrong_sidecar_is_pointed_at(sidecars: dict[str, str], pointer: str, detail: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        find_steps([{"make": "hls", "captions": sidecars}], Unprocessable)
    (fault,) = refused.value.faults
    assert fault.pointer == f"#/pipeline/0/captions/{pointer}"
    assert detail in fault.detail


@pytest.mark.parametrize(
    "sidecars", [{}, {"en": 1}, "a.srt", {f"a{n:c}": "k" for n in range(97, 114)}]
)
def test_a_sidecar_is_a_key_by_its_language(sidecars: object) -> None:
    with pytest.raises(Unprocessable) as refused:
        find_steps([{"make": "hls", "captions": sidecars}], Unprocessable)
    assert all(each.pointer.startswith("#/pipeline/0/captions") for each in refused.value.faults)


# ── which a film gets ───────────────────────────────────────────────────────────────────────────


SIDECAR = Source("a.srt", "etag", size=1000)
SETTINGS = plan_settings_with(sidecars={"a.srt": SIDECAR})


def chosen(*tracks: SubtitleTrack, sidecars: dict[str, str] | None = None) -> planning.Chosen:
    facts = msgspec.structs.replace(FILM, subtitles=tracks, subtitles_demuxer="matroska")
    return planning.choose(facts, sidecars or {}, SETTINGS)


def test_each_track_of_text_is_listed_under_a_name_of_its_own() -> None:
    found = chosen(
        SubtitleTrack(2, "subrip", "en"),
        SubtitleTrack(3, "ass", "en"),
        SubtitleTrack(4, "mov_text", "en", hearing_impaired=True),
        SubtitleTrack(5, "webvtt", "en", forced=True),
        SubtitleTrack(6, "subrip", "de", "Director's comments"),
        SubtitleTrack(7, "subrip", "fr", "Director's comments"),
        SubtitleTrack(8, "subrip", "und"),
    )
    assert [(each.playlist, each.name, each.language) for each in found.tracks] == [
        ("subs_en", "English", "en"),
        ("subs_en_2", "English 2", "en"),
        ("subs_en_sdh", "English (SDH)", "en"),
        ("subs_en_forced", "English (forced)", "en"),
        ("subs_de", "Director's comments", "de"),
        ("subs_fr", "Director's comments 2", "fr"),
        ("subs_und", "Captions", "und"),
    ]
    assert found.work
    assert found.work.command[-1] == "subs_und.srt"
    assert "0:8" in found.work.command
    assert found.warning == ""


def test_a_sidecar_takes_the_place_of_the_films_own_captions_in_its_language() -> None:
    found = chosen(
        SubtitleTrack(2, "subrip", "en"),
        SubtitleTrack(3, "subrip", "en", forced=True),
        SubtitleTrack(4, "subrip", "de"),
        sidecars={"eng": "a.srt"},
    )
    assert [each.playlist for each in found.tracks] == ["subs_en", "subs_en_forced", "subs_de"]
    assert found.work
    assert found.work.sidecars == {"subs_en": SIDECAR}
    assert found.work.embedded == ("subs_en_forced", "subs_de")


def test_pictures_are_left_out_with_a_sentence() -> None:
    found = chosen(
        SubtitleTrack(2, "hdmv_pgs_subtitle", "en"), SubtitleTrack(3, "dvd_subtitle", "de")
    )
    assert (found.tracks, found.work) == ((), None)
    assert found.warning == (
        "Subtitles that are no text, like pictures, are left out: hdmv_pgs_subtitle (en), dvd_subtitle (de)."
    )


def test_there_are_at_most_so_many_tracks() -> None:
    found = chosen(*(SubtitleTrack(n, "subrip", "en") for n in range(2, 42)))
    assert len(found.tracks) == 32
    assert found.warning == "A film has at most 32 tracks of captions: 8 are left out."


def test_captions_are_among_the_first_tasks_and_the_stream_waits_for_them() -> None:
    facts = msgspec.structs.replace(
        FILM, subtitles=(SubtitleTrack(2, "subrip", "en"),), subtitles_demuxer="matroska"
    )
    steps = find_steps(["hls_720p", "transcode_720p"], Unprocessable)
    plan = make_plan("job", "a.mkv", facts, steps, SETTINGS)
    task = plan.task("captions")
    assert task.reads_source
    assert task.destination == plan.task("hls_720p").destination
    stream = plan.task("hls_720p")
    assert plan.beginning(stream) == {"film.0", "sound.0", "captions"}
    assert "captions" in stream.needs
    assert "captions" not in plan.task("transcode_720p").needs
    assert plan.watchable_from("captions", {"film.0", "captions"}) == []
    assert plan.watchable_from("captions", {"film.0", "sound.0", "captions"}) == [stream]
    assert plan.steps_needing("captions") == ["hls_720p"]


def test_a_film_is_not_read_for_sidecars_and_a_copy_is_never_read_for_captions() -> None:
    steps = find_steps([{"make": "hls", "captions": {"en": "a.srt"}}], Unprocessable)
    plan = make_plan("job", "a.mp4", FILM, steps, SETTINGS, copy=Source("copy", "1", is_copy=True))
    task, original = plan.task("captions"), Source("a.mp4", "etag")
    assert not task.reads_source
    assert plan.source(task, original) == original


def test_the_master_lists_captions_and_each_variant_has_them() -> None:
    found = chosen(
        SubtitleTrack(2, "subrip", "en", hearing_impaired=True),
        SubtitleTrack(3, "subrip", "de", forced=True),
    )
    rung = Rung("720p", "video", 1280, 720, 6, 25.0, 9000)
    work = Hls((rung, rung), 60.0, (Sound("sound", "audio", "audio", "en"),), captions=found.tracks)
    text = playlists.growing_master(work, {"720p": "avc1"})
    assert [line for line in text.split("\n") if "SUBTITLES" in line and "MEDIA" in line] == [
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English (SDH)",LANGUAGE="en",DEFAULT=NO,'
        'AUTOSELECT=YES,FORCED=NO,CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,'
        'public.accessibility.describes-music-and-sound",URI="subs_en_sdh.m3u8"',
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Deutsch (forced)",LANGUAGE="de",DEFAULT=NO,'
        'AUTOSELECT=YES,FORCED=YES,URI="subs_de_forced.m3u8"',
    ]
    variants = [line for line in text.split("\n") if line.startswith("#EXT-X-STREAM-INF")]
    assert all(line.endswith(',AUDIO="audio",SUBTITLES="subs"') for line in variants)


# ── whatever is in a file ───────────────────────────────────────────────────────────────────────

PIECES = (
    "<", "</i>", "<i>", "<b x>", "&", "&lt;", "&#10;", "&#0;", "&#xD800;", "\n", "\n\n", "\r", "-->",
    "00:00:01,000", "99999999999:00:00.000", "{\\an8}", "{", "}", "WEBVTT", "STYLE", "NOTE", "REGION", "1",
    "\u2028", "\x00", "\ufeff", "line:1e9", "align:start", "<v A>", "<00:01.000>", "\x1b",
)  # fmt: skip


def test_a_file_with_anything_in_it_is_refused_or_becomes_what_a_strict_reader_takes() -> None:
    dice, made_of = Random(1), 0
    for _ in range(2000):
        text = list(dice.choice([SRT, VTT]))
        for _ in range(dice.randint(1, 12)):
            at = dice.randrange(len(text) + 1)
            until = at + (dice.randint(1, 8) if dice.random() < 0.3 else 0)
            text[at:until] = dice.choice(PIECES) if until == at else ""
        try:
            cues = captions.read("".join(text).encode())
        except Unusable:
            continue
        cues_of(captions.to_webvtt(cues).decode())
        made_of += 1
    assert made_of > 1000
