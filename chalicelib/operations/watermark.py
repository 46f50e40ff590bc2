"""The step watermark: the image or film at full size, with the operator's mark on it."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Watermark
from chalicelib.operations.mp4 import as_mp4
from chalicelib.planning import video
from chalicelib.planning.operation import Packaging, PlanSettings, Step


def _of_image(settings: PlanSettings) -> Watermark:
    return Watermark(settings.mark, "wm.jpg")


def _of_video(facts: VideoFacts, settings: PlanSettings) -> Packaging:
    full_size = video.rendition(facts, short_side=None, mark=settings.mark)
    return as_mp4(facts, full_size, "wm.mp4")


watermark = Step("watermark", video=_of_video, image=_of_image)
