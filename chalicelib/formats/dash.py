"""The MPD of a complete film (MPEG-DASH, ISO/IEC 23009-1) over the segments that HLS lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from chalicelib.formats import playlists
from chalicelib.formats.cmaf import INIT, NUMBER, SAMPLE_RATE, SEGMENT_SECONDS, START_SECONDS
from chalicelib.model.result import EncodedTrack
from chalicelib.model.streams import Rung, Sound

NAME = "manifest.mpd"
_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
# Segments by templates, with a timeline (23009-1, 8.4). A list of segments may have no timeline in dash.js.
_PROFILE = "urn:mpeg:dash:profile:isoff-live:2011"
_ROLES = "urn:mpeg:dash:role:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
# Rates of film and television are whole, or whole but for this divisor: 30000/1001.
_RATE_DIVISOR = 1001
_UNSTEADY = 0.05


class Picture(NamedTuple):
    """A rung as the MPD tells it."""

    rung: Rung
    codec: str  # RFC 6381
    frame_rate: float  # as it was measured
    bits: float  # most of a second, without audio
    parts: Sequence[EncodedTrack]


class Heard(NamedTuple):
    """A track of audio as the MPD tells it."""

    sound: Sound
    bits: float  # most of a second
    parts: Sequence[EncodedTrack]


def manifest(pictures: Sequence[Picture], sounds: Sequence[Heard]) -> str:
    """The MPD: rungs in that order, those of one codec together; of `sounds` players take the first."""
    tracks = [*(each.parts for each in pictures), *(each.parts for each in sounds)]
    # By the longest track, and rounded up: players drop a frame that would end later.
    end = max(Fraction(parts[-1].times[-1], parts[-1].timescale) for parts in tracks)
    longest = max(
        Fraction(stop - start, part.timescale)
        for parts in tracks
        for part in parts
        for start, stop in pairwise(part.times)
    )
    mpd = Element(
        "MPD",
        {
            "xmlns": _NAMESPACE,
            "profiles": _PROFILE,
            "type": "static",
            "mediaPresentationDuration": _duration(end - START_SECONDS),
            # At `bandwidth`, the peak of consecutive segments, a segment is there after its own length.
            "minBufferTime": _duration(max(longest, Fraction(SEGMENT_SECONDS))),
        },
    )
    period = SubElement(mpd, "Period", {"id": "0", "start": "PT0S"})
    by_codec: dict[str, list[Picture]] = {}
    for each in pictures:
        by_codec.setdefault(each.codec.partition(".")[0], []).append(each)
    for rungs in by_codec.values():
        adaptation = _adaptation_set(period, "video")
        for each in rungs:
            representation = _representation(
                adaptation,
                each.rung.playlist,
                each.codec,
                each.bits,
                width=str(each.rung.width),
                height=str(each.rung.height),
                frameRate=_frame_rate(each),
            )
            _template(representation, each.parts)
    for number, heard in enumerate(sounds):
        adaptation = _adaptation_set(period, "audio", lang=heard.sound.language)
        role = "description" if heard.sound.describes else "alternate" if number else "main"
        SubElement(adaptation, "Role", {"schemeIdUri": _ROLES, "value": role})
        SubElement(adaptation, "Label").text = heard.sound.name
        representation = _representation(
            adaptation,
            heard.sound.playlist,
            playlists.AUDIO_CODEC,
            heard.bits,
            audioSamplingRate=str(SAMPLE_RATE),
        )
        channels = {"schemeIdUri": _CHANNELS, "value": "2"}
        SubElement(representation, "AudioChannelConfiguration", channels)
        _template(representation, heard.parts)
    ElementTree.indent(mpd)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(mpd, encoding="unicode")}\n'
    )


def _adaptation_set(period: Element, kind: str, **more: str) -> Element:
    said = {
        "id": str(len(period)),
        "contentType": kind,
        "mimeType": f"{kind}/mp4",
        "segmentAlignment": "true",
        "startWithSAP": "1",
    }
    return SubElement(period, "AdaptationSet", said | more)


def _representation(
    adaptation: Element, name: str, codec: str, bits: float, **more: str
) -> Element:
    said = {"id": name, "bandwidth": str(ceil(bits)), "codecs": codec}
    return SubElement(adaptation, "Representation", said | more)


def _template(representation: Element, parts: Sequence[EncodedTrack]) -> None:
    scale = parts[0].timescale
    template = SubElement(
        representation,
        "SegmentTemplate",
        {
            "timescale": str(scale),
            "presentationTimeOffset": str(START_SECONDS * scale),
            "startNumber": "0",
            "initialization": f"$RepresentationID$_{INIT}",
            "media": f"$RepresentationID$_$Number{NUMBER}$.m4s",
        },
    )
    timeline = SubElement(template, "SegmentTimeline")
    for run in _runs(span for part in parts for span in pairwise(part.times)):
        said = {"t": run.start, "d": run.ticks, "r": run.more or None}
        SubElement(timeline, "S", {name: str(n) for name, n in said.items() if n is not None})


class _Run(NamedTuple):
    """Segments that follow each other and are equally long."""

    start: int | None  # ticks; None where it is the end of the run before
    ticks: int  # of each
    more: int  # after the first


def _runs(segments: Iterable[tuple[int, int]]) -> list[_Run]:
    found: list[_Run] = []
    end: int | None = None
    for start, stop in segments:
        ticks = max(1, stop - start)  # of a single frame, nobody may have said how long it is shown
        if start == end and found[-1].ticks == ticks:
            found[-1] = found[-1]._replace(more=found[-1].more + 1)
        else:
            found.append(_Run(None if start == end else start, ticks, 0))
        end = stop
    return found


def _frame_rate(picture: Picture) -> str:
    """As it was planned; of an unsteady film, of which the plan knows another rate, as it was measured."""
    planned = picture.rung.frame_rate
    is_steady = abs(picture.frame_rate / planned - 1) < _UNSTEADY
    rate = planned if is_steady else picture.frame_rate
    return str(Fraction(rate).limit_denominator(_RATE_DIVISOR))


def _duration(seconds: Fraction) -> str:
    """As XML Schema writes it, rounded up to milliseconds."""
    return f"PT{ceil(seconds * 1000) / 1000:.3f}S"
