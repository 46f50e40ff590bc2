"""FFmpeg's options for the encoders of renditions: H.264, HEVC and AV1, of equal quality for the eye.

All make closed groups that begin where they are told to, and nowhere else, and write what a decoder needs to
begin with into the header alone, which so is the same for every chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from chalicelib.model.work import Command
from chalicelib.planning.operation import Codec, Rendition

# x265 takes no smaller sides, nor does SVT-AV1 if both are; SVT-AV1 believes no higher rate.
LEAST_SIDE = 16
_AV1_MOST_FPS = Fraction(240)


class Encoder(NamedTuple):
    """Numbers of an encoder at the quality that renditions have: VMAF 94, on two films of the corpus."""

    work: float  # of encoding a frame, relative to H.264
    bits: float  # of a pixel, on average
    most_bits: float  # of a pixel, in the busiest seconds


ENCODERS: Mapping[Codec, Encoder] = {
    "h264": Encoder(1.0, 0.07, 0.18),
    "hevc": Encoder(3.0, 0.044, 0.12),
    "av1": Encoder(2.5, 0.05, 0.13),
}


def arguments(
    rendition: Rendition, ceiling: int, key_frames: str, rate: Fraction, *, in_chunks: bool
) -> Command:
    """Options of a rendition's encoder, with at most `ceiling` bits a second.

    `key_frames` are FFmpeg's `-force_key_frames`. From `rate`, of frames a second, encoders derive the level,
    which stands in the header that all chunks share.
    """
    match rendition.codec:
        case "h264":
            own = _h264(rate if in_chunks else None)
        case "hevc":
            own = _hevc(rate)
        case "av1":
            own = _av1(rate)
    # The decoder's buffer, in seconds. It is full where a chunk begins: so much more than the ceiling allows
    # can a chunk have.
    buffer = 1 if rendition.max_kbps else 2
    return (
        *own,
        "-maxrate", str(ceiling),
        "-bufsize", str(buffer * ceiling),
        "-force_key_frames", key_frames,
    )  # fmt: skip


def _h264(rate: Fraction | None) -> Command:
    # x264 gives key frames more bits than the frames around them, by its ipratio of 1.4, but not the first
    # of all (rate_estimate_qscale, with macroblock trees): every chunk would begin 3 steps of the quantiser
    # worse.
    first_as_others = "zones=0,0,b=1.4"
    fps = f":fps={rate}" if rate else ""
    return (
        "-c:v", "libx264",
        "-preset", "veryfast",
        "-crf", "23",
        "-profile:v", "high",
        "-g", "100000",
        "-sc_threshold", "0",
        "-x264-params", f"{first_as_others}{fps}",
    )  # fmt: skip


def _hevc(rate: Fraction) -> Command:
    return (
        "-c:v", "libx265",
        "-tag:v", "hvc1",  # parameter sets in the header alone, as Apple's players want them
        "-preset", "superfast",
        "-crf", "24",
        "-profile:v", "main",
        "-forced-idr", "1",
        "-x265-params", f"keyint=-1:scenecut=0:open-gop=0:repeat-headers=0:info=0:log-level=error:fps={rate}",
    )  # fmt: skip


def _av1(rate: Fraction) -> Command:
    rate = min(rate, _AV1_MOST_FPS)
    fps = f":fps-num={rate.numerator}:fps-denom={rate.denominator}"
    return (
        "-c:v", "libsvtav1",
        "-preset", "8",
        "-crf", "38",
        "-g", "-1",
        "-svtav1-params", f"enable-force-key-frames=1:scd=0:mbr-overshoot-pct=0{fps}",
    )  # fmt: skip
