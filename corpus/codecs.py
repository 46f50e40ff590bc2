"""What a stream of H.264, HEVC or AV1 in MP4 says of itself: kinds of units, levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from corpus.boxes import payloads

_RATE_TOLERANCE = 1.05


@dataclass(frozen=True)
class Level:
    """A level's limits."""

    says: int  # how streams call it
    per_second: int
    per_picture: int


def _levels(*rows: tuple[int, int, int]) -> tuple[Level, ...]:
    return tuple(Level(*row) for row in rows)


@dataclass(frozen=True)
class Codec:
    """How one codec lies in MP4, as outputs should have it."""

    name: str
    tag: str  # of the sample entry
    profile: str
    units: Callable[[bytes], frozenset[int]]  # the types of the units in a packet
    starts: frozenset[int]  # types of which one is in each packet at which a decoder can begin
    sets: frozenset[int]  # types of parameter sets that are in the sample entry only
    config: str  # the box with its configuration
    level: Callable[[bytes], int]  # of that box
    levels: tuple[Level, ...]
    block: int  # pixels a side of what levels count

    def level_is_enough(self, moov: bytes, width: int, height: int, rate: float) -> bool:
        """Whether the level admits frames of that size, in pixels, so many in a second."""
        said = self.level(next(payloads(moov, self.config)))
        known = next((level for level in self.levels if level.says == said), None)
        size = ceil(width / self.block) * ceil(height / self.block)
        return (
            known is not None
            and size <= known.per_picture
            and size * rate <= known.per_second * _RATE_TOLERANCE
        )


def _nal_units(content: bytes, kind: Callable[[int], int]) -> frozenset[int]:
    """Each unit follows a length of four bytes."""
    kinds, offset = set(), 0
    while offset + 4 < len(content):
        kinds.add(kind(content[offset + 4]))
        offset += 4 + int.from_bytes(content[offset : offset + 4])
    return frozenset(kinds)


def _h264_units(content: bytes) -> frozenset[int]:
    return _nal_units(content, lambda header: header & 0x1F)


def _hevc_units(content: bytes) -> frozenset[int]:
    return _nal_units(content, lambda header: header >> 1 & 0x3F)


def _av1_units(content: bytes) -> frozenset[int]:
    """The types of open bitstream units (AV1 specification, 5.3)."""
    kinds, offset = set(), 0
    while offset < len(content):
        header = content[offset]
        kinds.add(header >> 3 & 0xF)
        offset += 2 if header & 0x4 else 1  # with an extension
        if not header & 0x2:  # without a size: it is the last
            break
        size, shift = 0, 0
        while True:
            size |= (content[offset] & 0x7F) << shift
            shift += 7
            offset += 1
            if not content[offset - 1] & 0x80:
                break
        offset += size
    return frozenset(kinds)


# H.264, table A-1: level × 10, macroblocks per second and per frame.
_H264_LEVELS = _levels(
    (10, 1485, 99), (11, 3000, 396), (12, 6000, 396), (13, 11880, 396), (20, 11880, 396),
    (21, 19800, 792), (22, 20250, 1620), (30, 40500, 1620), (31, 108000, 3600), (32, 216000, 5120),
    (40, 245760, 8192), (41, 245760, 8192), (42, 522240, 8704), (50, 589824, 22080),
    (51, 983040, 36864), (52, 2073600, 36864),
)  # fmt: skip
# HEVC, tables A.8 and A.9: level × 30, luma samples per second and per picture.
_HEVC_LEVELS = _levels(
    (30, 552960, 36864), (60, 3686400, 122880), (63, 7372800, 245760), (90, 16588800, 552960),
    (93, 33177600, 983040), (120, 66846720, 2228224), (123, 133693440, 2228224),
    (150, 267386880, 8912896), (153, 534773760, 8912896), (156, 1069547520, 8912896),
)  # fmt: skip
# AV1, annex A.3: seq_level_idx, shown samples per second, and samples per picture.
_AV1_LEVELS = _levels(
    (0, 4423680, 147456), (1, 8363520, 278784), (4, 19975680, 665856), (5, 31950720, 1065024),
    (8, 70778880, 2359296), (9, 141557760, 2359296), (12, 267386880, 8912896),
    (13, 534773760, 8912896), (14, 1069547520, 8912896), (15, 1069547520, 8912896),
)  # fmt: skip

_CODECS = (
    Codec(
        "h264", "avc1", "High", _h264_units,
        starts=frozenset({5}),  # IDR
        sets=frozenset({7, 8}),
        config="avcC", level=lambda box: box[3], levels=_H264_LEVELS, block=16,
    ),
    Codec(
        "hevc", "hvc1", "Main", _hevc_units,
        starts=frozenset({19, 20}),  # IDR
        sets=frozenset({32, 33, 34}),
        config="hvcC", level=lambda box: box[12], levels=_HEVC_LEVELS, block=1,
    ),
    Codec(
        "av1", "av01", "Main", _av1_units,
        starts=frozenset({1}),  # a sequence header, which sync samples have
        sets=frozenset(),
        config="av1C", level=lambda box: box[1] & 0x1F, levels=_AV1_LEVELS, block=1,
    ),
)  # fmt: skip


def of(name: str) -> Codec:
    """The codec that FFmpeg calls so; for any other, as if it were H.264."""
    return next((codec for codec in _CODECS if codec.name == name), _CODECS[0])
