"""Posters of any size and shape, and of the frame that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy
import pytest
from PIL import Image

from chalicelib.model.facts import VideoFacts
from chalicelib.model.mark import Mark
from chalicelib.model.picture import QUALITY, ImageFormat, Picture, Variant
from chalicelib.model.work import Poster
from chalicelib.planning import poster
from chalicelib.planning.operation import Operation, PlanSettings, Step
from chalicelib.planning.planner import make_plan
from infra.tools.samples import run_ffmpeg
from testing.local import Result, carry_out, facts_of
from testing.planned import DEFAULTS

pytestmark = pytest.mark.media
# Frame n of the film has this brightness in the middle, and a white column at its right edge.
_FIRST, _STEP, _FRAMES = 20, 5, 40


def film(folder: Path, name: str, *options: str, rate: str = "10") -> Path:
    path = folder / name
    run_ffmpeg(
        "-f", "lavfi",
        "-i", f"nullsrc=s=640x360:r={rate},geq=lum='if(gt(X,560),235,{_FIRST}+{_STEP}*N)':cb=128:cr=128",
        "-frames:v", str(_FRAMES),
        "-c:v", "libx264", "-qp", "10", "-g", "15", "-bf", "0", "-pix_fmt", "yuv420p",
        "-color_range", "tv", "-colorspace", "bt709",
        *options,
        str(path),
    )  # fmt: skip
    return path


def variant(width: int, height: int, image_format: ImageFormat = "png") -> Variant:
    name = f"{width}x{height}.{image_format}"
    return Variant(name, width, height, image_format, QUALITY[image_format])


class _Drawn(Operation, frozen=True, kw_only=True):
    """An operation that makes a given picture of a film."""

    picture: Picture
    at: float | None

    def plan(self, stem: str, facts: VideoFacts, settings: PlanSettings) -> Poster:
        return poster.poster(facts, self.picture, settings, self.at)


def drawn(path: Path, folder: Path, picture: Picture, at: float | None = None) -> Result:
    """The poster of one variant."""
    step = Step("poster", "poster", "poster", {"video": _Drawn(picture=picture, at=at)})
    plan = make_plan("job", path.name, facts_of(path), (step,), DEFAULTS)
    return carry_out(plan, path, folder)["poster"]


def frame_of(poster_file: Path, film_file: Path) -> int:
    """The number of the frame that a poster shows."""
    with av.open(str(film_file)) as container:
        shades = [
            int(frame.to_ndarray(format="gray")[180, 320]) for frame in container.decode(video=0)
        ]
    assert len(shades) == _FRAMES
    shown = grey(poster_file)[90, 160]
    return min(range(_FRAMES), key=lambda number: abs(shades[number] - shown))


def grey(path: Path) -> Any:
    with Image.open(path) as image:
        return numpy.asarray(image.convert("L")).astype(int)


@pytest.mark.parametrize(
    ("at", "frame"), [(0.0, 0), (0.05, 0), (1.0, 10), (1.09, 10), (1.5, 15), (2.34, 23), (3.95, 39)]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_the_frame_that_is_shown_at_a_second(
    name: str, at: float, frame: int, tmp_path: Path
) -> None:
    path = film(tmp_path, name)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert (facts.index is None) == (name == "a.avi")
    made = drawn(path, tmp_path, Picture((variant(320, 180),)), at)
    assert frame_of(made.path, path) == frame


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_after_the_end_there_is_a_poster_all_the_same(name: str, tmp_path: Path) -> None:
    path = film(tmp_path, name)
    assert drawn(path, tmp_path, Picture((variant(320, 180),)), 100.0).made.width == 320


def test_a_black_frame_that_was_asked_for_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "black.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=3",
        "-vf", "drawbox=color=black:t=fill:enable='between(t,1,2)'",
        "-pix_fmt", "yuv420p",
        str(path),
    )  # fmt: skip
    with Image.open(drawn(path, tmp_path, Picture((variant(320, 180),)), 1.5).path) as image:
        assert numpy.asarray(image).max() < 20


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (200, 112)])
def test_a_poster_has_the_size_of_its_largest_file(size: tuple[int, int], tmp_path: Path) -> None:
    """Fine lines of the film are there, as they are not when a small frame is enlarged."""
    path = tmp_path / "lines.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "nullsrc=s=1280x720:r=10:d=1,geq=lum='235*mod(floor(X/4),2)':cb=128:cr=128",
        "-pix_fmt", "yuv420p", "-qp", "5",
        str(path),
    )  # fmt: skip
    made = drawn(path, tmp_path, Picture((variant(*size),)))
    assert (made.made.width, made.made.height) == size
    with Image.open(made.path) as image:
        assert image.size == size
    assert (numpy.ptp(grey(made.path)) > 200) == (size[0] >= 640)


def test_a_poster_can_be_cropped_and_marked(tmp_path: Path) -> None:
    path = film(tmp_path, "a.mp4")
    mark = Mark("watermark.png", "bottom_right", 0.5, 1.0)
    square = Picture((variant(180, 180, "webp"),), fit="cover", focus=(1.0, 0.5), mark=mark)
    made = drawn(path, tmp_path, square, 0.5)
    assert made.made.format == "webp"
    assert made.made.content_type == "image/webp"
    assert made.made.color
    plain = Picture((variant(180, 180),), fit="cover", focus=(1.0, 0.5))
    unmarked = drawn(path, tmp_path / "plain", plain, 0.5)
    # 80 of the film's 640 columns are white. The crop, at half the size, has them all.
    white = grey(unmarked.path)[20] > 200
    assert white.sum() == pytest.approx(40, abs=2)
    assert white[-40:].sum() == pytest.approx(40, abs=2)
    changed = abs(grey(made.path) - grey(unmarked.path))
    assert changed[140:, 80:140].max() > 40
    assert changed[:100].max() < 20


def test_a_frame_in_another_shape_than_its_films_is_not_stretched(tmp_path: Path) -> None:
    for number, size in enumerate(("640x360", "360x360")):
        run_ffmpeg(
            "-f", "lavfi", "-i", f"color=gray:s={size}:r=10:d=2",
            "-vf", "drawbox=x=(iw-100)/2:y=(ih-100)/2:w=100:h=100:color=white:t=fill",
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mpegts",
            str(tmp_path / f"{number}.ts"),
        )  # fmt: skip
    path = tmp_path / "changes.ts"
    path.write_bytes(b"".join((tmp_path / f"{n}.ts").read_bytes() for n in range(2)))
    made = drawn(path, tmp_path, Picture((variant(320, 180),)), 2.5)
    with Image.open(made.path) as image:
        assert image.size == (made.made.width, made.made.height)
        box = image.convert("L").point(lambda value: 255 * (value > 190)).getbbox()
    assert box is not None
    assert abs((box[2] - box[0]) - (box[3] - box[1])) <= 2
