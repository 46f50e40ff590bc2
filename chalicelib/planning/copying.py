"""Whether a film without an index is copied into a container with one first, and what the copy must be.

Pure functions. The copy has the same coded frames at the same times. Chunks are cut by its index, and read it
instead of the source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain

import msgspec

from chalicelib.errors import JobError
from chalicelib.model.facts import FINEST_TIMESCALE, AudioTrack, VideoFacts, rhythm
from chalicelib.model.plan import REMUX, Plan, Task, work_folder
from chalicelib.model.work import AUDIO_FRAMES, Command, Remux, Source
from chalicelib.planning import audio, chunking, storyboards
from chalicelib.planning.inputs import open_source
from chalicelib.planning.operation import Packaging, PlanSettings, Rendition, Step

# What FFmpeg's MP4 muxer takes by stream copy, and its demuxer returns at the same times.
VIDEO_CODECS = frozenset(
    {"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"}
)
AUDIO_CODECS = frozenset(
    {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac", "alac", "pcm_s16le"}
)
# Demuxers of files in which each AAC frame says its channels and rate. An MP4 says them once for a track.
_AAC_FRAMES_DESCRIBE_THEMSELVES = frozenset({"mpegts", "mpeg", "avi"})
# Not H.264 and HEVC: they can code each field as a picture of its own, which would be two frames of the copy.
_FRAMES_ARE_WHOLE = frozenset({"mpeg2video", "mpeg1video", "mpeg4", "mjpeg"})
# Fewer chunks are not worth a copy.
WORTH_CHUNKS = 3

# Limits of the pool `audio` on AWS. Its disk holds the source, the copy, and some reserve.
ENCODE_SECONDS = 900
DISK_BYTES = 10_240 * 1024**2
_RESERVE_BYTES = 512 * 1024**2
# FLAC of 16-bit stereo, about; at least as much as the AAC frames that are checked.
_FLAC_BYTES_PER_SECOND = 100_000
# S3's rate, and the disk's. A copy is read, written and sent; it may take half of the function's time.
BYTES_A_SECOND = 75e6
_PASSES = 3
# An encode can be so much faster than estimated, at best: 3 × as the function has 5.8 vCPUs instead of two,
# and 3 × where hardly anything moves. What takes longer even so cannot be done.
BEST_SPEED = 9.0
# How much the copy's length may differ, as a part of the film's: the container's counts longer audio, too.
_LENGTH_TOLERANCE = 0.01


def renditions_of(
    facts: VideoFacts, steps: Sequence[Step], settings: PlanSettings
) -> list[Rendition]:
    """The renditions that steps need of a film, each once."""
    made = storyboards.shared({step.name: step.video(facts, settings) for step in steps})
    packagings = [work for work in made.values() if isinstance(work, Packaging)]
    return list(dict.fromkeys(each for work in packagings for each in work.renditions))


def is_worth_it(
    facts: VideoFacts, renditions: Collection[Rendition], settings: PlanSettings
) -> bool:
    """Whether a film has no index, and would be cut into many chunks if it had one."""
    if not facts.copy_may_help or not renditions:
        return False
    return facts.seconds / chunking.chunk_seconds(facts, renditions, settings) >= WORTH_CHUNKS


def without_what_cannot_be_copied(facts: VideoFacts) -> VideoFacts:
    """The facts without tracks of audio besides the first that a copy cannot have."""
    kept = [*facts.audio[:1], *(each for each in facts.audio[1:] if each.codec in AUDIO_CODECS)]
    left_out = facts.sounds_left_out + len(facts.audio) - len(kept)
    return msgspec.structs.replace(facts, audio=tuple(kept), sounds_left_out=left_out)


def obstacle(facts: VideoFacts, size: int) -> str:
    """Why a film of `size` bytes cannot be copied, as a clause; "" where it can."""
    if facts.video_codec not in VIDEO_CODECS:
        return f"{facts.video_codec} cannot be copied into one that has"
    for track in facts.audio[:1]:
        if track.codec not in AUDIO_CODECS:
            return f"{track.codec} sound cannot be copied into one that has"
    if facts.alpha and facts.video_codec == "vp9":
        return "a copy would lose what is transparent in it"
    if facts.disordered:
        return "a copy would show its frames in the order in which they are decoded"
    if facts.interlaced and facts.video_codec not in _FRAMES_ARE_WHOLE:
        return "a copy could take its fields for frames"
    if facts.timescale > FINEST_TIMESCALE:
        return "its clock is finer than a cut can be"
    return "" if _fits(facts, size) else "it is too large to be copied into one that has"


def _fits(facts: VideoFacts, size: int) -> bool:
    """Whether the function `audio` has the disk and the time to copy a film of `size` bytes."""
    needed = 2 * size + _RESERVE_BYTES
    if _can_change(facts):
        needed += round(len(facts.audio) * _FLAC_BYTES_PER_SECOND * facts.seconds)
    return needed <= DISK_BYTES and _PASSES * size / BYTES_A_SECOND <= ENCODE_SECONDS / 2


def _can_change(facts: VideoFacts) -> bool:
    """Whether the copying task checks frames of audio, and decodes all audio where one track's differ."""
    return any(map(_is_aac, facts.audio)) and facts.demuxer in _AAC_FRAMES_DESCRIBE_THEMSELVES


def _is_aac(track: AudioTrack) -> bool:
    return track.codec == "aac"


def check_length(facts: VideoFacts, renditions: Collection[Rendition]) -> None:
    """Raises JobError where a film has to be encoded as a whole, and takes longer than a function may."""
    work = chunking.work_seconds(facts, renditions) if renditions else 0.0
    if facts.index is None and work > ENCODE_SECONDS * BEST_SPEED:
        raise JobError(
            "too_long_as_a_whole",
            f"The video has to be encoded as a whole, for {facts.whole_reason}; it is too long for that: "
            f"{facts.seconds:.0f} s, of which one function can do the work of "
            f"{facts.seconds * ENCODE_SECONDS * BEST_SPEED / work:.0f} s at best.",
        )


def plan_copy(job_id: str, etag: str, facts: VideoFacts, settings: PlanSettings) -> Plan:
    """The task that makes the copy: the streams in use, with a clock as fine as the film's."""
    video_stream = f"0:{facts.video_stream}"
    target: Command = (
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-movie_timescale", str(facts.timescale),  # clock of edit lists, which say when a stream starts
        "-video_track_timescale", str(facts.timescale),
        "-f", "mp4",
        f"copy-{etag}.mp4",
    )  # fmt: skip
    # FFmpeg warns of times that it doubts; the task takes a warning for a failure.
    source: Command = ("-v", "warning", "-xerror", *open_source(facts, settings))
    frames, again = dict[str, Command](), Command()
    if _can_change(facts):
        frames = {
            file: ("-map", f"0:{track.stream}", "-c", "copy", "-f", "data", file)
            for track in filter(_is_aac, facts.audio)
            if (file := AUDIO_FRAMES.format(track.stream))
        }
        again = (
            *source,
            *audio.steady_audio(facts.audio),
            "-map", video_stream,
            *chain.from_iterable(("-map", f"[sound{n}]") for n in range(len(facts.audio))),
            "-c:v", "copy",
            "-c:a", "flac",
            "-sample_fmt", "s16",
            *target,
        )  # fmt: skip
    copy = (
        *source,
        *chain.from_iterable(frames.values()),
        "-map", video_stream,
        *chain.from_iterable(("-map", f"0:{track.stream}") for track in facts.audio),
        "-c", "copy",
        *target,
    )  # fmt: skip
    return Plan((Task(REMUX, Remux(copy, again, tuple(frames)), work_folder(job_id)),), {})


def foreseen(
    plan: Plan, source: Source, facts: VideoFacts, steps: Sequence[Step], settings: PlanSettings
) -> Plan:
    """What `plan`, of a film as a whole, becomes if the film is copied first: an estimate of the work.

    The copy's index is not known yet, so the tasks are those of the film as a whole, after the copying task.
    Raises JobError where the film has to be encoded as a whole, and is too long for that.
    """
    renditions = renditions_of(facts, steps, settings)
    if not is_worth_it(facts, renditions, settings) or obstacle(facts, source.size):
        check_length(facts, renditions)
        return plan
    (copy,) = plan_copy("", source.etag, facts, settings).tasks
    encoding = f"In chunks at once, from a copy: {facts.whole_reason}."
    return msgspec.structs.replace(plan, tasks=(copy, *plan.tasks), encoding=encoding)


def difference(facts: VideoFacts, copy: VideoFacts) -> str:
    """Why a copy cannot be read instead of the film, as a clause; "" where it can."""
    if copy.index is None:
        return f"its copy cannot be cut: {copy.whole_reason}"
    if copy.index.start_us:
        return "its copy starts at another time"
    # Less of the copy is read: of a film whose size changes, not all sizes need be found in it.
    has_other_size = (copy.width, copy.height) != (facts.width, facts.height)
    if copy.looks != facts.looks or (has_other_size and not facts.changes):
        return "its copy would look different"
    if copy.timescale != facts.timescale:
        return "its copy has another clock"
    if len(copy.audio) != len(facts.audio):
        return "its copy has lost its sound"
    pairs = zip(copy.audio, facts.audio, strict=True)
    if any(one.rate != other.rate and one.codec == other.codec for one, other in pairs):
        return "its copy sounds different"
    if facts.frames is not None and copy.frames != facts.frames:
        return f"its copy has {copy.frames} frames of {facts.frames}"
    if facts.rhythm and facts.rhythm != rhythm(copy.index.times()[:-1]):
        return "its copy shows frames at other times"
    if abs(copy.seconds - facts.seconds) > max(1.0, _LENGTH_TOLERANCE * facts.seconds):
        return f"its copy is {copy.seconds:.0f} s long, and it {facts.seconds:.0f} s"
    return ""


def as_copied(facts: VideoFacts, copy: VideoFacts) -> VideoFacts:
    """The facts of a film whose frames and audio are read from a copy."""
    return msgspec.structs.replace(
        facts,
        demuxer=copy.demuxer,
        video_stream=copy.video_stream,
        audio=tuple(map(_read_from, facts.audio, copy.audio)),
        index=copy.index,
    )


def _read_from(audio: AudioTrack, copy: AudioTrack) -> AudioTrack:
    return msgspec.structs.replace(
        audio, stream=copy.stream, rate=copy.rate, channels=copy.channels
    )


def as_a_whole(facts: VideoFacts, why: str) -> VideoFacts:
    """The facts of a film that is encoded as a whole; `why` no copy is used, as a clause."""
    return msgspec.structs.replace(facts, whole_reason=f"{facts.whole_reason}, and {why}")
