"""Storyboards: from which rendition tiles are taken, how large and how many they are. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

from msgspec.structs import replace

from chalicelib.formats.cmaf import GROUP_SECONDS
from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Command, Storyboard
from chalicelib.planning import video
from chalicelib.planning.operation import FilmWork, Packaging, Rendition

# Tiles beside and above each other on a sheet, at most.
_ACROSS, _DOWN = 5, 10
# So many tiles has a film, and a long one, of so many seconds; no storyboard has more than the last.
_TILES, _TILES_OF_LONG, _LONG_SECONDS, _MOST_TILES = 50, 100, 900, 1000
# A rendition has at least so many lines.
_LEAST_LINES = 144
# FFmpeg writes a sheet under this name, numbered from 1 on.
SHEET = "sheet_%d.jpg"


class Tiles(NamedTuple):
    """How a storyboard is divided."""

    every: float  # seconds of the film for each tile
    warning: str = ""


def tiles(seconds: float, every: float | None) -> Tiles:
    """Tiles of a film of so many seconds, each for `every` seconds or by its length.

    A key frame is shown on each, and there is one in two seconds.
    """
    usual = seconds / (_TILES_OF_LONG if seconds > _LONG_SECONDS else _TILES)
    wanted = max(float(GROUP_SECONDS), usual if every is None else every)
    least = seconds / _MOST_TILES
    if wanted >= least:
        return Tiles(wanted)
    detail = f"A storyboard has at most {_MOST_TILES} tiles: there is one for each {least:.1f} s."
    return Tiles(least, detail)


def size(facts: VideoFacts, width: int) -> tuple[int, int]:
    """Width and height of a tile, in pixels: nothing is enlarged."""
    across = _even(min(width, facts.width))
    return across, _even(across * facts.height / facts.width)


def _even(side: float) -> int:
    return max(2, 2 * int(side / 2))


def rendition(facts: VideoFacts, tile: tuple[int, int]) -> Rendition:
    """The smallest rendition that tiles can be taken from, where the job has none."""
    return video.rendition(facts, short_side=max(_LEAST_LINES, min(tile)))


def grid(tiles: int) -> tuple[int, int]:
    """Across and down, of sheets for so many tiles."""
    across = min(_ACROSS, tiles)
    return across, min(_DOWN, ceil(tiles / across))


def command(tile: tuple[int, int], grid: tuple[int, int]) -> Command:
    """FFmpeg's arguments: from a film of key frames to sheets, in the colours of JPEG."""
    (width, height), (across, down) = tile, grid
    return (
        "-f", "mov",
        "-protocol_whitelist", "file",
        "-i", "source",
        "-vf",
        f"scale={width}:{height}:flags=bicubic:out_range=pc:out_color_matrix=bt601,"
        f"format=yuv420p,tile={across}x{down}",
        "-fps_mode", "passthrough",
        "-c:v", "mjpeg",
        "-q:v", "4",
        "-map_metadata", "-1",
        "-f", "image2",
        SHEET,
    )  # fmt: skip


def shared(asked: Mapping[str, FilmWork]) -> dict[str, FilmWork]:
    """Steps whose storyboards take their tiles from what is encoded for the other steps, where that serves.

    That is the smallest rendition without a mark that has enough pixels.
    """
    others = [
        each
        for work in asked.values()
        if isinstance(work, Packaging) and not isinstance(work.work, Storyboard)
        for each in work.renditions
        if each.mark is None
    ]
    others.sort(key=lambda each: (each.width * each.height, each.codec != "h264"))
    return {step: _shared(work, others) for step, work in asked.items()}


def _shared(work: FilmWork, others: list[Rendition]) -> FilmWork:
    if not isinstance(work, Packaging) or not isinstance(work.work, Storyboard):
        return work
    least = work.work.width
    found = next((each for each in others if each.width >= least), None)
    if found is None:
        return work
    return replace(work, renditions=(found,), work=replace(work.work, rendition=found.name))
