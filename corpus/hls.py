"""HTTP Live Streaming: fetched through nothing but its URL, and held to RFC 8216 and Apple's rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import av
import httpx
import m3u8

from corpus import boxes
from corpus.failures import Failure

# EXT-X-MAP in a playlist that is not of I-frames alone (RFC 8216, section 7).
_LEAST_VERSION = 6
_AVERAGE_TOLERANCE = 0.1
_RATE_TOLERANCE = 0.05
_SECONDS_TOLERANCE = 0.002
_AAC_FRAME = 1024 / 48000


@dataclass(frozen=True)
class Media:
    """A media playlist and its files. `joined` is the initialisation and every segment in one."""

    playlist: m3u8.M3U8
    initialisation: bytes
    segments: tuple[bytes, ...]
    joined: Path


@dataclass(frozen=True)
class Stream:
    """What a player gets from the URL of an HLS output."""

    master: m3u8.M3U8
    video: Media
    audio: Media | None


@dataclass(frozen=True)
class Span:
    """Where a segment begins and ends, in the track's own time, and whether with a key frame."""

    start: float
    end: float
    key: bool


class NoStream(Exception):
    """It cannot be played; the message says why."""


def fetch(url: str, http: httpx.Client, folder: Path) -> Stream:
    """Everything that the URL leads to. Raises NoStream, or httpx's errors."""
    master = _playlist(url, http)
    if len(master.playlists) != 1:
        raise NoStream(f"the multivariant playlist has {len(master.playlists)} variants, not one")
    variant = master.playlists[0]
    group = variant.stream_info.audio
    sounds = [media for media in master.media if media.type == "AUDIO" and media.group_id == group]
    if group and len(sounds) != 1:
        raise NoStream(f"the audio group {group} has {len(sounds)} renditions, not one")
    audio = _media(urljoin(url, sounds[0].uri), http, folder / "audio.mp4") if group else None
    return Stream(master, _media(urljoin(url, variant.uri), http, folder / "video.mp4"), audio)


def _playlist(url: str, http: httpx.Client) -> m3u8.M3U8:
    answer = http.get(url, follow_redirects=True).raise_for_status()
    return m3u8.loads(answer.text)


def _media(url: str, http: httpx.Client, joined: Path) -> Media:
    playlist = _playlist(url, http)
    if not playlist.segments or not playlist.segment_map:
        raise NoStream("a media playlist has no segments, or no EXT-X-MAP")

    def get(uri: str) -> bytes:
        return http.get(urljoin(url, uri), follow_redirects=True).raise_for_status().content

    initialisation = get(playlist.segment_map[0].uri)
    segments = tuple(get(segment.uri) for segment in playlist.segments)
    joined.write_bytes(b"".join((initialisation, *segments)))
    return Media(playlist, initialisation, segments, joined)


def check_stream(
    stream: Stream, size: tuple[int, int], rates: Sequence[float]
) -> Iterator[Failure]:
    """The playlists are well-formed, and what they say of the segments is true."""
    yield from check_media("video playlist", stream.video, spans(stream.video))
    if stream.audio:
        yield from check_media("audio playlist", stream.audio, spans(stream.audio), _AAC_FRAME)
    yield from check_master(stream, size, rates)


def spans(media: Media) -> list[Span]:
    """Of each segment, by its own timestamps and what it starts with."""
    shown, keys = [], []
    alone = media.joined.with_suffix(".segment")
    for segment in media.segments:
        shown.append(boxes.span(media.initialisation, segment))
        alone.write_bytes(media.initialisation + segment)
        with av.open(str(alone), "r") as container:
            keys.append(next(container.demux(container.streams[0])).is_keyframe)
    alone.unlink()
    # A segment lasts until the next one starts.
    ends = [start for start, _ in shown[1:]] + [shown[-1][1]]
    return [Span(start, end, key) for (start, _), end, key in zip(shown, ends, keys, strict=True)]


def check_media(name: str, media: Media, found: list[Span], last: float = 0.0) -> Iterator[Failure]:
    """One media playlist, beside the spans of its segments; `last` may be wrong by so many seconds."""
    playlist = media.playlist
    said = [float(segment.duration) for segment in playlist.segments]
    if (playlist.version or 1) < _LEAST_VERSION:
        yield Failure("version", f"{name}: EXT-X-VERSION {playlist.version} has no EXT-X-MAP")
    if not playlist.is_endlist or playlist.playlist_type != "vod":
        yield Failure("playlist", f"{name}: it is not VOD with an end")
    longest = max(int(seconds + 0.5) for seconds in said)
    if (playlist.target_duration or 0) < longest:
        yield Failure(
            "target",
            f"{name}: TARGETDURATION {playlist.target_duration}, a segment lasts {longest}",
        )
    # The last frame of AAC is said to last whole, though less of it may be heard.
    tolerances = [_SECONDS_TOLERANCE] * (len(said) - 1) + [max(_SECONDS_TOLERANCE, last)]
    wrong = [
        f"segment {number} says {seconds:.3f} s and lasts {span.end - span.start:.3f} s"
        for number, (seconds, span) in enumerate(zip(said, found, strict=True))
        if abs(seconds - (span.end - span.start)) > tolerances[number]
    ]
    if wrong:
        yield Failure("extinf", f"{name}: EXTINF is wrong: {'; '.join(wrong[:3])}")
    if not all(span.key for span in found):
        yield Failure("independent", f"{name}: a segment does not start with a key frame")


def peak(media: Media) -> float:
    """Bits a second of the busiest run of segments of 0.5 to 1.5 target durations (RFC 8216, 4.1)."""
    target = media.playlist.target_duration or 1
    sizes = [8 * len(segment) for segment in media.segments]
    lengths = [float(segment.duration) for segment in media.playlist.segments]
    most = 0.0
    for first in range(len(sizes)):
        for last in range(first + 1, len(sizes) + 1):
            seconds = sum(lengths[first:last])
            if seconds > 1.5 * target:
                break
            if seconds >= 0.5 * target:
                most = max(most, sum(sizes[first:last]) / seconds)
    return most or sum(sizes) / sum(lengths)  # a film that is shorter than all that


def average(media: Media) -> float:
    lengths = sum(float(segment.duration) for segment in media.playlist.segments)
    return sum(8 * len(segment) for segment in media.segments) / lengths


def check_master(
    stream: Stream, size: tuple[int, int], rates: Sequence[float]
) -> Iterator[Failure]:
    """What the multivariant playlist promises of its one variant."""
    info = stream.master.playlists[0].stream_info
    both = [media for media in (stream.video, stream.audio) if media]
    needed = sum(peak(media) for media in both)
    if not info.bandwidth or info.bandwidth < needed * 0.999:
        yield Failure("bandwidth", f"hls: BANDWIDTH {info.bandwidth}, the peak is {needed:.0f}")
    mean = sum(average(media) for media in both)
    if info.average_bandwidth and abs(info.average_bandwidth - mean) > _AVERAGE_TOLERANCE * mean:
        yield Failure(
            "bandwidth", f"hls: AVERAGE-BANDWIDTH {info.average_bandwidth}, it is {mean:.0f}"
        )
    true = [name for media in both for name in boxes.codecs(media.initialisation)]
    said = [name.strip() for name in (info.codecs or "").split(",") if name.strip()]
    if sorted(said) != sorted(true):
        yield Failure("codecs", f"hls: CODECS {info.codecs!r}, the files say {','.join(true)}")
    if info.resolution != size:
        yield Failure("resolution", f"hls: RESOLUTION {info.resolution}, it is {size}")
    if rates and not (
        info.frame_rate
        and min(rates) * (1 - _RATE_TOLERANCE)
        < info.frame_rate
        < max(rates) * (1 + _RATE_TOLERANCE)
    ):
        true_rates = " or ".join(f"{rate:.3f}" for rate in rates)
        yield Failure("rate", f"hls: FRAME-RATE {info.frame_rate}, it is {true_rates}")
    if not stream.master.is_independent_segments:
        yield Failure("independent", "hls: EXT-X-INDEPENDENT-SEGMENTS is not said")
