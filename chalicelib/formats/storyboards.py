"""Where the tiles of a storyboard lie and when they are shown, as WebVTT and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.model.work import Storyboard


class Tile(msgspec.Struct, frozen=True):
    """A tile: its time in seconds, its sheet by number from 0 on, its top left corner in pixels."""

    start: float
    end: float
    sheet: int
    x: int
    y: int


class Layout(msgspec.Struct, frozen=True):
    """A storyboard as its JSON tells it; sizes in pixels, `duration` in seconds."""

    duration: float
    tile_width: int
    tile_height: int
    sheets: tuple[str, ...]  # names of files beside this one
    tiles: tuple[Tile, ...]


def layout(work: Storyboard, sheets: Sequence[str]) -> Layout:
    """The layout of a film's tiles on sheets of these names."""
    return Layout(
        round(work.seconds, 3),
        work.width,
        work.height,
        tuple(sheets),
        tuple(_tile(work, number) for number in range(work.tiles)),
    )


def _tile(work: Storyboard, number: int) -> Tile:
    across, down = work.grid
    sheet, place = divmod(number, across * down)
    row, column = divmod(place, across)
    end = work.seconds if number + 1 == work.tiles else (number + 1) * work.every
    return Tile(
        round(number * work.every, 3),
        round(end, 3),
        sheet,
        column * work.width,
        row * work.height,
    )


def webvtt(layout: Layout) -> str:
    """A cue for each tile: the name of its sheet with its place (`#xywh=`), as players read it."""
    cues = [
        f"{_moment(tile.start)} --> {_moment(tile.end)}\n"
        f"{layout.sheets[tile.sheet]}#xywh={tile.x},{tile.y},{layout.tile_width},{layout.tile_height}\n"
        for tile in layout.tiles
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _moment(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds / 1000:06.3f}"
