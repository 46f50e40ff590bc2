"""Ladders: which rungs, in which order, and what playlists say of them. Nothing is encoded."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import playlists
from chalicelib.formats.playlists import Variant
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.streams import Rung
from chalicelib.model.work import Chunk, Hls, KeyFrame, Segment
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import ladders
from chalicelib.planning.ladders import Wanted
from chalicelib.planning.operation import Item
from chalicelib.planning.planner import make_plan
from testing.planned import DEFAULTS, FILM


def film(width: int, height: int, rate: str = "25") -> VideoFacts:
    return msgspec.structs.replace(FILM, width=width, height=height, frame_rate=rate)


def plan(facts: VideoFacts, *pipeline: Item) -> Plan:
    return make_plan("job", "uploads/a.mov", facts, find_steps(pipeline, JobError), DEFAULTS)


def stream(facts: VideoFacts, **parameters: object) -> Hls:
    work = plan(facts, {"make": "hls", **parameters}).task("hls").work
    assert isinstance(work, Hls)
    return work


@pytest.mark.parametrize(
    ("size", "heights"),
    [
        ((3840, 2160), [1080, 720, 480, 360, 234]),
        ((1920, 1080), [1080, 720, 480, 360, 234]),
        ((1080, 1920), [1080, 720, 480, 360, 234]),
        ((1600, 900), [900, 720, 480, 360, 234]),
        ((1280, 720), [720, 480, 360, 234]),
        ((960, 540), [540, 360, 234]),
        ((720, 576), [576, 480, 360, 234]),
        ((640, 360), [360, 234]),
        ((320, 240), [240]),
        ((100, 60), [60]),
    ],
)
def test_the_automatic_ladder_has_the_rungs_that_a_film_has_detail_for(
    size: tuple[int, int], heights: list[int]
) -> None:
    assert [each.height for each in ladders.automatic(film(*size))] == heights
    found = stream(film(*size))
    sides = [min(rung.width, rung.height) for rung in found.rungs]
    assert sorted(sides, reverse=True) == heights
    assert found.warning == ""
    portrait = size[0] < size[1]
    assert all((rung.width < rung.height) == portrait for rung in found.rungs)


@pytest.mark.parametrize(
    ("rate", "rates"), [("25", {25.0}), ("50", {50.0, 25.0}), ("60000/1001", {59.94, 29.97})]
)
def test_small_rungs_have_at_most_thirty_frames_a_second(rate: str, rates: set[float]) -> None:
    found = stream(film(1920, 1080, rate))
    assert {round(rung.frame_rate, 2) for rung in found.rungs} == rates
    assert {round(rung.frame_rate, 2) for rung in found.rungs if rung.height < 480} == {min(rates)}


def test_players_start_with_the_rung_next_to_two_megabits() -> None:
    found = stream(FILM, ladder=[1080, 720, 480, {"height": 720, "codec": "hevc"}])
    assert [rung.rendition for rung in found.rungs] == ["720p", "1080p", "480p", "720p_hevc"]
    assert [rung.rendition for rung in stream(film(640, 360)).rungs] == [
        "360p_730kbps",
        "234p_290kbps",
    ]


def test_rungs_above_the_film_are_told_once_and_never_made() -> None:
    found = stream(film(854, 480), ladder=[1080, 720, 240])
    assert [rung.rendition for rung in found.rungs] == ["480p", "240p"]
    assert found.warning == "It has 480 lines, and was not enlarged: there is no rung of 720, 1080."
    assert stream(film(854, 480), ladder=[1080, 240]).warning.endswith("no rung of 1080.")
    # As it always was: one rung that is as large as the film can be.
    assert stream(film(854, 480), ladder=[720]).warning == ""


def test_one_rung_keeps_the_names_that_it_always_had() -> None:
    preset = plan(FILM, "hls_720p").task("hls_720p").work
    assert isinstance(preset, Hls)
    assert [rung.playlist for rung in preset.rungs] == ["video"]
    assert [rung.playlist for rung in stream(FILM, ladder=[720]).rungs] == ["video"]


def test_a_film_is_decoded_once_for_all_rungs_and_for_the_mp4s_that_share_them() -> None:
    made = plan(
        FILM,
        {"make": "hls", "ladder": [1080, 720]},
        {"make": "mp4", "height": 720},
        {"make": "mp4", "name": "small", "height": 360},
    )
    (work,) = (task.work for task in made.tasks if isinstance(task.work, Chunk))
    assert work.renditions == ("1080p", "720p", "360p")
    prefixes = {name: track.prefix.rpartition("/")[2] for name, track in made.tracks.items()}
    assert prefixes == {"1080p": "1080p_", "720p": "720p_", "360p": "video_", "sound": "audio_"}


def test_a_ladder_of_too_many_pixels_is_refused() -> None:
    large = film(3840, 2160)
    with pytest.raises(JobError) as refused:
        plan(
            large,
            {"make": "hls", "ladder": [{"height": n, "codec": "hevc"} for n in (2160, 2000, 1900)]},
        )
    assert refused.value.code == "too_many_renditions"


def test_equal_rungs_are_one() -> None:
    wanted = [Wanted(1080), Wanted(1440), Wanted(720)]
    assert [each.name for each in ladders.renditions(FILM, wanted)] == ["1080p", "720p"]


def test_an_unsteady_film_without_an_index_keeps_its_frames_on_every_rung() -> None:
    """Its groups begin by what is decoded: rungs with other frames would have other segments."""
    unsteady = msgspec.structs.replace(film(1920, 1080, "60"), steady=False)
    assert {rung.frame_rate for rung in stream(unsteady).rungs} == {60.0}


def test_rungs_at_sixty_frames_a_second_are_capped() -> None:
    names = {rung.rendition for rung in stream(film(1920, 1080, "60")).rungs}
    assert names >= {"1080p_15600kbps", "720p_9000kbps", "480p_2200kbps"}
    # At usual rates the caps are above what the encoder would ever give: an MP4 shares these rungs.
    names = {rung.rendition for rung in stream(FILM).rungs}
    assert names >= {"1080p", "720p", "480p"}


def test_players_start_with_what_was_measured_next_to_two_megabits() -> None:
    variants = [variant("720p", 3.6e6), variant("1080p", 5e6), variant("480p", 1.8e6)]
    variants.append(variant("hevc", 2e6, "hvc1.1.6"))
    found = playlists.start_first(variants)
    assert [each.rung.rendition for each in found] == ["480p", "720p", "1080p", "hevc"]


def test_the_peak_is_that_of_half_a_segment_or_more() -> None:
    """RFC 8216, 4.1: a last segment of a moment does not count by itself."""
    sizes = [(600_000, 6.0), (800_000, 6.0), (90_000, 0.08), (600_000, 6.0)]
    segments = [Segment("a", seconds, size) for size, seconds in sizes]
    most, average = playlists.bits(segments)
    assert most == pytest.approx(8 * 890_000 / 6.08)
    assert average == pytest.approx(8 * 2_090_000 / 18.08)
    assert playlists.bits(segments[2:])[0] == pytest.approx(8 * 690_000 / 6.08)
    assert playlists.bits([]) == (0.0, 0.0)


def variant(name: str, average: float, codec: str = "avc1.64001f") -> Variant:
    return Variant(Rung(name, name, 16, 16, None, 25.0, 9), codec, 25.0, 2 * average, average)


def test_a_rung_that_saves_little_is_left_out() -> None:
    found = playlists.useful(
        [
            variant("b", 650),
            variant("a", 1000),
            variant("c", 690),
            variant("d", 400),
            variant("e", 600, "hvc1.1.6"),
            variant("f", 420, "hvc1.1.6"),
        ]
    )
    # c needs 0.69 of a's bits, b 0.94 of c's, f exactly 0.7 of e's.
    assert [each.rung.rendition for each in found] == ["a", "c", "d", "e", "f"]


def test_a_multivariant_playlist_says_what_each_rung_is() -> None:
    work = stream(FILM, ladder=[720, 1080])
    variants = [
        Variant(rung, "avc1.64001f", 25.0, 3_000_000.4, 2_000_000, 90_000, 60_000)
        for rung in work.rungs
    ]
    lines = playlists.master(work, variants).splitlines()
    assert lines[:4] == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",LANGUAGE="und",DEFAULT=YES,AUTOSELECT=YES,'
        'CHANNELS="2",URI="audio.m3u8"',
    ]
    assert lines[4:6] == [
        '#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2000000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio"',
        "720p.m3u8",
    ]
    assert lines[8:] == [
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,AVERAGE-BANDWIDTH=60000,CODECS="avc1.64001f",'
        f'RESOLUTION={size},URI="{name}_iframes.m3u8"'
        for size, name in (("1280x720", "720p"), ("1920x1080", "1080p"))
    ]


def test_a_playlist_of_key_frames_names_the_bytes_of_each() -> None:
    segments = [
        Segment("00000.m4s", 4.0, 9000, (KeyFrame(0, 700, 2.0), KeyFrame(4000, 900, 2.0))),
        Segment("00001.m4s", 1.5, 3000, (KeyFrame(0, 800, 1.5),)),
    ]
    assert playlists.key_frames("720p", segments).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-I-FRAMES-ONLY",
        '#EXT-X-MAP:URI="720p_init.mp4"',
        *("#EXTINF:2.000000,", "#EXT-X-BYTERANGE:700@0", "720p_00000.m4s"),
        *("#EXTINF:2.000000,", "#EXT-X-BYTERANGE:900@4000", "720p_00000.m4s"),
        *("#EXTINF:1.500000,", "#EXT-X-BYTERANGE:800@0", "720p_00001.m4s"),
        "#EXT-X-ENDLIST",
    ]
    most, average = playlists.key_frame_bits(segments)
    assert most == pytest.approx(8 * 800 / 1.5)  # of 1 to 3 seconds
    assert average == pytest.approx(8 * 2400 / 5.5)
