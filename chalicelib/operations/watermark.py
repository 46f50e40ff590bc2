"""The file itself, at full size, with the operator's mark on it."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts, even
from chalicelib.model.mark import Mark
from chalicelib.model.work import Watermark
from chalicelib.planning.operation import Packaging, Rendition, Step
from chalicelib.planning.renditions import mp4
from chalicelib.settings import settings


def _mark() -> Mark:
    chosen = settings()
    return Mark(
        image=chosen.watermark_image,
        position=chosen.watermark_position,
        scale=chosen.watermark_scale,
        opacity=chosen.watermark_opacity,
    )


def _of_image() -> Watermark:
    return Watermark(_mark(), "wm.jpg")


def _of_video(facts: VideoFacts) -> Packaging:
    full_size = Rendition("watermark", even(facts.width), even(facts.height), _mark())
    return Packaging(full_size, mp4(facts, full_size, "wm.mp4"))


watermark = Step("watermark", video=_of_video, image=_of_image)
