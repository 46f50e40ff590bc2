"""HLS playlists (RFC 8216) as text, purely: of a film that is complete, and of one that still grows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, takewhile

from chalicelib.formats.cmaf import PACKET_SAMPLES, SAMPLE_RATE, SEGMENT_SECONDS, sound_segments
from chalicelib.model.plan import Task
from chalicelib.model.result import Encoded
from chalicelib.model.work import Chunk, Exact, Hls, Segment, Sound, Work

# The least that knows EXT-X-MAP outside of I-frame playlists (RFC 8216, 7).
_VERSION = 7
# Cuts of pictures and of sound lie so far apart at most that are meant for the same moment; in seconds.
_MOMENT = 0.1
MASTER, VIDEO, AUDIO = NAMES = ("master", "video", "audio")


def master(
    work: Hls, codec: str, frame_rate: float, most_bits: float, average_bits: float | None = None
) -> str:
    """The multivariant playlist; `codec` is that of the pictures, `most_bits` those of the fullest second."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    codecs, group = codec, ""
    if work.language is not None:
        codecs, group = f"{codec},mp4a.40.2", ',AUDIO="audio"'
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",LANGUAGE="{work.language}",'
            f'DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="{AUDIO}.m3u8"'
        )
    average = f"AVERAGE-BANDWIDTH={round(average_bits)}," if average_bits else ""
    lines += [
        f"#EXT-X-STREAM-INF:BANDWIDTH={round(most_bits)},{average}"
        f'CODECS="{codecs}",RESOLUTION={work.width}x{work.height},FRAME-RATE={frame_rate:.3f}{group}',
        f"{VIDEO}.m3u8",
    ]
    return "\n".join(lines) + "\n"


def growing_master(work: Hls, codec: str) -> str:
    """The multivariant playlist before anything is measured: with what the plan promises."""
    return master(work, codec, work.frame_rate, work.most_bits)


def media(name: str, segments: Sequence[Segment], longest: float, *, complete: bool) -> str:
    """The playlist of one track: whole, or so far. What was once in it stays in it, line by line.

    `longest` are the seconds of the longest segment of the whole.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{max(SEGMENT_SECONDS, int(longest + 0.5))}",
        # By the number, which is 0 anyway, Chromium's own player knows a broadcast: it cannot go back in it,
        # leaves out as much as it was paused for, and fails where few segments are listed.
        "#EXT-X-MEDIA-SEQUENCE:0" if complete else "#EXT-X-START:TIME-OFFSET=0,PRECISE=YES",
        f"#EXT-X-PLAYLIST-TYPE:{'VOD' if complete else 'EVENT'}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{name}_init.mp4"',
    ]
    for segment in segments:
        lines += [f"#EXTINF:{max(0.001, segment.seconds):.6f},", segment.name]
    if complete:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def so_far(
    pictures: Sequence[Task],
    sound: Sequence[Task],
    ended: Collection[str],
    made: Mapping[str, Encoded],
) -> dict[str, list[Segment]]:
    """Of each track, the segments that follow each other from the start on, as far as the other reaches, too.

    `made` says what has become of tasks that nobody could plan.
    """
    tracks = {VIDEO: pictures, AUDIO: sound}
    found, begins, most = {}, {}, float("inf")
    for name, parts in tracks.items():
        there = list(takewhile(lambda part: part.id in ended, parts))
        found[name] = [segment for part in there for segment in _segments(part, made)]
        *begins[name], end = accumulate((segment.seconds for segment in found[name]), initial=0.0)
        if len(there) < len(parts):
            most = min(most, end)
    for name, segments in found.items():
        # Of what the other has only a moment of, nothing.
        del segments[bisect_left(begins[name], most - _MOMENT) :]
    return found


def _segments(part: Task, made: Mapping[str, Encoded]) -> Sequence[Segment]:
    return planned(part.work) or made[part.id].segments


def is_planned(work: Work) -> bool:
    """Whether the segments that a task will make are known; else only its end will tell."""
    return bool(planned(work))


def planned(work: Work) -> Sequence[Segment]:
    """The segments that a task will make; none where that is not known."""
    match work:
        case Chunk(exact=Exact() as exact):
            return of_chunk(work, exact)
        case Sound(packets=int(packets)):
            return of_sound(work, packets)
        case _:
            return ()


def of_chunk(work: Chunk, exact: Exact) -> list[Segment]:
    """The segments of a part of the pictures."""
    return [
        Segment(f"{work.prefix}{number}.m4s", seconds)
        for number, seconds in enumerate(exact.lengths())
    ]


def of_sound(work: Sound, packets: int) -> list[Segment]:
    """The segments of a part of the sound that has so many packets."""
    return [
        Segment(f"{work.prefix}{number}.m4s", round(count * PACKET_SAMPLES / SAMPLE_RATE, 6))
        for number, (_, count) in enumerate(sound_segments(work.first, packets))
    ]


def longest(pictures: Sequence[Task]) -> float:
    """Seconds of the longest segment that is planned."""
    exact = [part.work.exact for part in pictures if isinstance(part.work, Chunk)]
    return max((each.longest() for each in exact if each), default=0.0)


def bits(segments: Sequence[Segment]) -> tuple[float, float]:
    """Bits a second, in the fullest segment and over all; none where there is no segment."""
    if not segments:
        return 0.0, 0.0
    each = [8 * segment.size / max(0.001, segment.seconds) for segment in segments]
    total = sum(segment.seconds for segment in segments)
    return max(each), 8 * sum(segment.size for segment in segments) / max(0.001, total)
