"""H.264 and AAC in an MP4 that plays everywhere, at most 720 lines on the short side."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.planning.operation import Packaging, Step
from chalicelib.planning.renditions import mp4, rendition_720p


def _of_video(facts: VideoFacts) -> Packaging:
    rendition = rendition_720p(facts)
    return Packaging(rendition, mp4(facts, rendition, "720p.mp4"))


transcode_720p = Step("transcode_720p", video=_of_video)
