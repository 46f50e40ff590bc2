"""FFmpeg's arguments for files of sound: M4A, MP3 and Opus."""

from __future__ import annotations

from typing import Literal

from chalicelib.errors import JobError
from chalicelib.formats import loudness as meter
from chalicelib.formats.cmaf import SAMPLE_RATE
from chalicelib.model.facts import AudioFacts, AudioTrack, VideoFacts
from chalicelib.model.work import LEVELS, PEAKS, AudioFile, Command, Run, audio_room
from chalicelib.planning import audio
from chalicelib.planning.operation import PlanSettings

AudioFormat = Literal["m4a", "mp3", "opus"]

# Silence in gaps; the first sample is the start.
_WITHOUT_GAPS = "aresample={rate}:async=1:min_hard_comp=0.03"
# FFmpeg would make two equal channels louder by 3 dB.
_BOTH_IN_ONE = ",pan=mono|c0=0.5*c0+0.5*c1"
# What is behind all other filters: of a run that measures, and of one that encodes.
_METER = f",{meter.filters(LEVELS, PEAKS)}"
_GAIN = ",volume={gain}dB:precision=float"
# By so much sound with a loudness costs more: two runs that measure, and two that encode, at most.
_MEASURED = 4
# Kilobits a second of each channel, at which hardly anybody hears a difference.
_USUAL_KBPS: dict[AudioFormat, int] = {"m4a": 64, "mp3": 96, "opus": 48}
# Encoders take no more for a channel, and no less.
_MOST_KBPS: dict[AudioFormat, int] = {"m4a": 256, "mp3": 320, "opus": 256}
_ENCODERS: dict[AudioFormat, Command] = {
    "m4a": ("-c:a", "aac", "-movflags", "+faststart", "-f", "ipod"),
    # Without tags but with the header that players know the length by, and where to begin and to end.
    "mp3": ("-c:a", "libmp3lame", "-id3v2_version", "0", "-write_xing", "1", "-f", "mp3"),
    "opus": ("-c:a", "libopus", "-f", "opus"),
}


def audio_file(
    facts: VideoFacts | AudioFacts,
    stem: str,
    audio_format: AudioFormat,
    kbps: int | None,
    settings: PlanSettings,
    loudness: float | None = None,
) -> AudioFile:
    """The audio of a film, at least as long as the film; or sound, with one channel where it has one.

    With a `loudness`, in LUFS, it is measured, encoded, and measured again; and encoded again, if need be.

    Raises JobError where a film has none, or it is too long.
    """
    output = f"{stem}.{audio_format}"
    if isinstance(facts, AudioFacts):
        seconds, is_counted = facts.seconds, facts.audio.seconds is not None
    else:
        seconds, is_counted = audio.whole_seconds(facts, settings), facts.audio_end is not None
    longest = seconds + audio_room(seconds) if is_counted else settings.max_video_seconds
    is_measured = loudness is not None
    if seconds > (most := audio.MOST_SECONDS / (_MEASURED if is_measured else 1)):
        verb = "measure and encode" if is_measured else "encode"
        detail = f"The sound is {seconds:.0f} s long, and one function can {verb} {most:.0f} s."
        raise JobError("too_long_as_a_whole", detail)
    if isinstance(facts, AudioFacts):
        channels = min(2, facts.audio.channels)
        rate = _rate_of(facts.audio, audio_format)
        return AudioFile(
            (
                *_of_sound(facts, rate, channels, _GAIN if is_measured else ""),
                *_encoder(audio_format, kbps, channels, rate, longest, output),
            ),
            Run(),
            output,
            seconds,
            bits_per_second(audio_format, kbps, channels),
            is_counted,
            loudness,
            (*_of_sound(facts, rate, channels, _METER), *_to_null(longest)) if is_measured else (),
        )
    if not facts.audio:
        raise JobError(
            "no_audio_stream", "The video has no sound: there is nothing to make a file of."
        )
    return AudioFile(
        (
            *audio.film_audio(
                facts, 0, settings, to_the_end=True, then=_GAIN if is_measured else ""
            ),
            *_encoder(audio_format, kbps, 2, SAMPLE_RATE, longest, output),
        ),
        audio.run_of(facts, 0, 0.0, None, settings),
        output,
        seconds,
        bits_per_second(audio_format, kbps, 2),
        loudness=loudness,
        measure=(
            *audio.film_audio(facts, 0, settings, to_the_end=True, then=_METER),
            *_to_null(longest),
        )
        if is_measured
        else (),
    )


def cost_of(work: AudioFile) -> float:
    """Seconds to make a file."""
    return audio.cost_of(work.seconds * (_MEASURED if work.measure else 1))


def bits_per_second(audio_format: AudioFormat, kbps: int | None, channels: int) -> int:
    """Bits a second of the file, about."""
    usual = _USUAL_KBPS[audio_format] * channels
    return 1000 * min(kbps or usual, _MOST_KBPS[audio_format] * channels)


def _rate_of(track: AudioTrack, audio_format: AudioFormat) -> int:
    """Samples a second: 44,100 of what is a multiple or a part of that. Opus has 48,000 always (RFC 7845)."""
    return 44_100 if audio_format != "opus" and track.rate % 11_025 == 0 else SAMPLE_RATE


def _of_sound(facts: AudioFacts, rate: int, channels: int, then: str) -> Command:
    """Arguments that open a file of sound and decode it to [sound]."""
    mixed = _BOTH_IN_ONE if channels == 1 else ""
    return (
        "-f", facts.demuxer,
        "-protocol_whitelist", "file",
        "-i", "source",
        *audio.decoded_again(
            f"0:{facts.audio.stream}",
            audio.stereo(facts.audio),
            f"{_WITHOUT_GAPS.format(rate=rate)}{mixed}{then}[sound]",
            rate=rate,
        ),
        "-map", "[sound]",
    )  # fmt: skip


def _to_null(longest: float) -> Command:
    return "-t", f"{longest:.3f}", "-c:a", "pcm_f32le", "-f", "null", "-"


def _encoder(
    audio_format: AudioFormat,
    kbps: int | None,
    channels: int,
    rate: int,
    longest: float,
    output: str,
) -> Command:
    return (
        "-t", f"{longest:.3f}",
        "-b:a", str(bits_per_second(audio_format, kbps, channels)),
        "-ac", str(channels),
        "-ar", str(rate),
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-bitexact",
        *_ENCODERS[audio_format],
        output,
    )  # fmt: skip
