"""The limits of the stage for films and sound. What exceeds them is refused before any work is done."""

from __future__ import annotations

from chalicelib.errors import JobError
from chalicelib.model.facts import AudioFacts, VideoFacts, fps
from chalicelib.settings import settings


def check_film(facts: VideoFacts) -> None:
    """Raises JobError where a film is longer, or has more frames, than the stage takes."""
    stage = settings()
    # The header and the tables may say different lengths.
    _check_length("video", max(facts.seconds, facts.end, facts.audio_end or 0.0))
    frames = round(facts.seconds * fps(facts)) if facts.frames is None else facts.frames
    pixels = facts.width * facts.height
    most = min(stage.max_video_frames, stage.max_video_gigapixels * 10**9 // pixels)
    if frames > most:
        raise JobError(
            "too_many_frames",
            f"The video has {frames} frames of {facts.width}x{facts.height} pixels; of that size at most "
            f"{most} are taken (SLUICE_MAX_VIDEO_FRAMES, SLUICE_MAX_VIDEO_GIGAPIXELS).",
        )


def check_sound(facts: AudioFacts) -> None:
    """Raises JobError where sound is longer than the stage takes."""
    _check_length("sound", facts.seconds)


def _check_length(what: str, seconds: float) -> None:
    most = settings().max_video_seconds
    if seconds > most:
        detail = f"The {what} is {seconds:.0f} s long; at most {most} s are taken."
        raise JobError("too_long", detail)
