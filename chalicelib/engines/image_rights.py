"""Who made an image and who has the rights in it: read from EXIF, IPTC or XMP, and written as EXIF alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image, ImageFile

from chalicelib.engines.image_files import DAMAGE

# EXIF's tags (TIFF 6.0), IPTC's datasets (IIM 4.2, 2:80 and 2:116), XMP's properties (Dublin Core).
_ARTIST, _COPYRIGHT = 0x013B, 0x8298
_IPTC = {_ARTIST: (2, 80), _COPYRIGHT: (2, 116)}
_XMP = {_ARTIST: "creator", _COPYRIGHT: "rights"}
_DC, _RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_MOST_LETTERS, _MOST_XMP_BYTES = 500, 2**20


def rights_of(image: Image.Image) -> bytes:
    """EXIF with the artist and the copyright of an opened image, nothing else; b"" if it tells neither."""
    exif = Image.Exif()
    for tag in (_ARTIST, _COPYRIGHT):
        for read in (_from_exif, _from_iptc, _from_xmp):
            if text := _told(read, image, tag):
                exif[tag] = text.encode()
                break
    return exif.tobytes() if len(exif) else b""


def _told(read: Callable[[Image.Image, int], Any], image: Image.Image, tag: int) -> str:
    """One line of text; "" where the image does not tell it, or in a way that cannot be read."""
    with suppress(*DAMAGE, TypeError, KeyError, AttributeError):
        found = read(image, tag)
        if isinstance(found, str):  # Pillow takes all bytes for Latin-1
            with suppress(UnicodeEncodeError):
                found = found.encode("latin-1")
        if isinstance(found, bytes):
            found = _decoded(found)
        if isinstance(found, str):
            printable = "".join(letter if letter.isprintable() else " " for letter in found)
            return " ".join(printable.split())[:_MOST_LETTERS]
    return ""


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _from_exif(image: Image.Image, tag: int) -> Any:
    return Image.Image.getexif(image).get(
        tag
    )  # not PngImageFile's, which decodes the picture first


def _from_iptc(image: Image.Image, tag: int) -> Any:
    from PIL import IptcImagePlugin

    assert isinstance(image, ImageFile.ImageFile)
    found: Any = (IptcImagePlugin.getiptcinfo(image) or {}).get(_IPTC[tag])
    return b", ".join(found) if isinstance(found, list) else found


def _from_xmp(image: Image.Image, tag: int) -> Any:
    from xml.etree import ElementTree

    content = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if not content or len(content) > _MOST_XMP_BYTES:
        return None
    if isinstance(content, bytes):
        content = content.rstrip(b"\0")
    try:
        tree = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return None
    items = tree.iterfind(f".//{_DC}{_XMP[tag]}//{_RDF}li")
    return ", ".join(item.text for item in items if item.text) or None
