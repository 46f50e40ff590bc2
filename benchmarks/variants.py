"""Nine files of a 12-megapixel JPEG (three widths in AVIF, WebP and JPEG) as a step's child draws them.

Baseline: a script with Pillow that decodes once, on one thread. Wall time and CPU, in one process, in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.figures import Figure
from benchmarks.images import picture
from chalicelib.engines import pillow
from chalicelib.model.picture import QUALITY, ImageFormat, Picture, Variant
from chalicelib.model.work import Images
from chalicelib.tasks.workbench import ASSETS

RUNS = 15
_MEGAPIXELS = (4000, 3000)
_WIDTHS = (320, 640, 1280)
_FORMATS: tuple[ImageFormat, ...] = ("avif", "webp", "jpeg")


def measure() -> list[Figure]:
    source = picture(*_MEGAPIXELS)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number in range(RUNS + 1):
            times = _timed(step, source, folder), _timed(bare_pillow, source, folder)
            if number:
                ours.append(times[0])
                bare.append(times[1])
    name, baseline = "nine files of a 12-megapixel JPEG", "bare Pillow that decodes once"
    return [
        Figure(f"{name}, {kind}", "s", [t[at] for t in ours], baseline, [t[at] for t in bare])
        for at, kind in enumerate(("wall time", "CPU"))
    ]


def step(source: Path, folder: Path) -> None:
    variants = tuple(
        Variant(f"{size[0]}.{kind}", *size, kind, QUALITY[kind])
        for size in _sizes()
        for kind in _FORMATS
    )
    pillow.draw(source, Images("JPEG", {"image": Picture(variants)}), ASSETS, folder)


def bare_pillow(source: Path, folder: Path) -> None:
    with Image.open(source) as image:
        for size in _sizes():
            small = image.resize(size, Image.Resampling.LANCZOS)
            small.save(folder / "bare.avif", quality=QUALITY["avif"], speed=8, max_threads=1)
            small.save(folder / "bare.webp", quality=QUALITY["webp"])
            small.save(
                folder / "bare.jpg", quality=QUALITY["jpeg"], optimize=True, progressive=True
            )


def _sizes() -> list[tuple[int, int]]:
    width, height = _MEGAPIXELS
    return [(wide, height * wide // width) for wide in _WIDTHS]


def _timed(make: Callable[[Path, Path], None], source: Path, folder: Path) -> tuple[float, float]:
    """Seconds of wall time, and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    make(source, folder)
    return time.perf_counter() - wall, time.process_time() - cpu
