"""The step watermark: the image or film at full size, with the operator's mark on it."""

from __future__ import annotations

from chalicelib.model.facts import ImageFacts, VideoFacts, even
from chalicelib.model.picture import Picture, Variant
from chalicelib.operations.mp4 import as_mp4
from chalicelib.planning.operation import Packaging, PlanSettings, Rendition, Step

# The picture is the source in full size, and is kept near to it.
_QUALITY = 90


def _of_image(facts: ImageFacts, settings: PlanSettings) -> Picture:
    variant = Variant("wm.jpg", facts.width, facts.height, "jpeg", _QUALITY)
    return Picture((variant,), mark=settings.mark)


def _of_video(facts: VideoFacts, settings: PlanSettings) -> Packaging:
    full_size = Rendition("watermark", even(facts.width), even(facts.height), settings.mark)
    return as_mp4(facts, full_size, "wm.mp4")


watermark = Step("watermark", video=_of_video, image=_of_image)
