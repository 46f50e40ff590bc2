"""Pictures as cameras, scanners and editors make them: what they tell of their colours is what is shown."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from chalicelib.engines import pillow
from chalicelib.engines.image_decoding import decode
from chalicelib.engines.image_files import open_image
from chalicelib.errors import JobError
from chalicelib.formats import jpegs
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts
from chalicelib.model.mark import Mark, Position
from chalicelib.model.picture import DrawnPicture, Picture, Variant
from chalicelib.model.work import Images
from chalicelib.tasks import images
from chalicelib.tasks.workbench import lay_out_marks
from infra.tools import samples
from infra.tools.samples import run_ffmpeg
from testing import stills
from testing.attacks import png_chunk
from testing.local import Result, facts_of, run
from testing.prepared import CORPUS
from testing.stills import FIELDS, SIZE, chart, cicp, fields, heif, hevc, nclx, page, png, tiff

pytestmark = pytest.mark.media
variants = pytest.mark.variants


def drawn(content: bytes, folder: Path, step: str = "thumbnail") -> Result:
    path = folder / "picture"
    path.write_bytes(content)
    return run(path, folder, step)[step]


def shown(content: bytes, folder: Path, step: str = "thumbnail") -> Any:
    """The colours of the chart's fields, as they come out."""
    with Image.open(drawn(content, folder, step).path) as image:
        return fields(image)


def off(found: Any, wanted: Any = FIELDS) -> int:
    """By how much the worst of the colours differs."""
    return int(abs(numpy.subtract(found, wanted)).max())


def marked(
    name: str, width: int, height: int, image: str, position: Position = "center"
) -> Picture:
    variant = Variant(name, width, height, "jpeg", 90)
    return Picture((variant,), mark=Mark(image, position, 0.3, 1.0))


def refusal(content: bytes, folder: Path) -> JobError:
    with pytest.raises(JobError) as refused:
        drawn(content, folder)
    return refused.value


def kinds(*rows: tuple[Any, ...], more: Sequence[tuple[Any, ...]] = ()) -> Any:
    """Parameters of tests that are called after their first; those of `more` are variants."""
    return [
        *(pytest.param(*row, id=str(row[0])) for row in rows),
        *(pytest.param(*row, id=str(row[0]), marks=variants) for row in more),
    ]


# ── colours that are told by code points ────────────────────────────────────────────────────────

BT2020, P3 = "bt2020", "smpte432"
_PRIMARIES = {BT2020: 9, P3: 12, "smpte431": 11}
PQ, HLG, SRGB = "smpte2084", "arib-std-b67", "iec61966-2-1"
_TRANSFERS = {PQ: 16, HLG: 18, SRGB: 13, "linear": 8}


def _coded(primaries: str, transfer: str, matrix: str, pixels: str) -> str:
    """A filter that codes the chart so: HDR's white at 203 nits (ITU-R BT.2408)."""
    return (
        f"zscale=pin=bt709:tin={SRGB}:min=gbr:p={primaries}:t={transfer}:m={matrix}:r=pc:npl=203,"
        f"format={pixels}"
    )


def _still(folder: Path, size: tuple[int, int] = SIZE) -> Path:
    path = folder / "chart.png"
    chart(size).save(path)
    return path


def in_heic(
    folder: Path, primaries: str, transfer: str, pixels: str = "yuv444p10le", **more: Any
) -> bytes:
    source = _still(folder, more.get("size", SIZE))
    coded = hevc(source, _coded(primaries, transfer, "bt2020nc", pixels), pixels)
    told = nclx(_PRIMARIES[primaries], _TRANSFERS[transfer], 9)
    return heif(coded, more.get("size", SIZE), told)


def in_avif(
    folder: Path, primaries: str, transfer: str, pixels: str = "yuv444p10le", **more: Any
) -> bytes:
    source = _still(folder, more.get("size", SIZE))
    path = folder / "chart.avif"
    run_ffmpeg(
        "-i", str(source),
        "-vf", _coded(primaries, transfer, "bt2020nc", pixels),
        "-frames:v", "1",
        "-c:v", "libaom-av1", "-still-picture", "1", "-crf", "5", "-cpu-used", "8",
        str(path),
    )  # fmt: skip
    return path.read_bytes()


def in_png(
    folder: Path, primaries: str, transfer: str, pixels: str = "rgb48le", **more: Any
) -> bytes:
    source = _still(folder, more.get("size", SIZE))
    raw = folder / "chart.raw"
    run_ffmpeg(
        "-i", str(source),
        "-vf", _coded(primaries, transfer, "gbr", "gbrp16le"),
        "-pix_fmt", pixels, "-f", "rawvideo", str(raw),
    )  # fmt: skip
    kind = numpy.uint16 if pixels == "rgb48le" else numpy.uint8
    width, height = more.get("size", SIZE)
    pixel = numpy.fromfile(raw, kind).reshape(height, width, 3)
    return png(pixel, cicp(_PRIMARIES[primaries], _TRANSFERS[transfer]))


@cache
def _of_a_film(transfer: str, folder: Path) -> Any:
    """What comes out of a film of the chart in HDR."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{transfer}.mp4"
    run_ffmpeg(
        "-loop", "1", "-i", str(_still(folder)),
        "-t", "1", "-r", "5",
        "-vf", _coded(BT2020, transfer, "bt2020nc", "yuv444p10le").replace("r=pc", "r=tv"),
        "-c:v", "libx264", "-crf", "8",
        str(path),
    )  # fmt: skip
    with Image.open(run(path, folder / transfer, "thumbnail")["thumbnail"].path) as image:
        return fields(image)


@pytest.fixture(scope="session")
def of_a_film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    return partial(_of_a_film, folder=tmp_path_factory.getbasetemp() / "of_a_film")


Coding = Callable[..., bytes]


@pytest.mark.parametrize(
    ("coding", "primaries", "transfer", "more"),
    [
        (in_heic, BT2020, PQ, {}),
        (in_avif, BT2020, HLG, {}),
        (in_png, BT2020, PQ, {}),
        *(
            pytest.param(*each, marks=variants)
            for each in [
                (in_heic, BT2020, HLG, {}),
                (in_heic, P3, PQ, {}),
                (in_heic, BT2020, PQ, {"pixels": "yuv420p10le"}),
                (in_heic, BT2020, PQ, {"pixels": "yuv444p12le", "size": (160, 96)}),
                (in_avif, BT2020, PQ, {}),
                (in_avif, P3, HLG, {}),
                (in_avif, BT2020, PQ, {"pixels": "yuv420p10le", "size": (640, 384)}),
                (in_avif, BT2020, PQ, {"pixels": "yuv444p12le"}),
                (in_png, BT2020, HLG, {}),
                (in_png, P3, PQ, {}),
                (in_png, BT2020, PQ, {"pixels": "rgb24"}),
                (in_png, BT2020, HLG, {"pixels": "rgb24", "size": (1280, 768)}),
            ]
        ),
    ],
)
def test_a_still_in_hdr_comes_out_as_a_film_does(
    coding: Coding,
    primaries: str,
    transfer: str,
    more: dict[str, Any],
    tmp_path: Path,
    of_a_film: Callable[[str], Any],
) -> None:
    found = shown(coding(tmp_path, primaries, transfer, **more), tmp_path)
    # Eight bits of luminance and colour differences are few for PQ.
    assert off(found, of_a_film(transfer)) <= (7 if coding is in_png else 10)
    assert min(found[0]) > 180


@pytest.mark.parametrize(
    ("coding", "primaries", "more"),
    [
        (in_heic, P3, {"pixels": "yuv444p"}),
        (in_avif, P3, {"pixels": "yuv444p"}),
        (in_png, BT2020, {}),
        *(
            pytest.param(*each, marks=variants)
            for each in [
                (in_heic, P3, {}),
                (in_heic, BT2020, {}),
                (in_heic, P3, {"pixels": "yuv420p", "size": (640, 384)}),
                (in_avif, P3, {}),
                (in_avif, BT2020, {"pixels": "yuv420p"}),
                (in_avif, P3, {"pixels": "yuv444p12le", "size": (160, 96)}),
                (in_png, P3, {}),
                (in_png, P3, {"pixels": "rgb24"}),
                (in_png, BT2020, {"pixels": "rgb24"}),
                (in_png, P3, {"size": (640, 384)}),
            ]
        ),
    ],
)
def test_wide_colours_that_are_told_by_code_points_come_out_as_srgb(
    coding: Coding, primaries: str, more: dict[str, Any], tmp_path: Path
) -> None:
    assert off(shown(coding(tmp_path, primaries, SRGB, **more), tmp_path)) <= 4


def test_the_code_points_of_a_png_count_more_than_its_profile(tmp_path: Path) -> None:
    content = in_png(tmp_path, P3, SRGB)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    iccp = png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    assert off(shown(content[:33] + iccp + content[33:], tmp_path)) <= 4


def test_code_points_that_nobody_knows_are_taken_for_srgb(tmp_path: Path) -> None:
    content = png(numpy.asarray(chart()), cicp(200, 255))
    assert off(shown(content, tmp_path)) <= 3


# ── gAMA and cHRM ───────────────────────────────────────────────────────────────────────────────


def gama(gamma: float) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", round(100_000 / gamma)))


def chrm(*xy: float) -> bytes:
    """White, red, green, blue."""
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in xy)))


CHRM_P3 = chrm(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
CHRM_SRGB = chrm(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def _light(image: Image.Image) -> Any:
    value = numpy.asarray(image) / 255
    return numpy.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def with_gamma(gamma: float, kind: Any = numpy.uint8, *, grey: bool = False) -> Any:
    """The chart, whose samples are raised to 1/gamma."""
    most = numpy.iinfo(kind).max
    image = chart().convert("L") if grey else chart()
    return numpy.round(_light(image) ** (1 / gamma) * most).astype(kind)


@pytest.mark.parametrize(
    ("gamma", "kind"),
    [
        (1.0, numpy.uint8),
        (1.0, numpy.uint16),
        pytest.param(1.5, numpy.uint8, marks=variants),
        pytest.param(1.8, numpy.uint8, marks=variants),
        pytest.param(1.8, numpy.uint16, marks=variants),
        pytest.param(2.8, numpy.uint8, marks=variants),
        pytest.param(4.0, numpy.uint8, marks=variants),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_the_gamma_of_a_png_is_that_of_its_samples(
    gamma: float, kind: Any, grey: bool, tmp_path: Path
) -> None:
    found = shown(png(with_gamma(gamma, kind, grey=grey), gama(gamma)), tmp_path)
    wanted = fields(chart().convert("L")) if grey else FIELDS
    assert off(found, wanted) <= (7 if gamma == 1 and kind == numpy.uint8 else 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_light_in_16_bits_has_no_bands_in_what_is_dark(channels: int, tmp_path: Path) -> None:
    light = numpy.linspace(0, 0.02, 512)
    shape = (64, 512, channels)
    samples = numpy.round(65535 * numpy.broadcast_to(light[:, None], shape)).astype(numpy.uint16)
    if channels == 4:
        samples[..., 3] = 65535
    content = png(samples[..., 0] if channels == 1 else samples, gama(1.0))
    with Image.open(drawn(content, tmp_path).path) as image:
        row = numpy.asarray(image.convert("L"))[32].astype(int)
    wanted = 255 * numpy.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    assert abs(row - wanted).max() <= 3


def test_the_chromaticities_of_a_png_count_where_there_is_a_gamma(tmp_path: Path) -> None:
    light = _light(chart())
    to_p3 = numpy.array([[0.8225, 0.1775, 0], [0.0332, 0.9669, 0], [0.0171, 0.0724, 0.9108]])
    coded = numpy.round(255 * (light @ to_p3.T) ** (1 / 1.8)).astype(numpy.uint8)
    assert off(shown(png(coded, CHRM_P3, gama(1.8)), tmp_path)) <= 4


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(2.2),),
        (gama(2.2), CHRM_SRGB),
        (gama(1.0), png_chunk(b"sRGB", b"\0")),
        (CHRM_P3,),
        (gama(1e5),),
        (png_chunk(b"gAMA", bytes(4)),),
        (gama(1.8), chrm(0.3, 0, *[0.5] * 6)),
    ],
)
def test_what_is_nearly_srgb_or_said_to_be_stays_as_it_is(
    chunks: tuple[bytes, ...], tmp_path: Path
) -> None:
    assert off(shown(png(numpy.asarray(chart()), *chunks), tmp_path)) <= 3


# ── a transparent colour in 16 bits, and checksums ──────────────────────────────────────────────


def trns(*samples: int) -> bytes:
    return png_chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


@pytest.mark.parametrize("field", [2, *(pytest.param(n, marks=variants) for n in (0, 1, 4, 5, 7))])
@pytest.mark.parametrize("step", ["thumbnail", "watermark"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_transparent_colour_of_16_bits_shows_white_and_no_other_does(
    grey: bool, step: str, field: int, tmp_path: Path
) -> None:
    pixels = stills.sixteen_bit(chart().convert("L") if grey else chart())
    height, width = pixels.shape[:2]
    place = height * (2 * (field // 4) + 1) // 4, width * (2 * (field % 4) + 1) // 8
    hidden = pixels[place]
    nearly = hidden + numpy.uint16(1)
    pixels[height // 2 :, :8] = nearly  # differs in the last bits alone
    result = drawn(png(pixels, trns(*numpy.atleast_1d(hidden).tolist())), tmp_path, step)
    with Image.open(result.path) as image:
        wanted = fields(chart().convert("L") if grey else chart())
        wanted[(wanted == wanted[field]).all(axis=1)] = 255
        assert off(fields(image), wanted) <= 4
        beside = image.getpixel((2, image.height - 2))
        assert off([beside], [numpy.broadcast_to(hidden // 257, 3)]) <= 6


@pytest.mark.parametrize(
    "name",
    [b"pHYs", *(pytest.param(n, marks=variants) for n in (b"tEXt", b"tIME", b"gAMA", b"prVt"))],
)
def test_a_wrong_checksum_matters_where_the_chunk_does(name: bytes, tmp_path: Path) -> None:
    content = bytearray(png(numpy.asarray(chart()), png_chunk(name, struct.pack(">I", 45455) * 3)))
    content[content.index(name) + 16] ^= 255
    assert off(shown(bytes(content), tmp_path)) <= 3
    content[content.index(b"IHDR") + 17] ^= 255
    assert refusal(bytes(content), tmp_path).code == "source_damaged"


# ── JPEG without its end ────────────────────────────────────────────────────────────────────────

CUT_SHORT = kinds(
    ("baseline", {}),
    ("progressive", {"progressive": True}),
    more=[
        ("4:4:4", {"subsampling": 0}),
        ("4:2:2", {"subsampling": 1}),
        ("progressive, 4:4:4", {"progressive": True, "subsampling": 0}),
        ("with restarts", {"restart_marker_rows": 1}),
        ("with many restarts", {"restart_marker_blocks": 3}),
        ("progressive with restarts", {"progressive": True, "restart_marker_rows": 1}),
        ("optimized", {"optimize": True}),
        ("coarse", {"quality": 40}),
        ("fine", {"quality": 97}),
    ],
)


@pytest.mark.parametrize("mode", ["RGB", "L", pytest.param("CMYK", marks=variants)])
@pytest.mark.parametrize(("name", "options"), CUT_SHORT)
def test_a_jpeg_without_its_last_bytes_is_shown_with_a_warning(
    name: str, options: dict[str, Any], mode: str, tmp_path: Path
) -> None:
    whole = stills.jpeg(chart().convert(mode), **{"quality": 90} | options)
    wanted = shown(whole, tmp_path)
    for number, missing in enumerate((1, 2, 10)):
        result = drawn(whole[:-missing], tmp_path / str(number))
        assert "lacks its end" in result.made.warning
        with Image.open(result.path) as image:
            assert off(fields(image), wanted) <= 3
    with pytest.raises(JobError) as refused:
        drawn(whole[: whole.index(b"\xff\xda") + 200], tmp_path / "half")
    assert refused.value.code == "source_damaged"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in (*map(str, range(10)), "half"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("step", ["thumbnail", "watermark"])
def test_how_much_is_missing_is_measured_by_what_is_there(step: str, tmp_path: Path) -> None:
    """Not by what is grey: that may be the picture."""
    image = chart((1280, 768))
    ImageDraw.Draw(image).rectangle((0, 400, 1280, 768), fill=(128, 128, 128))
    whole = stills.jpeg(image, quality=90)
    assert "100.0% of the picture" in drawn(whole[:-2], tmp_path, step).made.warning
    noise = Image.effect_noise((1280, 768), 90).convert("RGB")
    whole = stills.jpeg(noise, quality=90)
    warning = drawn(whole[: len(whole) * 95 // 100], tmp_path / "0", step).made.warning
    assert any(f"{part}." in warning for part in (94, 95, 96)), warning
    assert refusal(whole[: len(whole) * 87 // 100], tmp_path / "1").code == "source_damaged"


def test_a_large_jpeg_without_its_end_is_decoded_in_the_memory_of_two(tmp_path: Path) -> None:
    whole = stills.jpeg(chart().resize((10_000, 6_000)))
    (tmp_path / "source").write_bytes(whole[:-2])
    (tmp_path / "out").mkdir()
    work = Images(
        "JPEG",
        {"watermark": marked("mark.jpg", 10_000, 6_000, "watermark.png", "bottom_right")},
    )
    lay_out_marks(work, tmp_path)
    budget = Budget(lambda: 60.0, 960 * 1024**2)
    made = images.draw(work, tmp_path, budget)["watermark"]
    assert isinstance(made, DrawnPicture)
    assert "lacks its end" in made.warning


def test_a_whole_jpeg_has_no_warning(tmp_path: Path) -> None:
    assert drawn(stills.jpeg(chart()), tmp_path).made.warning == ""


# ── TIFF ────────────────────────────────────────────────────────────────────────────────────────


def grey(kind: Any, bits: int = 0) -> Any:
    """The chart in grey, white at the top of the samples' range."""
    bits = bits or 8 * numpy.dtype(kind).itemsize
    return numpy.round(numpy.asarray(chart().convert("L")) / 255 * (2**bits - 1)).astype(kind)


def lab() -> Any:
    """As TIFF has it: a* and b* are signed."""
    converted = ImageCms.profileToProfile(
        chart(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert converted is not None
    return numpy.asarray(converted)


GREY16, GREY32 = numpy.uint16, numpy.uint32
RGB8, RGB16 = numpy.asarray(chart()), stills.sixteen_bit(chart())
_GREYS = kinds(
    ("12 bits", tiff(page(grey(GREY16, 12), 1, bits=12))),
    ("32 bits", tiff(page(grey(GREY32), 1))),
    ("16 bits, white is zero", tiff(page(~grey(GREY16), 0))),
    more=[
        ("12 bits, one strip", tiff(page(grey(GREY16, 12), 1, bits=12, strips=1))),
        ("12 bits, deflated", tiff(page(grey(GREY16, 12), 1, bits=12, deflate=True))),
        ("12 bits, BigTIFF", tiff(page(grey(GREY16, 12), 1, bits=12), big=True)),
        ("12 bits, big-endian", tiff(page(grey(GREY16, 12), 1, bits=12), order=">")),
        ("12 bits, white is zero", tiff(page(4095 - grey(GREY16, 12), 0, bits=12))),
        ("32 bits, deflated", tiff(page(grey(GREY32), 1, deflate=True))),
        ("32 bits, white is zero", tiff(page(~grey(GREY32), 0))),
        ("32 bits, big-endian", tiff(page(grey(GREY32), 1, order=">"), order=">")),
        (
            "32 bits, big-endian, deflated",
            tiff(page(grey(GREY32), 1, order=">", deflate=True), order=">"),
        ),
        (
            "float, big-endian, deflated",
            tiff(
                page((grey(GREY16) / 65535).astype("f4"), 1, order=">", deflate=True, t339=3),
                order=">",
            ),
        ),
        (
            "16 bits, white is zero, big-endian",
            tiff(page(~grey(GREY16), 0, order=">"), order=">"),
        ),
        ("32 bits, signed", tiff(page((grey(GREY32) >> 1).astype("int32"), 1, t339=2))),
        (
            "16 bits, white is zero, deflated",
            tiff(page(~grey(GREY16), 0, deflate=True)),
        ),
        ("8 bits, white is zero", tiff(page(~grey(numpy.uint8), 0))),
        ("16 bits", tiff(page(grey(GREY16), 1))),
        ("16 bits, big-endian", tiff(page(grey(GREY16), 1, order=">"), order=">")),
        ("float", tiff(page((grey(GREY16) / 65535).astype("f4"), 1, t339=3))),
        (
            "float, white is zero",
            tiff(page((1 - grey(GREY16) / 65535).astype("f4"), 0, t339=3)),
        ),
    ],
)


@pytest.mark.parametrize(("name", "content"), _GREYS)
def test_a_grey_tiff_of_any_depth_is_as_bright_as_it_is_told(
    name: str, content: bytes, tmp_path: Path
) -> None:
    assert off(shown(content, tmp_path), fields(chart().convert("L"))) <= 3


_COLOURS = kinds(
    ("CIELab", tiff(page(lab(), 8))),
    ("planes apart, 16 bits", tiff(page(RGB16, 2, planes_apart=True))),
    ("BigTIFF", tiff(page(RGB8, 2), big=True)),
    more=[
        ("CIELab, deflated", tiff(page(lab(), 8, deflate=True))),
        ("CIELab, one strip", tiff(page(lab(), 8, strips=1))),
        ("CIELab, BigTIFF", tiff(page(lab(), 8), big=True)),
        ("CIELab, big-endian", tiff(page(lab(), 8, order=">"), order=">")),
        (
            "planes apart, 16 bits, deflated",
            tiff(page(RGB16, 2, planes_apart=True, deflate=True)),
        ),
        (
            "planes apart, 16 bits, big-endian",
            tiff(page(RGB16, 2, planes_apart=True, order=">"), order=">"),
        ),
        (
            "planes apart, 16 bits, many strips",
            tiff(page(RGB16, 2, planes_apart=True, strips=24)),
        ),
        ("planes apart, 8 bits", tiff(page(RGB8, 2, planes_apart=True))),
        ("planes apart, BigTIFF", tiff(page(RGB16, 2, planes_apart=True), big=True)),
        ("BigTIFF, deflated", tiff(page(RGB8, 2, deflate=True), big=True)),
        ("BigTIFF, 16 bits", tiff(page(RGB16, 2), big=True)),
        ("16 bits, big-endian", tiff(page(RGB16, 2, order=">"), order=">")),
    ],
)


@pytest.mark.parametrize(("name", "content"), _COLOURS)
@pytest.mark.parametrize("step", ["thumbnail", "watermark"])
def test_a_tiff_in_colour_comes_out_as_its_tags_tell(
    name: str, content: bytes, step: str, tmp_path: Path
) -> None:
    assert off(shown(content, tmp_path, step)) <= 4


SMALL = numpy.asarray(chart((80, 48)).transpose(Image.Transpose.ROTATE_180))
_FULL, _PREVIEW = page(RGB8, 2), page(SMALL, 2, t254=1)


@pytest.mark.parametrize(
    ("name", "content"),
    kinds(
        ("preview first", tiff(_PREVIEW, _FULL)),
        more=[
            ("three previews first", tiff(_PREVIEW, _PREVIEW, _PREVIEW, _FULL)),
            ("preview last", tiff(_FULL, _PREVIEW)),
            ("preview by the old tag", tiff(page(SMALL, 2, t255=2), _FULL)),
            ("big-endian", tiff(page(SMALL, 2, t254=1), page(RGB8, 2), order=">")),
            ("BigTIFF", tiff(_PREVIEW, _FULL, big=True)),
            ("mask first", tiff(page(SMALL[..., 0], 1, t254=4), _FULL)),
            ("previews alone", tiff(_PREVIEW, page(RGB8, 2, t254=1), _PREVIEW)),
            ("deflated", tiff(_PREVIEW, page(RGB8, 2, deflate=True))),
            ("16 bits", tiff(_PREVIEW, page(RGB16, 2))),
            ("planes apart", tiff(_PREVIEW, page(RGB16, 2, planes_apart=True))),
            ("12 bits", tiff(_PREVIEW, page(RGB8, 2, t254=0, t297=(0, 2)))),
        ],
    ),
)
def test_the_picture_of_a_tiff_is_the_page_that_is_no_preview(
    name: str, content: bytes, tmp_path: Path
) -> None:
    assert off(shown(content, tmp_path)) <= 4
    assert facts_of(tmp_path / "picture") == ImageFacts("TIFF", *SIZE)


# ── HEIF by any of its brands ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("brands", "image_format"),
    [
        ((b"miaf", b"mif1", b"heic"), "HEIF"),
        *(
            pytest.param(tuple(brands.split()), "HEIF", marks=variants)
            for brands in [
                b"heic mif1 heic", b"mif1 heic", b"mif2 heic", b"1pic mif1 heic", b"MiHB heic mif1",
                b"MiHE heix", b"heix mif1", b"heim heic", b"heis heic", b"unif mif1", b"isom heic",
            ]
        ),
    ],
)  # fmt: skip
def test_heif_is_known_by_any_of_its_brands(
    brands: tuple[bytes, ...], image_format: str, tmp_path: Path
) -> None:
    filters = "scale=out_color_matrix=bt709:out_range=pc"
    coded = hevc(_still(tmp_path), filters)
    content = heif(coded, SIZE, nclx(1, 13, 1), brands=brands)
    assert off(shown(content, tmp_path)) <= 4
    assert facts_of(tmp_path / "picture") == ImageFacts(image_format, *SIZE)


@variants
@pytest.mark.parametrize("brand", [b"miaf", b"MiAB", b"mif1", b"1pic"])
def test_avif_is_known_by_any_of_its_brands(brand: bytes, tmp_path: Path) -> None:
    chart().save(tmp_path / "a.avif", quality=95)
    content = (tmp_path / "a.avif").read_bytes()
    assert off(shown(content[:8] + brand + content[12:], tmp_path)) <= 4


def test_a_film_is_a_film_whatever_it_is_compatible_with(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    samples.film(film, size="160x96", seconds=0.2, sound=False, output=("-brand", "heic"))
    content = film.read_bytes().replace(b"ftypheic", b"ftypisom").replace(b"iso2", b"heic")
    film.write_bytes(content)
    assert not isinstance(facts_of(film), ImageFacts)


# ── what is not supported ───────────────────────────────────────────────────────────────────────


def _jpeg_of(bits: int = 8, frame: int = 0xC0, colours: int = 3) -> bytes:
    content = bytearray(stills.jpeg(chart()))
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4], content[at + 9] = frame, bits, colours
    return bytes(content)


_RGB_FLOAT = (RGB8 / 255).astype("f4")
_UNSUPPORTED = kinds(
    ("12 bits", _jpeg_of(bits=12)),
    ("JPEG XL", tiff(page(RGB8, 2, t259=50002))),
    ("ICCLab", tiff(page(RGB8, 9))),
    ("32-bit floating-point", tiff(page(_RGB_FLOAT, 2, t339=(3, 3, 3)))),
    ("camera's raw", tiff(page(SMALL, 2, t254=1, t50706=0x401, t330=8))),
    more=[
        ("12 bits", _jpeg_of(bits=12, frame=0xC1)),
        ("16 bits", _jpeg_of(bits=16, frame=0xC3)),
        ("hierarchical", _jpeg_of(frame=0xC5)),
        ("JPEG 2000", tiff(page(RGB8, 2, t259=34712))),
        ("LERC", tiff(page(RGB8, 2, t259=34887))),
        ("JPEG XL", tiff(page(RGB8, 2, t259=52546), order="<", big=True)),
        ("CIELab with 16-bit", tiff(page(RGB16, 8))),
        ("LogLuv", tiff(page(RGB8, 32845))),
        ("32-bit samples", tiff(page(RGB8.astype("u4") << 24, 2))),
        ("64-bit floating", tiff(page((RGB8[..., 0] / 255).astype("f8"), 1, t339=3))),
        ("camera's raw", tiff(page(grey(GREY16), 32803))),
        ("camera's raw", tiff(page(SMALL, 2, t254=1, t330=8))),
        ("camera's raw", b"II*\0\x10\0\0\0CR\2\0" + bytes(100)),
        ("camera's raw", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100)),
        ("JPEG XL", b"\xff\x0a" + bytes(100)),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)),
        ("BigTIFF", tiff(page(RGB8, 2, order=">"), order=">", big=True)),
    ],
)


@pytest.mark.parametrize(("name", "content"), _UNSUPPORTED)
def test_what_is_not_supported_is_called_so_and_named(
    name: str, content: bytes, tmp_path: Path
) -> None:
    error = refusal(content, tmp_path)
    assert error.code == "unsupported_media"
    assert name in error.detail
    assert "is not supported. Convert it" in error.detail


@pytest.mark.parametrize(
    ("item", "name"),
    [
        (b"avc1", "AVC"),
        *(
            pytest.param(*each, marks=variants)
            for each in [(b"av01", "AV1"), (b"vvc1", "VVC"), (b"jpeg", "JPEG"), (b"unci", "unc")]
        ),
    ],
)
def test_heif_of_another_coding_is_not_called_damaged(
    item: bytes, name: str, tmp_path: Path
) -> None:
    error = refusal(heif(hevc(_still(tmp_path)), item=item), tmp_path)
    assert error.code == "unsupported_media"
    assert f"HEIF of {name}" in error.detail


@pytest.mark.parametrize(
    ("name", "content"),
    kinds(
        ("TIFF", b"II*\0\x08\0\0\0" + bytes(200)),
        ("strips", tiff(page(RGB8, 2, deflate=True)._replace(strips=[b"damaged"] * 2))),
        ("JPEG", stills.jpeg(chart())[:300]),
        ("PNG", png(RGB8)[:60]),
    ),
)
def test_what_is_damaged_is_called_damaged(name: str, content: bytes, tmp_path: Path) -> None:
    assert refusal(content, tmp_path).code == "source_damaged"


# ── colours from pixel to pixel ─────────────────────────────────────────────────────────────────


def lettering(ground: tuple[int, int, int], ink: tuple[int, int, int], size: Any = SIZE) -> Any:
    image = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(image)
    for y in range(2, size[1], 14):
        pen.text((3, y), "Sphinx of black quartz, judge my vow. 0123456789 " * 12, fill=ink)
    return image


def lines(width: int, first: str, second: str) -> Any:
    image = Image.new("RGB", SIZE, first)
    for x in range(0, SIZE[0], 2 * width):
        ImageDraw.Draw(image).rectangle((x, 0, x + width - 1, SIZE[1]), fill=second)
    return image


RED, BLUE = (230, 20, 20), (20, 20, 200)
_GRAPHICS = kinds(
    ("red on blue", lettering(BLUE, RED)),
    more=[
        ("red on white", lettering((255, 255, 255), RED)),
        ("blue on white", lettering((255, 255, 255), (0, 0, 255))),
        ("yellow on grey", lettering((128, 128, 128), (255, 220, 0))),
        ("green on black", lettering((0, 0, 0), (0, 255, 0))),
        ("magenta on green", lettering((0, 160, 0), (255, 0, 255))),
        ("small", lettering(BLUE, RED, (160, 96))),
        ("lines", lines(1, "red", "blue")),
        ("lines of two", lines(2, "lime", "magenta")),
        ("lines of three", lines(3, "red", "white")),
        ("dots", Image.effect_noise(SIZE, 200).point([255 * (v > 150) for v in range(256)])),
    ],
)


def sampling(path: Path) -> tuple[int, int]:
    """How many samples of luminance there are for one of colour, across and down."""
    with Image.open(path) as image:
        assert image.format == "JPEG"
        _, across, down, _ = image.layer[0]  # type: ignore[attr-defined]
        return across, down


@pytest.mark.parametrize(("name", "image"), _GRAPHICS)
@pytest.mark.parametrize("step", ["thumbnail", "watermark"])
def test_colours_of_graphics_do_not_smear(
    name: str, image: Image.Image, step: str, tmp_path: Path
) -> None:
    image = image if image.mode == "RGB" else Image.merge("RGB", (image, *chart().split()[1:]))
    result = drawn(stills.png(numpy.asarray(image)), tmp_path, step)
    with Image.open(result.path) as found:
        inside = numpy.s_[: found.height // 2]  # where there is no mark
        shown_as, wanted = numpy.asarray(found).astype(int), numpy.asarray(image)
        difference = abs(shown_as - wanted)[inside].max(axis=2)
    assert numpy.percentile(difference, 98) < 60
    assert sampling(result.path) == (1, 1)


@pytest.mark.parametrize(
    "size", [(800, 600), pytest.param((3000, 2000), marks=variants), (320, 240)]
)
def test_photographs_are_not_made_larger_for_it(size: tuple[int, int], tmp_path: Path) -> None:
    """Their light changes from pixel to pixel, their colours do not."""
    smooth = samples.scene(32, 24).resize(size, Image.Resampling.BICUBIC).convert("YCbCr")
    pale = [band.point([128 + (v - 128) // 3 for v in range(256)]) for band in smooth.split()[1:]]
    image = Image.merge("YCbCr", (Image.effect_noise(size, 30), *pale)).convert("RGB")
    for step, result in run_steps(stills.jpeg(image, quality=90), tmp_path).items():
        assert sampling(result.path) == (2, 2), step


@pytest.mark.parametrize("sampled", ["4:2:0", "4:2:2", "4:4:4"])
def test_colours_that_a_jpeg_has_at_half_the_resolution_are_not_written_at_more(
    sampled: str, tmp_path: Path
) -> None:
    content = stills.jpeg(lines(2, "lime", "magenta"), quality=90, subsampling=sampled)
    wanted = (2, 2) if sampled == "4:2:0" else (1, 1)
    for step, result in run_steps(content, tmp_path).items():
        assert sampling(result.path) == wanted, step


@pytest.mark.parametrize(("ink", "wanted"), [("red", (1, 1)), ("white", (2, 2))])
def test_a_coloured_mark_does_not_smear_on_a_photograph(
    ink: str, wanted: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(stills.jpeg(lines(4, "navy", "teal"), quality=90))
    mark = Image.new("RGBA", (96, 32))
    for x in range(0, 96, 4):
        ImageDraw.Draw(mark).rectangle((x, 0, x + 1, 31), fill=ink)
    mark.save(tmp_path / "mark.png")
    work = Images("JPEG", {"marked": marked("out.jpg", 320, 192, "mark.png")})
    pillow.draw(path, work, tmp_path, tmp_path)
    assert sampling(tmp_path / "out.jpg") == wanted


def run_steps(content: bytes, folder: Path) -> dict[str, Result]:
    path = folder / "picture"
    path.write_bytes(content)
    return run(path, folder, "thumbnail", "watermark")


@pytest.mark.parametrize("size", [(2, 2), (9, 7), (16, 1), (1, 300)])
def test_the_smallest_graphics_are_made_too(size: tuple[int, int], tmp_path: Path) -> None:
    image = lines(1, "red", "blue").resize(size, Image.Resampling.NEAREST)
    for result in run_steps(png(numpy.asarray(image)), tmp_path).values():
        with Image.open(result.path) as found:
            assert found.size == size


def test_noise_in_all_colours_fits(tmp_path: Path) -> None:
    noise = [Image.effect_noise((640, 400), 250) for _ in range(3)]
    for result in run_steps(png(numpy.asarray(Image.merge("RGB", noise))), tmp_path).values():
        assert sampling(result.path) == (1, 1)


def test_what_is_small_in_a_large_picture_is_found(tmp_path: Path) -> None:
    image = Image.new("RGB", (3000, 2000), "white")
    image.paste(lettering((255, 255, 255), RED, (1000, 1900)), (900, 50))
    assert sampling(drawn(png(numpy.asarray(image)), tmp_path, "watermark").path) == (1, 1)


# ── what was sent, and came out wrong ───────────────────────────────────────────────────────────

_HUNTED = CORPUS / "hunted"
# The first eight fields of its chart.
_CHART = (
    (200, 60, 50), (60, 160, 70), (50, 80, 190), (230, 200, 60),
    (240, 240, 240), (225, 172, 150), (20, 20, 20), (128, 128, 128),
)  # fmt: skip
_IN_HDR = (
    (166, 56, 50), (59, 141, 68), (48, 76, 158), (180, 160, 54),
    (186, 186, 186), (176, 138, 121), (30, 30, 30), (117, 117, 117),
)  # fmt: skip
_IN_GREY = tuple(3 * (grey,) for grey in (101, 120, 83, 193, 240, 185, 20, 128))
_WITHOUT_THE_FIRST = ((255, 255, 255), *_IN_GREY[1:])
RIGHT = {
    "avif_p3.avif": (_CHART, 4), "avif_pq.avif": (_IN_HDR, 14), "heic_brand_miaf.heic": (_CHART, 3),
    "heic_p3_nclx.heic": (_CHART, 3), "heic_pq_bt2020.heic": (_IN_HDR, 14),
    "png_cicp_pq.png": (_IN_HDR, 4), "png_cicp_hlg.png": (_IN_HDR, 4),
    "png_gama_linear.png": (_CHART, 3), "png_grey16_trns.png": (_WITHOUT_THE_FIRST, 3),
    "png_bad_crc_ancillary.png": (_CHART, 3), "jpg_cut10.jpg": (_CHART, 3),
    "jpg_minus1.jpg": (_CHART, 3), "jpg_missing_eoi.jpg": (_CHART, 3), "tif_big.tif": (_CHART, 3),
    "tif_grey16_miniswhite.tif": (_IN_GREY, 3), "tif_grey32.tif": (_IN_GREY, 3),
    "tif_lab.tif": (_CHART, 3), "tif_rgb16_planar.tif": (_CHART, 3),
}  # fmt: skip


@pytest.mark.corpus
@pytest.mark.parametrize("name", RIGHT)
def test_what_was_hunted_comes_out_right(name: str, tmp_path: Path) -> None:
    wanted, tolerance = RIGHT[name]
    result = run(_HUNTED / name, tmp_path, "thumbnail")["thumbnail"]
    with Image.open(result.path) as image:
        places = [(32 + 64 * (n % 4) * 2 + 32, 38 + 76 * (n // 4)) for n in range(8)]
        found = [image.getpixel(place) for place in places]
    assert off(found, wanted) <= tolerance
    assert ("lacks its end" in result.made.warning) == name.startswith("jpg_")


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name", ["jpg_12bit.jpg", "raw_like.dng", "tif_icclab.tif", "tif_jpegxl.tif"]
)
def test_what_was_hunted_and_is_not_supported_is_called_so(name: str, tmp_path: Path) -> None:
    assert refusal((_HUNTED / name).read_bytes(), tmp_path).code == "unsupported_media"


def test_texts_of_a_png_are_not_what_pillow_notes_of_it(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    for name in ("gamma", "chromaticity", "srgb", "transparency"):
        texts.add_text(name, "a text")
    path = tmp_path / "texts.png"
    Image.new("RGB", (16, 16), (200, 60, 50)).save(path, pnginfo=texts)
    with path.open("rb") as file:
        decoded = decode(open_image(file, "PNG"), file)
    pixel = decoded.canvas().image.getpixel((8, 8))
    assert (pixel, decoded.warning) == ((200, 60, 50), "")


def test_a_scan_of_a_jpeg_that_claims_more_than_it_has_tells_nothing() -> None:
    start_of_scan = b"\xff\xda\0\x08\xff\1\0\0\x3f\0"
    assert not jpegs.has_all_scans(b"\xff\xd8" + start_of_scan + b"\xff\xd9")
