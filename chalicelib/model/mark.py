"""The watermark and its place on a picture: the geometry for both Pillow and FFmpeg."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

Position = Literal["top_left", "top_right", "center", "bottom_left", "bottom_right"]

# The key prefix in the output bucket under which operators put images of watermarks: nothing there starts a
# job, or expires.
WATERMARKS = "watermarks/"


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The image that is laid on a picture, and how."""

    image: (
        str  # name of a PNG: among the assets of this package, or with an `etag` under WATERMARKS
    )
    position: Position
    scale: float  # its width as a part of the picture's width; 0 to 1
    opacity: float  # 0 to 1
    etag: str = ""  # of the operator's object

    @property
    def file(self) -> str:
        """Its name in the folder of a task."""
        if not self.etag:
            return self.image
        digest = hashlib.sha256(f"{self.etag} {self.image}".encode()).hexdigest()
        return f"mark_{digest[:16]}.png"


def mark_box(mark: Mark, width: int, height: int) -> tuple[int, int]:
    """(width, height) in pixels of the box that a mark must fit in, inside the margins of a picture."""
    around = 2 * margin_of(width, height)
    across = min(round(width * mark.scale), width - around)
    return max(1, across), max(1, height - around)


def margin_of(width: int, height: int) -> int:
    """Pixels between a mark and the edges of a picture; fewer in a very long picture."""
    return round(min(width * 0.025, height * 0.1))
