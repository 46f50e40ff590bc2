"""Names of codecs (RFC 6381), as playlists have them, from the boxes in which a track describes its video."""

from __future__ import annotations

from chalicelib.formats.mp4_boxes import payload


def codec_of(header: bytes) -> str:
    """The name of the codec of an initialisation's video: H.264, HEVC or AV1."""
    match sample_entry_of(header):
        case b"avc1":
            return _avc(_record(header, b"avcC"))
        case b"hvc1":
            return _hevc(_record(header, b"hvcC"))
        case b"av01":
            return _av1(_record(header, b"av1C"))
        case other:
            raise ValueError(f"There is no name for {other!r}.")


def sample_entry_of(header: bytes) -> bytes:
    """The kind of an initialisation's first sample description: avc1, hvc1, av01, mp4a."""
    return payload(header, "moov/trak/mdia/minf/stbl/stsd")[12:16]


def _record(header: bytes, box: bytes) -> bytes:
    return header[header.index(box) + 4 :]


def _avc(record: bytes) -> str:
    """By profile, constraints and level (RFC 6381, 3.3; ISO/IEC 14496-15, 5.3.3)."""
    return f"avc1.{record[1:4].hex()}"


def _hevc(record: bytes) -> str:
    """By profile, what it is compatible with, tier, level, and constraints (ISO/IEC 14496-15, annex E.3)."""
    space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    # The first flag is the lowest bit of the number.
    compatible = int(f"{int.from_bytes(record[2:6]):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[6:12].rstrip(b"\0"))
    return f"hvc1.{space}{record[1] & 0x1F}.{compatible:X}.{tier}{record[12]}{constraints}"


def _av1(record: bytes) -> str:
    """By profile, level, tier and bits of a sample (AV1 in ISOBMFF, 5); the rest is as it is by default."""
    tier = "H" if record[2] & 0x80 else "M"
    bits = 8 if not record[2] & 0x40 else 12 if record[2] & 0x20 else 10
    return f"av01.{record[1] >> 5}.{record[1] & 0x1F:02}{tier}.{bits:02}"
