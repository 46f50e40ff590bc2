"""Where the tiles of a storyboard lie and when they are shown, as WebVTT and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


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


def layout(
    seconds: float,
    every: float,
    tile: tuple[int, int],
    sheets: Sequence[str],
    grid: tuple[int, int],
) -> Layout:
    """The layout of a film's tiles, one for `every` so many seconds, on sheets of `grid` across and down."""
    across, down = grid
    found: list[Tile] = []
    start = 0.0
    while not found or start < seconds - 1e-6:
        sheet, place = divmod(len(found), across * down)
        end = min(seconds, (len(found) + 1) * every)
        row, column = divmod(place, across)
        found.append(Tile(round(start, 3), round(end, 3), sheet, column * tile[0], row * tile[1]))
        start = end
    return Layout(round(seconds, 3), *tile, tuple(sheets), tuple(found))


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
