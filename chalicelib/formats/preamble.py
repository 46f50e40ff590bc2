"""What a film's first sample says, before its picture, that later samples are decoded by. Pure.

Encoders say some things once: parameter sets that are in no description of the track, and their own name
and version, by which FFmpeg's decoders know old mistakes (x264's in SEI, those of MPEG-4 part 2 in user
data). An excerpt that begins later gets the same bytes. What concerns one picture alone is left out: its
time code, whether decoding can start there. VP8, VP9 and codecs whose frames all stand alone say nothing
that lasts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

# How much of the first sample is read; a preamble may be as long.
MOST_BYTES = 16 * 1024
# SEI messages that hold until another (ITU-T H.274): unregistered user data, mastering display and light
# level, alternative transfer characteristics.
_LASTING_SEI = frozenset({5, 137, 144, 147})


class _Units(NamedTuple):
    """How the NAL units of a codec are read."""

    configuration: bytes  # box in the sample description
    length_at: int  # byte of its content with two bits for the length of lengths
    length_shift: int  # bits of that byte after the two
    kind: Callable[[bytes], int]  # type of a unit
    header: int  # length in bytes
    pictures: range  # types
    parameters: frozenset[int]  # types of parameter sets
    sei: int  # type of SEI before the picture


_NAL = {
    "h264": _Units(
        b"avcC", 4, 0, lambda unit: unit[0] & 0x1F, 1, range(1, 6), frozenset({7, 8, 13, 15}), 6
    ),
    "hevc": _Units(
        b"hvcC", 21, 0, lambda unit: unit[0] >> 1 & 0x3F, 2, range(32), frozenset({32, 33, 34}), 39
    ),
    # Without adaptation parameter sets: later pictures replace them by others of the same number.
    "vvc": _Units(
        b"vvcC", 4, 1, lambda unit: unit[1] >> 3, 2, range(12), frozenset({13, 14, 15, 16}), 23
    ),
}  # fmt: skip
# Start codes of a picture and of a group of pictures, in ISO/IEC 14496-2 and 13818-2.
_START_CODES = {
    "mpeg4": (b"\xb6", b"\xb3"),
    "mpeg2video": (b"\x00", b"\xb8"),
    "mpeg1video": (b"\x00", b"\xb8"),
}


def preamble(codec: str, track: bytes, sample: bytes) -> bytes:
    """The lasting parts of a film's first sample, to go before that of an excerpt; b"" if there are none.

    `codec` is FFmpeg's name, `track` the moov of the track, `sample` the first MOST_BYTES of the sample.
    """
    if units := _NAL.get(codec):
        return b"".join(_lasting(units, track, sample))
    if codec == "av1":
        return b"".join(_obus(sample))
    if codes := _START_CODES.get(codec):
        picture, group = codes
        return b"".join(_sections(sample, picture, group))
    return b""


def _lasting(units: _Units, track: bytes, sample: bytes) -> Iterator[bytes]:
    """Units with the lengths before them, as in the sample."""
    at = track.rfind(units.configuration)
    length_size = track[at + 4 + units.length_at :][:1]
    if at < 0 or not length_size:
        return
    width = (length_size[0] >> units.length_shift & 3) + 1
    begin = 0
    while begin + width < len(sample):
        end = begin + width + int.from_bytes(sample[begin : begin + width])
        unit = sample[begin + width : end]
        if end > len(sample) or len(unit) <= units.header or units.kind(unit) in units.pictures:
            return
        kind = units.kind(unit)
        if kind in units.parameters or (kind == units.sei and _lasts(unit[units.header :])):
            yield sample[begin:end]
        begin = end


def _lasts(messages: bytes) -> bool:
    """Whether the first message of an SEI unit lasts; others rarely follow it."""
    return messages[0] in _LASTING_SEI


# Types of open bitstream units (AV1 Bitstream & Decoding Process Specification, 6.2.2): those that last,
# and those that begin a picture. Of metadata (6.7.1) light level and mastering display last; the rest is
# the picture's own.
_SEQUENCE_HEADER, _METADATA = 1, 5
_AV1_PICTURES = frozenset({3, 4, 6, 7, 8})
_LASTING_METADATA = frozenset({1, 2})


def _obus(sample: bytes) -> Iterator[bytes]:
    begin = 0
    while begin + 2 < len(sample):
        kind = sample[begin] >> 3 & 15
        content = begin + 1 + (sample[begin] >> 2 & 1)
        if kind in _AV1_PICTURES or not sample[begin] & 2:  # the last unit may have no size
            return
        size = shift = 0
        for byte in sample[content : content + 4]:
            content += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        end = content + size
        if end > len(sample):
            return
        if kind == _SEQUENCE_HEADER or (
            kind == _METADATA and size and sample[content] in _LASTING_METADATA
        ):
            yield sample[begin:end]
        begin = end


def _sections(sample: bytes, picture: bytes, group: bytes) -> Iterator[bytes]:
    codes = list(re.finditer(rb"\x00\x00\x01(.)", sample, re.DOTALL))
    for code, following in pairwise(codes):
        if code[1] == picture:
            return
        if code[1] != group:
            yield sample[code.start() : following.start()]
