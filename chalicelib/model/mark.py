"""The watermark and its place on a picture: the geometry for both Pillow and FFmpeg."""

from __future__ import annotations

from typing import Literal

import msgspec

Position = Literal["top_left", "top_right", "center", "bottom_left", "bottom_right"]


class Mark(msgspec.Struct, frozen=True):
    """The image that is laid on a picture, and how."""

    image: str  # name of a PNG among the assets of this package
    position: Position
    scale: float  # its width as a part of the picture's width; 0 to 1
    opacity: float  # 0 to 1


def mark_box(mark: Mark, width: int, height: int) -> tuple[int, int]:
    """(width, height) in pixels of the box that a mark must fit in, inside the margins of a picture."""
    around = 2 * margin_of(width, height)
    across = min(round(width * mark.scale), width - around)
    return max(1, across), max(1, height - around)


def margin_of(width: int, height: int) -> int:
    """Pixels between a mark and the edges of a picture; fewer in a very long picture."""
    return round(min(width * 0.025, height * 0.1))
