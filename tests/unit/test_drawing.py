"""Pictures are drawn as they were asked for: judged by decoding them."""

from __future__ import annotations

import io
import re
from math import log10
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageDraw, ImageStat, JpegImagePlugin

from chalicelib.engines import image_encoders, pillow, placeholders
from chalicelib.invocation import Budget
from chalicelib.model import colours
from chalicelib.model.facts import fit_box
from chalicelib.model.mark import Mark
from chalicelib.model.picture import (
    MOST_AVIF_PIXELS,
    QUALITY,
    Drawn,
    DrawnPicture,
    ImageFormat,
    Picture,
    Refused,
    Variant,
)
from chalicelib.model.work import Images
from chalicelib.tasks import images
from chalicelib.tasks.prediction import encoding
from corpus import placeholders as corpus_placeholders
from infra.tools import samples
from testing import stills
from testing.stills import FIELDS, chart, fields

FORMATS: tuple[ImageFormat, ...] = ("jpeg", "webp", "avif", "png")
WITH_ALPHA = FORMATS[1:]
P3 = colours.profile(colours.of_code_points(12, 13))


def variant(
    width: int, height: int, image_format: ImageFormat = "png", quality: int = 0
) -> Variant:
    name = f"{width}x{height}.{image_format}"
    return Variant(name, width, height, image_format, quality or QUALITY[image_format])


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def draw_all(source: bytes, image_format: str, folder: Path, **made: Picture) -> Any:
    """What was drawn of each step; `folder` holds the files, and the assets."""
    (folder / "source").write_bytes(source)
    return pillow.draw(folder / "source", Images(image_format, made), folder, folder)


def draw(
    source: Image.Image | bytes, folder: Path, picture: Picture, image_format: str = "PNG"
) -> DrawnPicture:
    content = source if isinstance(source, bytes) else encoded(source)
    drawn = draw_all(content, image_format, folder, step=picture)["step"]
    assert isinstance(drawn, DrawnPicture), drawn
    assert [file.name for file in drawn.files] == [each.output for each in picture.variants]
    for file in drawn.files:
        with Image.open(folder / file.name) as image:
            assert image.size == (file.width, file.height)
    return drawn


def opened(folder: Path, drawn: Variant) -> Image.Image:
    with Image.open(folder / drawn.output) as image:
        assert image.format == drawn.format.upper()
        image.load()
    return image


def off(found: Any, wanted: Any) -> int:
    """By how much the worst of the colours differs."""
    return int(abs(numpy.subtract(found, wanted)).max())


def psnr(one: Image.Image, other: Image.Image) -> float:
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    mean = sum(squares) / (len(squares) * one.width * one.height)
    return 99.0 if mean == 0 else 10 * log10(255**2 / mean)


# ── formats and sizes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_is_written_in_each_format(image_format: ImageFormat, tmp_path: Path) -> None:
    small = variant(160, 96, image_format)
    draw(chart(), tmp_path, Picture((small,)))
    image = opened(tmp_path, small)
    assert image.mode == "RGB"
    assert off(fields(image), FIELDS) <= 6
    assert not {"exif", "icc_profile", "xmp"} & {key for key, of in image.info.items() if of}


def test_nine_files_of_one_picture_are_drawn_in_a_child(tmp_path: Path) -> None:
    """On threads, which its walls must let it make, in the memory that the function has."""
    variants = [variant(w, w * 3 // 5, each) for w in (80, 160, 320) for each in FORMATS[:3]]
    (tmp_path / "source").write_bytes(encoded(chart(), "JPEG", quality=95))
    (tmp_path / "out").mkdir()
    work = Images("JPEG", {"all": Picture(tuple(variants))})
    drawn = images.draw(work, tmp_path, Budget(lambda: 60.0, 1769 * 1024**2))["all"]
    assert isinstance(drawn, DrawnPicture)
    for each in variants:
        assert off(fields(opened(tmp_path / "out", each)), FIELDS) <= 10


def test_files_of_one_size_have_each_their_own_options(tmp_path: Path) -> None:
    """An Image object of Pillow holds the options of the save that it is in."""
    photo = samples.scene(64, 48)
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada"
    folder, alone = tmp_path / "many", tmp_path / "alone"
    folder.mkdir()
    variants = [
        Variant(f"{quality}_{number}.{image_format}", 64, 48, image_format, quality)
        for number in range(10)
        for image_format in FORMATS
        for quality in (20, 90)
    ]
    with image_encoders.Encoders(len(variants)) as encoders:
        for number, each in enumerate(variants):
            extras = image_encoders.Extras(exif=exif.tobytes() if number % 3 else b"")
            encoders.write(photo, each, folder, False, extras)
    alone.mkdir()
    for number, each in enumerate(variants):
        with image_encoders.Encoders(1) as encoder:
            extras = image_encoders.Extras(exif=exif.tobytes() if number % 3 else b"")
            encoder.write(photo, each, alone, False, extras)
        assert (folder / each.output).read_bytes() == (alone / each.output).read_bytes()


def test_jpegs_are_progressive(tmp_path: Path) -> None:
    small = variant(160, 96, "jpeg")
    draw(chart(), tmp_path, Picture((small,)))
    assert opened(tmp_path, small).info["progressive"]


@pytest.mark.parametrize("quality", [60, 94, 95, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_noise_fits_in_a_jpeg_of_any_quality(quality: int, mode: str, tmp_path: Path) -> None:
    bands = [Image.effect_noise((640, 400), 250) for _ in mode]
    noise = Image.merge(mode, bands)
    draw(noise, tmp_path, Picture((variant(640, 400, "jpeg", quality),)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_higher_quality_is_nearer_to_the_source(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    grain = ImageChops.add(
        samples.scene(320, 192), Image.effect_noise((320, 192), 20).convert("RGB"), offset=-128
    )
    found = []
    for quality in (30, 90):
        small = variant(320, 192, image_format, quality)
        draw(grain, tmp_path, Picture((small,)))
        found.append(psnr(opened(tmp_path, small), grain))
    if image_format == "png":
        assert found == [99.0, 99.0]
    else:
        assert found[1] > found[0] + 4


@pytest.mark.parametrize("image_format", ["jpeg", "avif"])
def test_fine_colours_of_graphics_do_not_smear(image_format: ImageFormat, tmp_path: Path) -> None:
    image = Image.new("RGB", (320, 192), "lime")
    for x in range(0, 320, 4):
        ImageDraw.Draw(image).rectangle((x, 0, x + 1, 191), fill="magenta")
    small = variant(320, 192, image_format)
    draw(image, tmp_path, Picture((small,)))
    assert off(opened(tmp_path, small).getpixel((100, 100)), (255, 0, 255)) <= 40


def test_an_animated_source_gives_its_first_picture_in_each_format(tmp_path: Path) -> None:
    frames = [chart((160, 96)), Image.new("RGB", (160, 96), "red")]
    source = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    variants = tuple(variant(160, 96, each) for each in FORMATS)
    draw(source, tmp_path, Picture(variants), "WEBP")
    for each in variants:
        assert off(fields(opened(tmp_path, each)), FIELDS) <= 8
        assert getattr(opened(tmp_path, each), "n_frames", 1) == 1


# ── how small a JPEG is decoded ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(2725, 2225), (1801, 2399)])
def test_a_jpeg_that_is_decoded_smaller_is_not_shifted(
    size: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    """Its sides are no multiples of the scale: libjpeg makes up what is missing of the last pixel."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = encoded(samples.scene(*size), "JPEG", quality=92, exif=exif)
    upright = size if orientation < 5 else size[::-1]
    small = variant(*fit_box(*upright, 320))
    draw(source, tmp_path, Picture((small,)), "JPEG")
    with Image.open(io.BytesIO(source)) as image:
        whole = image.convert("RGB")
    turned = whole.transpose(TURNS[orientation]) if orientation > 1 else whole
    exact = turned.resize((small.width, small.height), Image.Resampling.LANCZOS)
    assert psnr(opened(tmp_path, small), exact) >= 47


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.slow
def test_an_eighth_of_a_large_photograph_is_enough(tmp_path: Path) -> None:
    size = 6000, 4000
    grain = Image.effect_noise(size, 12).convert("RGB")
    photo = ImageChops.add(samples.scene(*size), grain, offset=-128)
    source = encoded(photo, "JPEG", quality=90)
    small = variant(512, 341)
    draw(source, tmp_path, Picture((small,)), "JPEG")
    with Image.open(io.BytesIO(source)) as image:
        exact = image.convert("RGB").resize((512, 341), Image.Resampling.LANCZOS)
    assert psnr(opened(tmp_path, small), exact) >= 47


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────

STRIPES = ("red", "lime", "blue", "yellow")


def stripes() -> Image.Image:
    """Four squares beside each other."""
    image = Image.new("RGB", (400, 100))
    for number, colour in enumerate(STRIPES):
        image.paste(colour, (100 * number, 0, 100 * number + 100, 100))
    return image


def seen(image: Image.Image) -> list[str]:
    """The stripes of which there is much in an image."""
    found = dict.fromkeys(STRIPES, 0)
    for x in range(0, image.width, 2):
        pixel = image.convert("RGB").getpixel((x, image.height // 2))
        found[
            min(
                STRIPES,
                key=lambda name: off(pixel, Image.new("RGB", (1, 1), name).getpixel((0, 0))),
            )
        ] += 1
    return [name for name, count in found.items() if count > image.width / 20]


@pytest.mark.parametrize(
    ("focus", "shown"),
    [
        ("center", ["lime", "blue"]),
        ((0.0, 0.5), ["red"]),
        ((0.125, 0.0), ["red"]),
        ((0.375, 1.0), ["lime"]),
        ((0.75, 0.5), ["blue", "yellow"]),
        ((1.0, 0.5), ["yellow"]),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_cover_crops_around_the_focus(
    focus: Any, shown: list[str], turned: bool, tmp_path: Path
) -> None:
    image, small = stripes(), variant(50, 50)
    if turned:
        image = image.transpose(Image.Transpose.TRANSPOSE)
        focus = focus if focus == "center" else focus[::-1]
    draw(image, tmp_path, Picture((small,), fit="cover", focus=focus))
    found = opened(tmp_path, small)
    assert seen(found.transpose(Image.Transpose.TRANSPOSE) if turned else found) == shown


def test_cover_does_not_stretch(tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 200))
    ImageDraw.Draw(image).ellipse((160, 60, 239, 139), fill="white")
    small = variant(90, 120)
    draw(image, tmp_path, Picture((small,), fit="cover"))
    left, top, right, bottom = opened(tmp_path, small).convert("L").point(
        lambda value: 255 * (value > 128)
    ).getbbox() or (0, 0, 0, 0)
    assert abs((right - left) - (bottom - top)) <= 1
    assert abs(right - left - 48) <= 1


@pytest.mark.parametrize("place", [20, 160, 300])
def test_attention_finds_what_is_unlike_the_rest(place: int, tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 100), (120, 130, 125))
    for y in range(10, 90, 8):
        ImageDraw.Draw(image).rectangle((place, y, place + 60, y + 3), fill=(230, 160, 40))
    small = variant(100, 100)
    draw(image, tmp_path, Picture((small,), fit="cover", focus="attention"))
    orange = opened(tmp_path, small).getchannel("B").point(lambda value: 255 * (value < 80))
    assert ImageStat.Stat(orange).mean[0] > 0.9 * 255 * 60 * 40 / 100**2


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (940, 2)])
def test_what_is_too_small_to_look_at_is_cropped_to_its_middle(
    size: tuple[int, int], tmp_path: Path
) -> None:
    side = min(size)
    picture = Picture((Variant("a.png", side, side, "png", 100),), fit="cover", focus="attention")
    drawn = draw_all(encoded(Image.new("RGB", size, "red")), "PNG", tmp_path, a=picture)
    assert [(file.width, file.height) for file in drawn["a"].files] == [(side, side)]


def test_contain_centres_the_whole_picture_on_its_background(tmp_path: Path) -> None:
    variants = tuple(variant(200, 200, each) for each in FORMATS)
    draw(stripes(), tmp_path, Picture(variants, fit="contain", background="#336699"))
    for each in variants:
        image = opened(tmp_path, each)
        assert image.mode == "RGB"
        assert off(image.getpixel((100, 40)), (0x33, 0x66, 0x99)) <= 4
        assert off(image.getpixel((100, 160)), (0x33, 0x66, 0x99)) <= 4
        assert seen(image) == list(STRIPES)
        assert off(image.getpixel((25, 80)), (255, 0, 0)) <= 40


def test_contain_does_not_enlarge(tmp_path: Path) -> None:
    small = variant(800, 200)
    draw(stripes(), tmp_path, Picture((small,), fit="contain", background="#000000"))
    assert opened(tmp_path, small).getbbox() == (200, 50, 600, 150)


@pytest.mark.parametrize("image_format", WITH_ALPHA)
def test_what_contain_does_not_fill_is_transparent(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    variants = variant(200, 200, image_format), variant(200, 200, "jpeg")
    draw(stripes(), tmp_path, Picture(variants, fit="contain"))
    alpha = opened(tmp_path, variants[0]).getchannel("A")
    assert alpha.getpixel((100, 40)) == 0
    assert alpha.getpixel((100, 100)) == 255
    assert off(opened(tmp_path, variants[1]).getpixel((100, 40)), (255, 255, 255)) <= 2


# ── what is transparent ─────────────────────────────────────────────────────────────────────────


def half_hidden() -> Image.Image:
    """Red at the left; at the right black, which nobody sees."""
    image = Image.new("RGBA", (320, 192), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 160, 192))
    image.paste((255, 0, 0, 128), (0, 96, 160, 192))
    return image


@pytest.mark.parametrize("image_format", WITH_ALPHA)
@pytest.mark.parametrize("size", [(320, 192), (160, 96), (111, 67)])
def test_alpha_is_kept_without_a_fringe(
    image_format: ImageFormat, size: tuple[int, int], tmp_path: Path
) -> None:
    small = variant(*size, image_format, 90)
    draw(half_hidden(), tmp_path, Picture((small,)))
    image = opened(tmp_path, small)
    assert image.mode == "RGBA"
    width, height = size
    alpha = image.getchannel("A")
    assert [alpha.getpixel((x, 5)) for x in (5, width - 5)] == [255, 0]
    assert off(alpha.getpixel((5, height - 5)), 128) <= 2
    row = numpy.asarray(image)[height // 4]
    visible = row[row[:, 3] > 40]
    assert visible[:, 0].min() >= 200  # not mixed with the black
    assert visible[:, 1:3].max() <= 60


@pytest.mark.parametrize(
    ("background", "wanted"),
    [("", (255, 255, 255)), ("#ffffff", (255, 255, 255)), ("#2040c0", (32, 64, 192))],
)
@pytest.mark.parametrize("image_format", FORMATS)
def test_what_is_transparent_shows_the_background(
    image_format: ImageFormat, background: str, wanted: tuple[int, int, int], tmp_path: Path
) -> None:
    small = variant(160, 96, image_format, 95)
    draw(half_hidden(), tmp_path, Picture((small,), background=background))
    image = opened(tmp_path, small)
    keeps = not background and image_format != "jpeg"
    assert image.mode == ("RGBA" if keeps else "RGB")
    if not keeps:
        assert off(image.getpixel((150, 48)), wanted) <= 8
        mixed = [(255 + wanted[0]) // 2, wanted[1] // 2, wanted[2] // 2]
        assert off(image.getpixel((20, 80)), mixed) <= 8


def test_alpha_that_hides_nothing_is_not_written(tmp_path: Path) -> None:
    opaque = chart().convert("RGBA")
    for each in WITH_ALPHA:
        draw(opaque, tmp_path, Picture((variant(160, 96, each),)))
        assert opened(tmp_path, variant(160, 96, each)).mode == "RGB"


def test_steps_of_one_image_do_not_change_each_other(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), "white").save(tmp_path / "mark.png")
    mark = Mark("mark.png", "bottom_right", 0.3, 1.0)
    made = {
        "marked": Picture((variant(320, 192, "jpeg"),), mark=mark),
        "clear": Picture((variant(319, 191, "webp"), variant(80, 48, "webp"))),
        "wide": Picture((variant(318, 190, "avif"),), keep=("icc",), background="#104020"),
        "marked_too": Picture((variant(320, 192, "png"),), mark=mark, keep=("icc",)),
        "plain": Picture((variant(317, 189, "jpeg"),)),
    }
    image = half_hidden()
    image.paste(chart((160, 96)), (80, 48))
    source = encoded(image, icc_profile=P3)
    alone: dict[str, bytes] = {}
    for step, picture in made.items():
        draw_all(source, "PNG", tmp_path, **{step: picture})
        alone |= {each.output: (tmp_path / each.output).read_bytes() for each in picture.variants}
    drawn = draw_all(source, "PNG", tmp_path, **made)
    assert drawn.keys() == made.keys()
    for name, content in alone.items():
        assert (tmp_path / name).read_bytes() == content, name


# ── what is kept ────────────────────────────────────────────────────────────────────────────────


def in_p3(mode: str = "RGB") -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(chart(), srgb, io.BytesIO(P3), outputMode="RGB")
    assert found is not None
    return found.convert(mode)


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(image.convert("RGB"), io.BytesIO(profile), srgb)
    assert found is not None
    return found


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_kept_with_their_profile(
    image_format: ImageFormat, mode: str, tmp_path: Path
) -> None:
    image, small = in_p3(mode), variant(160, 96, image_format, 95)
    kept = draw(encoded(image, icc_profile=P3), tmp_path, Picture((small,), keep=("icc",)))
    found = opened(tmp_path, small)
    assert off(fields(found), fields(image)) <= 6
    profile = found.info["icc_profile"]
    assert profile == P3
    assert off(fields(in_srgb(found, profile)), FIELDS) <= 8
    converted = draw(encoded(image, icc_profile=P3), tmp_path, Picture((small,)))
    found = opened(tmp_path, small)
    assert not found.info.get("icc_profile")
    assert off(fields(found), FIELDS) <= 8
    assert kept.color == converted.color  # always of sRGB


def test_colours_that_are_told_by_code_points_get_a_profile(tmp_path: Path) -> None:
    source = stills.png(numpy.asarray(in_p3()), stills.cicp(12, 13))
    small = variant(160, 96)
    draw(source, tmp_path, Picture((small,), keep=("icc",)))
    found = opened(tmp_path, small)
    assert off(fields(in_srgb(found, found.info["icc_profile"])), FIELDS) <= 3
    assert off(fields(found), FIELDS) > 6


@pytest.mark.parametrize("reason", ["large", "broken", "grey", "cmyk"])
def test_a_profile_that_is_no_good_is_not_kept(reason: str, tmp_path: Path) -> None:
    image, profile = in_p3(), P3
    match reason:
        case "large":
            profile += bytes(70_000)
        case "broken":
            profile = P3[:200]
        case "grey":
            image = image.convert("L")
        case "cmyk":
            image = image.convert("CMYK")
    source = encoded(image, "JPEG", quality=95, icc_profile=profile)
    small = variant(160, 96)
    draw(source, tmp_path, Picture((small,), keep=("icc",)), "JPEG")
    found = opened(tmp_path, small)
    assert found.mode == "RGB"
    assert not found.info.get("icc_profile")


def test_a_mark_and_a_background_have_their_colours_in_a_wide_gamut(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (200, 60, 50)).save(tmp_path / "mark.png")
    small = variant(200, 200)
    picture = Picture(
        (small,),
        fit="contain",
        background="#3ca046",
        mark=Mark("mark.png", "center", 0.3, 1.0),
        keep=("icc",),
    )
    draw(encoded(in_p3(), icc_profile=P3), tmp_path, picture)
    found = opened(tmp_path, small)
    shown = in_srgb(found, P3)
    assert off(shown.getpixel((100, 100)), (200, 60, 50)) <= 3
    assert off(shown.getpixel((100, 10)), (60, 160, 70)) <= 3


ARTIST, COPYRIGHT = "Ada Łovelace", "© 2026 Åland Press; all rights reserved"


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = ARTIST.encode()
    exif[ExifTags.Base.Copyright] = COPYRIGHT.encode() + b"\0\n"
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.ImageDescription] = "At home"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return encoded(chart(), "JPEG", exif=exif, comment="secret")


def with_iptc() -> bytes:
    datasets = b"".join(
        b"\x1c\x02" + bytes((number,)) + len(text.encode()).to_bytes(2) + text.encode()
        for number, text in ((80, ARTIST), (90, "Town"), (116, COPYRIGHT))
    )
    block = b"8BIM\x04\x04\0\0" + len(datasets).to_bytes(4) + datasets + bytes(len(datasets) % 2)
    segment = b"Photoshop 3.0\0" + block
    content = encoded(chart(), "JPEG")
    return content[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2) + segment + content[2:]


def with_xmp() -> bytes:
    text = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator><rdf:Seq>'
        f"<rdf:li>{ARTIST}</rdf:li></rdf:Seq></dc:creator><dc:rights><rdf:Alt>"
        f'<rdf:li xml:lang="x-default">{COPYRIGHT}</rdf:li></rdf:Alt></dc:rights>'
        "<dc:title><rdf:Alt><rdf:li>At home</rdf:li></rdf:Alt></dc:title>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    return encoded(chart(), "JPEG", xmp=text.encode())


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("told", [with_exif, with_iptc, with_xmp])
def test_who_made_it_is_kept_and_nothing_else(
    told: Any, image_format: ImageFormat, tmp_path: Path
) -> None:
    small = variant(160, 96, image_format)
    draw(told(), tmp_path, Picture((small,), keep=("copyright",)), "JPEG")
    exif = opened(tmp_path, small).getexif()
    texts = {tag: value.encode("latin-1").decode() for tag, value in exif.items()}
    assert texts == {ExifTags.Base.Artist: ARTIST, ExifTags.Base.Copyright: COPYRIGHT}
    content = (tmp_path / small.output).read_bytes()
    assert not re.search(rb"At home|A camera|Town|secret|8BIM|xmpmeta", content)
    draw(told(), tmp_path, Picture((small,)), "JPEG")
    assert not opened(tmp_path, small).getexif()


@pytest.mark.parametrize("text", ["x" * 100_000, "a\x07\x1b[31m\nb", "\ud83d\udca9 é"])
def test_what_is_kept_is_one_short_line(text: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = (
        text.encode("utf-16", "surrogatepass").decode("utf-16").encode()[:60_000]
    )
    small = variant(160, 96)
    draw(encoded(chart(), "PNG", exif=exif), tmp_path, Picture((small,), keep=("copyright",)))
    kept = opened(tmp_path, small).getexif()[ExifTags.Base.Copyright].encode("latin-1").decode()
    assert kept.isprintable()
    assert 0 < len(kept) <= 500


# ── placeholders ────────────────────────────────────────────────────────────────────────────────


def pattern(width: int, height: int, *, alpha: bool) -> Image.Image:
    pixels = (
        (
            (7 * x * x + 13 * y) % 256,
            3 * x * y % 256,
            (200 - 5 * x + 2 * y) % 256,
            (40 + 9 * x + y) % 256 if alpha else 255,
        )
        for y in range(height)
        for x in range(width)
    )
    return Image.frombytes("RGBA", (width, height), bytes(of for pixel in pixels for of in pixel))


@pytest.mark.parametrize(
    ("size", "alpha", "thumbhash", "blurhash"),
    [
        # By the packages thumbhash 0.1.1 and blurhash 2.0.5 of npm, which their inventors published.
        ((30, 20), False, "ICcGTYZcZmZgZ4d1h2h3dnB39q/q", "LlHeCKnHi+nVRQV]WWN[n7WVSyod"),
        ((17, 29), False, "4hUGNAg4BXYoZoN3WGhQeeX7mg==", "ThG*~|rkRErCaLWXM}S2OnaQbIS|"),
        ((24, 31), True, "oQaCHAIpPQaIGGqECLlWvX8HlIWWdnh3Bw==", ""),
    ],
)
def test_placeholders_are_those_of_the_reference_implementations(
    size: tuple[int, int], alpha: bool, thumbhash: str, blurhash: str
) -> None:
    image = pattern(*size, alpha=alpha)
    assert placeholders.thumbhash(image) == thumbhash
    if not alpha:
        assert placeholders.blurhash(image) == blurhash


@pytest.mark.parametrize("size", [(1, 1), (32, 1), (2, 30), (3, 3)])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_picture_of_few_pixels_has_a_placeholder_of_its_colour(
    size: tuple[int, int], alpha: bool
) -> None:
    image = Image.new("RGBA" if alpha else "RGB", size, (200, 40, 60))
    if alpha:
        image.putpixel((0, size[1] - 1), (200, 40, 60, 255))
    drawn = corpus_placeholders.drawn(placeholders.thumbhash(image))
    assert off(ImageStat.Stat(drawn).mean, (200, 40, 60)) <= 16
    assert numpy.ptp(numpy.asarray(drawn), axis=(0, 1)).max() <= 24


def test_a_picture_tells_its_placeholder_and_its_colour(tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 200), (32, 96, 160))
    image.paste("orange", (0, 0, 120, 200))
    small = variant(200, 100, "webp")
    found = {
        kind: draw(image, tmp_path, Picture((small,), placeholder=kind))
        for kind in ("none", "thumbhash", "blurhash")
    }
    assert {drawn.color for drawn in found.values()} == {"#2060a0"}
    assert found["none"].placeholder == ""
    assert 20 <= len(found["thumbhash"].placeholder) <= 36
    assert len(found["blurhash"].placeholder) == 28


@pytest.mark.parametrize("hidden", ["all", "most"])
def test_what_is_transparent_has_no_colour(hidden: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (320, 192), (0, 200, 0, 0))
    if hidden == "most":
        image.paste((180, 20, 20, 255), (0, 0, 40, 192))
    drawn = draw(image, tmp_path, Picture((variant(160, 96),), placeholder="thumbhash"))
    assert drawn.color == ("#ffffff" if hidden == "all" else "#b41414")


# ── the mark ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_mark_lies_in_its_corner_of_each_file(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    Image.new("RGBA", (100, 50), "white").save(tmp_path / "mark.png")
    variants = tuple(variant(width, width // 2, image_format, 95) for width in (400, 200, 100))
    mark = Mark("mark.png", "bottom_right", 0.25, 1.0)
    draw(Image.new("RGB", (400, 200)), tmp_path, Picture(variants, mark=mark))
    for each in variants:
        image = opened(tmp_path, each).convert("L").point(lambda value: 255 * (value > 128))
        box = image.getbbox()
        assert box is not None
        wanted = [part * each.width for part in (0.725, 0.35, 0.975, 0.475)]
        assert off(box, wanted) <= 2, each


def test_a_mark_is_seen_where_a_picture_is_transparent(tmp_path: Path) -> None:
    Image.new("RGBA", (100, 50), "white").save(tmp_path / "mark.png")
    small = variant(200, 100)
    mark = Mark("mark.png", "center", 0.25, 0.5)
    draw(Image.new("RGBA", (400, 200)), tmp_path, Picture((small,), mark=mark))
    image = opened(tmp_path, small)
    assert off(image.getpixel((100, 50)), (255, 255, 255, 128)) <= 1
    assert image.getchannel("A").getpixel((20, 20)) == 0


# ── what no format can hold ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("size", "image_format", "sentence"),
    [
        ((16_384, 10), "webp", "16384 × 10; a WebP can have at most 16383 pixels a side"),
        ((10, 65_501), "jpeg", "10 × 65501; a JPEG can have at most 65500 pixels a side"),
        ((40_000, 10), "avif", "40000 × 10; an AVIF can have at most 32768 pixels a side"),
        ((8000, 5000), "avif", f"8000 × 5000; an AVIF can have at most {MOST_AVIF_PIXELS} pixels"),
        ((65_501, 1), "png", "65501 × 1; a PNG can have at most 65500 pixels a side"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_the_rest_is_drawn(
    size: tuple[int, int], image_format: ImageFormat, sentence: str, tmp_path: Path
) -> None:
    large = Picture((variant(16, 16), variant(*size, image_format)))
    made = draw_all(b"not even read", "PNG", tmp_path, large=large)
    assert isinstance(made["large"], Refused)
    assert made["large"].code == "side_too_long"
    assert sentence in made["large"].detail
    drawn = draw_all(
        encoded(chart()), "PNG", tmp_path, large=large, small=Picture((variant(16, 9),))
    )
    assert isinstance(drawn["large"], Refused)
    assert isinstance(drawn["small"], DrawnPicture)


def test_the_largest_webp_there_is_is_drawn(tmp_path: Path) -> None:
    large = variant(16_383, 4, "webp")
    draw(Image.new("L", (16_383, 4), 90), tmp_path, Picture((large,)))


def test_colours_of_a_subsampled_jpeg_are_not_written_at_more(tmp_path: Path) -> None:
    image = Image.new("RGB", (320, 192), "lime")
    for x in range(0, 320, 4):
        ImageDraw.Draw(image).rectangle((x, 0, x + 1, 191), fill="magenta")
    full, small = variant(320, 192, "jpeg"), variant(160, 96, "jpeg")
    source = encoded(image, "JPEG", subsampling="4:2:0", quality=95)
    draw(source, tmp_path, Picture((full, small)), "JPEG")
    assert JpegImagePlugin.get_sampling(opened(tmp_path, full)) == 2


@pytest.mark.parametrize("image_format", FORMATS)
def test_bytes_are_about_those_that_are_estimated(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    grain = Image.effect_noise((640, 480), 7).convert("RGB")
    small = variant(640, 480, image_format)
    draw(ImageChops.add(samples.scene(640, 480), grain, offset=-128), tmp_path, Picture((small,)))
    _, estimated = encoding([small])
    assert 1 / 3 < estimated / (tmp_path / small.output).stat().st_size < 3
    assert encoding([small, small])[1] == 2 * estimated


@pytest.mark.parametrize(
    "forged",
    [
        {"color": "url(//a)"},
        {"color": "#aabbcc\n"},
        {"placeholder": "a" * 101},
        {"placeholder": "a\nb"},
        {"warning": "a" * 501},
        {"files": [("a.jpg", 1, 1)] * 101},
        {"files": [("a.jpg", 0, 1)]},
    ],
)
def test_what_no_picture_can_tell_is_not_taken(forged: dict[str, Any]) -> None:
    """A child that was taken over answers what it likes."""
    files = [
        {"name": name, "width": width, "height": height}
        for name, width, height in forged.get("files", [("a.jpg", 1, 1)])
    ]
    told = {"type": "drawn_picture", **forged, "files": files}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(told, Drawn)
    right = {"type": "drawn_picture", "files": [{"name": "a.jpg", "width": 1, "height": 1}]}
    assert isinstance(msgspec.convert(right, Drawn), DrawnPicture)
