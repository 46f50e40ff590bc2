"""Which tracks of audio a stream lists, and under which names. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.formats import playlists
from chalicelib.formats.languages import UNKNOWN, name_of
from chalicelib.model.facts import AudioTrack
from chalicelib.model.plan import sound_track
from chalicelib.model.streams import Sound
from chalicelib.planning.captions import free


def sounds(tracks: Sequence[AudioTrack]) -> tuple[Sound, ...]:
    """The tracks as a stream lists them: by their titles, else by what their languages call themselves."""
    found: list[Sound] = []
    for number, track in enumerate(tracks):
        found.append(
            Sound(
                sound_track(number),
                f"{playlists.AUDIO}_{number + 1}" if number else playlists.AUDIO,
                free(_name(track, number, len(tracks)), " ", {each.name for each in found}),
                track.language,
                track.describes,
            )
        )
    return tuple(found)


def _name(track: AudioTrack, number: int, tracks: int) -> str:
    if tracks == 1:
        return "audio"  # nobody has a choice
    if track.title:
        return track.title
    return name_of(track.language) if track.language != UNKNOWN else f"Audio {number + 1}"
