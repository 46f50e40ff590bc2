"""Which of a file's streams are the film and its audio, and what their headers say."""

from __future__ import annotations

import re
from contextlib import suppress

import av
from av.audio.stream import AudioStream
from av.stream import Stream
from av.video.stream import VideoStream

from chalicelib.errors import JobError
from chalicelib.formats import cmaf
from chalicelib.formats.languages import tag_of
from chalicelib.model.facts import AudioTrack
from chalicelib.probing.film import Film, to_fraction

# Containers of several programmes, whose streams have no table of samples. They can be read from any byte on.
PROGRAMMES = frozenset({"mpegts", "mpeg"})
# The length of a packet of AAC. A shorter track was declared, and never filled.
LEAST_AUDIO_SECONDS = cmaf.PACKET_SAMPLES / cmaf.SAMPLE_RATE
# What a quoted string of a playlist cannot have (RFC 8216, 4.2), and what is no letter.
_UNFIT = re.compile(r"[\x00-\x1f\"\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_MOST_LETTERS = 60
_DESCRIBES = av.stream.Disposition.visual_impaired | av.stream.Disposition.descriptions
# Dolby Vision profiles whose colours are Dolby's own (IPT-PQ-c2), and mean nothing without their metadata.
_DOLBY_OWN = frozenset({5, 10, 20})


def has_film(film: Film) -> bool:
    """Whether there are pictures that move; else it is sound, if anything.

    Raises JobError where nothing here can decode them.
    """
    if not _video_streams(film) and any(map(_is_shown, film.container.streams.video)):
        raise JobError("no_video_stream", "The video is in a codec that Sluice does not know.")
    return bool(_video_streams(film))


def _video_streams(film: Film) -> list[VideoStream]:
    shown = filter(_is_shown, film.container.streams.video)
    return [stream for stream in shown if stream.codec_context is not None]


def _is_shown(stream: VideoStream) -> bool:
    """Whether it is no cover."""
    return not stream.disposition & av.stream.Disposition.attached_pic


def choose_video(film: Film) -> VideoStream:
    """The stream that is the film, where there is one: others may be previews, or not to be shown."""
    streams = _video_streams(film)
    longest = max(map(_seconds, streams))

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        enabled = bool(stream.disposition & av.stream.Disposition.default)  # MP4: by tkhd
        is_film = stream.frames != 1 and 2 * _seconds(stream) >= longest
        # Of several programmes the first is taken, as its audio is.
        pixels = 0 if film.demuxer in PROGRAMMES else stream.width * stream.height
        return is_film, enabled, pixels

    return max(streams, key=rank)


def _seconds(video: VideoStream) -> float:
    """0 where the container does not say it."""
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    parts = video.metadata.get("DURATION", "").split(":")  # of Matroska: hours, minutes, seconds
    with suppress(ValueError):
        hours, minutes, seconds = map(float, parts)
        return 3600 * hours + 60 * minutes + seconds
    return 0.0


def check_dolby_vision(video: VideoStream) -> None:
    """Raises JobError where only a Dolby decoder knows the colours.

    By the configuration record (Dolby Vision Streams within the ISO base media file format, 3.2).
    """
    record = video.codec_context.coded_side_data.get("dovi_conf", b"").ljust(8, b"\0")
    profile, compatible_with = record[2], record[7]
    if profile in _DOLBY_OWN and (profile == 5 or not compatible_with):
        raise unsupported_colours(f"those of Dolby Vision profile {profile}")


def unsupported_colours(colours: str) -> JobError:
    return JobError(
        "unsupported_colours",
        f"The video's colours are {colours}, which Sluice cannot read. Export it as HDR10, HLG or SDR.",
    )


def choose_audio(film: Film) -> list[AudioStream]:
    """The streams that can be heard, before all the one that players take.

    That is the first that its container marks as the default one. It is the only one where there are several
    programmes, as nothing here tells their streams apart.
    """
    has_index = film.layout is not None
    audible = [s for s in film.container.streams.audio if _is_audible(s, has_index=has_index)]
    default = av.stream.Disposition.default
    first = next((s for s in audible if s.disposition & default), None)
    audible.sort(key=lambda stream: stream is not first)
    programmes = film.demuxer in PROGRAMMES and len(_video_streams(film)) > 1
    return audible[:1] if programmes else audible


def _is_audible(stream: AudioStream, *, has_index: bool) -> bool:
    context = stream.codec_context
    if context is None or context.sample_rate <= 0 or context.channels <= 0:
        return False
    if not has_index:
        return True
    seconds = (stream.duration or 0) * (to_fraction(stream.time_base) or 0)
    return len(stream.index_entries) > 0 and not 0 < seconds < LEAST_AUDIO_SECONDS


def track_of(stream: AudioStream) -> AudioTrack:
    """What the header says of the audio; not how long it is."""
    return AudioTrack(
        stream=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        rate=stream.sample_rate,
        channels=stream.channels,
        ambisonic=_ambisonic_channels(stream),
        language=tag_of(stream.language),
        title=title_of(stream),
        describes=bool(stream.disposition & _DESCRIBES),
    )


def title_of(stream: Stream) -> str:
    """What the container calls a track, as a playlist can quote it."""
    return _UNFIT.sub(" ", stream.metadata.get("title", "")).strip()[:_MOST_LETTERS].rstrip()


def _ambisonic_channels(stream: AudioStream) -> int:
    """How many channels are of a sound field, in the order of AmbiX (RFC 8486, 3.1)."""
    return sum(channel.name.startswith("AMBI") for channel in stream.codec_context.layout.channels)
