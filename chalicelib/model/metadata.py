"""What a client says of a job in words of its own: names and values, kept and told as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

MOST_NAMES = 50
MOST_BYTES = 1024  # of all names and values together, in UTF-8
NAME = "[A-Za-z0-9_.-]{1,64}"
# What an object's metadata say to us.
_OURS = ("pipeline", "recipe")


def fault(metadata: Mapping[str, str]) -> str:
    """What is wrong with metadata, as the end of a sentence; "" where they can be kept."""
    if len(metadata) > MOST_NAMES:
        return f"has {len(metadata)} names, and may have {MOST_NAMES}"
    wrong = next((name for name in metadata if not re.fullmatch(NAME, name)), None)
    if wrong is not None:
        return f"has the name {wrong[:64]!r}: names are 1 to 64 letters, digits, `_`, `.` and `-`"
    size = sum(len(each.encode()) for entry in metadata.items() for each in entry)
    if size > MOST_BYTES:
        return f"has {size} bytes in its names and values, and may have {MOST_BYTES}"
    return ""


def of_object(metadata: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The metadata of the job of an object with these, without what they say to us; and a warning, or "".

    Metadata that cannot be kept are left out whole, which the warning says.
    """
    kept = {name: value for name, value in metadata.items() if name not in _OURS}
    wrong = fault(kept)
    return ({}, f"The object's metadata {wrong}: the job goes without.") if wrong else (kept, "")
