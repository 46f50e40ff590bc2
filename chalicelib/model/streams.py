"""What a stream lists: rungs, tracks of sound, captions; as frozen data."""

from __future__ import annotations

import msgspec


class Rung(msgspec.Struct, frozen=True):
    """A rendition of a film, as HLS lists it."""

    rendition: str  # its name
    playlist: str  # the name of its playlist, with which those of its files begin
    width: int
    height: int
    frames: int | None
    # For playlists of a film that is still encoded: frames per second, and most bits per second with audio.
    frame_rate: float
    max_bits: int


class Sound(msgspec.Struct, frozen=True):
    """A track of audio, as HLS lists it."""

    track: str  # its name
    playlist: str  # the name of its playlist, with which those of its files begin
    name: str  # as a viewer is shown it
    language: str  # BCP 47
    describes: bool = False  # it tells who cannot see what there is to be seen


class Caption(msgspec.Struct, frozen=True):
    """A track of captions, as HLS lists it."""

    playlist: str  # the name of its playlist, and of its WebVTT
    name: str  # as a viewer is shown it
    language: str  # BCP 47
    forced: bool = False
    hearing_impaired: bool = False
