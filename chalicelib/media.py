"""What is known of a source: facts found by probing, frozen, and pure arithmetic on them."""

from __future__ import annotations

from fractions import Fraction

import msgspec


class ImageFacts(msgspec.Struct, frozen=True, tag="image"):
    """A still picture. Width and height in pixels, after EXIF orientation."""

    format: str  # Pillow's name: JPEG, PNG, …
    width: int
    height: int


class VideoFacts(msgspec.Struct, frozen=True, tag="video"):
    """A film. Width and height in square pixels, after rotation; times in seconds."""

    demuxer: str  # FFmpeg's name, pinned with -f
    width: int
    height: int
    seconds: float  # of the video stream
    frames: int | None  # None where only decoding could tell
    frame_rate: str  # "30000/1001"
    timescale: int  # ticks a second in which every timestamp of the source is whole
    video_stream: int  # index in the container
    audio_stream: int | None
    interlaced: bool = False
    steady: bool = True  # every frame lasts as long as any other
    matrix: str = "bt709"  # FFmpeg's name of how its colours are coded; "" where they are RGB
    transfer: str = ""  # FFmpeg's name of an HDR transfer function; "" for SDR


Facts = ImageFacts | VideoFacts


def even(pixels: float) -> int:
    """The even number of pixels next to `pixels`, at least two: 4:2:0 has no half samples."""
    return max(2, round(pixels / 2) * 2)


def fit_short_side(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The even size whose shorter side is `short_side`, in the same shape; never larger than the source."""
    scale = min(1.0, short_side / min(width, height))
    return even(width * scale), even(height * scale)


def fit_box(width: int, height: int, box: int) -> tuple[int, int]:
    """The size that fits in box × box, in the same shape; never larger than the source."""
    scale = min(1.0, box / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def fps(facts: VideoFacts) -> float:
    return float(Fraction(facts.frame_rate))
