"""Which quality of WebP and of AVIF looks like JPEG at its default, and the bytes of each.

By the mean SSIM of brightness over photographs of the corpus, each reduced to a width that pages use. The
qualities are the product's defaults (`model/picture.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy
from PIL import Image

from benchmarks.figures import Figure
from chalicelib.engines.image_decoding import decode
from chalicelib.engines.image_encoders import Encoders, Extras, has_fine_colours
from chalicelib.engines.image_files import open_image
from chalicelib.formats.sniff import HEAD_BYTES, sniff
from chalicelib.model.picture import QUALITY, ImageFormat, Variant
from infra.paths import ROOT

_CORPUS = ROOT.parent / "shared" / "corpus" / "images"
_PHOTOGRAPHS = (
    "exif-samples__jolla.jpg",
    "libvips__ultra-hdr.jpg",
    "sharp__2569067123_aca715a2ee_o.jpg",
    "exif-orientation-examples__Landscape_1.jpg",
    "Pillow__xmp_test.jpg",
    "sharp__flowers.jpeg",
    "pyheif__cheers_1440x960.heic",
    "sharp__pitm.avif",
    "avif-sample-images__kimono.rotate90.avif",
    "exif-samples__DSCN0010.jpg",
    "thumbor__cmyk-icc.jpg",
    "libavif__kodim03_yuv420_8bpc.avif",
    "image__rgb-3c-16b.tiff",
)
_WIDTHS = 640, 1280
# Constants of SSIM (Wang et al. 2004) for samples of eight bits, and its windows: 8 × 8, every 4 pixels.
_C1, _C2, _CELL = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 4


def measure() -> list[Figure]:
    if not _CORPUS.exists():
        print("SKIPPED: there is no corpus, so formats are not measured", file=sys.stderr)
        return []
    return [figure for width in _WIDTHS for figure in compared(_photographs(width), width)]


def compared(photographs: Sequence[Image.Image], width: int) -> list[Figure]:
    name = f"{len(photographs)} photographs {width} pixels wide"
    wanted = _of_all(photographs, "jpeg", QUALITY["jpeg"])
    figures = [
        Figure(f"SSIM of {name}, JPEG {QUALITY['jpeg']}", "", [mean(ssim for ssim, _ in wanted)])
    ]
    for image_format in ("webp", "avif"):
        quality = _alike(photographs, image_format, mean(ssim for ssim, _ in wanted))
        found = _of_all(photographs, image_format, quality)
        of = f"{name}, {image_format.upper()} {quality}"
        figures += [
            Figure(f"SSIM of {of}", "", [mean(s for s, _ in found)]),
            Figure(
                f"bytes of {of}",
                "kB",
                [size / 1000 for _, size in found],
                f"JPEG {QUALITY['jpeg']}",
                [size / 1000 for _, size in wanted],
            ),
        ]
    return figures


def _photographs(width: int) -> list[Image.Image]:
    found = []
    for name in _PHOTOGRAPHS:
        path = _CORPUS / name
        image_format = sniff(path.read_bytes()[:HEAD_BYTES]).format
        with path.open("rb") as file, open_image(file, image_format) as image:
            picture = decode(image, file).canvas().image
        if picture.width >= width:
            size = width, round(picture.height * width / picture.width)
            found.append(picture.resize(size, Image.Resampling.LANCZOS))
    return found


def _alike(photographs: Sequence[Image.Image], image_format: ImageFormat, ssim: float) -> int:
    """The lowest quality whose mean SSIM is not below this one."""
    low, high = 30, 98
    while low < high:
        middle = (low + high) // 2
        if mean(of for of, _ in _of_all(photographs, image_format, middle)) < ssim:
            low = middle + 1
        else:
            high = middle
    return low


def _of_all(
    photographs: Sequence[Image.Image], image_format: ImageFormat, quality: int
) -> list[tuple[float, int]]:
    """SSIM and bytes of each."""
    found = []
    with TemporaryDirectory() as scratch:
        for photograph in photographs:
            variant = Variant("out", *photograph.size, image_format, quality)
            with Encoders(1) as encoders:
                fine = has_fine_colours(photograph)
                encoders.write(photograph, variant, Path(scratch), fine, Extras())
            file = Path(scratch) / "out"
            with Image.open(file) as image:
                found.append((_ssim(photograph, image), file.stat().st_size))
    return found


def _ssim(one: Image.Image, other: Image.Image) -> float:
    x, y = (numpy.asarray(image.convert("L"), numpy.float64) for image in (one, other))
    pixels = (2 * _CELL) ** 2
    sums = [_windows(of) / pixels for of in (x, y, x * x, y * y, x * y)]
    mx, my = sums[:2]
    vx, vy, cov = sums[2] - mx * mx, sums[3] - my * my, sums[4] - mx * my
    alike = (2 * mx * my + _C1) * (2 * cov + _C2)
    return float((alike / ((mx * mx + my * my + _C1) * (vx + vy + _C2))).mean())


def _windows(samples: Any) -> Any:
    """The sum of each window."""
    height, width = (side // _CELL * _CELL for side in samples.shape)
    cells = samples[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
    cells = cells.sum(axis=(1, 3))
    return cells[1:, 1:] + cells[:-1, 1:] + cells[1:, :-1] + cells[:-1, :-1]
