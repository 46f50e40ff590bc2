"""What tests and benchmarks hand to the planner."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.planning.operation import PlanSettings
from chalicelib.settings import Settings

DEFAULTS = plan_settings(Settings())


def plan_settings_with(**changes: Any) -> PlanSettings:
    """The defaults, but for the fields that are named."""
    return msgspec.structs.replace(DEFAULTS, **changes)


# Chunks as short as a segment: small frames are encoded by the minute in six seconds of work.
SHORT_CHUNKS = plan_settings_with(chunk_work_seconds=0.01)
