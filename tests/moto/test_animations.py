"""Animated images as films: every picture, as long as it is shown, in its colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts, VideoFacts
from chalicelib.model.work import Animation
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import animations
from chalicelib.planning.planner import make_plan
from chalicelib.tasks import animations as task
from testing.local import GIB, carry_out, facts_of
from testing.planned import DEFAULTS

pytestmark = pytest.mark.media

MILLISECONDS = [40, 100, 70, 200, 30, 500, 120]
COLOURS = [
    (200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (90, 90, 90),
    (255, 255, 255),
]  # fmt: skip
FORMATS: dict[str, dict[str, Any]] = {
    "gif": {},
    "webp": {"lossless": True},
    "png": {},
    "avif": {"quality": 95},
}


def animated(path: Path, durations: list[int] = MILLISECONDS, **options: Any) -> Path:
    """An animation of plain colours, one after the other, in odd sizes."""
    pictures = [Image.new("RGB", (65, 47), colour) for colour in COLOURS[: len(durations)]]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options
    )
    return path


def as_film(path: Path, folder: Path) -> Path:
    facts = facts_of(path)
    assert isinstance(facts, ImageFacts)
    assert facts.animated
    (copying,) = animations.plan_copy("job", "etag", facts).tasks
    assert isinstance(copying.work, Animation)
    folder.mkdir()
    (folder / "source").write_bytes(path.read_bytes())
    return task.as_film(copying.work, folder, Budget(lambda: 60.0, 4 * GIB))


def shown(path: Path) -> list[tuple[int, int, tuple[int, ...]]]:
    """Of each frame of a film: when it is shown and how long, in milliseconds, and its colour."""
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        tick = float(stream.time_base) * 1000
        lengths = {packet.pts: packet.duration for packet in container.demux(stream)}
        container.seek(0)
        return [
            (
                round((frame.pts or 0) * tick),
                round((lengths[frame.pts] or 0) * tick),
                frame.to_image().getpixel((30, 20)),
            )
            for frame in container.decode(stream)
        ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_picture_is_shown_as_long_as_it_was(suffix: str, tmp_path: Path) -> None:
    path = animated(tmp_path / f"a.{suffix}", **FORMATS[suffix])
    frames = shown(as_film(path, tmp_path / "film"))
    starts = [sum(MILLISECONDS[:number]) for number in range(len(MILLISECONDS))]
    assert [frame[:2] for frame in frames] == list(zip(starts, MILLISECONDS, strict=True))
    for (_, _, colour), wanted in zip(frames, COLOURS, strict=True):
        assert all(abs(one - other) <= 4 for one, other in zip(colour, wanted, strict=True))


def test_what_wants_to_be_shown_for_no_time_is_shown_as_in_browsers(tmp_path: Path) -> None:
    path = animated(tmp_path / "a.gif", [0, 10, 20])
    assert [length for _, length, _ in shown(as_film(path, tmp_path / "film"))] == [100, 100, 20]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (64, 48), (200, 30, 30, alpha)) for alpha in (255, 0)]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    colours = [colour for *_, colour in shown(as_film(path, tmp_path / "film"))]
    assert min(colours[1]) >= 250 > 220 > colours[0][0]


def test_an_animation_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    path = animated(tmp_path / "a.gif")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(JobError, match=r"After \d pictures the image is damaged") as refused:
        as_film(path, tmp_path / "film")
    assert refused.value.code == "source_damaged"


def test_too_many_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MOST_PIXELS", 65 * 47 * 3)
    with pytest.raises(JobError, match="65 × 47 and has more than 3 pictures") as refused:
        as_film(animated(tmp_path / "a.gif"), tmp_path / "film")
    assert refused.value.code == "too_many_frames"


def test_its_mp4_has_the_pictures_at_their_times(tmp_path: Path) -> None:
    copy = as_film(animated(tmp_path / "a.gif"), tmp_path / "film")
    facts = facts_of(copy)
    assert isinstance(facts, VideoFacts)
    steps = find_steps([{"make": "mp4"}], JobError)
    outputs = carry_out(make_plan("job", copy.name, facts, steps, DEFAULTS), copy, tmp_path / "out")
    frames = shown(outputs["mp4"].path)
    assert [start for start, *_ in frames] == [0, 40, 140, 210, 410, 440, 940]
    assert (outputs["mp4"].made.width, outputs["mp4"].made.height) == (64, 48)
    for (*_, colour), wanted in zip(frames, COLOURS, strict=True):
        assert all(abs(one - other) <= 12 for one, other in zip(colour, wanted, strict=True))


def test_an_image_may_be_both_a_picture_and_a_film(tmp_path: Path) -> None:
    path = animated(tmp_path / "a.gif")
    facts, film = facts_of(path), facts_of(as_film(path, tmp_path / "film"))
    assert isinstance(film, VideoFacts)
    steps = find_steps([{"make": "mp4"}, "thumbnail"], JobError)
    plan = make_plan("job", "a.gif", facts, steps, DEFAULTS, film=film)
    assert list(plan.steps) == ["mp4", "thumbnail"]
    assert {each.pool for each in plan.tasks} == {"pictures", "encode", "package"}


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_still_image_is_no_film(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"still.{suffix}"
    Image.new("RGB", (64, 48)).save(path)
    facts = facts_of(path)
    assert isinstance(facts, ImageFacts)
    assert not facts.animated
    with pytest.raises(JobError, match="mp4 needs a video, but the file is a still image"):
        make_plan("job", path.name, facts, find_steps([{"make": "mp4"}], JobError), DEFAULTS)
