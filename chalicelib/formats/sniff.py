"""What a file is, by its first bytes; never by its name, or by what a client declares."""

from __future__ import annotations

from typing import NamedTuple

from chalicelib.errors import JobError

HEAD_BYTES = 4096


class Sniffed(NamedTuple):
    """What a file is."""

    kind: str  # "image", "audio"; or "video", which may turn out to have sound alone
    format: str  # Pillow's name of an image's format, FFmpeg's of the demuxer of anything else


_IMAGES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_VIDEOS = (
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"OggS", "ogg"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    # ISO/IEC 11172-2 and 13818-2: the sequence header, where a stream in no container begins.
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    # SMPTE 377-1: the key of the header partition pack.
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02", "mxf"),
)
# Boxes of ISO/IEC 14496-12, and older QuickTime atoms, with which a film may begin.
_MOV_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
# ISO/IEC 23008-12, 10 and annexes; ISO/IEC 23000-22 (MIAF).
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
    | {b"mif1", b"mif2", b"msf1", b"miaf", b"1pic"}
)
# Formats that are refused by name, not as damaged or unknown.
_REFUSED = (
    (b"II*\0\x10\0\0\0CR", "A camera's raw file"),
    (b"FUJIFILMCCD-RAW", "A camera's raw file"),
    (b"IIRO", "A camera's raw file"),
    (b"IIRS", "A camera's raw file"),
    (b"IIU\0", "A camera's raw file"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop's own format"),
)
_AUDIO = (
    (b"ID3", "mp3"),
    (b"fLaC", "flac"),
    # Frames in no container. ISO/IEC 11172-3 and 13818-3, layer III, and MPEG 2.5; ISO/IEC 13818-7 (ADTS).
    *(
        (b"\xff" + second, "mp3")
        for second in (b"\xfb", b"\xfa", b"\xf3", b"\xf2", b"\xe3", b"\xe2")
    ),
    *((b"\xff" + second, "aac") for second in (b"\xf1", b"\xf0", b"\xf9", b"\xf8")),
)
# ISO base media files that are sound, whatever pictures lie beside: covers, chapters of an audio book.
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B "})


def sniff(head: bytes) -> Sniffed:
    """What a file that begins with `head` is. Raises JobError where Sluice does not take it."""
    for magic, name in _REFUSED:
        if head.startswith(magic):
            raise unsupported(name)
    for magic, name in _IMAGES:
        if head.startswith(magic):
            return Sniffed("image", name)
    for magic, name in _VIDEOS:
        if head.startswith(magic):
            return Sniffed("video", name)
    if head.startswith((b"RIFF", b"RF64")):
        return _riff(head[8:12])
    if head[4:8] in _MOV_BOXES:
        return _iso(head)
    if _is_mpegts(head):
        return Sniffed("video", "mpegts")
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("audio", "aiff")
    # FLAC and AAC may have tags of MP3 before them.
    for start in (_tag_bytes(head), 0):
        for magic, name in _AUDIO:
            if head.startswith(magic, start):
                return Sniffed("audio", name)
    raise _unsupported("is no image, video or sound that Sluice knows")


def _tag_bytes(head: bytes) -> int:
    """Bytes of the tags at the beginning (ID3v2.4, 3.1): four times seven bits, behind ten bytes; else 0."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum(
        (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
    )


def _is_mpegts(head: bytes) -> bool:
    """By sync bytes (ISO/IEC 13818-1): packets have 188 bytes, or 192 with a time code before each."""
    return any(
        len(head) > start + 2 * packet and all(head[start + n * packet] == 0x47 for n in range(3))
        for start, packet in ((0, 188), (4, 192))
    )


def _riff(form: bytes) -> Sniffed:
    if form == b"WEBP":
        return Sniffed("image", "WEBP")
    if form == b"AVI ":
        return Sniffed("video", "avi")
    if form == b"WAVE":
        return Sniffed("audio", "wav")
    raise _unsupported("is a RIFF file, but neither WebP, AVI nor WAV")


def _iso(head: bytes) -> Sniffed:
    if head[4:8] != b"ftyp":
        return Sniffed("video", "mov")
    end = int.from_bytes(head[:4])
    brands = [head[at : at + 4] for at in (8, *range(16, min(end, len(head)), 4))]
    if brands[0] == b"crx ":
        raise unsupported("A camera's raw file")
    if brands[0] in _AUDIO_BRANDS:
        return Sniffed("audio", "mov")
    images = _AVIF_BRANDS | _HEIF_BRANDS
    # Films can name image brands as compatible, but do not have their meta box right after ftyp.
    is_image = brands[0] in images or (
        not images.isdisjoint(brands) and head[end + 4 : end + 8] == b"meta"
    )
    if not is_image:
        return Sniffed("video", "mov")
    return Sniffed("image", "HEIF" if _AVIF_BRANDS.isdisjoint(brands) else "AVIF")


def unsupported(kind: str) -> JobError:
    """The refusal of a format that Sluice knows, and does not take; `kind` is the subject of a sentence."""
    return JobError(
        "unsupported_media", f"{kind} is not supported. Convert it to JPEG or PNG of 8 bits."
    )


def _unsupported(what: str) -> JobError:
    return JobError("unsupported_media", f"The file {what}.")
