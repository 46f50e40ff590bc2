"""Storyboards: how a film is divided into tiles, and where they are. Nothing is decoded."""

from __future__ import annotations

import re

import msgspec
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import storyboards as formats
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Audio, Chunk, Storyboard
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import storyboards
from chalicelib.planning.operation import Item
from chalicelib.planning.planner import make_plan
from testing.planned import DEFAULTS, FILM

TEN_MINUTES = msgspec.structs.replace(FILM, seconds=600.0, frames=15000)


def plan(*pipeline: Item, facts: VideoFacts = TEN_MINUTES) -> Plan:
    return make_plan("job", "uploads/a.mov", facts, find_steps(pipeline, JobError), DEFAULTS)


def work_of(made: Plan) -> Storyboard:
    work = made.task("storyboard").work
    assert isinstance(work, Storyboard)
    return work


def board(seconds: float, every: float, grid: tuple[int, int]) -> Storyboard:
    return Storyboard("720p", (), 64, 36, grid, every, seconds)


@pytest.mark.parametrize(
    ("seconds", "every"), [(7200.0005, 3600.0), (100.0, 100 / 3), (6.0001, 2.0)]
)
def test_no_tile_is_beyond_the_last_sheet(seconds: float, every: float) -> None:
    """A film that is a hair longer than its tiles has no tile for that hair."""
    work = board(seconds, every, (1, 1))
    layout = formats.layout(work, [f"{number}.jpg" for number in range(work.sheets)])
    assert len(layout.tiles) == work.tiles == work.sheets
    assert layout.tiles[-1].end == pytest.approx(seconds, abs=1e-3)
    formats.webvtt(layout)


@pytest.mark.parametrize(
    ("seconds", "every", "tiles", "sheets", "grid"),
    [
        (600, None, 50, 1, (5, 10)),
        (899, None, 50, 1, (5, 10)),
        (7200, None, 100, 2, (5, 10)),
        (30, None, 15, 1, (5, 3)),
        (3, None, 2, 1, (2, 1)),
        (0.5, None, 1, 1, (1, 1)),
        (600, 10, 60, 2, (5, 10)),
        (43200, 2, 1000, 20, (5, 10)),
    ],
)
def test_the_tiles_of_a_film(
    seconds: float, every: float | None, tiles: int, sheets: int, grid: tuple[int, int]
) -> None:
    facts = msgspec.structs.replace(FILM, seconds=float(seconds))
    item = {"make": "storyboard", **({"every": every} if every else {})}
    work = work_of(plan(item, facts=facts))
    assert (work.tiles, work.sheets, work.grid) == (tiles, sheets, grid)
    assert bool(work.warning) == (seconds == 43200)
    names = [f"a_{number}.jpg" for number in range(sheets)]
    layout = formats.layout(work, names)
    assert len(layout.tiles) == tiles
    assert {tile.sheet for tile in layout.tiles} == set(range(sheets))


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((1920, 1080), (256, 144)),
        ((1080, 1920), (256, 454)),
        ((160, 90), (160, 90)),
        ((99, 51), (98, 50)),
    ],
)
def test_a_tile_has_the_films_shape(size: tuple[int, int], tile: tuple[int, int]) -> None:
    facts = msgspec.structs.replace(FILM, width=size[0], height=size[1])
    assert storyboards.size(facts, 256) == tile


def test_tiles_come_from_the_smallest_rendition_of_the_job_that_serves() -> None:
    made = plan(
        {"make": "storyboard"}, {"make": "hls"}, {"make": "mp4", "name": "b", "height": 720}
    )
    assert work_of(made).rendition == "234p_290kbps"
    (chunk,) = (task.work for task in made.tasks if isinstance(task.work, Chunk))
    assert len(chunk.renditions) == 5
    made = plan({"make": "storyboard", "width": 640}, {"make": "hls", "ladder": [720, 234]})
    assert work_of(made).rendition == "720p"
    made = plan({"make": "storyboard"}, "watermark")  # its mark would be on the tiles
    assert work_of(made).rendition == "144p"


def test_a_storyboard_alone_encodes_a_small_film_without_sound() -> None:
    made = plan({"make": "storyboard"})
    assert [type(task.work) for task in made.tasks] == [Chunk, Storyboard]
    assert list(made.samples) in ([], ["film"])
    made = plan({"make": "storyboard"}, {"make": "mp4"})
    assert made.task("storyboard").needs == ("film.0",)
    assert made.task("mp4").needs == ("film.0", "sound.0")
    assert any(isinstance(task.work, Audio) for task in made.tasks)


def test_a_layout_as_webvtt() -> None:
    layout = formats.layout(board(3725.5, 1300, (2, 1)), ["s_1.jpg", "s_2.jpg"])
    assert formats.webvtt(layout) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:21:40.000\ns_1.jpg#xywh=0,0,64,36\n\n"
        "00:21:40.000 --> 00:43:20.000\ns_1.jpg#xywh=64,0,64,36\n\n"
        "00:43:20.000 --> 01:02:05.500\ns_2.jpg#xywh=0,0,64,36\n"
    )


def test_times_of_cues_follow_each_other() -> None:
    layout = formats.layout(board(59.9996, 7.77, (5, 10)), ["a.jpg"])
    times = re.findall(r"(\S+) --> (\S+)", formats.webvtt(layout))
    assert [end for _, end in times][:-1] == [start for start, _ in times][1:]
    assert all(re.fullmatch(r"\d\d:\d\d:[0-5]\d\.\d{3}", one) for pair in times for one in pair)
