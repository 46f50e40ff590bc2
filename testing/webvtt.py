"""A strict reader of WebVTT files, for tests: it takes nothing that the format does not have."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

_TIMES = re.compile(r"(\d\d+):(\d\d):(\d\d\.\d{3}) --> (\d\d+):(\d\d):(\d\d\.\d{3})((?: \S+)*)")
_TAG = re.compile(r"</?(?:b|i|u|ruby|rt)>")


class Cue(NamedTuple):
    start: float  # seconds
    end: float
    text: str  # as a viewer reads it
    settings: str = ""
    raw: str = ""


def cues_of(text: str) -> list[Cue]:
    """The cues of a file. Raises AssertionError where it is not what browsers read in one way."""
    header, *blocks = text.removesuffix("\n").split("\n\n")
    assert header.rstrip("\n").split("\n") == [
        "WEBVTT",
        "X-TIMESTAMP-MAP=MPEGTS:90000,LOCAL:00:00:00.000",
    ]
    cues = list(map(_cue, blocks))
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    return cues


def _cue(block: str) -> Cue:
    times, *lines = block.split("\n")
    found = _TIMES.fullmatch(times)
    assert found, times
    assert lines
    assert all(line.strip() for line in lines)
    raw = "\n".join(lines)
    shown = _TAG.sub("", raw)
    assert not set("<>") & set(shown)
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", shown)
    start, end = (
        round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)
        for hours, minutes, seconds in (found.groups()[:3], found.groups()[3:6])
    )
    assert start < end
    return Cue(start, end, html.unescape(shown), found[7].strip(), raw)
