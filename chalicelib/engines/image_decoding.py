"""Decodes an image once for all that is drawn of it: upright, in 8 bits, no larger than it is needed."""

from __future__ import annotations

from typing import IO, NamedTuple

from PIL import Image, ImageFile

from chalicelib.engines.image_colours import (
    is_deep,
    kept_profile,
    to_eight_bits,
    to_srgb,
    told_colours,
    use_low_bytes,
)
from chalicelib.engines.image_files import forget_texts, load, orientation_of, scale_of
from chalicelib.model.colours import ColourSpace

Box = tuple[float, float, float, float]  # left, top, right, bottom
# By EXIF's Orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
# What was at the right, or at the bottom, before turning: afterwards it lies at the left, or at the top.
_RIGHT_GOES_LEFT, _BOTTOM_GOES_UP = frozenset({2, 3, 6, 7}), frozenset({3, 4, 7, 8})


class Canvas(NamedTuple):
    """What pictures are drawn of."""

    image: Image.Image  # RGB or RGBA
    box: Box  # the part that the source fills
    scale: int = 1  # by which a JPEG's decoder has made it smaller
    profile: bytes | None = None  # of its colours; None: sRGB


class Decoded(NamedTuple):
    """A decoded image in the colours of its file."""

    image: Image.Image
    box: Box
    scale: int
    profile: bytes | None
    told: ColourSpace
    warning: str  # if a part is missing

    @property
    def has_alpha(self) -> bool:
        return "A" in self.image.getbands()

    @property
    def kept_profile(self) -> bytes | None:
        """The profile with which the colours can be kept; None: they are converted to sRGB."""
        return kept_profile(self.image, self.profile, self.told)

    def canvas(self, *, keep_colours: bool = False, keep_alpha: bool = False) -> Canvas:
        """The picture in sRGB, unless its colours can be kept; on white, unless its alpha is kept."""
        profile = self.kept_profile if keep_colours else None
        image, alpha = self.image, None
        if self.has_alpha:
            alpha = image.getchannel("A")
            image = image.convert("L" if image.mode == "LA" else "RGB")
        image = image.convert("RGB") if profile else to_srgb(image, self.profile, self.told)
        if alpha and not keep_alpha:
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=alpha)
            image = white
        elif alpha and alpha.getextrema() != (255, 255):
            image.putalpha(alpha)
        return Canvas(image, self.box, self.scale, profile)


def upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if orientation_of(image) in _SIDEWAYS else (width, height)


def decode(image: ImageFile.ImageFile, file: IO[bytes], longest: int | None = None) -> Decoded:
    """The picture upright, in 8 bits.

    If all that is drawn of it is smaller, with `longest` pixels on the longer side of the whole picture, it
    may come out smaller, too. A large picture takes 4 bytes a pixel at each stage: no stage holds on to the
    one before. Raises JobError.
    """
    profile, told = image.info.get("icc_profile"), told_colours(image, file)
    orientation, size = orientation_of(image), image.size
    deep = is_deep(image)
    image, warning = load(image, file, longest)
    scale = scale_of(image, size)
    forget_texts(image)
    if deep:
        told = use_low_bytes(image, file, told)
    picture = to_eight_bits(image, told.gamma)
    if image.mode.startswith("I"):
        told = told._replace(gamma=0.0)
    # The decoder has made up what lies beyond the source's last pixels.
    beyond = (picture.width - size[0] / scale, picture.height - size[1] / scale)
    if scale == 1:
        beyond = (0.0, 0.0)
        if longest and (factor := max(picture.size) // (2 * longest)) > 1:
            picture = picture.reduce(factor)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    box = _box(picture.size, beyond, orientation)
    return Decoded(picture, box, scale, profile, told, warning)


def _box(size: tuple[int, int], beyond: tuple[float, float], orientation: int) -> Box:
    """The part of an upright picture that is the source; `beyond`: columns, rows that were at its end."""
    left = top = 0.0
    right, bottom = map(float, size)
    across, down = reversed(beyond) if orientation in _SIDEWAYS else beyond
    if orientation in _RIGHT_GOES_LEFT:
        left = across
    else:
        right -= across
    if orientation in _BOTTOM_GOES_UP:
        top = down
    else:
        bottom -= down
    return left, top, right, bottom
