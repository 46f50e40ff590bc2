"""Captions: from what people and decoders write, SRT and WebVTT, to WebVTT that is safe in a page. Pure.

Whatever comes out is escaped anew: nothing of a source is copied as markup. Only functions that read captions
load this module, and webvtt-py.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from chalicelib.formats.cmaf import START_SECONDS

# What a file of captions may have, and what its WebVTT may: the API answers with that, within 6 MB.
MOST_BYTES, MOST_WEBVTT_BYTES = 2_000_000, 4_000_000
MOST_CUES = 20_000
_MPEG_CLOCK = 90_000
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Settings of a cue that need no region (WebVTT, 3.4).
_PERCENT = r"\d{1,3}(\.\d{1,6})?%"
_SETTING = re.compile(
    rf"vertical:(rl|lr)|line:(-?\d{{1,4}}|{_PERCENT})(,(start|center|end))?"
    rf"|position:{_PERCENT}(,(line-left|center|line-right))?|size:{_PERCENT}"
    r"|align:(start|center|end|left|right)",
    re.ASCII,
)
# Whatever stands between < and > is a tag in WebVTT. In SRT there are these, and those of WebVTT that people
# write there; anything else is text.
_TAGS = re.compile(r"<(/?)([a-z]*+)[^<>]*+>", re.IGNORECASE)
_SRT_TAGS = re.compile(r"<(/?)(b|i|u|s|font|c|v|ruby|rt|lang)(?=[\s>.=])[^<>]*+>", re.IGNORECASE)
_KEPT = frozenset({"b", "i", "u", "ruby", "rt"})
_DEEPEST = 8  # tags within each other
_MOST_LETTERS = 4000  # of a cue; no screen has room for more
_DRAWN = re.compile(r"[bclmnps]|-?\d+(\.\d+)?")
_NO_CHARACTER = re.compile(r"&#([0-9]{8,}+|[xX][0-9a-fA-F]{7,}+);?")
# Codes of ASS, which people write in SRT as FFmpeg does: where a cue is, 7 to 9 at the top, 4 to 6 amid.
_CODES = re.compile(r"\{\\[^{}]*\}")
_PLACE = re.compile(r"\\an([4-9])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff]")


class Unusable(ValueError):
    """Why a file cannot be used for captions: the end of a sentence."""


class Cue(NamedTuple):
    """A text that is shown for a time, in milliseconds of the film."""

    start: int
    end: int
    text: str  # WebVTT's cue text
    settings: str = ""


def read(body: bytes) -> list[Cue]:
    """The cues of a file, WebVTT or SRT by its content, in the order of their times. Raises Unusable."""
    if len(body) > MOST_BYTES:
        raise too_large(len(body))
    text = _decoded(body).lstrip("\r\n\t ")
    if text.count("-->") > MOST_CUES:  # before anybody reads them all
        raise _too_many(text.count("-->"))
    form = "vtt" if text.startswith("WEBVTT") else "srt"
    try:
        found = webvtt.from_buffer([text], format=form).captions
    except (MalformedFileError, MalformedCaptionError):
        raise Unusable("is neither WebVTT nor SRT") from None
    if len(found) > MOST_CUES:
        raise _too_many(len(found))
    cues = filter(None, (_cue(each, is_srt=form == "srt") for each in found))
    return sorted(cues, key=attrgetter("start"))


def _too_many(cues: int) -> Unusable:
    return Unusable(f"has {cues} cues, and at most {MOST_CUES} are taken")


def too_large(size: int) -> Unusable:
    return Unusable(f"has {size} bytes, and at most {MOST_BYTES} are taken")


def until(cues: Iterable[Cue], seconds: float) -> Iterator[Cue]:
    """The cues that are shown before a film of so many seconds ends, no longer than that."""
    end = round(seconds * 1000)
    for cue in cues:
        if cue.start < end:
            yield cue._replace(end=min(cue.end, end))


def to_webvtt(cues: Iterable[Cue]) -> bytes:
    """A file of captions for HLS, whose times are those of our fragments (RFC 8216, 3.5). Raises Unusable."""
    start = _MPEG_CLOCK * START_SECONDS
    blocks = [f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{start},LOCAL:00:00:00.000\n"]
    for cue in cues:
        settings = f" {cue.settings}" if cue.settings else ""
        blocks.append(f"{_time(cue.start)} --> {_time(cue.end)}{settings}\n{cue.text}\n")
    body = "\n".join(blocks).encode()
    if len(body) > MOST_WEBVTT_BYTES:
        raise Unusable(f"becomes {len(body)} bytes of WebVTT, and may {MOST_WEBVTT_BYTES}")
    return body


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"{hours:02}:{minutes:02}:{seconds % 60:02}.{rest:03}"


def _decoded(body: bytes) -> str:
    """A file as text. Which of the old code pages one may be in cannot be known: none of them is guessed."""
    bom = next((bom for bom in _BOMS if body.startswith(bom)), b"")
    try:
        return body[len(bom) :].decode(_BOMS.get(bom, "utf-8"))
    except UnicodeDecodeError:
        raise Unusable("is not in UTF-8, nor in UTF-16 with a byte order mark") from None


def _cue(caption: webvtt.Caption, *, is_srt: bool) -> Cue | None:
    """A cue; None where it would show nothing."""
    start, end = (time.in_milliseconds() for time in (caption.start_time, caption.end_time))
    raw = "\n".join(caption.lines)[:_MOST_LETTERS]
    if _is_drawing(raw):
        return None
    settings = _place(raw) if is_srt else " ".join(filter(_SETTING.fullmatch, caption.settings))
    text = _shown(_CODES.sub("", raw), _SRT_TAGS) if is_srt else _shown(raw, _TAGS, _unescaped)
    return Cue(start, end, text, settings) if text and start < end else None


def _is_drawing(raw: str) -> bool:
    """Whether a cue is what ASS draws with its numbers: FFmpeg takes that for text."""
    first, *others = _CODES.sub("", raw).split() or [""]
    return first == "m" and len(others) > 1 and all(map(_DRAWN.fullmatch, others))


def _unescaped(text: str) -> str:
    """The text with its character references read; one of a number that no character has is U+FFFD."""
    return html.unescape(_NO_CHARACTER.sub("\ufffd", text))


def _place(raw: str) -> str:
    found = next(filter(None, map(_PLACE.search, _CODES.findall(raw))), None)
    if found is None:
        return ""
    return "line:0" if found[1] in "789" else "line:50%"


def _shown(raw: str, tags: re.Pattern[str], meant: Callable[[str], str] = str) -> str:
    """Cue text of which every tag that is kept is closed, and everything else is text; "" for nothing.

    `meant` is what a text between tags stands for.
    """
    pieces, opened, at = list[str](), list[str](), 0
    for tag in tags.finditer(raw):
        pieces.append(_escaped(meant(raw[at : tag.start()])))
        at, name = tag.end(), tag[2].lower()
        if not tag[1] and name in _KEPT and len(opened) < _DEEPEST:
            opened.append(name)
            pieces.append(f"<{name}>")
        elif tag[1] and name in opened:
            while opened[-1] != name:
                pieces.append(f"</{opened.pop()}>")
            pieces.append(f"</{opened.pop()}>")
    pieces.append(_escaped(meant(raw[at:])))
    pieces += (f"</{name}>" for name in reversed(opened))
    text = "".join(pieces)
    # An empty line would end the cue, and what follows be read as another one.
    lines = [line.strip() for line in text.split("\n")]
    return "\n".join(filter(None, lines)) if _TAGS.sub("", text).strip() else ""


def _escaped(text: str) -> str:
    return html.escape(_CONTROLS.sub("", text), quote=False)
