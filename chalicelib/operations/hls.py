"""The 720p rendition as HTTP Live Streaming."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.planning.operation import Packaging, Step
from chalicelib.planning.renditions import hls, rendition_720p


def _of_video(facts: VideoFacts) -> Packaging:
    rendition = rendition_720p(facts)
    return Packaging(rendition, hls(facts, rendition))


hls_720p = Step("hls_720p", video=_of_video, folder="hls/")
