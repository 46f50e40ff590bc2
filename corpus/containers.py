"""What image files carry besides pixels: segments of JPEG, chunks of WebP and PNG, boxes of AVIF."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from corpus import stills
from corpus.boxes import payloads
from corpus.failures import Failure
from corpus.pipelines import Format

_WEBP = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"}
_PNG = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sRGB"}
# ColourPrimaries and TransferCharacteristics of sRGB, by ITU-T H.273.
_SRGB = (1, 13)


def check_container(name: str, content: bytes, file_format: Format) -> Iterator[Failure]:
    """The file has the pixels of one picture in sRGB, upright as they are stored, and nothing besides."""
    yield from _CHECKS[file_format](name, content)


def _check_webp(name: str, content: bytes) -> Iterator[Failure]:
    offset = 12  # after RIFF, a size, and WEBP
    while offset + 8 <= len(content):
        kind = content[offset : offset + 4]
        if kind not in _WEBP:
            yield Failure("metadata", f"{name}: a chunk {kind!r} is left in it")
        size = int.from_bytes(content[offset + 4 : offset + 8], "little")
        offset += 8 + size + size % 2


def _check_png(name: str, content: bytes) -> Iterator[Failure]:
    offset = 8  # after the signature
    while offset + 8 <= len(content):
        kind = content[offset + 4 : offset + 8]
        if kind not in _PNG:
            yield Failure("metadata", f"{name}: a chunk {kind!r} is left in it")
        offset += 12 + int.from_bytes(content[offset : offset + 4])


def _check_avif(name: str, content: bytes) -> Iterator[Failure]:
    items = {entry[8:12] for entry in payloads(content, "infe")}
    if others := items - {b"av01"}:
        yield Failure("metadata", f"{name}: it has items {sorted(others)} besides the picture")
    for colours in payloads(content, "colr"):
        said = tuple(int.from_bytes(colours[at : at + 2]) for at in (4, 6))
        if colours[:4] != b"nclx" or said != _SRGB:
            yield Failure("metadata", f"{name}: its colours are {colours[:8]!r}, not sRGB")
    for kind in ("irot", "imir"):
        if any(payloads(content, kind)):
            yield Failure("upright", f"{name}: a box {kind} says that it is to be turned")


_CHECKS: dict[Format, Callable[[str, bytes], Iterator[Failure]]] = {
    "jpeg": stills.check_jpeg,
    "webp": _check_webp,
    "png": _check_png,
    "avif": _check_avif,
}
