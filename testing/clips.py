"""Generate films of every kind that can or cannot be cut: small, short, with motion and a rising tone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from infra.tools import samples

Make = Callable[[Path], None]


# Frames of 40 ms behind the end of the edit; one of them is coded before frames that are shown.
_LEFT_OUT = 3
# A sweep: no two seconds of it are equal.
TONE = "aevalsrc=0.4*sin(2*PI*t*(200+t*4))+0.2*sin(2*PI*t*2500):s=44100"


def clip(
    path: Path,
    rate: str,
    *output: str,
    size: str = "160x96",
    seconds: float = 16,
    filters: str = "null",
    audio: bool = False,
) -> None:
    samples.film(
        path, size=size, rate=rate, seconds=seconds, sound=audio, tone=TONE, filters=filters,
        output=output,
    )  # fmt: skip


def clips(size: str, seconds: float, *, audio: bool) -> dict[str, Make]:
    """Functions that write each kind of film, by name. Films with a late stream have audio in any case."""

    def make(rate: str, *output: str, filters: str = "null", audio: bool = audio) -> Make:
        return lambda path: clip(
            path, rate, *output, size=size, seconds=seconds, filters=filters, audio=audio
        )

    b_frames = ("-preset", "medium", "-bf", "2")
    both = make("25", "-g", "75", *b_frames, audio=True)
    return {
        "24 fps": make("24", "-g", "48"),
        "25 fps, B-frames": make("25", "-preset", "medium", "-bf", "3", "-g", "60"),
        "29.97 fps": make("30000/1001", "-preset", "medium", "-g", "90"),
        "59.94 fps": make("60000/1001", "-g", "250"),
        "a tick a frame": make("30", "-g", "30", "-video_track_timescale", "30"),
        "60 fps": make("60", "-preset", "medium", "-g", "120"),
        "open groups, H.264": make(
            "25", "-preset", "medium", "-bf", "3", "-g", "50", "-x264-params", "open-gop=1"
        ),
        "open groups, HEVC": make(
            "25", "-c:v", "libx265", "-preset", "fast", "-x265-params",
            "open-gop=1:keyint=50:min-keyint=50:log-level=error",
        ),
        "variable frame rate": make(
            "25", "-fps_mode", "passthrough", "-g", "40", "-preset", "medium",
            filters="select='not(mod(n,3))+gt(random(1),0.6)'",
        ),
        "interlaced": make(
            "50", "-flags", "+ilme+ildct", "-g", "40", "-x264-params", "tff=1",
            filters="tinterlace=interleave_top,setfield=tff",
        ),
        "edit list": partial(_with_edit_list, make("25", "-g", "50", *b_frames)),
        "edit list that ends early": partial(
            _with_early_end, make("25", "-g", "50", "-preset", "medium", "-bf", "3")
        ),
        "late pictures": partial(_late, both, "a", "v"),
        "late sound": partial(_late, both, "v", "a"),
        "one long group": make("25", "-g", "100000", "-keyint_min", "100000"),
    }  # fmt: skip


def _with_edit_list(make: Make, path: Path) -> None:
    """Cut by copying between key frames: frames before the cut are stored, and hidden by an edit list."""
    whole = path.with_suffix(".whole.mp4")
    make(whole)
    samples.run_ffmpeg("-ss", "3.3", "-i", str(whole), "-c", "copy", str(path))


def _with_early_end(make: Make, path: Path) -> None:
    """The last frames are stored, and hidden: the edit of the video track ends before them."""
    make(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    (length,) = struct.unpack_from(">I", content, at)
    struct.pack_into(">I", content, at, length - 40 * _LEFT_OUT)
    path.write_bytes(content)


def _late(make: Make, first: str, second: str, path: Path) -> None:
    """The second stream starts 1.5 seconds after the first."""
    whole = path.with_suffix(".whole.mp4")
    make(whole)
    samples.run_ffmpeg(
        "-i", str(whole), "-itsoffset", "1.5", "-i", str(whole),
        "-map", f"0:{first}", "-map", f"1:{second}", "-c", "copy", str(path),
    )  # fmt: skip
