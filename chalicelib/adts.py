"""AAC in a stream (ISO/IEC 14496-3, 1.A.2.2: ADTS): what each frame says of itself. Pure bytes."""

from __future__ import annotations

from mmap import mmap

_HEADER_BYTES = 7


def kinds(data: bytes | mmap) -> set[tuple[int, int, int]]:
    """Profile, index of the rate, and channels of all frames in a row, as the fields have them."""
    found = set()
    at = 0
    while at + _HEADER_BYTES <= len(data) and data[at] == 0xFF and data[at + 1] >> 4 == 0xF:
        first, second = data[at + 2], data[at + 3]
        found.add((first >> 6, first >> 2 & 15, (first & 1) << 2 | second >> 6))
        at += max(_HEADER_BYTES, (second & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5)
    return found
