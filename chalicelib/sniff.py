"""What a file is, by its first bytes: never by its name, nor by what a client declared."""

from __future__ import annotations

from typing import NamedTuple

from chalicelib.errors import JobError

HEAD_BYTES = 4096


class Sniffed(NamedTuple):
    """`kind` is image or video; `format` is Pillow's name of the one, FFmpeg's demuxer of the other."""

    kind: str
    format: str


_IMAGES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
_VIDEOS = (
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"OggS", "ogg"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    # ISO/IEC 11172-2 and 13818-2: a sequence header, with which a stream begins that is in no container.
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    # SMPTE 377-1: the key of the partition pack that is a file's header.
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02", "mxf"),
)
# ISO/IEC 14496-12 boxes, and older QuickTime atoms, that a film may begin with.
_MOV_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AUDIO = (
    (b"ID3", "MP3"),
    (b"fLaC", "FLAC"),
    (b"\xff\xfb", "MP3"),
    (b"\xff\xf1", "AAC"),
)


def sniff(head: bytes) -> Sniffed:
    """What the file is that begins with `head`; raises JobError where it is nothing that we take."""
    for magic, name in _IMAGES:
        if head.startswith(magic):
            return Sniffed("image", name)
    for magic, name in _VIDEOS:
        if head.startswith(magic):
            return Sniffed("video", name)
    if head.startswith(b"RIFF"):
        return _riff(head[8:12])
    if head[4:8] in _MOV_BOXES:
        return _iso(head)
    # ISO/IEC 13818-1: a sync byte at each packet of 188 bytes, or of 192 with a time code before it.
    for start, packet in ((0, 188), (4, 192)):
        if len(head) > start + 2 * packet and all(
            head[start + n * packet] == 0x47 for n in range(3)
        ):
            return Sniffed("video", "mpegts")
    for magic, name in _AUDIO:
        if head.startswith(magic):
            raise _audio(name)
    raise _unsupported("is neither an image nor a video that Sluice knows")


def _riff(form: bytes) -> Sniffed:
    if form == b"WEBP":
        return Sniffed("image", "WEBP")
    if form == b"AVI ":
        return Sniffed("video", "avi")
    if form == b"WAVE":
        raise _audio("WAV")
    raise _unsupported("is a RIFF file, but neither WebP nor AVI")


def _iso(head: bytes) -> Sniffed:
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS:
        return Sniffed("image", "AVIF")
    if brand in _HEIF_BRANDS:
        # A generic brand says HEIF; what is inside is told by the compatible ones.
        if b"avif" in head[16:64]:
            return Sniffed("image", "AVIF")
        return Sniffed("image", "HEIF")
    return Sniffed("video", "mov")


def _unsupported(what: str) -> JobError:
    return JobError("unsupported_media", f"The file {what}.")


def _audio(name: str) -> JobError:
    return JobError(
        "no_video_stream",
        f"The file is sound only ({name}); the steps need an image or a video.",
    )
