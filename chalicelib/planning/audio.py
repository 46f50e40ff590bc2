"""FFmpeg's arguments for a film's audio: AAC, stereo, 48 kHz, in parts where it is long."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

from chalicelib.formats import cmaf
from chalicelib.model.facts import AudioTrack, VideoFacts
from chalicelib.model.plan import sound_track
from chalicelib.model.work import FIRST_PACKET, Audio, Command, Run
from chalicelib.planning import chunking
from chalicelib.planning.excerpts import audio_excerpt
from chalicelib.planning.inputs import open_source, open_whole_source, other_streams_to_null
from chalicelib.planning.operation import Encode, Part, PlanSettings

BITS_PER_SECOND = 128_000
_FIRST_PART_SECONDS = 12
_MAX_PARTS = 400  # about; parts of a very long film are longer
# Seconds of audio that are encoded in a second; and in most of the time that a function may take.
_SPEED = 50
MOST_SECONDS = 780.0 * _SPEED
# Seconds of audio that filters and encoder look ahead, at most.
_ENOUGH_MORE = 1.0
_PACKETS_PER_SECOND = cmaf.SAMPLE_RATE / cmaf.PACKET_SAMPLES
_TARGET = "packets.mp4"

# Silence where audio begins late, and in gaps: in the result, packets follow each other and have no times.
_ON_TIME = "aresample=48000:async=1:min_hard_comp=0.03:first_pts=0"
# A moment of silence for a track without any sample, which the next filters pad to the length of the film.
_AT_LEAST_ONE_SAMPLE = "apad=whole_len=1"
# FFmpeg downmixes more channels to two; mono too, but would make it quieter. A film may have both in turn.
_STEREO = "aformat=sample_fmts=fltp:channel_layouts=mono|stereo|downmix,pan=stereo|FL=FL+FC+DL|FR=FR+FC+DR"


def encode(facts: VideoFacts, settings: PlanSettings, most: int = 1) -> Encode:
    """The first `most` tracks of audio as AAC, in parts where they are long; no part where there is none.

    A part has the same packets of each track.
    """
    tracks = facts.audio[:most]
    if not tracks:
        return Encode([], {})
    # Only audio with an index is cut.
    seconds = facts.audio_end or 0.0 if facts.index else 0.0
    part_seconds = max(settings.audio_part_seconds, seconds / _MAX_PARTS)
    rates = {track.rate for track in tracks}
    pieces = chunking.pieces(seconds, rates, _FIRST_PART_SECONDS, part_seconds)
    # Of each part but the last, which has as many as there are.
    segments = (
        len(cmaf.audio_segments(piece.first, piece.stop - piece.first))
        for piece in pieces
        if piece.stop is not None
    )
    works = [
        _part(facts, len(tracks), first, piece, settings)
        for first, piece in zip(accumulate(segments, initial=0), pieces, strict=True)
    ]
    commands = {
        work.command_of(sound_track(number)): _command(
            facts, number, settings, to_the_end=work.packets is None
        )
        for work in (works[0], works[-1])
        for number in range(len(tracks))
    }
    parts = [Part(work, cost_of(len(tracks) * work.seconds)) for work in works]
    return Encode(parts, commands)


def most_tracks(facts: VideoFacts) -> int:
    """How many tracks of a film one function can encode where it has to encode them as a whole."""
    return max(1, int(MOST_SECONDS / max(facts.seconds, facts.audio_end or 0.0, 1.0)))


def cost_of(seconds: float) -> float:
    """Seconds to encode so many seconds of audio."""
    return max(0.1, seconds / _SPEED)


def _part(
    facts: VideoFacts,
    tracks: int,
    first_segment: int,
    piece: chunking.Piece,
    settings: PlanSettings,
) -> Audio:
    begin = piece.start / _PACKETS_PER_SECOND
    end = None if piece.stop is None else piece.stop / _PACKETS_PER_SECOND
    length = (whole_seconds(facts, settings) if end is None else end) - begin
    return Audio(
        {
            sound_track(number): run_of(facts, number, begin, end, settings)
            for number in range(tracks)
        },
        first_segment=first_segment,
        first=piece.first,
        skip=piece.first - piece.start,
        packets=None if piece.stop is None else piece.stop - piece.first,
        seconds=length,
        max_seconds=length if facts.audio_end is not None else None,
    )


def film_end(facts: VideoFacts, settings: PlanSettings) -> float:
    """Seconds of audio that a film needs: where it ends earlier, silence follows.

    Players would wait for what is not there.
    """
    return min(facts.end, settings.max_video_seconds)


def whole_seconds(facts: VideoFacts, settings: PlanSettings) -> float:
    """Seconds of all audio that is made of a film: to the film's end, or its own where that is later."""
    return max(film_end(facts, settings), facts.audio_end or 0.0)


def run_of(
    facts: VideoFacts, number: int, begin: float, end: float | None, settings: PlanSettings
) -> Run:
    """The run of `film_audio` for a track, from `begin` to `end` seconds of a film, or to its end."""
    until = film_end(facts, settings) if end is None else end
    values = {"seconds": f"{max(0.0, until - begin):.6f}"}
    excerpt = None
    if facts.index:
        excerpt, start = audio_excerpt(facts.index.audio[number], sound_track(number), begin, end)
        values |= {"trim_start": f"{max(0.0, start):.6f}", "zero": f"{start:.6f}"}
        values |= {"enough": f"{until - begin + _ENOUGH_MORE:.6f}"}
    return Run(values, excerpt)


def steady_audio(tracks: Sequence[AudioTrack]) -> Command:
    """Null outputs, which are decoded again: stereo at one rate and in time, to be mapped as [sound0], ….

    Where the source changes its channels or its rate, FFmpeg makes the filter graph anew, and `aresample`
    would repeat all audio so far as silence. The decoded samples never change.
    """
    nulls = (_null(f"0:{track.stream}", stereo(track), cmaf.SAMPLE_RATE) for track in tracks)
    decoders = (("-dec", f"{number}:0") for number in range(len(tracks)))
    filters = (f"[dec:{number}]{_ON_TIME}[sound{number}]" for number in range(len(tracks)))
    return (
        *chain.from_iterable(nulls),
        *chain.from_iterable(decoders),
        "-filter_complex", ";".join(filters),
    )  # fmt: skip


def _null(stream: str, before: str, rate: int) -> Command:
    return (
        "-map", stream,
        "-af", f"{before},aresample={rate},{_AT_LEAST_ONE_SAMPLE}",
        "-c:a", "pcm_f32le",
        "-f", "null", "-",
    )  # fmt: skip


def decoded_again(
    stream: str, before: str, after: str, *beside: str, rate: int = cmaf.SAMPLE_RATE
) -> Command:
    """Samples that pass through a null output and its decoder, between the filters `before` and `after`.

    `beside`: more outputs.
    """
    return (
        *_null(stream, before, rate),
        *beside,
        "-dec", "0:0",
        "-filter_complex", f"[dec:0]{after}",
    )  # fmt: skip


def film_audio(
    facts: VideoFacts, number: int, settings: PlanSettings, *, to_the_end: bool, then: str = ""
) -> Command:
    """Arguments that open a film and decode a track to [sound]: stereo at 48 kHz, silent in gaps.

    `then` are filters behind all others, each with a comma before it.

    The placeholder `seconds` is how long it is, if it goes to the end. For an excerpt, there are two more:
    `trim_start` is where the part begins in the excerpt, not below 0; `zero` the same, but below 0 where the
    audio begins later than the part.
    """
    track = facts.audio[number]
    if facts.index:
        stream, source, beside = "0:0", ("-copyts", *open_source(facts, settings)), Command()
        trim = "atrim=start={trim_start},asetpts=round(PTS-({zero})/TB),"
        # Of a track that begins behind a part, the gap would be filled up to its first packet.
        trim += "" if to_the_end else "atrim=end={enough},"
    else:
        stream, source = f"0:{track.stream}", open_whole_source(facts, settings)
        beside = (
            *other_streams_to_null(facts, track.stream),
            "-map", stream, "-c", "copy", "-frames:a", "1", "-f", "data", FIRST_PACKET,
        )  # fmt: skip
        trim = ""
    pad = "apad=whole_dur={seconds}s" if to_the_end else "apad"
    return (
        *source,
        *decoded_again(stream, f"{trim}{stereo(track)}", f"{_ON_TIME},{pad}{then}[sound]", *beside),
        "-map", "[sound]",
    )  # fmt: skip


def _command(
    facts: VideoFacts, number: int, settings: PlanSettings, *, to_the_end: bool
) -> Command:
    # Without `-t`, the pad ends it; with it, one packet more than is wanted: the last one of a run is short.
    limit = () if to_the_end else ("-t", "{seconds}")
    return (
        *film_audio(facts, number, settings, to_the_end=to_the_end),
        "-c:a", "aac",
        "-b:a", str(BITS_PER_SECOND),
        "-ac", "2",
        "-ar", str(cmaf.SAMPLE_RATE),
        *limit,
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-movflags", "+frag_every_frame+empty_moov+default_base_moof+skip_trailer",
        "-use_editlist", "0",
        "-f", "mp4",
        _TARGET,
    )  # fmt: skip


def stereo(track: AudioTrack) -> str:
    """Filters to two channels."""
    field = track.ambisonic
    if not field:
        return _STEREO
    # Two cardioid microphones that look to the sides: W + Y and W - Y (AmbiX: channels by ACN, SN3D), with
    # the power of mid and side. By half of each, what is in front would be 6 dB quieter than in the field.
    left, right = "0.7071*c0+0.7071*c1", "0.7071*c0-0.7071*c1"
    if track.channels == field + 2:  # and head-locked stereo (RFC 8486, 3.1)
        left, right = f"{left}+c{field}", f"{right}+c{field + 1}"
    return f"aformat=sample_fmts=fltp,pan=stereo|c0={left}|c1={right}"
