"""A small JPEG to show instead of the file."""

from __future__ import annotations

from chalicelib.media import VideoFacts
from chalicelib.plan import Poster, Step, Thumbnail
from chalicelib.renditions import POSTER_BOX, poster


def _of_image() -> Thumbnail:
    return Thumbnail(POSTER_BOX, "thumb.jpg")


def _of_video(facts: VideoFacts) -> Poster:
    return poster(facts, "thumb.jpg")


thumbnail = Step("thumbnail", video=_of_video, image=_of_image)
