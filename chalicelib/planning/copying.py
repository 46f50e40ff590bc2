"""Whether a film without an index is copied into a container that has one, and what the copy must be.

Purely. Chunks are cut by the copy's index, and read the copy, which has the same coded frames at the same
times.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from chalicelib.errors import JobError
from chalicelib.model.facts import FINEST_TIMESCALE, VideoFacts, rhythm
from chalicelib.model.plan import REMUX, Plan, Task, work_folder
from chalicelib.model.work import SOUND_FRAMES, Command, Remux, Source
from chalicelib.planning import renditions
from chalicelib.planning.operation import Packaging, Rendition, Step

# What FFmpeg's MP4 muxer takes by stream copy, and its demuxer gives back at the same times.
PICTURES = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"})
SOUND = frozenset(
    {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac", "alac", "pcm_s16le"}
)
# Where AAC can change its channels and its rate from frame to frame; a track of an MP4 says once what it is.
_SELF_DESCRIBED = frozenset({"mpegts", "mpeg", "avi"})
# H.264 and HEVC can code each field as a picture of its own, which would be two frames of the copy.
_WHOLE_FRAMES = frozenset({"mpeg2video", "mpeg1video", "mpeg4", "mjpeg"})
# So few chunks are not worth a copy.
WORTH_CHUNKS = 3

# Limits of the function `encode` on AWS. Its disk holds the source and the copy, and some room.
ENCODE_SECONDS = 900
DISK_BYTES = 10_240 * 1024**2
_ROOM_BYTES = 512 * 1024**2
# Of stereo with 16 bits, about; as much as the AAC that is looked at, at least.
_FLAC_BYTES_A_SECOND = 100_000
# S3 and the disk, each; a copy is read, written and sent. Half of the time is left.
BYTES_A_SECOND = 75e6
_PASSES = 3
# How much faster than the plan's estimate an encode can be at best: three times by the function's 5.8 vCPUs
# instead of two, and three times where hardly anything moves. What takes longer even so cannot be done.
BEST_SPEED = 9.0
# A copy is as long as the container says, or nearly: that counts what the sound has more, too.
_NEARLY = 0.01


def wanted(facts: VideoFacts, steps: Sequence[Step]) -> list[Rendition]:
    """The renditions that a pipeline needs of a film, each once."""
    made = [step.video(facts) for step in steps]
    return list(dict.fromkeys(work.rendition for work in made if isinstance(work, Packaging)))


def is_worth_it(facts: VideoFacts, encoded: Collection[Rendition]) -> bool:
    """Whether a film has no index, and would be cut into many chunks if it had one."""
    pieces = (facts.seconds / renditions.chunk_seconds(facts, each) for each in encoded)
    return facts.unindexed and max(pieces, default=0.0) >= WORTH_CHUNKS


def obstacle(facts: VideoFacts, size: int) -> str:
    """Why a film of `size` bytes cannot be copied, as a clause; empty where it can."""
    if facts.video_codec not in PICTURES:
        return f"{facts.video_codec} cannot be copied into one that has"
    if facts.audio_stream is not None and facts.audio_codec not in SOUND:
        return f"{facts.audio_codec} sound cannot be copied into one that has"
    if facts.alpha and facts.video_codec == "vp9":
        return "a copy would lose what is transparent in it"
    if facts.disordered:
        return "a copy would show its frames in the order in which they are decoded"
    if facts.interlaced and facts.video_codec not in _WHOLE_FRAMES:
        return "a copy could take its fields for frames"
    if facts.timescale > FINEST_TIMESCALE:
        return "its clock is finer than a cut can be"
    decoded = round(_FLAC_BYTES_A_SECOND * facts.seconds) * _may_change_its_sound(facts)
    if (
        2 * size + decoded + _ROOM_BYTES > DISK_BYTES
        or _PASSES * size / BYTES_A_SECOND > ENCODE_SECONDS / 2
    ):
        return "it is too large to be copied into one that has"
    return ""


def _may_change_its_sound(facts: VideoFacts) -> bool:
    """Whether its sound is looked at while it is copied, and decoded for the copy where it changes."""
    return (
        facts.audio_stream is not None
        and facts.audio_codec == "aac"
        and facts.demuxer in _SELF_DESCRIBED
    )


def check_length(facts: VideoFacts, encoded: Collection[Rendition]) -> None:
    """Raises JobError where a film has to be encoded as a whole, and no function lives that long."""
    work = max((renditions.work_seconds(facts, each) for each in encoded), default=0.0)
    if facts.index is None and work > ENCODE_SECONDS * BEST_SPEED:
        raise JobError(
            "too_long_as_a_whole",
            f"The video has to be encoded as a whole, for {facts.uncut}; it is too long for that: "
            f"{facts.seconds:.0f} s, of which one function can do the work of "
            f"{facts.seconds * ENCODE_SECONDS * BEST_SPEED / work:.0f} s at best.",
        )


def copying(job_id: str, etag: str, facts: VideoFacts) -> Plan:
    """The one task that makes the copy: of the streams that are used, with times as fine as the film's."""
    pictures, sound = f"0:{facts.video_stream}", f"0:{facts.audio_stream}"
    has_sound = facts.audio_stream is not None
    target: Command = (
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-movie_timescale", str(facts.timescale),  # of edit lists: when a stream starts
        "-video_track_timescale", str(facts.timescale),
        "-f", "mp4",
        f"copy-{etag}.mp4",
    )  # fmt: skip
    frames, again = Command(), Command()
    strictly: Command = ("-v", "warning", "-xerror")  # what FFmpeg has to say of times
    if _may_change_its_sound(facts):
        frames = ("-map", sound, "-c", "copy", "-f", "data", SOUND_FRAMES)
        again = (
            *strictly,
            *renditions.open_source(facts),
            *renditions.steady_sound(facts, "sound"),
            "-map", pictures,
            "-map", "[sound]",
            "-c:v", "copy",
            "-c:a", "flac",
            "-sample_fmt", "s16",
            *target,
        )  # fmt: skip
    work = Remux(
        (
            *strictly,
            *renditions.open_source(facts),
            *frames,
            "-map", pictures,
            *(("-map", sound) if has_sound else ()),
            "-c", "copy",
            *target,
        ),
        again,
    )  # fmt: skip
    return Plan((Task(REMUX, "encode", work, work_folder(job_id)),), {})


def foreseen(plan: Plan, source: Source, facts: VideoFacts, steps: Sequence[Step]) -> Plan:
    """What is known of a film's plan before it is copied: where it will be, the work is that of the whole.

    Raises JobError where the film has to be encoded as a whole, and is too long for that.
    """
    encoded = wanted(facts, steps)
    if not is_worth_it(facts, encoded) or obstacle(facts, source.size):
        check_length(facts, encoded)
        return plan
    (copy,) = copying("", source.etag, facts).tasks
    encoding = f"In chunks at once, from a copy: {facts.uncut}."
    return msgspec.structs.replace(plan, tasks=(copy, *plan.tasks), encoding=encoding)


def difference(facts: VideoFacts, copy: VideoFacts) -> str:
    """What keeps a copy from standing for a film, as a clause; empty where nothing does."""
    if copy.index is None:
        return f"its copy cannot be cut: {copy.uncut}"
    if copy.index.start_us:
        return "its copy starts at another time"
    # Not all sizes of a film that changes need be found in its copy, of which less is read.
    size, copied = (facts.width, facts.height), (copy.width, copy.height)
    if copy.looks != facts.looks or (copied != size and not facts.changes):
        return "its copy would look different"
    if copy.timescale != facts.timescale:
        return "its copy has another clock"
    if (copy.audio_stream is None) != (facts.audio_stream is None):
        return "its copy has lost its sound"
    if copy.audio_rate != facts.audio_rate and copy.audio_codec == facts.audio_codec:
        return "its copy sounds different"
    if facts.frames is not None and copy.frames != facts.frames:
        return f"its copy has {copy.frames} frames of {facts.frames}"
    if facts.rhythm and facts.rhythm != rhythm(copy.index.times()[:-1]):
        return "its copy shows frames at other times"
    if abs(copy.seconds - facts.seconds) > max(1.0, _NEARLY * facts.seconds):
        return f"its copy is {copy.seconds:.0f} s long, and it {facts.seconds:.0f} s"
    return ""


def as_copied(facts: VideoFacts, copy: VideoFacts) -> VideoFacts:
    """The facts of a film, whose frames are to be read from a copy."""
    return msgspec.structs.replace(
        facts,
        demuxer=copy.demuxer,
        video_stream=copy.video_stream,
        audio_stream=copy.audio_stream,
        audio_rate=copy.audio_rate,
        audio_channels=copy.audio_channels,
        index=copy.index,
    )


def as_a_whole(facts: VideoFacts, why: str) -> VideoFacts:
    """The facts of a film that is not read from a copy, and `why`: a clause."""
    return msgspec.structs.replace(facts, uncut=f"{facts.uncut}, and {why}")
