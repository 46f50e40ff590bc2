"""A small JPEG to show instead of the file."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import POSTER_BOX, Poster, Thumbnail
from chalicelib.planning.operation import Step
from chalicelib.planning.renditions import poster


def _of_image() -> Thumbnail:
    return Thumbnail(POSTER_BOX, "thumb.jpg")


def _of_video(facts: VideoFacts) -> Poster:
    return poster(facts, "thumb.jpg")


thumbnail = Step("thumbnail", video=_of_video, image=_of_image)
