"""The step transcode_720p: an MP4 of H.264 and AAC that plays everywhere; its short side is at most 720.

Other heights: a step here, and its line in `operations/__init__.py`.
"""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Join
from chalicelib.planning import filters, video
from chalicelib.planning.operation import Packaging, PlanSettings, Rendition, Step


def as_mp4(facts: VideoFacts, rendition: Rendition, output: str) -> Packaging:
    """Package a rendition as an MP4 that plays while it downloads; `output` is the file's name."""
    work = Join(
        rendition.name,
        output,
        rendition.width,
        rendition.height,
        facts.seconds,
        video.frames(facts, rendition),
        filters.warning(facts),
    )
    return Packaging(rendition, work)


def _of_video(facts: VideoFacts, _: PlanSettings) -> Packaging:
    return as_mp4(facts, video.rendition(facts, short_side=720), "720p.mp4")


transcode_720p = Step("transcode_720p", video=_of_video)
