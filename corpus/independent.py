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

from corpus import stills
from corpus.colour import Floats, in_bt709, to_bytes, tone_mapped

_SECONDS = 120
_P3, _PQ, _HLG = 12, 16, 18  # of ITU-T H.273

Decoder = Callable[[Path], Image.Image]


class NoDecoder(Exception):
    """A decoder is missing, or does not read the file; the message says which."""


def magick(path: Path) -> Image.Image:
    """Decode by ImageMagick to sRGB on white; it applies gAMA and reads each kind of grey."""
    see = ("-colorspace", "sRGB", "-background", "white", "-alpha", "remove", "-depth", "8")
    return _image(_samples(lambda to: ("convert", f"{path}[0]", *see, f"png24:{to}")))


def magick_alpha(path: Path) -> Image.Image:
    """The alpha channel as ImageMagick decodes it; 255 everywhere, where there is none."""
    see = ("-alpha", "extract", "-depth", "8")
    return _image(_samples(lambda to: ("convert", f"{path}[0]", *see, f"png24:{to}"))).convert("L")


def vips(path: Path) -> Image.Image:
    """Decode by libvips, on white."""
    with TemporaryDirectory() as folder:
        png = Path(folder) / "made.png"
        run(("vips", "copy", f"{path}", f"{png}"))
        return stills.opened(png.read_bytes())


def vips_in_pq(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_vips(path), _PQ))


def vips_in_hlg(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_vips(path), _HLG))


def heif(path: Path) -> Image.Image:
    return _image(_heif(path))


def heif_in_p3(path: Path) -> Image.Image:
    return Image.fromarray(in_bt709(_heif(path), _P3))


def heif_in_pq(path: Path) -> Image.Image:
    return Image.fromarray(tone_mapped(_heif(path), _PQ))


def _image(samples: Floats) -> Image.Image:
    return Image.fromarray(to_bytes(samples))


def _vips(path: Path) -> Floats:
    return _samples(lambda to: ("vips", "copy", f"{path}", f"{to}"))


def _heif(path: Path) -> Floats:
    """Decode by libheif's heif-convert, from a copy with a major brand that it knows."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.heic"
        content = path.read_bytes()
        brand = b"avif" if path.suffix == ".avif" else b"heic"
        copy.write_bytes(content[:8] + brand + content[12:])
        return _samples(lambda to: ("heif-convert", f"{copy}", f"{to}"))


def _samples(argv_of: Callable[[Path], tuple[str, ...]]) -> Floats:
    """Samples of the PNG that a command writes: height × width × 3, 0 to 1."""
    with TemporaryDirectory() as folder:
        png = Path(folder) / "made.png"
        run(argv_of(png))
        with Image.open(png) as image:
            samples = np.asarray(image.convert("RGB"))
    return samples.astype(np.float64) / 255


def lossless(source: Path, target: Path, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Decode a film by the machine's FFmpeg to FFV1 and FLAC; options before and after the input."""
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
            f"{target}",
        )
    )


def complaints(film: Path) -> str:
    """Messages of the machine's FFmpeg while it decodes a whole film; "" if it has none. Raises NoDecoder."""
    # Frames may share a time, about which the muxer would complain.
    counted = ("-vf", "setpts=N/TB", "-af", "asetpts=N/SR/TB")
    return run(("ffmpeg", "-v", "error", "-nostdin", "-i", f"{film}", *counted, "-f", "null", "-"))


def run(argv: tuple[str, ...]) -> str:
    """Run a command. Returns its stderr. Raises NoDecoder."""
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise NoDecoder(f"{argv[0]} is not on this machine: {__doc__.splitlines()[2]}") from error
    if ran.returncode:
        raise NoDecoder(f"{argv[0]} does not read it: {ran.stderr.strip()[-300:]}")
    return ran.stderr.strip()
