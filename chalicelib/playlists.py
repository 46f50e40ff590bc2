"""HLS playlists as files: what FFmpeg's own leave out of them, filled in from the segments."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import m3u8

# The least that knows EXT-X-MAP outside of I-frame playlists (RFC 8216, 7).
_VERSION = 7


def complete(folder: Path, size: tuple[int, int], frames: int, seconds: float) -> None:
    """Write master.m3u8 beside FFmpeg's media playlists, and mend the length of the last segment of video.

    FFmpeg guesses bit rates, leaves a film out whose rate it cannot guess, and ends the last segment when
    its last frame is decoded. `seconds` are those of the `frames` of the film.
    """
    _mend_last(folder / "video.m3u8", seconds)
    media = {path.stem: _measure(path) for path in folder.glob("*.m3u8")}
    codecs = [_avc(folder / "video_init.mp4")]
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    group = ""
    if "audio" in media:
        codecs.append("mp4a.40.2")
        group = ',AUDIO="audio"'
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,'
            'CHANNELS="2",URI="audio.m3u8"'
        )
    lines += [
        f"#EXT-X-STREAM-INF:BANDWIDTH={sum(round(each.peak) for each in media.values())},"
        f"AVERAGE-BANDWIDTH={sum(round(each.average) for each in media.values())},"
        f'CODECS="{",".join(codecs)}",RESOLUTION={size[0]}x{size[1]},'
        f"FRAME-RATE={frames / seconds:.3f}{group}",
        "video.m3u8",
    ]
    (folder / "master.m3u8").write_text("\n".join(lines) + "\n")


def _mend_last(media_playlist: Path, seconds: float) -> None:
    playlist = m3u8.load(str(media_playlist))
    *others, last = playlist.segments
    last.duration = max(0.001, round(seconds - sum(float(s.duration) for s in others), 6))
    longest = max(float(segment.duration) for segment in playlist.segments)
    playlist.target_duration = max(1, int(longest + 0.5))
    media_playlist.write_text(playlist.dumps())


def _avc(header: Path) -> str:
    """The codec's name (RFC 6381, 3.3) by the profile and level in avcC (ISO/IEC 14496-15, 5.3.3)."""
    content = header.read_bytes()
    start = content.index(b"avcC") + 5
    return f"avc1.{content[start : start + 3].hex()}"


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
