"""Facts of a file of sound, found by looking inside with PyAV. Runs in a child."""

from __future__ import annotations

import av
import msgspec
from av.audio.stream import AudioStream

from chalicelib.errors import JobError
from chalicelib.model.facts import AudioFacts
from chalicelib.probing.film import Film, damaged, overstated, to_fraction
from chalicelib.probing.streams import choose_audio, track_of
from chalicelib.probing.video import COUNT_BYTES

# Demuxers of files whose header says how many samples there are. Others guess by the bit rate.
_COUNTED_BY_HEADER = frozenset({"mov", "wav", "flac", "aiff"})
# Where nothing says how long a file is: bits a second.
_USUAL_RATE = 128_000


def facts_of(film: Film) -> AudioFacts:
    """Facts of a file without a film. Raises JobError where it has no sound either; FFmpegError."""
    streams = choose_audio(film)
    if not streams:
        raise JobError("no_video_stream", "The file has neither a video nor sound.")
    stream = streams[0]
    seconds = _counted(film, stream)
    guess = _header_seconds(film, stream) or 8 * film.size / _USUAL_RATE
    track = msgspec.structs.replace(track_of(stream), seconds=seconds)
    return AudioFacts(film.demuxer, guess if seconds is None else seconds, track)


def _counted(film: Film, stream: AudioStream) -> float | None:
    """Seconds of audio, by the header or by all packets; None where nobody has counted them."""
    # Samples that share bytes could be sound of any length.
    if film.demuxer == "mov" and sum(entry.size for entry in stream.index_entries) > film.size:
        raise overstated()
    if film.demuxer in _COUNTED_BY_HEADER and (seconds := _header_seconds(film, stream)):
        return seconds
    if film.size > COUNT_BYTES:
        return None
    tick = to_fraction(stream.time_base) or 0
    durations = [packet.duration or 0 for packet in film.container.demux(stream) if packet.size]
    if not durations:
        raise damaged()
    return float(sum(durations) * tick) or None


def _header_seconds(film: Film, stream: AudioStream) -> float:
    """0 where the container does not say how long it is."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (film.container.duration or 0) / av.time_base)
