"""The facts of a film, or of sound, found by looking inside with PyAV. Runs in a child."""

from __future__ import annotations

from typing import IO

from chalicelib.engines.sandbox_child import keep_memory
from chalicelib.model.facts import AudioFacts, VideoFacts
from chalicelib.probing import sound, video
from chalicelib.probing.film import open_film
from chalicelib.probing.frame_index import with_index
from chalicelib.probing.streams import has_film


def look_at(
    source: IO[bytes], demuxer: str, size: int, max_streams: int, max_pixels: int
) -> VideoFacts | AudioFacts:
    """The facts of a film with its index; those of sound where there is no film. Raises JobError."""
    keep_memory()
    with open_film(source, demuxer, size, max_streams) as film:
        if not has_film(film):
            return sound.facts_of(film)
        return with_index(film, video.facts_of(film, max_pixels))


def listen_to(source: IO[bytes], demuxer: str, size: int, max_streams: int) -> AudioFacts:
    """The facts of sound; its container may have pictures beside: covers, chapters. Raises JobError."""
    keep_memory()
    with open_film(source, demuxer, size, max_streams) as film:
        return sound.facts_of(film)
