"""How fast two cores encode, estimated: from this follow the length of chunks and what is too long."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts, fps
from chalicelib.planning.operation import Rendition
from chalicelib.planning.settings import PlanSettings

# Pixels a second, decoded and encoded, by two cores.
PIXELS_PER_SECOND = 250e6


def chunk_seconds(facts: VideoFacts, rendition: Rendition, settings: PlanSettings) -> float:
    """Seconds of film that a chunk should have."""
    film_seconds_per_second = PIXELS_PER_SECOND / (fps(facts) * frame_pixels(facts, rendition))
    return max(settings.least_chunk_seconds, settings.chunk_work_seconds * film_seconds_per_second)


def work_seconds(facts: VideoFacts, rendition: Rendition) -> float:
    """Seconds that two cores take for the whole film."""
    return facts.seconds * fps(facts) * frame_pixels(facts, rendition) / PIXELS_PER_SECOND


def frame_pixels(facts: VideoFacts, rendition: Rendition) -> int:
    """Work for a frame, in pixels: each one decoded counts once, each one encoded twice."""
    return facts.width * facts.height + 2 * rendition.width * rendition.height
