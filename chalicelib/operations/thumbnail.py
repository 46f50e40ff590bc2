"""The step thumbnail: a small JPEG of an image or a film.

Another poster: a step here with a file name of its own, and its line in `operations/__init__.py`.
"""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import POSTER_BOX, Poster, Thumbnail
from chalicelib.planning.operation import PlanSettings, Step
from chalicelib.planning.poster import poster


def _of_image(_: PlanSettings) -> Thumbnail:
    return Thumbnail(POSTER_BOX, "thumb.jpg")


def _of_video(facts: VideoFacts, settings: PlanSettings) -> Poster:
    return poster(facts, "thumb.jpg", settings)


thumbnail = Step("thumbnail", video=_of_video, image=_of_image)
