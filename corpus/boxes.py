"""Read the boxes of MP4 and AVIF (ISO/IEC 14496-12) that are checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Containers of boxes: bytes of payload before the first box inside.
_INSIDE = {
    "moov": 0, "trak": 0, "mdia": 0, "minf": 0, "stbl": 0, "stsd": 8, "mp4a": 28,
    "avc1": 78, "hvc1": 78, "hev1": 78, "av01": 78, "mvex": 0, "moof": 0, "traf": 0,
    "meta": 4, "iprp": 0, "ipco": 0, "iinf": 6,
}  # fmt: skip


def top_level(path: Path) -> list[tuple[str, int, int]]:
    """(type, offset, size) of each top-level box; bytes."""
    boxes, offset, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while offset + 8 <= end:
            file.seek(offset)
            head = file.read(16)
            size = int.from_bytes(head[:4])
            size = int.from_bytes(head[8:]) if size == 1 else size or end - offset
            boxes.append((head[4:8].decode("latin-1"), offset, size))
            offset += max(size, 8)
    return boxes


def payloads(content: bytes, wanted: str) -> Iterator[bytes]:
    """The payload of each box of type `wanted` at any depth."""
    offset = 0
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset : offset + 4]) or len(content) - offset
        kind = content[offset + 4 : offset + 8].decode("latin-1")
        payload = content[offset + 8 : offset + size]
        if kind == wanted:
            yield payload
        if kind in _INSIDE:
            yield from payloads(payload[_INSIDE[kind] :], wanted)
        offset += max(size, 8)


def moov(path: Path) -> bytes:
    """The moov box; b"" if there is none."""
    found = next(((o, s) for kind, o, s in top_level(path) if kind == "moov"), None)
    if found is None:
        return b""
    with path.open("rb") as file:
        file.seek(found[0])
        return file.read(found[1])


def span(initialisation: bytes, segment: bytes) -> tuple[float, float]:
    """(start, end) of a segment's presentation in its track's timeline, in seconds.

    Durations are times between two decodings: the sample that is decoded last tells how long the last one is
    shown.
    """
    scale = timescale(initialisation)
    default = int.from_bytes(next(payloads(initialisation, "trex"))[12:16])
    shown = []
    for fragment in payloads(segment, "traf"):
        time = int.from_bytes(next(payloads(fragment, "tfdt"))[4:])
        usual = _usual_duration(next(payloads(fragment, "tfhd")), default)
        for run in payloads(fragment, "trun"):
            for lasts, offset in _samples(run, usual):
                shown.append(time + offset)
                time += lasts
    return min(shown) / scale, (max(shown) + lasts) / scale


def timescale(initialisation: bytes) -> int:
    """Ticks a second of the track of an initialisation segment."""
    header = next(payloads(initialisation, "mdhd"))
    return int.from_bytes(header[20:24] if header[0] else header[12:16])


def _usual_duration(tfhd: bytes, default: int) -> int:
    flags = int.from_bytes(tfhd[1:4])
    offset = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
    return int.from_bytes(tfhd[offset : offset + 4]) if flags & 0x8 else default


def _samples(trun: bytes, usual: int) -> Iterator[tuple[int, int]]:
    """(duration, composition offset) in ticks of each sample in a track run."""
    flags, samples = int.from_bytes(trun[1:4]), int.from_bytes(trun[4:8])
    offset = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    sample_bytes = 4 * (flags >> 8 & 0xF).bit_count()
    for at in (
        range(offset, offset + samples * sample_bytes, sample_bytes)
        if sample_bytes
        else [0] * samples
    ):
        duration = int.from_bytes(trun[at : at + 4]) if flags & 0x100 else usual
        composition_offset = int.from_bytes(
            trun[at + sample_bytes - 4 : at + sample_bytes], signed=True
        )
        yield duration, composition_offset if flags & 0x800 else 0


def codecs(content: bytes) -> list[str]:
    """The codecs in an initialisation segment or a whole file, as RFC 6381 names them."""
    video = ["avc1." + box[1:4].hex() for box in payloads(content, "avcC")]
    return video + [f"mp4a.{_object_type(box)}" for box in payloads(content, "esds")]


def _object_type(esds: bytes) -> str:
    """The object type indication and the audio object type of MPEG-4: "40.2" is AAC-LC."""
    config = esds.index(b"\x04")  # DecoderConfigDescriptor, after the four bytes of the version
    start = _after_length(esds, config + 1)
    specific = esds.index(b"\x05", start + 13)
    first = esds[_after_length(esds, specific + 1)]
    return f"{esds[start]:x}.{first >> 3}"


def _after_length(content: bytes, offset: int) -> int:
    while content[offset] & 0x80:
        offset += 1
    return offset + 1
