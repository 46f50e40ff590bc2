"""The step thumbnail: a small JPEG of an image or a film.

Another poster: a step here with a file name of its own, and its line in `operations/__init__.py`.
"""

from __future__ import annotations

from chalicelib.model.facts import ImageFacts, VideoFacts, fit_box
from chalicelib.model.picture import QUALITY, Picture, Variant
from chalicelib.model.work import POSTER_BOX, Poster
from chalicelib.planning.operation import PlanSettings, Step
from chalicelib.planning.poster import poster


def _picture(width: int, height: int) -> Picture:
    size = fit_box(width, height, POSTER_BOX)
    return Picture((Variant("thumb.jpg", *size, "jpeg", QUALITY["jpeg"]),))


def _of_image(facts: ImageFacts, _: PlanSettings) -> Picture:
    return _picture(facts.width, facts.height)


def _of_video(facts: VideoFacts, settings: PlanSettings) -> Poster:
    return poster(facts, _picture(facts.width, facts.height), settings)


thumbnail = Step("thumbnail", video=_of_video, image=_of_image)
