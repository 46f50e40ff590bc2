"""HLS playlists (RFC 8216) as text: of a film that is complete, and of one that still grows. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple

from chalicelib.formats.cmaf import (
    INIT,
    PACKET_SAMPLES,
    SAMPLE_RATE,
    SEGMENT_SECONDS,
    audio_segments,
    segment_name,
)
from chalicelib.model.plan import Task
from chalicelib.model.result import EncodedTrack
from chalicelib.model.streams import Caption, Rung, Sound
from chalicelib.model.work import Audio, Chunk, Exact, Hls, Segment, Work

# The lowest version with EXT-X-MAP outside of I-frame playlists (RFC 8216, 7).
_VERSION = 7
# Seconds by which cuts of video and of audio for the same moment lie apart, at most.
_MOMENT = 0.1
MASTER, VIDEO, AUDIO = "master", "video", "audio"
AUDIO_CODEC = "mp4a.40.2"  # AAC-LC (RFC 6381)
# A rung that needs more than this part of the next larger one's bits is not worth a switch.
_WORTH = 0.7
# Bits a second of the rung that players start with, about (rule 1.32 of Apple's authoring specification).
START_BITS = 2_000_000
# What tells who cannot see of the pictures has (rule 2.12).
_DESCRIBES_VIDEO = "public.accessibility.describes-video"
# What captions for who cannot hear have (rule 4.5).
_TELLS_ALL = (
    "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
)


class Variant(NamedTuple):
    """A rung as the multivariant playlist tells it."""

    rung: Rung
    codec: str  # of the video (RFC 6381)
    frame_rate: float
    # Bits of a second with audio, and of one with key frames alone: most, and on average. None before that is
    # measured.
    most_bits: float
    average_bits: float | None = None
    most_key_bits: float | None = None
    average_key_bits: float | None = None


def master(work: Hls, variants: Sequence[Variant]) -> str:
    """The multivariant playlist: `variants` in that order, and what plays of each at high speed."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    sound, group = "", ""
    if work.sounds:
        sound, group = f",{AUDIO_CODEC}", ',AUDIO="audio"'
        lines += [_sound(each, is_first=not number) for number, each in enumerate(work.sounds)]
    if work.captions:
        lines += map(_caption, work.captions)
        group += ',SUBTITLES="subs"'
    for each in variants:
        size = f"RESOLUTION={each.rung.width}x{each.rung.height}"
        lines += [
            f"#EXT-X-STREAM-INF:{_bandwidth(each.most_bits, each.average_bits)}"
            f'CODECS="{each.codec}{sound}",{size},FRAME-RATE={each.frame_rate:.3f}{group}',
            f"{each.rung.playlist}.m3u8",
        ]
    for each in variants:
        if each.most_key_bits:
            size = f"RESOLUTION={each.rung.width}x{each.rung.height}"
            lines.append(
                f"#EXT-X-I-FRAME-STREAM-INF:{_bandwidth(each.most_key_bits, each.average_key_bits)}"
                f'CODECS="{each.codec}",{size},URI="{key_frames_of(each.rung.playlist)}.m3u8"'
            )
    return "\n".join(lines) + "\n"


def _sound(track: Sound, *, is_first: bool) -> str:
    """Players take the first, or that in the viewer's language."""
    told = f',CHARACTERISTICS="{_DESCRIBES_VIDEO}"' if track.describes else ""
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{track.name}",LANGUAGE="{track.language}",'
        f'DEFAULT={"YES" if is_first else "NO"},AUTOSELECT=YES{told},CHANNELS="2",'
        f'URI="{track.playlist}.m3u8"'
    )


def _caption(track: Caption) -> str:
    """Players choose one by the viewer's language where the viewer wants captions, and else show none."""
    told = f',CHARACTERISTICS="{_TELLS_ALL}"' if track.hearing_impaired else ""
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="{track.name}",LANGUAGE="{track.language}",'
        f"DEFAULT=NO,AUTOSELECT=YES,FORCED={'YES' if track.forced else 'NO'}{told},"
        f'URI="{track.playlist}.m3u8"'
    )


def captions(name: str, seconds: float, *, complete: bool) -> str:
    """The playlist of a track of captions: one file for the whole film (rule 5.7 of Apple's).

    Shaka takes a film for complete as soon as one of its playlists is: this one ends with the others.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{_target(seconds)}",
        *_kind(complete=complete),
        f"#EXTINF:{max(0.001, seconds):.6f},",
        f"{name}.vtt",
    ]
    if complete:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _bandwidth(most: float, average: float | None) -> str:
    told = f"AVERAGE-BANDWIDTH={round(average)}," if average else ""
    return f"BANDWIDTH={round(most)},{told}"


def growing_master(work: Hls, codecs: Mapping[str, str]) -> str:
    """The multivariant playlist before anything is measured, with the plan's numbers.

    `codecs` are those of the renditions, by their names.
    """
    return master(
        work,
        [
            Variant(rung, codecs[rung.rendition], rung.frame_rate, rung.max_bits)
            for rung in work.rungs
        ],
    )


def useful(variants: Sequence[Variant]) -> list[Variant]:
    """The variants without those that hardly need fewer bits than the next larger one of their codec."""
    kept: list[Variant] = []
    for each in sorted(variants, key=lambda variant: variant.average_bits or 0.0, reverse=True):
        codec = each.codec.partition(".")[0]
        larger = [one for one in kept if one.codec.partition(".")[0] == codec]
        if not larger or (each.average_bits or 0.0) <= _WORTH * (larger[-1].average_bits or 0.0):
            kept.append(each)
    return [each for each in variants if each in kept]


def start_first(variants: Sequence[Variant]) -> list[Variant]:
    """The variants with the one first with which players should start: of the first codec."""
    codec = variants[0].codec.partition(".")[0]
    first = min(
        (each for each in variants if each.codec.startswith(codec)),
        key=lambda each: abs((each.average_bits or 0.0) - START_BITS),
    )
    return [first, *(each for each in variants if each is not first)]


def complete(name: str, segments: Sequence[Segment]) -> str:
    """The playlist of a whole track."""
    longest = max(segment.seconds for segment in segments)
    return media(name, segments, longest, complete=True)


def key_frames_of(name: str) -> str:
    """The name of the playlist of a track's key frames."""
    return f"{name}_iframes"


def key_frames(name: str, segments: Sequence[Segment]) -> str:
    """The playlist of a whole track's key frames, each by its bytes (RFC 8216, 4.3.3.6)."""
    keys = [(segment, key) for segment in segments for key in segment.keys]
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{_key_frames_target(key.seconds for _, key in keys)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-I-FRAMES-ONLY",
        f'#EXT-X-MAP:URI="{name}_{INIT}"',
    ]
    for segment, key in keys:
        lines += [
            f"#EXTINF:{max(0.001, key.seconds):.6f},",
            f"#EXT-X-BYTERANGE:{key.length}@{key.offset}",
            f"{name}_{segment.name}",
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def media(name: str, segments: Sequence[Segment], longest: float, *, complete: bool) -> str:
    """The playlist of one track, complete or so far. Lines that a playlist has had stay in later ones.

    `longest` is the length of the longest segment of the whole track, in seconds.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{_target(longest)}",
        *_kind(complete=complete),
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{name}_{INIT}"',
    ]
    for segment in segments:
        lines += [f"#EXTINF:{max(0.001, segment.seconds):.6f},", f"{name}_{segment.name}"]
    if complete:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _kind(*, complete: bool) -> tuple[str, str]:
    """What a playlist says of whether it grows.

    Chromium's own player takes one that grows and has EXT-X-MEDIA-SEQUENCE, 0 by default, for a broadcast: it
    does not seek back, skips what it was paused for, and fails where few segments are listed.
    """
    if complete:
        return "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD"
    return "#EXT-X-START:TIME-OFFSET=0,PRECISE=YES", "#EXT-X-PLAYLIST-TYPE:EVENT"


def _target(longest: float) -> int:
    return max(SEGMENT_SECONDS, int(longest + 0.5))


def _key_frames_target(lengths: Iterable[float]) -> int:
    return max(1, int(max(lengths, default=0.0) + 0.5))


def so_far(
    pictures: Sequence[Task],
    sound: Sequence[Task],
    ended: Collection[str],
    made: Mapping[str, EncodedTrack],
) -> dict[str, list[Segment]]:
    """The segments of each track that are there without a gap, no further than the other track.

    `ended` are ids of tasks; `made` has what became of those whose segments could not be planned.
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
        # No segment of which the other track has only a moment.
        del segments[bisect_left(begins[name], most - _MOMENT) :]
    return found


def _segments(part: Task, made: Mapping[str, EncodedTrack]) -> Sequence[Segment]:
    return planned(part.work) or made[part.id].segments


def is_planned(work: Work) -> bool:
    """Whether the segments of a task are planned; else only its result tells them."""
    match work:
        case Chunk(exact=Exact()) | Audio(packets=int()):
            return True
        case _:
            return False


def planned(work: Work) -> Sequence[Segment]:
    """The segments that a task is planned to make; none where they are not planned."""
    match work:
        case Chunk(exact=Exact() as exact):
            return of_chunk(work, exact)
        case Audio(packets=int(packets)):
            return of_audio(work, packets)
        case _:
            return ()


def of_chunk(work: Chunk, exact: Exact) -> list[Segment]:
    """The segments of a part of the video, the same in each rendition."""
    return [
        Segment(segment_name(number), seconds)
        for number, seconds in enumerate(exact.lengths(), work.first_segment)
    ]


def of_audio(work: Audio, packets: int) -> list[Segment]:
    """The segments of a part of the audio that has `packets` packets."""
    return [
        Segment(segment_name(number), round(count * PACKET_SAMPLES / SAMPLE_RATE, 6))
        for number, (_, count) in enumerate(audio_segments(work.first, packets), work.first_segment)
    ]


def longest(pictures: Sequence[Task]) -> float:
    """Length of the longest planned segment, in seconds."""
    exact = [part.work.exact for part in pictures if isinstance(part.work, Chunk)]
    return max((each.longest() for each in exact if each), default=0.0)


def key_frame_bits(segments: Sequence[Segment]) -> tuple[float, float]:
    """Bits a second of the key frames alone, as `bits`."""
    keys = [(key.length, key.seconds) for each in segments for key in each.keys]
    return _rates(keys, _key_frames_target(seconds for _, seconds in keys))


def bits(segments: Sequence[Segment]) -> tuple[float, float]:
    """Bits a second, at the peak and on average; 0 where there is no segment."""
    parts = [(segment.size, segment.seconds) for segment in segments]
    return _rates(parts, _target(max((seconds for _, seconds in parts), default=0.0)))


def _rates(parts: Sequence[tuple[int, float]], target: int) -> tuple[float, float]:
    """The rates of parts of so many bytes and seconds.

    The peak is that of consecutive parts which last half of the target duration to one and a half (RFC 8216,
    4.1).
    """
    if not parts:
        return 0.0, 0.0
    peak = 0.0
    for first in range(len(parts)):
        size, length = 0, 0.0
        for more, seconds in parts[first:]:
            size, length = size + more, length + seconds
            if length > 1.5 * target:
                break
            if length >= 0.5 * target:
                peak = max(peak, 8 * size / length)
    total, seconds = sum(size for size, _ in parts), sum(seconds for _, seconds in parts)
    average = 8 * total / max(0.001, seconds)
    return max(peak, average), average
