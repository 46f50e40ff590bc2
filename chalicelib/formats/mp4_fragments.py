"""Fragments of MP4 (ISO/IEC 14496-12, 8.8), each a moof box and its mdat box: read and written, in memory.

FFmpeg makes the fragments. We cut them into segments, with times of our own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from mmap import mmap
from operator import add
from typing import NamedTuple

from chalicelib.formats.mp4_boxes import Box, boxes, find, write_box, write_full_box

# 8.8.7: which fields tfhd has, the defaults for all samples of a fragment among them.
TFHD_BASE_OFFSET = 0x1
TFHD_DESCRIPTION = 0x2
TFHD_DURATION = 0x8
TFHD_SIZE = 0x10
TFHD_FLAGS = 0x20
TFHD_BASE_IS_MOOF = 0x20000
# 8.8.8: which fields trun has, and which columns its table.
TRUN_DATA_OFFSET = 0x1
TRUN_FIRST_FLAGS = 0x4
TRUN_DURATION = 0x100
TRUN_SIZE = 0x200
TRUN_FLAGS = 0x400
TRUN_SHIFT = 0x800  # from decoding to presentation, in ticks
_COLUMNS = {TRUN_DURATION: "I", TRUN_SIZE: "I", TRUN_FLAGS: "I", TRUN_SHIFT: "i"}
# 8.8.3: flag of a sample.
_NOT_A_KEY = 0x00010000  # sample_is_non_sync_sample


@dataclass(frozen=True)
class Fragment:
    """The samples of a moof and its mdat, in coding order; times and durations in ticks of the track."""

    data: int  # at which byte of the file the samples begin
    end: int
    sizes: tuple[int, ...]
    times: tuple[int, ...]  # of presentation
    durations: tuple[int, ...]
    keys: tuple[bool, ...]

    @property
    def shown_at(self) -> int:
        return min(self.times)

    @property
    def shown_until(self) -> int:
        """When the last frame ends: it lasts as long as the frame that is decoded last.

        All other durations are times between two decodings, whose frames are shown in another order.
        """
        return max(self.times) + self.durations[-1]


def split(data: bytes | mmap) -> tuple[bytes, list[Fragment]]:
    """The initialisation (ftyp and moov) of a fragmented file with one track, and its fragments.

    Raises ValueError where a box ends outside of another or is missing.
    """
    header_end, fragments, moof = 0, [], None
    for box in boxes(data):
        if box.kind in (b"ftyp", b"moov"):
            header_end = box.end
        elif box.kind == b"moof":
            moof = box
        elif box.kind == b"mdat" and moof is not None:
            fragments.append(_read_fragment(data, moof, box))
            moof = None
    return data[:header_end], fragments


def samples_of(data: bytes | mmap, fragment: Fragment) -> list[bytes]:
    """The samples of a fragment, in coding order."""
    edges = accumulate(fragment.sizes, initial=fragment.data)
    return [data[start:end] for start, end in pairwise(edges)]


class _Defaults(NamedTuple):
    """What holds for each sample of a fragment whose trun does not say otherwise."""

    duration: int = 0
    size: int = 0
    flags: int = 0


class _Run(NamedTuple):
    """The table of a trun, by columns."""

    durations: Sequence[int]
    sizes: Sequence[int]
    flags: Sequence[int]
    shifts: Sequence[int]


def _read_fragment(data: bytes | mmap, moof: Box, mdat: Box) -> Fragment:
    traf = find(data, "traf", moof.content, moof.end)
    defaults = _Defaults()
    time = 0  # when the next sample is decoded
    sizes, times, durations, keys = list[int](), list[int](), list[int](), list[bool]()
    for box in boxes(data, traf.content, traf.end):
        if box.kind == b"tfhd":
            defaults = _read_defaults(data, box)
        elif box.kind == b"tfdt":
            has_64_bits = data[box.content] > 0
            (time,) = struct.unpack_from(">Q" if has_64_bits else ">I", data, box.content + 4)
        elif box.kind == b"trun":
            run = _read_run(data, box, defaults)
            *decoded, time = accumulate(run.durations, initial=time)
            durations += run.durations
            sizes += run.sizes
            times += map(add, decoded, run.shifts)
            keys += [not flags & _NOT_A_KEY for flags in run.flags]
    return Fragment(
        mdat.content, mdat.end, tuple(sizes), tuple(times), tuple(durations), tuple(keys)
    )


def _read_defaults(data: bytes | mmap, tfhd: Box) -> _Defaults:
    (flags,) = struct.unpack_from(">I", data, tfhd.content)
    at = tfhd.content + 8
    at += 8 * bool(flags & TFHD_BASE_OFFSET) + 4 * bool(flags & TFHD_DESCRIPTION)
    values = []
    for field in (TFHD_DURATION, TFHD_SIZE, TFHD_FLAGS):
        value = 0
        if flags & field:
            (value,) = struct.unpack_from(">I", data, at)
            at += 4
        values.append(value)
    return _Defaults(*values)


def _read_run(data: bytes | mmap, trun: Box, defaults: _Defaults) -> _Run:
    flags, count = struct.unpack_from(">II", data, trun.content)
    at = trun.content + 8 + 4 * bool(flags & TRUN_DATA_OFFSET)
    first_flags = struct.unpack_from(">I", data, at) if flags & TRUN_FIRST_FLAGS else ()
    at += 4 * len(first_flags)
    present = [column for column in _COLUMNS if flags & column]
    row = struct.Struct(">" + "".join(map(_COLUMNS.__getitem__, present)))
    table = data[at : at + count * row.size]
    rows = list(row.iter_unpack(table) if present else repeat((), count))
    columns = dict(zip(present, zip(*rows, strict=True), strict=False))  # of no row, no column

    def column(field: int, default: int) -> Sequence[int]:
        return columns.get(field, (default,) * len(rows))

    sample_flags = column(TRUN_FLAGS, defaults.flags)
    return _Run(
        column(TRUN_DURATION, defaults.duration),
        column(TRUN_SIZE, defaults.size),
        (*first_flags, *sample_flags[1:]) if rows and first_flags else sample_flags,
        column(TRUN_SHIFT, 0),
    )


def fragment(
    number: int,
    times: Sequence[int],
    decoded: Sequence[int],
    keys: Sequence[bool],
    samples: Sequence[bytes],
) -> bytes:
    """A moof and its mdat with samples in coding order.

    `times` of presentation and `decoded` are in ticks; `decoded` has one more entry, the time of what
    follows.
    """
    durations = [later - earlier for earlier, later in pairwise(decoded)]
    shifts = [shown - at for shown, at in zip(times, decoded, strict=False)]
    sample_flags = [0 if key else _NOT_A_KEY for key in keys]
    # What is equal for all samples is written once, in tfhd.
    defaults, columns = b"", [list(map(len, samples))]
    tfhd_flags, trun_flags = TFHD_BASE_IS_MOOF, TRUN_DATA_OFFSET | TRUN_SIZE
    if len(set(durations)) > 1:
        columns.insert(0, durations)
        trun_flags |= TRUN_DURATION
    else:
        defaults += struct.pack(">I", durations[0])
        tfhd_flags |= TFHD_DURATION
    if len(set(sample_flags)) > 1:
        columns.append(sample_flags)
        trun_flags |= TRUN_FLAGS
    else:
        defaults += struct.pack(">I", sample_flags[0])
        tfhd_flags |= TFHD_FLAGS
    if any(shifts):
        columns.append(shifts)
        trun_flags |= TRUN_SHIFT
    row = struct.Struct(f">{len(columns)}i")
    rows = [row.pack(*values) for values in zip(*columns, strict=True)]

    def moof(data_offset: int) -> bytes:
        return write_box(
            b"moof",
            write_full_box(b"mfhd", 0, 0, struct.pack(">I", number)),
            write_box(
                b"traf",
                write_full_box(b"tfhd", 0, tfhd_flags, struct.pack(">I", 1), defaults),
                write_full_box(b"tfdt", 1, 0, struct.pack(">Q", decoded[0])),
                write_full_box(
                    b"trun", 1, trun_flags, struct.pack(">Ii", len(rows), data_offset), *rows
                ),
            ),
        )

    return moof(len(moof(0)) + 8) + write_box(b"mdat", *samples)
