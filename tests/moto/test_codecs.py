"""Renditions in every codec, with fewer frames, with fewer bits: in chunks what they are as a whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import msgspec
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, codecs
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts, fps
from chalicelib.model.plan import Plan
from chalicelib.operations.mp4 import Mp4
from chalicelib.planning import frame_rates, video
from chalicelib.planning.operation import Codec, PlanSettings, Step
from chalicelib.planning.planner import make_plan
from testing import exactness
from testing.attacks import box
from testing.clips import clip, clips
from testing.local import carry_out, facts_of
from testing.planned import DEFAULTS, FILM, SHORT_CHUNKS, plan_settings_with
from tests.moto.test_exact import saying

pytestmark = pytest.mark.media

BUDGET = Budget(lambda: 600.0, 4 * 1024**3)
ONE_CHUNK = plan_settings_with(chunk_work_seconds=900.0)
CLIPS = clips("160x96", 16, audio=False)
TAGS = {"h264": "avc1", "hevc": "hvc1", "av1": "av01"}


def mp4(name: str, **asked: Any) -> Step:
    """A step that makes an MP4 of a rendition."""
    made = Mp4(**({"height": "source"} | asked))
    return Step(name, name, name, {"video": made})


class Shown(NamedTuple):
    """What a player gets of a film: when it shows each frame, and with which one a group begins."""

    times: list[Fraction]
    keys: list[Fraction]
    tag: str
    brands: str


def shown(path: Path) -> Shown:
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        times = [
            frame.pts * frame.time_base for frame in film.decode(stream) if frame.pts is not None
        ]
        tag, brands = stream.codec_context.codec_tag, film.metadata["compatible_brands"]
    with av.open(str(path)) as film:
        packets = [packet for packet in film.demux(video=0) if packet.is_keyframe]
        keys = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
    return Shown(times, keys, tag, brands)


def planned(
    path: Path, steps: Sequence[Step], chosen: PlanSettings, *, whole: bool = False
) -> Plan:
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    if whole:
        facts = msgspec.structs.replace(facts, index=None)
    return make_plan("job", "a.mp4", facts, steps, chosen)


def made(
    path: Path, folder: Path, steps: Sequence[Step], chosen: PlanSettings, *, whole: bool = False
) -> dict[str, Path]:
    """The MP4 of each step."""
    plan = planned(path, steps, chosen, whole=whole)
    results = carry_out(plan, path, folder, budget_of=lambda _: BUDGET)
    assert [result.made.warning for result in results.values()] == [""] * len(steps)
    return {name: result.path for name, result in results.items()}


@pytest.mark.parametrize("codec", ["hevc", "av1"])
@pytest.mark.parametrize("name", ["25 fps, B-frames", "variable frame rate", "59.94 fps"])
def test_a_codec_in_chunks_has_every_frame_at_its_time(
    tmp_path: Path, codec: str, name: str
) -> None:
    path = tmp_path / "source.mp4"
    CLIPS[name](path)
    steps = [mp4("other", codec=codec), mp4("usual")]
    parts = made(path, tmp_path / "parts", steps, SHORT_CHUNKS)
    single = made(path, tmp_path / "single", steps, ONE_CHUNK)
    other, usual = shown(parts["other"]), shown(parts["usual"])
    assert other.times == usual.times == shown(single["other"]).times
    # Renditions have groups at the same moments.
    assert other.keys == usual.keys
    assert (other.tag, usual.tag) == (TAGS[codec], "avc1")
    assert ("av01" in other.brands) == (codec == "av1")
    assert ("avc1" in other.brands) is False
    psnr = exactness.psnr(parts["other"], single["other"])
    assert len(psnr) == len(other.times)
    assert min(psnr) > 28
    assert parts["other"].stat().st_size < 1.1 * single["other"].stat().st_size


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_all_parts_of_a_rendition_begin_with_the_same_header(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50", size="320x180")
    made(path, tmp_path, [mp4("film", codec=codec)], SHORT_CHUNKS)
    headers = [init.read_bytes() for init in tmp_path.glob("tasks/film.*/out/*/init.mp4")]
    assert len(headers) > 2
    assert len(set(headers)) == 1
    name = codecs.codec_of(headers[0])
    wanted = {"h264": "avc1.64", "hevc": "hvc1.1.6.L60", "av1": "av01.0.00M.08"}[codec]
    assert name.startswith(wanted)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        # As FFmpeg's and Bento4's tools name real files.
        (b"avcC\x01\x64\x00\x28", "avc1.640028"),
        (b"hvcC\x01\x01\x60\x00\x00\x00\x90\x00\x00\x00\x00\x00\x5d", "hvc1.1.6.L93.90"),
        (b"hvcC\x01\x22\x20\x00\x00\x00\xb0\x00\x00\x00\x00\x00\x99", "hvc1.2.4.H153.B0"),
        (b"hvcC\x01\x41\x60\x00\x00\x00\x00\x00\x00\x00\x00\x00\x78", "hvc1.A1.6.L120"),
        (b"av1C\x81\x08\x0c\x00", "av01.0.08M.08"),
        (b"av1C\x81\x4d\xcc\x00", "av01.2.13H.10"),
    ],
)
def test_codecs_have_the_names_that_playlists_know(record: bytes, name: str) -> None:
    entry = {"avc1": b"avc1", "hvc1": b"hvc1", "av01": b"av01"}[name[:4]]
    stsd = box(b"stsd", bytes(8) + box(entry, bytes(78), box(record[:4], record[4:])))
    header = box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsd)))))
    assert codecs.codec_of(header) == name


# ── fewer frames ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rate", "cap", "step"),
    [
        ("25", 30, 1),
        ("30", 30, 1),
        ("30000/1001", 30, 1),
        ("30.1", 30, 1),
        ("50", 30, 2),
        ("60", 30, 2),
        ("60000/1001", 30, 2),
        ("60", 24, 3),
        ("120", 30, 4),
        ("25", None, 1),
    ],
)
def test_every_nth_frame_is_kept_where_a_film_has_more_than_it_may(
    rate: str, cap: int | None, step: int
) -> None:
    facts = msgspec.structs.replace(FILM, frame_rate=rate)
    assert frame_rates.step_of(facts, cap) == step
    capped = video.rendition(facts, short_side=720, max_fps=cap)
    assert (capped == video.rendition(facts, short_side=720)) == (step == 1)
    assert video.frame_rate(facts, capped) == pytest.approx(fps(facts) / step)


@pytest.mark.parametrize("name", ["60 fps", "59.94 fps", "variable frame rate", "a tick a frame"])
@pytest.mark.parametrize("cap", [15, 10])
def test_a_rendition_with_fewer_frames_keeps_the_same_ones_however_it_is_cut(
    tmp_path: Path, name: str, cap: int
) -> None:
    path = tmp_path / "source.mp4"
    CLIPS[name](path)
    steps = [mp4("capped", max_fps=cap), mp4("usual")]
    parts = {
        step: shown(file) for step, file in made(path, tmp_path / "a", steps, SHORT_CHUNKS).items()
    }
    (single,) = made(path, tmp_path / "b", steps[:1], ONE_CHUNK).values()
    capped, usual = parts["capped"], parts["usual"]
    assert len(planned(path, steps, SHORT_CHUNKS).task("capped").needs) > 1
    assert capped.times == shown(single).times
    assert set(capped.times) <= set(usual.times)
    assert capped.keys == usual.keys
    gaps = [later - earlier for earlier, later in pairwise(capped.times)]
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    step = frame_rates.step_of(facts, cap)
    assert (len(capped.times) < len(usual.times)) == (step > 1)
    if facts.steady:
        # All equally far apart but where they are counted anew, after each segment at most.
        assert Counter(gaps).most_common(1)[0][0] == pytest.approx(
            step / Fraction(facts.frame_rate)
        )
        assert len(capped.times) <= len(usual.times) / step + 1 + len(usual.times) / fps(facts) / 6
    assert max(later - earlier for earlier, later in pairwise(usual.keys)) <= cmaf.GROUP_SECONDS


def test_a_film_as_a_whole_keeps_every_nth_frame(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    CLIPS["59.94 fps"](path)
    steps = [mp4("capped", max_fps=30), mp4("usual")]
    files = made(path, tmp_path, steps, DEFAULTS, whole=True)
    capped, usual = shown(files["capped"]), shown(files["usual"])
    assert capped.times == usual.times[::2]
    assert capped.keys == usual.keys
    assert len(usual.keys) > 5


def test_a_film_that_lacks_frames_is_made_with_fewer_all_the_same(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "source.mp4"
    clip(whole, "60", "-g", "60", seconds=8)
    nothing = b"\0\0\0\2\x09\xf0"  # a delimiter, and no picture after it
    saying(whole, path, dict.fromkeys(range(101, 104), lambda _: nothing))
    plan = planned(path, [mp4("capped", max_fps=30), mp4("usual")], SHORT_CHUNKS)
    results = carry_out(plan, path, tmp_path, budget_of=lambda _: BUDGET)
    for name, frames in (("capped", 240), ("usual", 480)):
        assert "damaged" in results[name].made.warning
        assert frames - 4 < len(shown(results[name].path).times) < frames


# ── fewer bits ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_rendition_has_no_more_bits_than_it_may(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50", "-crf", "12", size="320x180", filters="noise=alls=30:allf=t")
    asked = [mp4("free", codec=codec), mp4("capped", codec=codec, max_kbps=120)]
    files = made(path, tmp_path, asked, SHORT_CHUNKS)
    free, capped = (files[name].stat().st_size * 8 / 16 / 1000 for name in ("free", "capped"))
    assert free > 200
    # Of a second more for each of the three chunks.
    assert capped < 1.25 * 120


def test_renditions_that_differ_have_different_names_and_equal_ones_are_one() -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"short_side": 480},
        {"codec": "hevc"},
        {"codec": "av1"},
        {"max_fps": 24},
        {"max_kbps": 900},
        {"mark": DEFAULTS.mark},
        {"mark": msgspec.structs.replace(DEFAULTS.mark, opacity=0.5)},
    ]
    found = [video.rendition(FILM, **{"short_side": 720} | each) for each in asked]
    assert len({each.name for each in found}) == len(set(found)) == len(asked)
    assert all(re.fullmatch("[a-z0-9_]+", each.name) for each in found)
    usual = video.rendition(FILM, short_side=720)
    assert video.rendition(FILM, short_side=720, max_fps=25, max_kbps=90_000) == usual
    small = msgspec.structs.replace(FILM, width=640, height=360)
    assert video.rendition(small, short_side=720) == video.rendition(small, short_side=None)


def test_a_rendition_that_is_limited_is_planned_with_its_limit() -> None:
    capped = video.rendition(FILM, short_side=720, max_kbps=900)
    assert video.max_bits_per_second(FILM, capped) == 900_000
    assert video.bits_per_second(FILM, capped) == 900_000
    (command,) = video.encode(FILM, [capped], DEFAULTS).commands.values()
    assert command[command.index("-maxrate") + 1] == "900000"


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_a_film_that_is_too_small_for_a_codec_is_refused_and_the_smallest_is_made(
    tmp_path: Path, codec: Codec
) -> None:
    smallest = msgspec.structs.replace(FILM, width=16, height=16)
    with pytest.raises(JobError, match=f"640 × 14 pixels is too small for {codec}"):
        video.rendition(
            msgspec.structs.replace(smallest, width=640, height=14), short_side=None, codec=codec
        )
    path = tmp_path / "source.mp4"
    clip(path, "300", "-g", "300", size="16x16", seconds=1)
    found = shown(made(path, tmp_path, [mp4("film", codec=codec)], SHORT_CHUNKS)["film"])
    assert len(found.times) == 300
