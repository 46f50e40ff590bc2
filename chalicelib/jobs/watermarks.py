"""Watermarks of operators: PNGs in the output bucket, found and checked before a plan is made."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from chalicelib.errors import JobError
from chalicelib.model.mark import WATERMARKS
from chalicelib.planning.operation import Step
from chalicelib.store import objects

# What a watermark may have: bytes, and pixels. Each task that lays it fetches and decodes it.
_MOST_BYTES = 4_000_000
_MOST_PIXELS = 4_000_000
# Signature and IHDR, which comes first: width, height, bits of a channel (PNG specification, 5.2 and 11.2.1).
_HEADER = struct.Struct(">8s4x4sIIB")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def etags_of(steps: Iterable[Step]) -> dict[str, str]:
    """The ETag of each watermark that steps name. Raises JobError where one cannot be laid on a picture."""
    return {
        name: _etag_of(name) for name in sorted({mark for step in steps for mark in step.marks})
    }


def _etag_of(name: str) -> str:
    opened = objects.open_watermark(name, _HEADER.size)
    if opened is None:
        raise JobError(
            "watermark_not_found",
            f"There is no watermark {name}. An operator puts it into the output bucket as "
            f"{WATERMARKS}{name}.",
        )
    original, head = opened
    signature, chunk, width, height, bits = _HEADER.unpack(head.ljust(_HEADER.size, b"\0"))
    if (signature, chunk) != (_SIGNATURE, b"IHDR") or not width or not height:
        raise _unusable(name, "is no PNG")
    if bits > 8:
        raise _unusable(name, f"has {bits} bits a channel")
    if width * height > _MOST_PIXELS or original.size > _MOST_BYTES:
        raise _unusable(name, f"has {width} × {height} pixels in {original.size} bytes")
    return original.etag


def _unusable(name: str, what: str) -> JobError:
    return JobError(
        "watermark_unusable",
        f"The watermark {name} {what}: it must be a PNG of 8 bits a channel, at most "
        f"{_MOST_PIXELS / 1e6:.0f} megapixels and {_MOST_BYTES / 1e6:.0f} MB.",
    )
