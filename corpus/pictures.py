"""Check the files of a step `image` against the original."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from corpus import crops, stills
from corpus.colour import Floats, differences, worst_place
from corpus.failures import Failure
from corpus.files import File, check_files
from corpus.likeness import ssim
from corpus.outputs import Outputs
from corpus.pipelines import Format
from corpus.pipelines import Image as Step
from corpus.placeholders import check_colour, check_placeholder

# What an encoder loses is measured by encoding the original, at the output's size, at these qualities.
_OPTIONS: dict[Format, dict[str, int]] = {
    "jpeg": {"quality": 85},
    "webp": {"quality": 82},
    "avif": {"quality": 65, "speed": 8},
    "png": {},
}
# Of 1 − SSIM, an output may have so many times what that loses, and so much besides. On the images of the
# corpus that is enough for another filter (bicubic: 173 of 174 files), and not for quality 30 (four of five
# JPEGs, the others have hardly any detail), nor for a shift by one pixel (57 of 58).
_TIMES, _BESIDES = 1.25, 0.008
_MOST_PLACE_DIFFERENCE = 20.0  # mean ΔE of the worst place beyond what encoding loses
_COMPARED = 128  # pixels of the long side of pictures whose colours are compared
# Of 255: of the whole alpha channel, and of its worst place.
_MOST_ALPHA, _MOST_PLACE_OF_ALPHA = 4.0, 40.0
_RESAMPLED = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Original:
    """The original as it is meant to be seen."""

    picture: Image.Image  # on white
    alpha: Image.Image | None
    most: float  # mean ΔE that outputs may have


def check_image(
    step: Step, outputs: Outputs, files: list[File], original: Original
) -> Iterator[Failure]:
    """The files of a step are those that were asked for, and show the original, or a part of it."""
    yield from check_files(step, outputs, files, original.picture.size)
    shown = original
    for file in files:
        if step.crops:
            box = crops.find(file.picture, original.picture)
            shown = _part(original, box, file.picture.size)
            if step.focus == "center":
                yield from _check_middle(file, box, original.picture.size)
        yield from check_content(file, shown)
    if step.placeholder == "thumbhash":
        said = {(file.said.get("placeholder", ""), file.said.get("color", "")) for file in files}
        for placeholder, color in said:
            yield from check_placeholder(step.name, placeholder, shown.picture)
            yield from check_colour(step.name, color, shown.picture, shown.alpha)


def _part(original: Original, box: crops.Box, size: tuple[int, int]) -> Original:
    return Original(
        original.picture.resize(size, _RESAMPLED, box),
        original.alpha and original.alpha.resize(size, _RESAMPLED, box),
        original.most,
    )


def _check_middle(file: File, box: crops.Box, original: tuple[int, int]) -> Iterator[Failure]:
    """The box is in the middle of the original, give or take two pixels of the file."""
    pixel = (box[2] - box[0]) / file.picture.width
    off = [(box[n] + box[n + 2] - original[n]) / 2 / pixel for n in (0, 1)]
    if max(map(abs, off)) > 2:
        yield Failure("crop", f"{file.name}: its middle is {off[0]:+.0f}, {off[1]:+.0f} pixels off")


def check_content(file: File, original: Original) -> Iterator[Failure]:
    """The file shows the original: its colours and its alpha everywhere, and its details."""
    wanted = original.picture.resize(file.picture.size, _RESAMPLED)
    encoded = _encoded(wanted, file.format)
    one, own, other = (
        stills.small(picture, _COMPARED) for picture in (file.picture, encoded, original.picture)
    )
    delta, lost = differences(one, other), differences(own, other)
    most = original.most + _TIMES * float(lost.mean())
    if delta.mean() > most:
        yield Failure(
            "picture",
            f"{file.name}: its colours or its orientation differ from the original's: "
            f"mean ΔE {delta.mean():.1f}, at most {most:.1f}",
        )
    most_in_a_place = _TIMES * worst_place(lost)
    most_in_a_place += _MOST_PLACE_DIFFERENCE * original.most / stills.MOST_DIFFERENCE
    if worst_place(delta) > most_in_a_place:
        yield Failure(
            "place",
            f"{file.name}: a part of it differs from the original's: "
            f"ΔE {worst_place(delta):.0f}, at most {most_in_a_place:.0f}",
        )
    yield from _check_details(file, wanted, encoded, original.most / stills.MOST_DIFFERENCE)
    yield from _check_alpha(file, original.alpha)


def _check_details(
    file: File, wanted: Image.Image, encoded: Image.Image, freedom: float
) -> Iterator[Failure]:
    """`freedom`: above 1 where there is more than one right rendering of the colours."""
    shown, own, other = (np.asarray(each) for each in (file.picture, encoded, wanted))
    lost, most = 1 - ssim(shown, other), _TIMES * (1 - ssim(own, other)) + freedom * _BESIDES
    if lost > most:
        yield Failure(
            "details",
            f"{file.name}: details are not the original's: SSIM {1 - lost:.3f}, at least {1 - most:.3f}",
        )


def _encoded(image: Image.Image, file_format: Format) -> Image.Image:
    content = io.BytesIO()
    image.save(content, file_format, **_OPTIONS[file_format])
    return stills.opened(content.getvalue())


def _check_alpha(file: File, alpha: Image.Image | None) -> Iterator[Failure]:
    """What is transparent in the original is so, and as much; in a JPEG it is white, as is checked before."""
    if file.format == "jpeg":
        return
    one, other = (_alpha_of(channel, file.picture.size) for channel in (file.alpha, alpha))
    off = np.abs(one - other)
    if off.mean() > _MOST_ALPHA or worst_place(off) > _MOST_PLACE_OF_ALPHA:
        yield Failure(
            "alpha",
            f"{file.name}: its alpha is {one.mean():.0f} of 255, the original's {other.mean():.0f}; "
            f"they differ by {off.mean():.0f}, by {worst_place(off):.0f} in one place",
        )


def _alpha_of(channel: Image.Image | None, size: tuple[int, int]) -> Floats:
    """An alpha channel in few pixels; opaque where there is none."""
    scale = min(1.0, _COMPARED / max(size))
    few = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    opaque = channel or Image.new("L", few, 255)
    return np.asarray(opaque.resize(few, Image.Resampling.BOX)).astype(np.float64)
