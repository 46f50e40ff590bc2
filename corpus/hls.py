"""Fetch an HLS output from its URL alone, and check it against RFC 8216 and Apple's rules."""

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

# EXT-X-VERSION that allows EXT-X-MAP in a playlist with more than I-frames (RFC 8216, section 7).
_LEAST_VERSION = 6
_AVERAGE_TOLERANCE = 0.1  # of AVERAGE-BANDWIDTH, as a part of it
_RATE_TOLERANCE = 0.05  # of FRAME-RATE, as a part of it
_SECONDS_TOLERANCE = 0.002  # of EXTINF
_AAC_FRAME = 1024 / 48000  # seconds


@dataclass(frozen=True)
class Media:
    """A media playlist and its files."""

    playlist: m3u8.M3U8
    initialisation: bytes
    segments: tuple[bytes, ...]
    joined: Path  # a file of the initialisation segment and all segments


@dataclass(frozen=True)
class Stream:
    """All that a player gets from the URL of an HLS output, of one of its variants."""

    master: m3u8.M3U8
    variant: m3u8.Playlist
    video: Media
    audio: Media | None


@dataclass(frozen=True)
class KeyFrames:
    """The playlist of a variant's key frames, and the bits a second that the multivariant playlist says."""

    playlist: m3u8.M3U8
    bandwidth: int


@dataclass(frozen=True)
class Span:
    """The time span of a segment in its track's timeline, in seconds."""

    start: float
    end: float
    key: bool  # whether it starts with a key frame


class NoStream(Exception):
    """The stream cannot be played; the message says why."""


def fetch(url: str, http: httpx.Client, folder: Path) -> Stream:
    """Fetch the only variant from the URL on. Raises NoStream, httpx.HTTPError."""
    variants = fetch_all(url, http, folder)
    if len(variants) != 1:
        raise NoStream(f"the multivariant playlist has {len(variants)} variants, not one")
    return variants[0]


def fetch_all(url: str, http: httpx.Client, folder: Path) -> list[Stream]:
    """Fetch all playlists and files from the URL on, of each variant. Raises NoStream, httpx.HTTPError."""
    master = playlist(url, http)
    groups = {variant.stream_info.audio for variant in master.playlists}
    if len(groups) != 1:
        raise NoStream(f"its variants name {len(groups)} audio groups, not one")
    (group,) = groups
    renditions = [
        media
        for media in master.media
        if media.type == "AUDIO" and media.group_id == group and media.default == "YES"
    ]
    if group and len(renditions) != 1:
        raise NoStream(f"the audio group {group} has {len(renditions)} defaults, not one")
    audio = _media(urljoin(url, renditions[0].uri), http, folder / "audio.mp4") if group else None
    return [
        Stream(
            master,
            variant,
            _media(urljoin(url, variant.uri), http, folder / f"video_{number}.mp4"),
            audio,
        )
        for number, variant in enumerate(master.playlists)
    ]


def key_frames(url: str, http: httpx.Client, stream: Stream) -> KeyFrames | None:
    """The key frames of a variant, by its resolution and its codec; None where there is no playlist."""
    info = stream.variant.stream_info
    for each in stream.master.iframe_playlists:
        found = each.iframe_stream_info
        if found.resolution == info.resolution and info.codecs.startswith(found.codecs):
            return KeyFrames(playlist(urljoin(url, each.uri), http), found.bandwidth)
    return None


def playlist(url: str, http: httpx.Client) -> m3u8.M3U8:
    answer = http.get(url, follow_redirects=True).raise_for_status()
    return m3u8.loads(answer.text)


def _media(url: str, http: httpx.Client, joined: Path) -> Media:
    listed = playlist(url, http)
    if not listed.segments or not listed.segment_map:
        raise NoStream("a media playlist has no segments, or no EXT-X-MAP")

    def get(uri: str) -> bytes:
        return http.get(urljoin(url, uri), follow_redirects=True).raise_for_status().content

    initialisation = get(listed.segment_map[0].uri)
    segments = tuple(get(segment.uri) for segment in listed.segments)
    joined.write_bytes(b"".join((initialisation, *segments)))
    return Media(listed, initialisation, segments, joined)


def check_stream(
    stream: Stream, size: tuple[int, int], rates: Sequence[float]
) -> Iterator[Failure]:
    """The playlists are well-formed, and their statements on the segments are true."""
    yield from check_media("video playlist", stream.video, spans(stream.video))
    if stream.audio:
        yield from check_media("audio playlist", stream.audio, spans(stream.audio), _AAC_FRAME)
    yield from check_master(stream, size, rates)


def spans(media: Media) -> list[Span]:
    """The span of each segment, by its timestamps and its first packet."""
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


def check_media(
    name: str, media: Media, segment_spans: list[Span], last: float = 0.0
) -> Iterator[Failure]:
    """Check a media playlist against the spans of its segments.

    `last`: seconds by which the last EXTINF may be wrong.
    """
    playlist = media.playlist
    durations = [float(segment.duration) for segment in playlist.segments]
    if (playlist.version or 1) < _LEAST_VERSION:
        yield Failure("version", f"{name}: EXT-X-VERSION {playlist.version} has no EXT-X-MAP")
    if not playlist.is_endlist or playlist.playlist_type != "vod":
        yield Failure("playlist", f"{name}: it is not VOD with an end")
    longest = max(int(seconds + 0.5) for seconds in durations)
    if (playlist.target_duration or 0) < longest:
        yield Failure(
            "target",
            f"{name}: TARGETDURATION {playlist.target_duration}, a segment lasts {longest}",
        )
    # The last AAC frame counts as a whole frame, though less of it may be played.
    tolerances = [_SECONDS_TOLERANCE] * (len(durations) - 1) + [max(_SECONDS_TOLERANCE, last)]
    wrong = [
        f"segment {number} says {seconds:.3f} s and lasts {span.end - span.start:.3f} s"
        for number, (seconds, span) in enumerate(zip(durations, segment_spans, strict=True))
        if abs(seconds - (span.end - span.start)) > tolerances[number]
    ]
    if wrong:
        yield Failure("extinf", f"{name}: EXTINF is wrong: {'; '.join(wrong[:3])}")
    if not all(span.key for span in segment_spans):
        yield Failure("independent", f"{name}: a segment does not start with a key frame")


def peak(media: Media) -> float:
    """Peak bits per second: of the busiest run of segments of 0.5 to 1.5 target durations (RFC 8216, 4.1)."""
    sizes = [len(segment) for segment in media.segments]
    lengths = [float(segment.duration) for segment in media.playlist.segments]
    return peak_of(sizes, lengths, media.playlist.target_duration or 1)


def peak_of(sizes: Sequence[int], lengths: Sequence[float], target: int) -> float:
    """`peak` of parts of so many bytes and seconds."""
    most = 0.0
    for first in range(len(sizes)):
        for last in range(first + 1, len(sizes) + 1):
            seconds = sum(lengths[first:last])
            if seconds > 1.5 * target:
                break
            if seconds >= 0.5 * target:
                most = max(most, 8 * sum(sizes[first:last]) / seconds)
    return most or 8 * sum(sizes) / sum(lengths)  # of what is shorter than 0.5 target durations


def average(media: Media) -> float:
    lengths = sum(float(segment.duration) for segment in media.playlist.segments)
    return sum(8 * len(segment) for segment in media.segments) / lengths


def check_master(
    stream: Stream, size: tuple[int, int], rates: Sequence[float]
) -> Iterator[Failure]:
    """The multivariant playlist's attributes of a variant are true."""
    info = stream.variant.stream_info
    both = [media for media in (stream.video, stream.audio) if media]
    needed = sum(peak(media) for media in both)
    if not info.bandwidth or info.bandwidth < needed * 0.999:
        yield Failure("bandwidth", f"hls: BANDWIDTH {info.bandwidth}, the peak is {needed:.0f}")
    mean = sum(average(media) for media in both)
    if info.average_bandwidth and abs(info.average_bandwidth - mean) > _AVERAGE_TOLERANCE * mean:
        yield Failure(
            "bandwidth", f"hls: AVERAGE-BANDWIDTH {info.average_bandwidth}, it is {mean:.0f}"
        )
    actual = [name for media in both for name in boxes.codecs(media.initialisation)]
    declared = [name.strip() for name in (info.codecs or "").split(",") if name.strip()]
    if sorted(declared) != sorted(actual):
        yield Failure("codecs", f"hls: CODECS {info.codecs!r}, the files say {','.join(actual)}")
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
