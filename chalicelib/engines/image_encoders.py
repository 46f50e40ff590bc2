"""Writes pictures as JPEG, WebP, AVIF and PNG, on as many threads as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import BoundedSemaphore, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from PIL import Image, ImageChops, ImageFile

from chalicelib.model.picture import ImageFormat, Variant

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Graphics are told from photographs by so many pixels, in so many bands.
_PIXELS_LOOKED_AT, _BANDS = 50_000, 16
# A difference of colour, of 255, whose loss is visible, and the part of the pixels that must have it.
# Photographs have it in a tenth of that part, or in half, and would be a quarter larger in 4:4:4.
_VISIBLE, _MANY = 24, 0.0025
# From this quality on, a JPEG of noise takes more bytes a pixel, and Pillow has room for two instead of one.
_FINE_QUALITY = 95
# The slowest first: the others are written meanwhile.
ORDER: tuple[ImageFormat, ...] = ("avif", "png", "webp", "jpeg")
# By which AVIF is written in the time of WebP, at a tenth more bytes than by Pillow's default.
_AVIF_SPEED = 8
# The bytes depend on it: it must not be what the machine has.
_AVIF_THREADS = 2
# So many files are not worth a thread, and the memory that one takes.
_FEW = 2
_room = Lock()


class Extras(NamedTuple):
    """What files carry besides their pixels."""

    profile: bytes | None = None
    exif: bytes = b""


class Encoders:
    """Writes `files` files, at most as many at once as there are cores.

    Pictures wait for a core before they are drawn: no more of them are in memory.
    """

    def __init__(self, files: int) -> None:
        self._cores = os.process_cpu_count() or 1
        self._files = files
        self._free = BoundedSemaphore(self._cores)
        self._pool: ThreadPoolExecutor | None = None
        self._written: list[Future[None]] = []

    def __enter__(self) -> Self:
        if self._files > _FEW and self._cores > 1:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=kind is not None)
            if kind is None:
                for written in self._written:
                    written.result()

    def write(
        self, image: Image.Image, variant: Variant, folder: Path, fine: bool, extras: Extras
    ) -> None:
        """Write a file, now or while others are drawn; the image must stay as it is.

        Colours have the full resolution where the picture is `fine`, else half of it.
        """
        options = _OPTIONS[variant.format](variant.quality, fine)
        if extras.profile:
            options["icc_profile"] = extras.profile
        if extras.exif or variant.format == "jpeg":
            options["exif"] = extras.exif
        if variant.format == "jpeg":
            _make_room(image, variant.quality, fine)
        target = folder / variant.output
        if self._pool is None:
            _save(image, target, variant.format, options)
            return
        self._free.acquire()
        future = self._pool.submit(_save, image, target, variant.format, options)
        future.add_done_callback(lambda _: self._free.release())
        self._written.append(future)


def _save(
    image: Image.Image, target: Path, image_format: ImageFormat, options: dict[str, Any]
) -> None:
    if image_format == "avif" and isinstance(image, ImageFile.ImageFile):
        image = image.copy()  # else Pillow would look for further frames in the source
    image.save(target, image_format, **options)


def _subsampling(fine: bool) -> str:
    return "4:4:4" if fine else "4:2:0"


def _jpeg(quality: int, fine: bool) -> dict[str, Any]:
    return {
        "quality": quality,
        "optimize": True,
        "progressive": True,
        "subsampling": _subsampling(fine),
    }


def _webp(quality: int, _: bool) -> dict[str, Any]:
    return {"quality": quality, "method": 4}


def _avif(quality: int, fine: bool) -> dict[str, Any]:
    return {
        "quality": quality,
        "speed": _AVIF_SPEED,
        "subsampling": _subsampling(fine),
        "max_threads": _AVIF_THREADS,
        "autotiling": False,  # tiles take more bytes
    }


def _png(_: int, __: bool) -> dict[str, Any]:
    return {}  # zlib's higher levels take a tenth longer for a thousandth of the bytes


_OPTIONS: dict[ImageFormat, Callable[[int, bool], dict[str, Any]]] = {
    "jpeg": _jpeg,
    "webp": _webp,
    "avif": _avif,
    "png": _png,
}


def _make_room(image: Image.Image, quality: int, fine: bool) -> None:
    """libjpeg must not run out of Pillow's buffer, which has a byte a pixel: noise in 4:4:4 takes two."""
    pixels = image.width * image.height
    needed = (3 if fine else 1) * (2 if quality >= _FINE_QUALITY else 1) * pixels
    with _room:
        if needed > pixels:
            ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, needed)


def has_fine_colours(image: Image.Image) -> bool:
    """Whether colours change from pixel to pixel, as in graphics, and would smear at half the resolution.

    Of a large picture only bands are looked at, so that it takes a millisecond.
    """
    width, height = image.size
    rows = max(2, _PIXELS_LOOKED_AT // (_BANDS * width) & ~1)
    if rows * _BANDS < height:
        bands = Image.new("RGB", (width, rows * _BANDS))
        for number in range(_BANDS):
            top = (height - rows) * number // (_BANDS - 1) & ~1
            bands.paste(image.crop((0, top, width, top + rows)), (0, number * rows))
        image = bands
    _, *chroma = image.convert("RGB").convert("YCbCr").split()
    for band in chroma:
        smeared = band.reduce(2).resize(band.size, Image.Resampling.BILINEAR)
        changes = ImageChops.difference(band, smeared).histogram()
        if sum(changes[_VISIBLE:]) > _MANY * band.width * band.height:
            return True
    return False
