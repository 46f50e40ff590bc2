"""Animated images as films: a copy without loss is made first, and chunks are cut from that."""

from __future__ import annotations

from chalicelib.model.facts import ImageFacts, VideoFacts
from chalicelib.model.plan import REMUX, Plan, Task, work_folder
from chalicelib.model.work import PICTURE, Animation, Command

TICKS = 1000  # a second
# What an animation is taken for until its pictures are counted.
_FORESEEN_SECONDS, _FORESEEN_RATE = 10, 15


def plan_copy(job_id: str, etag: str, facts: ImageFacts) -> Plan:
    """The task that makes the copy: H.264 in RGB without loss, a key frame each second or oftener."""
    command: Command = (
        "-f", "image2",
        "-ts_from_file", "2",  # by the time of the file, in nanoseconds
        "-i", PICTURE,
        "-vf", "setpts=PTS-STARTPTS",
        "-fps_mode", "passthrough",
        "-c:v", "libx264rgb",
        "-preset", "ultrafast",
        "-qp", "0",
        "-force_key_frames", "expr:gte(t,n_forced)",
        "-enc_time_base", f"1/{TICKS}",
        "-video_track_timescale", f"{TICKS}",
        # How long the last picture is shown is told by no picture after it.
        "-bsf:v", f"setts=duration=if(eq(N\\,{{last}})\\,{{milliseconds}}/({TICKS}*TB)\\,DURATION)",
        "-f", "mp4",
        f"copy-{etag}.mp4",
    )  # fmt: skip
    task = Task(REMUX, Animation(facts.format, command), work_folder(job_id))
    return Plan((task,), {})


def foreseen(facts: ImageFacts) -> VideoFacts:
    """The facts of a film that an animation may become, for an estimate: nobody has counted its pictures."""
    return VideoFacts(
        demuxer="mov",
        width=facts.width,
        height=facts.height,
        seconds=_FORESEEN_SECONDS,
        frames=_FORESEEN_SECONDS * _FORESEEN_RATE,
        frame_rate=f"{_FORESEEN_RATE}",
        timescale=TICKS,
        video_stream=0,
        whole_reason="how long it lasts is not known yet",
    )
