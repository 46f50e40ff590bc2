"""Generate image files of every kind that clients send, from a chart of known colours."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from PIL import Image

from infra.tools.samples import run_ffmpeg
from testing.attacks import box, png_chunk

# The colours of the chart's eight fields, in rows of four.
FIELDS = (
    (240, 240, 240), (225, 175, 150), (200, 60, 50), (60, 160, 70),
    (50, 70, 190), (120, 120, 120), (220, 190, 60), (30, 30, 30),
)  # fmt: skip
SIZE = 320, 192


def chart(size: tuple[int, int] = SIZE) -> Image.Image:
    small = Image.new("RGB", (4, 2))
    for number, colour in enumerate(FIELDS):
        small.putpixel((number % 4, number // 4), colour)
    return small.resize(size, Image.Resampling.NEAREST)


def fields(image: Image.Image) -> Any:
    """The colours in the middle of each of the eight fields."""
    width, height = image.size
    places = [(width * (2 * (n % 4) + 1) // 8, height * (2 * (n // 4) + 1) // 4) for n in range(8)]
    return numpy.array([image.convert("RGB").getpixel(place) for place in places])


def sixteen_bit(image: Image.Image) -> Any:
    """The samples of an image: rows × columns × channels, 0 to 65535."""
    return numpy.asarray(image).astype(numpy.uint16) * 257


# ── PNG ─────────────────────────────────────────────────────────────────────────────────────────


def png(samples: Any, *chunks: bytes) -> bytes:
    """A PNG of 8 or 16 bits, grey, RGB or RGBA, with chunks before its pixels."""
    height, width, channels = (*samples.shape, 1)[:3]
    bits = 8 * samples.dtype.itemsize
    rows = samples.astype(f">u{bits // 8}").reshape(height, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBB3x", width, height, bits, {1: 0, 3: 2, 4: 6}[channels])
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + b"".join(chunks)
        + png_chunk(b"IDAT", zlib.compress(pixels))
        + png_chunk(b"IEND", b"")
    )


def cicp(primaries: int, transfer: int) -> bytes:
    return png_chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


# ── TIFF ────────────────────────────────────────────────────────────────────────────────────────


class Page(NamedTuple):
    """One image of a TIFF: the bytes of its strips, and its tags with one or several numbers each."""

    strips: Sequence[bytes]
    tags: dict[int, int | tuple[int, ...]]


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """A TIFF, or a BigTIFF; `order` is a byte order of `struct`."""
    word, entry, count = ("Q", "HHQQ", "Q") if big else ("I", "HHII", "H")
    width = struct.calcsize(word)
    made = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    made += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    for number, page in enumerate(pages):
        tags = {**page.tags, 273: (0,) * len(page.strips), 279: tuple(map(len, page.strips))}
        head = struct.calcsize(order + count) + struct.calcsize(order + entry) * len(tags) + width
        at = len(made) + head
        data = b""
        places = []
        for strip in page.strips:
            places.append(at + len(data))
            data += strip
        tags[273] = tuple(places)
        entries = b""
        for tag, value in sorted(tags.items()):
            values = value if isinstance(value, tuple) else (value,)
            packed = struct.pack(f"{order}{len(values)}{word}", *values)
            kind = 16 if big else 4
            if len(values) == 1:
                entries += struct.pack(order + entry, tag, kind, 1, values[0])
            else:
                entries += struct.pack(order + entry, tag, kind, len(values), at + len(data))
                data += packed
        following = at + len(data) if number + 1 < len(pages) else 0
        made += struct.pack(order + count, len(tags)) + entries
        made += struct.pack(order + word, following) + data
    return made


def page(
    samples: Any,
    photometric: int,
    *,
    bits: int = 0,
    planes_apart: bool = False,
    deflate: bool = False,
    order: str = "<",
    strips: int = 2,
    **more: int | tuple[int, ...],
) -> Page:
    """A page of samples, rows × columns (× channels); `more` are other tags, such as `t254=1`."""
    height, width, channels = (*samples.shape, 1)[:3]
    planes = [samples[..., n] for n in range(channels)] if planes_apart else [samples]
    per_strip = -(-height // strips)
    packed = [
        _packed(plane[begin : begin + per_strip], bits, order)
        for plane in planes
        for begin in range(0, height, per_strip)
    ]
    tags: dict[int, int | tuple[int, ...]] = {
        256: width, 257: height, 258: (bits or 8 * samples.dtype.itemsize,) * channels,
        259: 8 if deflate else 1, 262: photometric, 277: channels, 278: per_strip,
        284: 2 if planes_apart else 1,
    }  # fmt: skip
    tags |= {int(name[1:]): value for name, value in more.items()}
    return Page([zlib.compress(each) for each in packed] if deflate else packed, tags)


def _packed(samples: Any, bits: int, order: str) -> bytes:
    if bits == 12:  # two samples in three bytes, the upper bits first
        pairs = samples.reshape(-1, 2).astype(int)
        first, second = pairs[:, 0], pairs[:, 1]
        three = numpy.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
        return bytes(three.astype(numpy.uint8).tobytes())
    return bytes(samples.astype(samples.dtype.newbyteorder(order)).tobytes())


# ── HEIF ────────────────────────────────────────────────────────────────────────────────────────


class Coded(NamedTuple):
    """An image in HEVC: the box hvcC (decoder configuration), and its one sample."""

    configuration: bytes
    sample: bytes


def hevc(source: Path, filters: str = "null", pixels: str = "yuv444p") -> Coded:
    """Encode an image that FFmpeg reads, without visible loss."""
    film = source.with_suffix(".hevc.mp4")
    run_ffmpeg(
        "-i", str(source),
        "-vf", f"{filters},format={pixels}",
        "-frames:v", "1",
        "-c:v", "libx265", "-crf", "4", "-x265-params", "log-level=error",
        str(film),
    )  # fmt: skip
    content = film.read_bytes()
    return Coded(_box_in(content, b"hvcC"), _box_in(content, b"mdat")[8:])


def _box_in(content: bytes, kind: bytes) -> bytes:
    begin = content.index(kind) - 4
    return content[begin : begin + int.from_bytes(content[begin : begin + 4])]


def nclx(primaries: int, transfer: int, matrix: int, *, full: bool = True) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, full << 7))


def heif(
    coded: Coded,
    size: tuple[int, int] = SIZE,
    *properties: bytes,
    brands: Sequence[bytes] = (b"heic", b"mif1", b"heic"),
    item: bytes = b"hvc1",
) -> bytes:
    """A HEIF file of one image (ISO/IEC 23008-12); the first brand is the major one."""
    ftyp = box(b"ftyp", brands[0], bytes(4), *brands[1:])
    described = (coded.configuration, box(b"ispe", struct.pack(">4xII", *size)), *properties)
    places = b"".join(bytes((0x80 | number,)) for number in range(1, len(described) + 1))

    def meta(place: int) -> bytes:
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">4xH", 1)),
            box(b"iloc", struct.pack(">4xBBHHHHII", 0x44, 0, 1, 1, 0, 1, place, len(coded.sample))),
            box(b"iinf", struct.pack(">4xH", 1), box(b"infe", b"\2\0\0\0\0\1\0\0" + item + b"\0")),
            box(
                b"iprp",
                box(b"ipco", *described),
                box(b"ipma", struct.pack(">4xIHB", 1, 1, len(described)), places),
            ),
        )

    start = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(start) + box(b"mdat", coded.sample)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()
