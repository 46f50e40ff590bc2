"""What planning depends on besides facts and steps: the caller reads it from the settings of its process."""

from __future__ import annotations

import msgspec

from chalicelib.formats.cmaf import SEGMENT_SECONDS
from chalicelib.model.mark import Mark


class PlanSettings(msgspec.Struct, frozen=True):
    """Equal facts, steps and PlanSettings give equal plans."""

    max_video_pixels: int  # of a frame, as the source is taken; FFmpeg gets its own limit from it
    max_video_seconds: float  # length of a source; no audio is padded beyond that
    chunk_work_seconds: float  # how long two cores work on a chunk, about
    mark: Mark  # the watermark
    least_chunk_seconds: float = float(SEGMENT_SECONDS)  # of film; no chunk is planned shorter
    audio_part_seconds: float = (
        60.0  # length of a part of the audio, but for the first and the last
    )
