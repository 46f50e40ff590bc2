"""AAC in a stream (ISO/IEC 14496-3, 1.A.2.2: ADTS): what each frame says of itself. Pure bytes."""

from __future__ import annotations

import re
from mmap import mmap

_HEADER = re.compile(rb"\xff[\xf0\xf1\xf8\xf9].{5}", re.DOTALL)


def kinds(data: bytes | mmap) -> set[tuple[int, int, int]]:
    """Profile, index of the rate, and channels of all frames, as the fields have them.

    What another does not follow at its end is none, but damaged, or looks like one by chance.
    """
    found = set()
    at = 0
    while header := _HEADER.search(data, at):
        _, _, first, second, *length, _ = header[0]
        at = header.start()
        end = at + ((second & 3) << 11 | length[0] << 3 | length[1] >> 5)
        if end == len(data) or (end > at and _HEADER.match(data, end)):
            found.add((first >> 6, first >> 2 & 15, (first & 1) << 2 | second >> 6))
            at = end
        else:
            at += 1
    return found
