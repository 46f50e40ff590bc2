"""Pillow: writes the pictures of an animated image to files. Runs in a child."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageFile

from chalicelib.engines.image_colours import to_eight_bits, to_srgb, told_colours
from chalicelib.engines.image_files import DAMAGE, damaged, forget_texts, open_image
from chalicelib.errors import JobError
from chalicelib.model.colours import ColourSpace
from chalicelib.model.work import MOST_MILLISECONDS

# Formats that can have several pictures which are shown one after the other.
ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
# What Pillow raises where pictures behind the first are damaged. Its reader of GIF reads behind the end, too.
_DAMAGE = (*DAMAGE, LookupError)
# Browsers show for a tenth of a second what wants to be shown for a hundredth, or for no time.
_HURRIED, _USUAL = 10, 100


def is_animated(image: ImageFile.ImageFile) -> bool:
    """Whether an image has several pictures to be shown one after the other."""
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except _DAMAGE:  # behind the first picture, which may be right
        return False


def write_pictures(
    source: Path, image_format: str, target: Path, most: int, most_pixels: int
) -> list[int]:
    """Write each picture as a PPM to `target`, a pattern with its number, on white where it is transparent.

    Returns how long each is shown, in milliseconds. Raises JobError where one cannot be decoded, for nobody
    knows how many would follow it, and where there are too many.
    """
    durations: list[int] = []
    with source.open("rb") as file, open_image(file, image_format) as image:
        profile, told = image.info.get("icc_profile"), told_colours(image, file)
        most = min(most, max(1, most_pixels // (image.width * image.height)))
        # A PNG may have a picture for programs that know no animations.
        first = int(getattr(image, "default_image", False))
        while True:
            try:
                image.seek(first + len(durations))
                image.load()
            except EOFError:
                break
            except _DAMAGE as error:
                if not durations:
                    raise damaged() from error
                detail = f"After {len(durations)} pictures the image is damaged, or ends too early."
                raise JobError("source_damaged", detail) from error
            if len(durations) == most:
                detail = f"The image is {image.width} × {image.height} and has more than {most} pictures."
                raise JobError("too_many_frames", detail)
            forget_texts(image)
            picture = to_eight_bits(image.copy(), told.gamma)
            _on_white(picture, profile, told).save(Path(str(target) % len(durations)), "PPM")
            wanted = round(image.info.get("duration") or 0)
            durations.append(min(wanted, MOST_MILLISECONDS) if wanted > _HURRIED else _USUAL)
    return durations


def _on_white(picture: Image.Image, profile: bytes | None, told: ColourSpace) -> Image.Image:
    if "A" not in picture.getbands():
        return to_srgb(picture, profile, told)
    alpha = picture.getchannel("A")
    white = Image.new("RGB", picture.size, "white")
    white.paste(to_srgb(picture.convert("RGB"), profile, told), mask=alpha)
    return white
