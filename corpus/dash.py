"""Check the MPD of an HLS output (ISO/IEC 23009-1) against the files of its playlists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from mpegdash.parser import MPEGDASHParser

from corpus import boxes, hls
from corpus.failures import Failure

_RATE_TOLERANCE = 0.05  # of frameRate, as a part of it
_LENGTH_TOLERANCE = 0.01  # seconds of mediaPresentationDuration
_NUMBER = re.compile(r"\$Number(%0\d+d)?\$")
_SECONDS = re.compile(r"PT([0-9.]+)S")


@dataclass(frozen=True)
class Told:
    """A segment as the timeline tells it; ticks of its track."""

    uri: str
    start: int
    end: int


def check_manifest(name: str, text: str, streams: Sequence[hls.Stream]) -> Iterator[Failure]:
    """It has what the playlists of `streams` have: the same segments, with their ticks, codecs and sizes."""
    mpd = MPEGDASHParser.parse(text)
    (period,) = mpd.periods
    found = {
        each.id: each
        for adaptation in period.adaptation_sets
        for each in adaptation.representations
    }
    told = {key: list(_told(each)) for key, each in found.items()}
    sound = streams[0].audio
    media = [*(stream.video for stream in streams), *([sound] if sound else ())]
    # Of several tracks of sound the first is judged.
    others = max(0, sum(each.type == "AUDIO" for each in streams[0].master.media) - 1)
    if len(found) != len(media) + others:
        yield Failure(
            "dash", f"{name}: {len(found)} Representations of {len(media) + others} tracks"
        )
    ends = []
    for each in media:
        uris = [segment.uri for segment in each.playlist.segments]
        key = next((key for key, all_of in told.items() if [one.uri for one in all_of] == uris), "")
        if not key:
            yield Failure("dash", f"{name}: no Representation has {uris[0]} and what follows")
            continue
        yield from _check_representation(f"{name} {key}", found[key], each)
        yield from _check_timeline(f"{name} {key}", found[key], told[key], each)
        (template,) = found[key].segment_templates
        ends.append(
            (told[key][-1].end - (template.presentation_time_offset or 0)) / template.timescale
        )
        info = next((one.variant.stream_info for one in streams if one.video is each), None)
        if info:
            yield from _check_picture(f"{name} {key}", found[key], info)
    length = _SECONDS.fullmatch(mpd.media_presentation_duration or "")
    last = max(ends, default=0.0)
    if not length or not 0 <= float(length[1]) - last <= _LENGTH_TOLERANCE:
        said = mpd.media_presentation_duration
        yield Failure("dash", f"{name}: it says {said}, the last track ends at {last:.3f} s")


def _told(representation: Any) -> Iterator[Told]:
    (template,) = representation.segment_templates
    (timeline,) = template.segment_timelines
    named = template.media.replace("$RepresentationID$", representation.id)
    number, at = template.start_number, 0
    for run in timeline.Ss:
        at = at if run.t is None else run.t
        for _ in range(1 + (run.r or 0)):
            yield Told(_NUMBER.sub(partial(_numbered, number), named), at, at + run.d)
            number, at = number + 1, at + run.d


def _numbered(number: int, place: re.Match[str]) -> str:
    return str((place[1] or "%d") % number)


def _check_representation(name: str, representation: Any, media: hls.Media) -> Iterator[Failure]:
    (template,) = representation.segment_templates
    start = template.initialization.replace("$RepresentationID$", representation.id)
    if start != media.playlist.segment_map[0].uri:
        yield Failure("dash", f"{name}: it begins with {start}")
    codecs = ",".join(boxes.codecs(media.initialisation))
    if representation.codecs != codecs:
        yield Failure("dash", f"{name}: codecs {representation.codecs}, the file says {codecs}")
    needed = hls.peak(media)
    if representation.bandwidth < 0.999 * needed:
        yield Failure(
            "dash", f"{name}: bandwidth {representation.bandwidth}, the peak is {needed:.0f}"
        )


def _check_timeline(
    name: str, representation: Any, told: Sequence[Told], media: hls.Media
) -> Iterator[Failure]:
    (template,) = representation.segment_templates
    scale = boxes.timescale(media.initialisation)
    if template.timescale != scale:
        yield Failure("dash", f"{name}: timescale {template.timescale}, the file says {scale}")
    for each, content in zip(told, media.segments, strict=True):
        true = [round(at * scale) for at in boxes.span(media.initialisation, content)]
        if true != [each.start, each.end]:
            yield Failure("dash", f"{name}: {each.uri} says {each.start}–{each.end}, it is {true}")
            break


def _check_picture(name: str, representation: Any, info: Any) -> Iterator[Failure]:
    size = representation.width, representation.height
    if size != info.resolution:
        yield Failure("dash", f"{name}: it is said to be {size}, in HLS {info.resolution}")
    rate = float(Fraction(representation.frame_rate or 0))
    if abs(rate - info.frame_rate) > _RATE_TOLERANCE * info.frame_rate:
        yield Failure("dash", f"{name}: frameRate {rate:.3f}, in HLS {info.frame_rate}")
