"""Decoders of the machine that share no code with the product, nor with Pillow and PyAV.

Debian has all of them: libvips-tools, imagemagick, libheif-examples and ffmpeg.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from corpus.colour import Floats, in_bt709, to_bytes, tone_mapped

_SECONDS = 120
_P3, _PQ, _HLG = 12, 16, 18  # of ITU-T H.273

Decoder = Callable[[Path], Image.Image]


class NoDecoder(Exception):
    """A decoder is missing, or does not read the file; the message says which."""


def magick(path: Path) -> Image.Image:
    """By ImageMagick: in sRGB, its gAMA and its kind of grey heeded, on white."""
    see = ("-colorspace", "sRGB", "-background", "white", "-alpha", "remove", "-depth", "8")
    return _seen(_samples(lambda to: ("convert", f"{path}[0]", *see, f"png24:{to}")))


def vips_in_pq(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_vips(path), _PQ))


def vips_in_hlg(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_vips(path), _HLG))


def heif(path: Path) -> Image.Image:
    return _seen(_heif(path))


def heif_in_p3(path: Path) -> Image.Image:
    return Image.fromarray(in_bt709(_heif(path), _P3))


def heif_in_pq(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_heif(path), _PQ))


def _seen(samples: Floats) -> Image.Image:
    return Image.fromarray(to_bytes(samples))


def _vips(path: Path) -> Floats:
    return _samples(lambda to: ("vips", "copy", f"{path}", f"{to}"))


def _heif(path: Path) -> Floats:
    """By the heif-convert of libheif, of a copy whose major brand is one that it knows."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.heic"
        content = path.read_bytes()
        brand = b"avif" if path.suffix == ".avif" else b"heic"
        copy.write_bytes(content[:8] + brand + content[12:])
        return _samples(lambda to: ("heif-convert", f"{copy}", f"{to}"))


def _samples(argv_of: Callable[[Path], tuple[str, ...]]) -> Floats:
    """Height × width × 3, from 0 to 1, of the PNG that a command writes."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.png"
        run(argv_of(made))
        with Image.open(made) as image:
            samples = np.asarray(image.convert("RGB"))
    return samples.astype(np.float64) / 255


def lossless(source: Path, made: Path, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """A film as an FFmpeg of the machine shows it with these options, before its input and after."""
    codecs = ("-c:v", "ffv1", "-c:a", "flac", "-fps_mode", "passthrough")
    run(
        (
            "ffmpeg",
            "-v",
            "error",
            "-nostdin",
            *before,
            "-i",
            f"{source}",
            *after,
            *codecs,
            f"{made}",
        )
    )


def complaints(film: Path) -> str:
    """What another FFmpeg says of a film when it decodes all of it; nothing, if it is right."""
    # Frames may share an instant, which the muxer would not like.
    counted = ("-vf", "setpts=N", "-af", "asetpts=N")
    return run(("ffmpeg", "-v", "error", "-nostdin", "-i", f"{film}", *counted, "-f", "null", "-"))


def run(argv: tuple[str, ...]) -> str:
    """What the command says. Raises NoDecoder."""
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise NoDecoder(f"{argv[0]} is not on this machine: {__doc__.splitlines()[2]}") from error
    if ran.returncode:
        raise NoDecoder(f"{argv[0]} does not read it: {ran.stderr.strip()[-300:]}")
    return ran.stderr.strip()
