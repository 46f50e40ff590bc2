"""Previews, judged by decoding: which frames of the film they show, how many, in which size and colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import msgspec
import numpy
import pytest
from PIL import Image, ImageSequence

from chalicelib.errors import JobError
from chalicelib.jobs import limits
from chalicelib.model.facts import VideoFacts
from chalicelib.model.usage import Used
from chalicelib.model.work import Preview
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from infra.tools import samples
from testing.local import Result, facts_of, run
from testing.planned import DEFAULTS, FILM
from testing.players import film

pytestmark = pytest.mark.media


def numbers(path: Path) -> list[int]:
    """The number that each frame shows: blocks at its upper edge, above others with its inverse."""
    found = []
    with av.open(str(path), "r") as container:
        assert len(container.streams) == 1
        for frame in container.decode(video=0):
            luma = frame.to_ndarray()[: frame.height, : frame.width]
            row, block = frame.height * 2 / 15, frame.width / 16
            bits = [
                [luma[int((half + 0.5) * row), int((bit + 0.5) * block)] > 127 for bit in range(16)]
                for half in range(2)
            ]
            assert all(above != below for above, below in zip(*bits, strict=True))
            found.append(sum(int(is_set) << bit for bit, is_set in enumerate(bits[0])))
    return found


def made(path: Path, folder: Path, **parameters: Any) -> Result:
    return run(path, folder, {"make": "preview", **parameters})["preview"]


def numbered(folder: Path, name: str, seconds: int) -> Path:
    """A film of five numbered frames a second, without sound."""
    film.make(folder / "numbered.mp4", seconds)
    samples.run_ffmpeg(
        "-i", str(folder / "numbered.mp4"), "-an", "-sn", "-c", "copy", str(folder / name)
    )
    return folder / name


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_preview_shows_moments_from_all_over_the_film(tmp_path: Path, name: str) -> None:
    path = numbered(tmp_path, name, 40)
    result = made(path, tmp_path / "made")
    # Four pieces of 1.25 s around 5, 15, 25 and 35 s, at fifteen frames a second: each three times.
    found = numbers(result.path)
    assert len(found) == 4 * 19
    for number in range(4):
        piece = found[19 * number : 19 * (number + 1)]
        # Without an index, from the next frame on.
        begin = int(((number + 0.5) * 10 - 0.625) * film.RATE) + (name == "film.mkv")
        assert piece == [begin + at // 3 for at in range(19)]
    assert result.made.duration == pytest.approx(76 / 15, abs=0.001)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_short_film_is_shown_whole(tmp_path: Path, name: str) -> None:
    path = numbered(tmp_path, name, 4)
    assert numbers(made(path, tmp_path / "made").path) == [at // 3 for at in range(60)]


def test_a_preview_may_be_an_animated_picture_in_the_same_colours(tmp_path: Path) -> None:
    path = tmp_path / "colours.mp4"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "color=red:size=640x360:rate=50:d=10", "-c:v", "libx264",
        "-pix_fmt", "yuv420p", "-colorspace", "bt709", "-color_primaries", "bt709",
        "-color_trc", "bt709", "-vf", "scale=out_color_matrix=bt709", str(path),
    )  # fmt: skip
    result = made(path, tmp_path / "made", formats=["webp"], width=320, seconds=4)
    assert (result.made.format, result.made.content_type) == ("webp", "image/webp")
    with Image.open(result.path) as image:
        assert (image.format, image.size) == ("WEBP", (320, 180))
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        for frame in frames:
            centre = frame.getpixel((160, 90))
            assert isinstance(centre, tuple)
            assert numpy.allclose(centre, (254, 0, 0), atol=6)
    as_film = made(path, tmp_path / "film", width=320, seconds=4)
    assert (as_film.made.width, as_film.made.height) == (320, 180)
    with av.open(str(as_film.path), "r") as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
    samples.run_ffmpeg("-i", str(as_film.path), "-frames:v", "1", str(tmp_path / "shown.png"))
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.getpixel((160, 90)) == pytest.approx((254, 0, 0), abs=6)


def test_frames_that_move_are_frames_of_the_webp(tmp_path: Path) -> None:
    path = numbered(tmp_path, "film.mp4", 10)
    result = made(path, tmp_path / "made", formats=["webp"], seconds=4)
    with Image.open(result.path) as image:
        durations = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            durations.append(frame.info["duration"])
    assert sum(durations) == pytest.approx(4000, abs=100)
    assert min(durations) >= 60


def test_a_portrait_film_is_not_turned_or_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "portrait.mp4"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=180x320:rate=10:d=8", "-pix_fmt", "yuv420p", str(path)
    )
    result = made(path, tmp_path / "made")
    assert (result.made.width, result.made.height) == (180, 320)
    with av.open(str(result.path), "r") as container:
        frames = list(container.decode(video=0))
    assert (frames[0].width, frames[0].height) == (180, 320)
    assert len(frames) == pytest.approx(100, abs=4)  # at twice the rate: 20


def test_both_formats_are_outputs_of_one_step(tmp_path: Path) -> None:
    path = numbered(tmp_path, "film.mp4", 3)
    results = run(
        path,
        tmp_path / "made",
        {"make": "preview"},
        {"make": "preview", "name": "a", "formats": ["webp"]},
    )
    assert {step: each.path.suffix for step, each in results.items()} == {
        "preview": ".mp4", "a": ".webp",
    }  # fmt: skip


def test_a_large_film_is_shown_small_enough() -> None:
    facts = msgspec.structs.replace(FILM, width=2160, height=4320)
    (step,) = find_steps([{"make": "preview", "seconds": 30, "width": 1280}], JobError)
    made = step.video(facts, DEFAULTS)
    assert isinstance(made, Preview)
    assert 0.95 * 1280 * 720 < made.width * made.height <= 1.01 * 1280 * 720
    assert made.height / made.width == pytest.approx(2, rel=0.01)


def test_pieces_far_from_their_key_frames_are_fewer(tmp_path: Path) -> None:
    """A film of one key frame is decoded from its start for each piece."""
    path = tmp_path / "film.mp4"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:d=120",
        "-c:v", "libx264", "-preset", "ultrafast", "-g", "100000", str(path),
    )  # fmt: skip
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    (step,) = find_steps([{"make": "preview"}], JobError)

    def pieces(width: int, height: int) -> int:
        made = step.video(msgspec.structs.replace(facts, width=width, height=height), DEFAULTS)
        assert isinstance(made, Preview)
        return len(made.pieces)

    assert [pieces(64, 48), pieces(1920, 1080), pieces(7680, 4320)] == [4, 4, 1]


def test_a_film_with_few_key_frames_has_a_preview(tmp_path: Path) -> None:
    """Its pieces lie in the same bytes of the file; that is no reason to take it for damaged."""
    path = tmp_path / "film.mp4"
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:d=40",
        "-c:v", "libx264", "-preset", "ultrafast", "-g", "250", str(path),
    )  # fmt: skip
    facts = facts_of(path)
    steps = find_steps([{"make": "preview", "seconds": 30}], JobError)
    plan = make_plan("job", path.name, facts, steps, DEFAULTS)
    limits.affordable(plan, facts, path.stat().st_size, Used("intake"), None)
