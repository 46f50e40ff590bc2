"""How the watermark lies on a picture: geometry that both engines follow."""

from __future__ import annotations

from typing import Literal

import msgspec

Position = Literal["top_left", "top_right", "center", "bottom_left", "bottom_right"]


class Mark(msgspec.Struct, frozen=True):
    """How the watermark lies on a picture; `scale` is its width as a part of the picture's width."""

    image: str
    position: Position
    scale: float
    opacity: float


def mark_box(mark: Mark, width: int, height: int) -> tuple[int, int]:
    """What a mark must fit in: a part of the picture's width, but never more than lies within the margins."""
    around = 2 * margin_of(width, height)
    across = min(round(width * mark.scale), width - around)
    return max(1, across), max(1, height - around)


def margin_of(width: int, height: int) -> int:
    """Pixels between a mark and the edges of a picture: of a long one, as its short side allows."""
    return round(min(width * 0.025, height * 0.1))
