"""TIFF: which page is the picture, what its samples mean, and what Pillow cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

from PIL.TiffImagePlugin import COMPRESSION_INFO, II, MM, OPEN_INFO, ImageFileDirectory_v2

from chalicelib.formats.sniff import unsupported

# Tags of TIFF 6.0 and its supplements, and of DNG.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _LENGTH, _BITS = 254, 255, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC, _PLANES, _SUB_PAGES, _FORMAT = 259, 262, 284, 330, 339
_DNG_VERSION = 50706
_REDUCED, _MASK = 1, 4
_WHITE_IS_ZERO, _COLOUR_FILTER, _LINEAR_RAW = 0, 32803, 34892
_UNSIGNED, _SIGNED = 1, 2
# Byte order, photometric, sample format, fill order, bits of each sample, extra samples.
_Kind = tuple[bytes, int, tuple[int], int, tuple[int, ...], tuple[int, ...]]
# Greys that Pillow can decode and does not list; of 32 bits it lists some, but in the file's byte order,
# where libtiff gives them in the machine's.
_GREYS: dict[_Kind, tuple[str, str]] = {
    (order, white, (kind,), 1, (bits,), ()): modes
    for order in (II, MM)
    for white in (0, 1)
    for kind, bits, modes in (
        (1, 12, ("I;16", "I;12")),
        (1, 32, ("I", "I;32N")),
        (2, 32, ("I", "I;32NS")),
        (3, 32, ("F", "F;32NF")),
    )
}
_GREYS[MM, 0, (1,), 1, (16,), ()] = "I;16B", "I;16B"
OPEN_INFO.update(_GREYS)
# A pyramid has about a dozen pages.
_MOST_PAGES = 32
_RAW = "A camera's raw file"
# Names, for refusals.
_COMPRESSIONS = {
    33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
    34661: "JBIG", 34887: "LERC", 34892: "lossy DNG", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_PHOTOMETRICS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_FORMATS = {_UNSIGNED: "", _SIGNED: "signed ", 3: "floating-point "}


class Page(NamedTuple):
    """A page of a file, by its tags."""

    number: int
    tags: ImageFileDirectory_v2

    @property
    def compression(self) -> int:
        return self._number(_COMPRESSION, 1)

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return self._number(_BITS, 1)

    @property
    def is_signed(self) -> bool:
        return self._number(_FORMAT, _UNSIGNED) == _SIGNED

    @property
    def is_inverted(self) -> bool:
        """Whether 0 is white."""
        return self.tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO

    @property
    def needs_libtiff(self) -> bool:
        """Whether Pillow's own decoder would misread the samples."""
        return self.bits > 8 and (self._number(_PLANES, 1) == 2 or self.bits == 32)

    @property
    def is_known(self) -> bool:
        """Whether Pillow has a decoder for the page."""
        kind = self.tags.prefix, self._number(_PHOTOMETRIC, _WHITE_IS_ZERO)
        samples = self._number(_FORMAT, _UNSIGNED), self.bits
        return self.compression in COMPRESSION_INFO and any(
            kind == known[:2] and samples == (known[2][0], known[4][0]) for known in OPEN_INFO
        )

    @property
    def is_raw(self) -> bool:
        colours = self._number(_PHOTOMETRIC, _WHITE_IS_ZERO)
        return _DNG_VERSION in self.tags or colours in (_COLOUR_FILTER, _LINEAR_RAW)

    @property
    def is_secondary(self) -> bool:
        """Whether the page is a reduced version of another page, or a mask for one."""
        kind = self._number(_SUBFILE, 0)
        return bool(kind & (_REDUCED | _MASK)) or self._number(_OLD_SUBFILE, 1) == 2

    @property
    def pixels(self) -> int:
        return self._number(_WIDTH, 0) * self._number(_LENGTH, 0)

    @property
    def name(self) -> str:
        """The kind of TIFF, as the subject of a sentence."""
        if self.compression not in COMPRESSION_INFO:
            compression = _COMPRESSIONS.get(self.compression, f"kind {self.compression}")
            return f"A TIFF with {compression} compression"
        colours = self._number(_PHOTOMETRIC, _WHITE_IS_ZERO)
        kind = _FORMATS.get(self._number(_FORMAT, _UNSIGNED), "complex ")
        named = _PHOTOMETRICS.get(colours, f"photometric {colours}")
        return f"A TIFF of {named} with {self.bits}-bit {kind}samples"

    def _number(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        found = self.tags.get(tag, default)
        if isinstance(found, tuple) and found:
            found = found[0]
        return found if isinstance(found, int) else default


def picture_of(file: IO[bytes]) -> Page | None:
    """The first page that is not secondary, else the largest page; None where the file has no page.

    Raises JobError where the file is a camera's raw file, whose other pages are only previews.
    """
    found: list[Page] = []
    for page in _pages(file):
        if page.is_raw:
            raise unsupported(_RAW)
        if not page.is_secondary:
            return page
        found.append(page)
    if any(_SUB_PAGES in page.tags for page in found):  # as in NEF and ARW
        raise unsupported(_RAW)
    return max(found, key=lambda page: page.pixels, default=None)


def _pages(file: IO[bytes]) -> Iterator[Page]:
    file.seek(0)
    head = file.read(8)
    if head.startswith(b"MM\0+"):
        raise unsupported("A BigTIFF in big-endian order")
    if head.startswith(b"II+"):
        head += file.read(8)
    at = ImageFileDirectory_v2(head).next
    seen = set[int]()
    for number in range(_MOST_PAGES):
        if not at or at in seen:
            return
        seen.add(at)
        tags = ImageFileDirectory_v2(head)
        file.seek(at)
        tags.load(file)
        yield Page(number, tags)
        at = tags.next
