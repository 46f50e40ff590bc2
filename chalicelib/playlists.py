"""HLS playlists as files: what FFmpeg's own leave out of them, filled in from the segments."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import m3u8


def complete_master(folder: Path, frame_rate: float) -> None:
    """Give master.m3u8 the frame rate, and the true BANDWIDTHs (RFC 8216, 4.3.4.2): FFmpeg's are guesses."""
    master = m3u8.load(str(folder / "master.m3u8"))
    media = [_measure(path) for path in folder.glob("*.m3u8") if path.stem != "master"]
    for variant in master.playlists:
        variant.stream_info.bandwidth = sum(round(each.peak) for each in media)
        variant.stream_info.average_bandwidth = sum(round(each.average) for each in media)
        variant.stream_info.frame_rate = round(frame_rate, 3)
    master.is_independent_segments = True
    (folder / "master.m3u8").write_text(master.dumps())


class _Bits(NamedTuple):
    """A second, in the fullest segment and over all."""

    peak: float
    average: float


def _measure(media_playlist: Path) -> _Bits:
    segments = [
        (8 * (media_playlist.parent / str(segment.uri)).stat().st_size, float(segment.duration))
        for segment in m3u8.load(str(media_playlist)).segments
    ]
    bits, seconds = (sum(column) for column in zip(*segments, strict=True))
    return _Bits(max(size / duration for size, duration in segments), bits / seconds)
