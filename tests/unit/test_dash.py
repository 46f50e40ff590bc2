"""The MPD of a film, as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from chalicelib.formats import cmaf, dash
from chalicelib.formats.dash import Heard, Picture
from chalicelib.model.result import EncodedTrack
from chalicelib.model.streams import Rung, Sound

MPD = "{urn:mpeg:dash:schema:mpd:2011}"


def track(*times: int, timescale: int = 1000) -> EncodedTrack:
    return EncodedTrack((), 0.0, "", times=times, timescale=timescale)


def picture(
    name: str, *parts: EncodedTrack, codec: str = "avc1.64001f", rate: float = 25.0
) -> Picture:
    return Picture(Rung(name, name, 16, 16, None, 25.0, 9), codec, rate, 1000.2, parts)


def heard(language: str, parts: list[EncodedTrack]) -> Heard:
    return Heard(Sound("sound", "audio", language, language), 1.0, parts)


def parsed(pictures: list[Picture], *sounds: Heard) -> ElementTree.Element:
    return ElementTree.fromstring(dash.manifest(pictures, sounds))


def timeline(mpd: ElementTree.Element) -> list[dict[str, str]]:
    return [each.attrib for each in mpd.iter(f"{MPD}S")]


def test_a_run_of_equal_segments_is_told_once_over_the_bounds_of_parts() -> None:
    parts = track(1000, 3000, 5000), track(5000, 7000, 7500)
    assert timeline(parsed([picture("a", *parts)])) == [
        {"t": "1000", "d": "2000", "r": "2"},
        {"d": "500"},
    ]


def test_what_begins_after_a_gap_tells_when() -> None:
    parts = track(1040, 3000), track(3040, 5000, 6960)
    assert timeline(parsed([picture("a", *parts)])) == [
        {"t": "1040", "d": "1960"},
        {"t": "3040", "d": "1960", "r": "1"},
    ]


def test_a_frame_whose_length_nobody_knows_lasts_a_tick() -> None:
    assert timeline(parsed([picture("a", track(1000, 1000))])) == [{"t": "1000", "d": "1"}]


@pytest.mark.parametrize(
    ("times", "told"),
    [((1000, 7000), "PT6.000S"), ((1000, 3_601_000), "PT3600.000S"), ((999, 2001), "PT1.001S")],
)
def test_the_length_is_that_of_the_longest_track(times: tuple[int, ...], told: str) -> None:
    sound = heard("en", [track(976, 1500)])
    mpd = parsed([picture("a", track(*times))], sound)
    assert mpd.get("mediaPresentationDuration") == told


def test_no_length_is_told_too_short() -> None:
    """Players drop a frame that ends after the film."""
    mpd = parsed([picture("a", track(30_000, 90_061, timescale=30_000))])
    assert mpd.get("mediaPresentationDuration") == "PT2.003S"


def test_time_begins_where_fragments_begin() -> None:
    mpd = parsed([picture("a", track(90_000, 99_000, timescale=90_000))])
    (template,) = mpd.iter(f"{MPD}SegmentTemplate")
    assert (template.get("timescale"), template.get("presentationTimeOffset")) == ("90000", "90000")


def test_rungs_of_one_codec_are_switched_among_each_other() -> None:
    names = [("a", "avc1.64001f"), ("b", "hvc1.1.6"), ("c", "avc1.64000c")]
    mpd = parsed([picture(name, track(1000, 2000), codec=codec) for name, codec in names])
    found = [
        [each.get("id") for each in adaptation] for adaptation in mpd.iter(f"{MPD}AdaptationSet")
    ]
    assert found == [["a", "c"], ["b"]]


def test_a_film_without_sound_has_no_set_for_it() -> None:
    mpd = parsed([picture("a", track(1000, 2000))])
    assert [each.get("contentType") for each in mpd.iter(f"{MPD}AdaptationSet")] == ["video"]


@pytest.mark.parametrize(("measured", "told"), [(25.0, "25"), (24.7, "25"), (30.992, "3874/125")])
def test_the_rate_is_the_plans_or_that_of_an_unsteady_film(measured: float, told: str) -> None:
    mpd = parsed([picture("a", track(1000, 2000), rate=measured)])
    assert [each.get("frameRate") for each in mpd.iter(f"{MPD}Representation")] == [told]


def test_what_a_file_calls_its_language_breaks_nothing() -> None:
    sound = heard('x"><S/>&', [track(976, 2000)])
    mpd = parsed([picture("a", track(1000, 2000))], sound)
    assert [each.get("lang") for each in mpd.iter(f"{MPD}AdaptationSet")] == [None, 'x"><S/>&']
    assert len(timeline(mpd)) == 2


def test_names_of_segments_are_as_they_are_made() -> None:
    mpd = parsed([picture("a", track(1000, 2000))])
    (template,) = mpd.iter(f"{MPD}SegmentTemplate")
    media = (template.get("media") or "").replace("$RepresentationID$", "a")
    for number in (0, 42, 99_999, 123_456):
        # As ISO/IEC 23009-1, 5.3.9.4.4 has it: a width of at least five digits.
        assert media.replace("$Number%05d$", f"{number:05d}") == f"a_{cmaf.segment_name(number)}"


@pytest.mark.parametrize(
    ("rate", "told"), [(25.0, "25"), (30000 / 1001, "30000/1001"), (15000 / 1001, "15000/1001")]
)
def test_frame_rates_are_fractions(rate: float, told: str) -> None:
    rung = Rung("a", "a", 16, 16, None, rate, 9)
    (made,) = parsed([Picture(rung, "avc1", rate, 1.0, [track(1000, 2000)])]).iter(
        f"{MPD}Representation"
    )
    assert made.get("frameRate") == told


def test_a_player_that_loads_at_the_told_rate_waits_for_no_segment_of_usual_length() -> None:
    mpd = parsed([picture("a", track(1000, 3000))])
    assert mpd.get("minBufferTime") == f"PT{cmaf.SEGMENT_SECONDS}.000S"
    long = parsed([picture("a", track(*(1000 + 8000 * n for n in range(3))))])
    assert long.get("minBufferTime") == "PT8.000S"
