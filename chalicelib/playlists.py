"""HLS playlists as files: what FFmpeg's own leave out of them, filled in from the segments."""

from __future__ import annotations

from pathlib import Path

import m3u8


def complete_master(folder: Path, frame_rate: float) -> None:
    """Give master.m3u8 the frame rate, and the true peak BANDWIDTH (RFC 8216, 4.3.4.2)."""
    master = m3u8.load(str(folder / "master.m3u8"))
    peak = sum(
        _peak_bits_per_second(path) for path in folder.glob("*.m3u8") if path.stem != "master"
    )
    for variant in master.playlists:
        variant.stream_info.bandwidth = peak
        variant.stream_info.frame_rate = round(frame_rate, 3)
    master.is_independent_segments = True
    (folder / "master.m3u8").write_text(master.dumps())


def _peak_bits_per_second(media_playlist: Path) -> int:
    folder = media_playlist.parent
    return max(
        round(8 * (folder / str(segment.uri)).stat().st_size / float(segment.duration))
        for segment in m3u8.load(str(media_playlist)).segments
    )
