"""The limits of the stage for films. What exceeds them is refused before any work is done."""

from __future__ import annotations

from chalicelib.errors import JobError
from chalicelib.model.facts import VideoFacts, fps
from chalicelib.settings import settings


def check_film(facts: VideoFacts) -> None:
    """Raises JobError where a film is longer, or has more frames, than the stage takes."""
    stage = settings()
    # The header and the tables may say different lengths.
    seconds = max(facts.seconds, facts.end, facts.audio_end or 0.0)
    if seconds > stage.max_video_seconds:
        detail = (
            f"The video is {seconds:.0f} s long; at most {stage.max_video_seconds} s are taken."
        )
        raise JobError("too_long", detail)
    frames = round(facts.seconds * fps(facts)) if facts.frames is None else facts.frames
    pixels = facts.width * facts.height
    most = min(stage.max_video_frames, stage.max_video_gigapixels * 10**9 // pixels)
    if frames > most:
        raise JobError(
            "too_many_frames",
            f"The video has {frames} frames of {facts.width}x{facts.height} pixels; of that size at most "
            f"{most} are taken (SLUICE_MAX_VIDEO_FRAMES, SLUICE_MAX_VIDEO_GIGAPIXELS).",
        )
