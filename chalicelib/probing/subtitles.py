"""The tracks of subtitles that a film has, by what its container says of them."""

from __future__ import annotations

from av.stream import Disposition, Stream

from chalicelib.formats.languages import tag_of
from chalicelib.model.facts import SubtitleTrack
from chalicelib.probing.film import Film
from chalicelib.probing.streams import title_of

# More than a film has; the others are as if they were not there.
_MOST = 64


def subtitles_of(film: Film) -> tuple[SubtitleTrack, ...]:
    """The tracks whose codec FFmpeg knows, in the order of the container."""
    streams = [each for each in film.container.streams if each.type == "subtitle"]
    known = [each for each in streams if each.codec_context is not None]
    return tuple(map(_track, known[:_MOST]))


def _track(stream: Stream) -> SubtitleTrack:
    return SubtitleTrack(
        stream=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        language=tag_of(stream.metadata.get("language")),
        title=title_of(stream),
        forced=bool(stream.disposition & Disposition.forced),
        hearing_impaired=bool(stream.disposition & Disposition.hearing_impaired),
    )
