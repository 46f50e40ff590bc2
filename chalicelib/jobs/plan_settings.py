"""The one place where the settings of a process become what planning is handed."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.model.mark import Mark
from chalicelib.model.work import Source
from chalicelib.planning.operation import PlanSettings
from chalicelib.settings import Settings


def plan_settings(
    chosen: Settings,
    marks: Mapping[str, str] | None = None,
    sidecars: Mapping[str, Source] | None = None,
) -> PlanSettings:
    """What plans depend on, of the settings that an operator chose.

    `marks` are the ETags of the operators' watermarks that steps name, `sidecars` the files of captions.
    """
    return PlanSettings(
        max_video_pixels=chosen.max_video_pixels,
        max_video_seconds=chosen.max_video_seconds,
        chunk_work_seconds=chosen.chunk_work_seconds,
        mark=Mark(
            image=chosen.watermark_image,
            position=chosen.watermark_position,
            scale=chosen.watermark_scale,
            opacity=chosen.watermark_opacity,
        ),
        marks=dict(marks or {}),
        sidecars=dict(sidecars or {}),
    )
