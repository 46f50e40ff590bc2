"""Settings of the planner and a film's facts, for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.facts import AudioTrack, VideoFacts
from chalicelib.planning.operation import PlanSettings
from chalicelib.settings import Settings

DEFAULTS = plan_settings(Settings())


def plan_settings_with(**changes: Any) -> PlanSettings:
    """The defaults with these fields changed."""
    return msgspec.structs.replace(DEFAULTS, **changes)


# Chunks as short as a segment. With the default, chunks of small frames would last minutes.
SHORT_CHUNKS = plan_settings_with(chunk_work_seconds=0.01)

# A minute of 1080p with sound, and without an index.
FILM = VideoFacts(
    demuxer="mov",
    width=1920,
    height=1080,
    seconds=60.0,
    frames=1500,
    frame_rate="25",
    timescale=12800,
    video_stream=0,
    audio=(AudioTrack(1),),
)
