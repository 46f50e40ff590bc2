"""Check the files of a step `image` or `poster`: their sizes, formats, and what the job says of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from corpus import independent, stills
from corpus.colour import difference
from corpus.containers import check_container
from corpus.failures import Failure
from corpus.independent import Decoder
from corpus.outputs import Listed, Outputs
from corpus.pipelines import Format, Still

# Mean ΔE between two decoders in pictures of so many pixels on the long side. They interpolate the colours of
# 4:2:0 in different ways: where few pixels have strong colours, that is up to 3.3.
_MOST_DIFFERENCE, _COMPARED = 4.5, 128
# Modes of Pillow. A palette, or a grey, that loses nothing is as good in a PNG.
_MODES: dict[Format, set[str]] = {
    "jpeg": {"RGB"},
    "webp": {"RGB", "RGBA"},
    "avif": {"RGB", "RGBA"},
    "png": {"RGB", "RGBA", "L", "LA", "P", "1"},
}


@dataclass(frozen=True)
class File:
    """A decoded file of a step."""

    name: str  # for people
    said: Listed = field(repr=False)  # as the job lists it
    picture: Image.Image  # on white
    alpha: Image.Image | None

    @property
    def format(self) -> Format:
        of: Format = self.said["format"]
        return of


def opened(step: Still, outputs: Outputs) -> list[File]:
    """The files of a step, decoded. Raises OSError."""
    return [_opened(step.name, said, outputs.path(said)) for said in outputs.listed(step.name)]


def _opened(step: str, said: Listed, path: Path) -> File:
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    name = f"{step} {said['format']} {image.width} × {image.height}"
    return File(name, said, stills.opened(content), alpha)


def check_files(
    step: Still, outputs: Outputs, files: list[File], original: tuple[int, int]
) -> Iterator[Failure]:
    """There is a file of each size in each format; `original`: the size of the original, in pixels."""
    yield from _check_sizes(step, files, original)
    too_wide = any(across > original[0] for across in step.widths)
    if too_wide and not outputs.warnings(step.name):
        yield Failure("warning", f"{step.name}: a width is left out, and no warning says so")
    for file in files:
        content = outputs.path(file.said).read_bytes()
        yield from _check_said(file, content)
        yield from check_container(file.name, content, file.format)


def _check_sizes(step: Still, files: list[File], original: tuple[int, int]) -> Iterator[Failure]:
    wanted = step.sizes(*original)
    # A width is kept to the pixel where it was asked for.
    tolerance = 0.0 if step.widths else 1.0
    found = {
        file.format: [f.picture.size for f in files if f.format == file.format] for file in files
    }
    for file_format in step.formats:
        sizes = sorted(found.pop(file_format, []))
        if len(sizes) != len(wanted) or any(
            abs(size[0] - across) > tolerance or abs(size[1] - max(1, down)) > 1
            for size, (across, down) in zip(sizes, wanted, strict=True)
        ):
            yield Failure(
                "size",
                f"{step.name}: its files in {file_format} are {_listed(sizes)}, not {_listed(wanted)}",
            )
    if found:
        yield Failure("size", f"{step.name}: nobody asked for files in {', '.join(found)}")


def _listed(sizes: list[tuple[int, int]] | list[tuple[float, float]]) -> str:
    return ", ".join(f"{width:.0f} × {height:.0f}" for width, height in sizes) or "none"


def _check_said(file: File, content: bytes) -> Iterator[Failure]:
    """The file is a single picture of the format that the job says, in its size."""
    with Image.open(io.BytesIO(content)) as image:
        found = (image.format or "").lower()
        modes, frames = image.mode, getattr(image, "n_frames", 1)
    if found != file.format or file.said["content_type"] != f"image/{found}":
        yield Failure("format", f"{file.name}: it is {found}, {file.said['content_type']}")
    elif modes not in _MODES[file.format] or frames != 1:
        yield Failure("format", f"{file.name}: it has {frames} pictures in {modes}")
    said = (file.said["width"], file.said["height"], file.said["size"])
    if said != (*file.picture.size, len(content)):
        yield Failure(
            "said", f"{file.name}: the job says of it {said[0]} × {said[1]}, {said[2]} bytes"
        )


def check_elsewhere(
    file: File, path: Path, decode: Decoder = independent.vips
) -> Iterator[Failure]:
    """libvips decodes the same picture. Raises NoDecoder."""
    seen = decode(path)
    if seen.size != file.picture.size:
        yield Failure("elsewhere", f"{file.name}: libvips sees {seen.width} × {seen.height}")
        return
    far = difference(*(stills.small(each, _COMPARED) for each in (seen, file.picture)))
    if far > _MOST_DIFFERENCE:
        yield Failure("elsewhere", f"{file.name}: libvips sees another picture: mean ΔE {far:.1f}")
