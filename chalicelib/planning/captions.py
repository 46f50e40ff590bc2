"""Which captions a film gets: of files beside it, and of its own tracks. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from chalicelib.formats.languages import UNKNOWN, canonical, name_of
from chalicelib.model.facts import SubtitleTrack, VideoFacts
from chalicelib.model.streams import Caption
from chalicelib.model.work import SUBRIP, Captions, Command
from chalicelib.planning.inputs import open_whole_source
from chalicelib.planning.operation import PlanSettings

# FFmpeg's names of codecs that are text, and of demuxers that have one clock for all tracks.
_TEXT = frozenset({"mov_text", "subrip", "ass", "ssa", "webvtt", "text"})
_CONTAINERS = frozenset({"mov", "matroska"})
_MOST_TRACKS = 32
_MOST_BYTES = 1_500_000  # of a track as SubRip; what comes later is cut off


class Chosen(NamedTuple):
    """The captions of a film."""

    tracks: tuple[Caption, ...]
    work: Captions | None  # None where there are no captions
    warning: str  # sentences about what is left out


def choose(facts: VideoFacts, sidecars: Mapping[str, str], settings: PlanSettings) -> Chosen:
    """Captions of `sidecars`, keys of files by their languages, and of the film's own tracks of text.

    A sidecar takes the place of the film's own captions in its language. What is forced, and what is for who
    cannot hear, is something else, and stays.
    """
    tracks, keys, streams = list[Caption](), dict[str, str](), dict[str, int]()
    for language, key in sidecars.items():
        track = _track(tracks, canonical(language) or UNKNOWN)
        tracks.append(track)
        keys[track.playlist] = key
    replaced = {track.language for track in tracks}
    own = [each for each in facts.subtitles if _is_text(facts, each)]
    own = [each for each in own if not _is_replaced(each, replaced)]
    for each in own[: _MOST_TRACKS - len(tracks)]:
        track = _track(
            tracks, each.language, each.title, forced=each.forced, told=each.hearing_impaired
        )
        tracks.append(track)
        streams[track.playlist] = each.stream
    work = Captions(
        {playlist: settings.sidecars[key] for playlist, key in keys.items()},
        tuple(streams),
        _command(facts, streams, settings) if streams else (),
        max(facts.end, facts.audio_end or 0.0),
    )
    return Chosen(
        tuple(tracks), work if tracks else None, " ".join(_left_out(facts, len(own) - len(streams)))
    )


def _is_text(facts: VideoFacts, track: SubtitleTrack) -> bool:
    return track.codec in _TEXT and facts.subtitles_demuxer in _CONTAINERS


def _is_replaced(track: SubtitleTrack, languages: Collection[str]) -> bool:
    return track.language in languages and not (track.forced or track.hearing_impaired)


def _track(
    others: Collection[Caption],
    language: str,
    title: str = "",
    *,
    forced: bool = False,
    told: bool = False,
) -> Caption:
    """A track with a name and a playlist that none of the others has (RFC 8216, 4.3.4.1.1)."""
    name = title or (name_of(language) if language != UNKNOWN else "Captions")
    kind = " (forced)" if forced else " (SDH)" if told else ""
    playlist = f"subs_{language.lower().replace('-', '_')}"
    playlist += "_forced" if forced else "_sdh" if told else ""
    return Caption(
        free(playlist, "_", {each.playlist for each in others}),
        free(name if title else name + kind, " ", {each.name for each in others}),
        language,
        forced=forced,
        hearing_impaired=told,
    )


def free(name: str, between: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    numbered = (f"{name}{between}{number}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _command(facts: VideoFacts, streams: Mapping[str, int], settings: PlanSettings) -> Command:
    """FFmpeg's arguments: each track as SubRip, which it does not escape, from the start of the film on."""
    original = replace(facts, demuxer=facts.subtitles_demuxer)
    outputs = (
        (
            "-map", f"0:{stream}",
            "-c:s", "subrip",
            "-f", "srt",
            "-fs", str(_MOST_BYTES),
            SUBRIP.format(playlist),
        )
        for playlist, stream in streams.items()
    )  # fmt: skip
    return (*open_whole_source(original, settings), *(arg for each in outputs for arg in each))


def _left_out(facts: VideoFacts, surplus: int) -> Iterator[str]:
    pictures = [each for each in facts.subtitles if not _is_text(facts, each)]
    if pictures:
        which = ", ".join(f"{each.codec} ({each.language})" for each in pictures[:8])
        more = ", …" if len(pictures) > 8 else ""
        yield f"Subtitles that are no text, like pictures, are left out: {which}{more}."
    if surplus:
        yield f"A film has at most {_MOST_TRACKS} tracks of captions: {surplus} are left out."
