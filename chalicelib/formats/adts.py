"""ADTS, AAC as a stream (ISO/IEC 14496-3, 1.A.2.2): what the headers of frames say. Pure bytes."""

from __future__ import annotations

import re
from mmap import mmap

_HEADER = re.compile(rb"\xff[\xf0\xf1\xf8\xf9].{5}", re.DOTALL)


def kinds(data: bytes | mmap) -> set[tuple[int, int, int]]:
    """Profile, sampling frequency index and channel configuration of all frames, as the fields have them.

    Bytes count as a frame only where another frame, or the end, follows: others are damaged, or look like a
    header by chance.
    """
    found = set()
    at = 0
    while header := _HEADER.search(data, at):
        _, _, byte_2, byte_3, byte_4, byte_5, _ = header[0]
        at = header.start()
        end = at + ((byte_3 & 3) << 11 | byte_4 << 3 | byte_5 >> 5)
        if end == len(data) or (end > at and _HEADER.match(data, end)):
            found.add((byte_2 >> 6, byte_2 >> 2 & 15, (byte_2 & 1) << 2 | byte_3 >> 6))
            at = end
        else:
            at += 1
    return found
