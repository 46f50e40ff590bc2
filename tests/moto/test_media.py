"""What the steps make of each trap, judged by decoding it: real Pillow, real FFmpeg, no cloud."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import m3u8
import numpy
import pytest
from PIL import Image, ImageCms

from chalicelib.api.hls import HLS_FILE
from chalicelib.engines import pillow
from chalicelib.errors import JobError
from chalicelib.formats import languages, mp4_movie
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts
from chalicelib.model.mark import margin_of
from chalicelib.model.picture import DrawnImage, DrawnPicture, Picture, Variant
from chalicelib.model.work import Images
from chalicelib.probing import video
from chalicelib.probing.film import open_film
from chalicelib.tasks import images
from infra.tools import samples
from testing import attacks
from testing.local import audio_samples, facts_of, run

pytestmark = pytest.mark.media
Sample = Callable[[str], Path]
GIB = 1024**3
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def near(pixel: Any, colour: tuple[int, ...], tolerance: int = 40) -> bool:
    return bool(abs(numpy.subtract(pixel, colour)).max() <= tolerance)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image.copy()


def corners(image: Image.Image) -> list[object]:
    """The colours at the corners, clockwise from the top left."""
    right, low = image.width - 6, image.height - 6
    return [image.getpixel(at) for at in ((5, 5), (right, 5), (right, low), (5, low))]


class Film(NamedTuple):
    times: list[float]
    first: Image.Image
    frames: int
    codec: str
    profile: str
    pix_fmt: str
    audio_start: float | None
    keyframes: list[float]


def decode(path: Path) -> Film:
    """Every frame's time, and what the stream says of itself."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = [(frame.time, frame.key_frame) for frame in container.decode(video)]
        context = video.codec_context
        described = context.name, str(context.profile), str(context.pix_fmt)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).to_image()
        sound = container.streams.audio
        start = None
    if sound:
        with av.open(str(path)) as container:
            start = min(
                float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None
            )
    times = [float(time or 0) for time, _ in frames]
    keys = [float(time or 0) for time, key in frames if key]
    return Film(times, first, len(times), *described, start, keys)


# ── pictures ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", range(1, 9))
def test_every_exif_orientation_comes_out_upright(
    sample: Sample, tmp_path: Path, number: int
) -> None:
    results = run(sample(f"orientation_{number}.jpg"), tmp_path, "thumbnail", "watermark")
    for step, size in (("thumbnail", (512, 384)), ("watermark", (800, 600))):
        image = opened(results[step].path)
        assert image.size == size == (results[step].made.width, results[step].made.height)
        for pixel, colour in zip(corners(image), (RED, GREEN, BLUE, WHITE), strict=True):
            assert near(pixel, colour), (number, step, pixel, colour)


SIDEWAYS = {"ROTATE_90": 6, "ROTATE_180": 3, "FLIP_TOP_BOTTOM": 4, "TRANSPOSE": 5}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("stored", SIDEWAYS)
@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "profile.jpg", {"icc_profile": SRGB}),
        ("CMYK", "cmyk.jpg", {}),
        ("RGBA", "alpha.png", {}),
        ("RGBA", "profile.png", {"icc_profile": SRGB}),
        ("RGB", "lossless.webp", {"lossless": True, "icc_profile": SRGB}),
        ("RGB", "picture.tiff", {}),
        ("RGB", "picture.avif", {"icc_profile": SRGB}),
    ],
)
def test_orientation_holds_in_every_format(
    tmp_path: Path, mode: str, name: str, options: dict[str, Any], stored: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS[stored]
    lying = samples.scene(800, 600).transpose(Image.Transpose[stored]).convert(mode)
    lying.save(tmp_path / name, exif=exif, **options)
    results = run(tmp_path / name, tmp_path, "thumbnail", "watermark")
    for step, size in (("thumbnail", (512, 384)), ("watermark", (800, 600))):
        image = opened(results[step].path)
        assert image.size == size
        for pixel, colour in zip(corners(image), (RED, GREEN, BLUE, WHITE), strict=True):
            assert near(pixel, colour, 60), (step, pixel, colour)
    assert facts_of(tmp_path / name) == ImageFacts(name_of(name), 800, 600)


AFTER_HEADER, BEFORE_END = 33, -12


def png_with(path: Path, name: bytes, content: bytes, place: int) -> bytes:
    """A picture with one chunk more."""
    samples.scene(800, 600).save(path)
    made = path.read_bytes()
    made = made[:place] + attacks.png_chunk(name, content) + made[place:]
    path.write_bytes(made)
    return made


def test_orientation_may_follow_the_pixels_and_is_found_without_them(tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    content = png_with(path, b"eXIf", exif.tobytes()[6:], BEFORE_END)
    results = run(path, tmp_path, "thumbnail", "watermark")
    assert opened(results["thumbnail"].path).size == (384, 512)
    assert opened(results["watermark"].path).size == (600, 800)
    start = content.index(b"IDAT") + 4
    path.write_bytes(content[:start] + bytes(64) + content[start + 64 :])
    assert facts_of(path) == ImageFacts("PNG", 600, 800)


def test_a_png_whose_pixels_are_overwritten_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "overwritten.png"
    samples.scene(800, 600).save(path)
    content = path.read_bytes()
    middle = content.index(b"IDAT") + 2000
    path.write_bytes(content[:middle] + b"\xff" * 64 + content[middle + 64 :])
    with pytest.raises(JobError) as refusal:
        run(path, tmp_path, "thumbnail")
    assert refusal.value.code == "source_damaged"


@pytest.mark.parametrize("place", [AFTER_HEADER, BEFORE_END])
@pytest.mark.parametrize("keyword", [b"exif", b"xmp", b"icc_profile", b"transparency"])
@pytest.mark.parametrize(("chunk", "between"), [(b"tEXt", b"\0"), (b"iTXt", b"\0\0\0\0\0")])
def test_a_text_may_have_any_name(
    tmp_path: Path, chunk: bytes, between: bytes, keyword: bytes, place: int
) -> None:
    path = tmp_path / "text.png"
    png_with(path, chunk, keyword + between + b"words", place)
    thumbnail = opened(run(path, tmp_path, "thumbnail")["thumbnail"].path)
    for pixel, colour in zip(corners(thumbnail), (RED, GREEN, BLUE, WHITE), strict=True):
        assert near(pixel, colour)


def name_of(name: str) -> str:
    return {"jpg": "JPEG"}.get(name.rsplit(".", 1)[1], name.rsplit(".", 1)[1].upper())


def test_a_broken_exif_header_breaks_no_picture(sample: Sample, tmp_path: Path) -> None:
    content = sample("orientation_1.jpg").read_bytes()
    broken = content.replace(b"Exif\0\0II*\0", b"Exif\0\0XX*\0").replace(
        b"Exif\0\0MM\0*", b"Exif\0\0XX\0*"
    )
    assert broken != content
    (tmp_path / "a.jpg").write_bytes(broken)
    results = run(tmp_path / "a.jpg", tmp_path, "thumbnail")
    assert opened(results["thumbnail"].path).size == (512, 384)


def test_the_largest_picture_fits_in_its_functions_memory(tmp_path: Path) -> None:
    source = tmp_path / "large.png"
    Image.new("RGBA", (12_000, 9_990), (255, 0, 0, 128)).save(source, compress_level=1)
    thumbnail = Picture((Variant("thumb.jpg", 512, 426, "jpeg", 85),))
    work = Images("PNG", {"thumbnail": thumbnail})
    (tmp_path / "out").mkdir()
    shutil.move(source, tmp_path / "source")
    made = images.draw(work, tmp_path, Budget(lambda: 60.0, 1769 * 1024**2))
    picture = made["thumbnail"]
    assert isinstance(picture, DrawnPicture)
    assert picture.files == (DrawnImage("thumb.jpg", 512, 426),)
    assert near(opened(tmp_path / "out" / "thumb.jpg").getpixel((200, 200)), (255, 127, 127), 4)


def test_pixels_are_counted_as_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    samples.film(path, size="640x360", filters="setsar=60/1", seconds=0.2, sound=False)
    with (
        path.open("rb") as file,
        open_film(file, "mov", path.stat().st_size, 64) as film,
        pytest.raises(JobError, match="38400 × 360"),
    ):
        video.facts_of(film, 10_000_000)


def test_too_many_streams_are_refused(sample: Sample) -> None:
    path = sample("plain.mp4")
    with (
        path.open("rb") as file,
        pytest.raises(JobError, match="2 streams; at most 1"),
        open_film(file, "mov", path.stat().st_size, 1),
    ):
        pass


@pytest.mark.parametrize("name", samples.IMAGES)
def test_a_picture_comes_out_as_a_plain_srgb_jpeg(
    sample: Sample, tmp_path: Path, name: str
) -> None:
    source = opened(sample(name))
    for step, result in run(sample(name), tmp_path, "thumbnail", "watermark").items():
        image = opened(result.path)
        assert image.mode == "RGB"
        assert result.path.read_bytes().startswith(b"\xff\xd8\xff")
        assert "exif" not in image.info
        assert "icc_profile" not in image.info
        assert b"secret place" not in result.path.read_bytes()
        if step == "watermark":
            assert sorted(image.size) == sorted(source.size)
        else:
            assert max(image.size) == min(512, max(source.size))


def test_transparency_lies_on_white(sample: Sample, tmp_path: Path) -> None:
    results = run(sample("transparent.png"), tmp_path, "thumbnail")
    image = opened(results["thumbnail"].path)
    assert near(image.getpixel((image.width // 2, 1)), WHITE, 8)


def test_sixteen_bits_are_scaled_not_clipped(sample: Sample, tmp_path: Path) -> None:
    results = run(sample("sixteen_bit.png"), tmp_path, "thumbnail")
    grey = numpy.asarray(opened(results["thumbnail"].path).convert("L")).mean(axis=1)
    assert grey[2] < 8
    assert abs(grey[len(grey) // 2] - 127) < 8
    assert grey[-3] > 247


def test_cmyk_keeps_its_colours(sample: Sample, tmp_path: Path) -> None:
    results = run(sample("cmyk.jpg"), tmp_path, "thumbnail")
    image = opened(results["thumbnail"].path)
    expected = (RED, GREEN, BLUE, WHITE)
    for pixel, colour in zip(corners(image), expected, strict=True):
        assert near(pixel, colour, 60)


def test_the_mark_is_seen_where_it_was_set_and_nowhere_else(sample: Sample, tmp_path: Path) -> None:
    result = run(sample("photo.jpg"), tmp_path, "watermark")["watermark"]
    before = numpy.asarray(opened(sample("photo.jpg")).convert("L")).astype(int)
    after = numpy.asarray(opened(result.path).convert("L")).astype(int)
    difference = abs(after - before)
    height, width = difference.shape
    assert difference[int(0.9 * height) :, int(0.75 * width) :].max() > 60
    assert difference[: height // 2].max() < 30


def test_a_picture_that_is_too_long_for_a_jpeg_still_gets_its_thumbnail(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    Image.new("L", (65_501, 2)).save(path)
    assert opened(run(path, tmp_path, "thumbnail")["thumbnail"].path).size == (512, 1)
    with pytest.raises(JobError, match=r"65501 × 2; .* at most 65500 ") as refusal:
        run(path, tmp_path / "marked", "watermark")
    assert refusal.value.code == "side_too_long"


@pytest.mark.parametrize(("width", "height"), [(1280, 64), (64, 1280), (300, 8), (2, 2)])
def test_a_mark_lies_within_what_is_long_or_small(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "black.png")
    samples.film(
        tmp_path / "black.mp4",
        size=f"{width}x{height}",
        seconds=0.2,
        sound=False,
        filters="lutyuv=16:128:128",
    )
    picture = opened(run(tmp_path / "black.png", tmp_path, "watermark")["watermark"].path)
    film = decode(run(tmp_path / "black.mp4", tmp_path / "film", "watermark")["watermark"].path)
    for marked in (picture, film.first):
        assert marked.size == (width, height)
        seen = numpy.asarray(marked.convert("L")) > 100
        assert seen.any() or max(width, height) < 64
        # Coding blurs the edges by less than half a margin.
        edge = round(margin_of(width, height) / 2)
        seen[edge : height - edge, edge : width - edge] = False
        assert not seen.any()


# ── films ───────────────────────────────────────────────────────────────────────────────────────

SIZES = {
    "plain.mp4": (1280, 720),
    "rotated.mp4": (360, 640),
    "no_audio.mp4": (1280, 720),
    "odd_size.mp4": (320, 240),
    "anamorphic.mp4": (1280, 720),
    "fades_in.mp4": (1280, 720),
    "variable_rate.mp4": (1280, 720),
    "small.mp4": (320, 180),
    "webm.webm": (640, 360),
    "ntsc.mp4": (640, 360),
    "bt601.mp4": (640, 480),
    "full_range.mp4": (640, 480),
    "hd_untold.mp4": (1280, 720),
    "hlg.mp4": (640, 480),
    "pq.mp4": (640, 480),
}
SILENT = {"no_audio.mp4", "bt601.mp4", "full_range.mp4", "hd_untold.mp4", "hlg.mp4", "pq.mp4"}


def test_every_sample_film_has_its_expectation() -> None:
    assert SIZES.keys() == samples.VIDEOS.keys()


@pytest.mark.parametrize("name", samples.VIDEOS)
def test_mp4_and_hls_hold_every_frame_at_its_time(
    sample: Sample, tmp_path: Path, name: str
) -> None:
    source = decode(sample(name))
    results = run(sample(name), tmp_path, "transcode_720p", "hls_720p")
    film = decode(results["transcode_720p"].path)
    assert (film.codec, film.profile, film.pix_fmt) == ("h264", "High", "yuv420p")
    assert film.first.size == SIZES[name]
    assert film.frames == source.frames
    drift = numpy.subtract(film.times, film.times[0]) - numpy.subtract(
        source.times, source.times[0]
    )
    assert abs(drift).max() < 0.001
    hls = decode(results["hls_720p"].path)
    for file in results["hls_720p"].path.parent.iterdir():
        assert HLS_FILE.fullmatch(file.name)
    assert hls.frames == film.frames
    assert numpy.allclose(
        numpy.subtract(hls.times, hls.times[0]),
        numpy.subtract(film.times, film.times[0]),
        atol=0.001,
    )
    assert (film.audio_start is None) == (name in SILENT)
    if film.audio_start is not None and source.audio_start is not None:
        offset = film.audio_start - film.times[0]
        assert abs(offset - (source.audio_start - source.times[0])) < 0.04
    if hls.audio_start is not None:
        # What is heard before the first picture is the encoder's own.
        assert hls.times[0] - hls.audio_start == pytest.approx(1024 / 48000, abs=1e-3)
        whole, sound = (
            audio_samples(results[step].path) for step in ("hls_720p", "transcode_720p")
        )
        assert len(sound) + 1024 <= len(whole) <= len(sound) + 2048
        assert numpy.array_equal(whole[1024 : 1024 + len(sound)], sound)
        # Players place segments by when they begin to be decoded: pictures and sound alike.
        for track in ("video", "audio"):
            for listed, decoded in decoded_from(results["hls_720p"].path.parent, track):
                assert decoded - listed == pytest.approx(1 - 1024 / 48000, abs=1e-3)
    for each in (film, hls):
        assert max(numpy.diff([*each.keyframes, each.times[-1]]), default=0) <= 2.0005
    assert results["transcode_720p"].made.warning == ""
    assert abs(results["transcode_720p"].made.duration - results["hls_720p"].made.duration) < 0.1  # type: ignore[operator]


def decoded_from(folder: Path, track: str) -> Iterator[tuple[float, float]]:
    """When each segment begins by the playlist, and when it begins to be decoded; in seconds."""
    scale = mp4_movie.timescale_of((folder / f"{track}_init.mp4").read_bytes())
    begin = 0.0
    for segment in m3u8.load(str(folder / f"{track}.m3u8")).segments:
        content = (folder / segment.uri).read_bytes()
        at = content.index(b"tfdt") + 8
        yield begin, int.from_bytes(content[at : at + 8]) / scale
        begin += segment.duration


def still(path: Path) -> Image.Image:
    """A frame as FFmpeg shows it, by what the stream says of its colours."""
    picture = path.with_suffix(".shown.png")
    samples.run_ffmpeg("-ss", "0.4", "-i", str(path), "-frames:v", "1", str(picture))
    return opened(picture).convert("RGB")


@pytest.mark.parametrize("name", ["bt601.mp4", "full_range.mp4", "hd_untold.mp4"])
def test_colours_look_the_same_however_they_were_coded(
    sample: Sample, tmp_path: Path, name: str
) -> None:
    results = run(sample(name), tmp_path, "thumbnail", "transcode_720p")
    for image in (still(results["transcode_720p"].path), opened(results["thumbnail"].path)):
        for pixel, colour in zip(corners(image), (RED, GREEN, BLUE, WHITE), strict=True):
            assert near(pixel, colour, 12), (pixel, colour)
    assert tags(results["transcode_720p"].path) == BT709


BT709 = (1, 1, 1, 1)  # ITU-T H.273: primaries, transfer, matrix; and the narrow range


def tags(path: Path) -> tuple[int, int, int, int]:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return (
            int(context.color_primaries),
            int(context.color_trc),
            int(context.colorspace),
            int(context.color_range),
        )


@pytest.mark.parametrize("name", ["hlg.mp4", "pq.mp4"])
def test_hdr_comes_out_as_sdr_that_is_neither_pale_nor_dark(
    sample: Sample, tmp_path: Path, name: str
) -> None:
    results = run(sample(name), tmp_path, "thumbnail", "transcode_720p")
    wanted = numpy.asarray(samples.scene(640, 480).convert("L"), float)
    for image in (still(results["transcode_720p"].path), opened(results["thumbnail"].path)):
        grey = numpy.asarray(image.convert("L").resize((640, 480)), float)
        assert numpy.corrcoef(grey.ravel(), wanted.ravel())[0, 1] > 0.97
        assert abs(grey.mean() - wanted.mean()) < 40
        red = image.getpixel((5, 5))
        assert isinstance(red, tuple)
        assert red[0] > 170 > 90 > max(red[1:])
    assert tags(results["transcode_720p"].path) == BT709
    assert decode(results["transcode_720p"].path).pix_fmt == "yuv420p"


def test_an_mp4_has_its_index_first(sample: Sample, tmp_path: Path) -> None:
    content = run(sample("plain.mp4"), tmp_path, "transcode_720p")[
        "transcode_720p"
    ].path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_hls_says_what_it_is(sample: Sample, tmp_path: Path) -> None:
    master = run(sample("plain.mp4"), tmp_path, "hls_720p")["hls_720p"].path
    text = master.read_text()
    for attribute in (
        'CODECS="avc1.64001f,mp4a.40.2"',
        "RESOLUTION=1280x720",
        "FRAME-RATE=25.000,",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ):
        assert attribute in text
    video = (master.parent / "video.m3u8").read_text()
    assert "#EXT-X-ENDLIST" in video
    assert '#EXT-X-MAP:URI="video_init.mp4"' in video
    declared = int(text.split("BANDWIDTH=")[1].split(",")[0])
    peak = sum(
        max(f.stat().st_size for f in master.parent.glob(f"{track}_*.m4s")) * 8 / 3
        for track in ("video", "audio")
    )
    assert declared == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize(
    ("named", "tag"), [("deu", "de"), ("fil", "fil"), (None, "und"), ("mis", "mis")]
)
def test_hls_names_the_language_of_the_sound(
    sample: Sample, tmp_path: Path, named: str | None, tag: str
) -> None:
    film = sample("small.mp4")
    if named:
        film = tmp_path / "named.mkv"
        language = ("-metadata:s:a:0", f"language={named}")
        samples.run_ffmpeg("-i", str(sample("small.mp4")), "-c", "copy", *language, str(film))
    master = run(film, tmp_path, "hls_720p")["hls_720p"].path
    (sound,) = m3u8.load(str(master)).media
    assert sound.language == tag


@pytest.mark.parametrize(
    ("named", "tag"),
    [("eng", "en"), ("ger", "de"), ("zh", "zh"), ("en-US", "en"), ('x"', "und"), ("", "und")],
)
def test_a_language_has_its_shortest_tag(named: str, tag: str) -> None:
    assert languages.tag_of(named) == tag


def test_a_rotated_film_stands_upright(sample: Sample, tmp_path: Path) -> None:
    results = run(sample("rotated.mp4"), tmp_path, "thumbnail", "watermark", "transcode_720p")
    assert (results["thumbnail"].made.width, results["thumbnail"].made.height) == (288, 512)
    assert decode(results["watermark"].path).first.size == (360, 640)
    with av.open(str(sample("rotated.mp4"))) as container:
        frame = next(container.decode(video=0))
        reference = frame.to_image().rotate(-90 if frame.rotation == 90 else 90, expand=True)
    turned = reference.rotate(180)
    made = decode(results["transcode_720p"].path).first
    ours = numpy.asarray(made.convert("L"), int)
    errors = [abs(ours - numpy.asarray(r.convert("L"), int)).mean() for r in (reference, turned)]
    assert min(errors) < 6
    assert max(errors) > 25


def luma(path: Path) -> Any:
    """How bright the first frame is, as it is coded."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.to_ndarray(format="yuv420p")[: frame.height]


def test_a_watermarked_film_keeps_its_size_and_shows_the_mark(
    sample: Sample, tmp_path: Path
) -> None:
    result = run(sample("anamorphic.mp4"), tmp_path, "watermark")["watermark"]
    marked = decode(result.path)
    assert marked.first.size == (1920, 1080)
    plain, shown = (
        numpy.asarray(Image.fromarray(luma(path)).resize((1920, 1080)), int)
        for path in (sample("anamorphic.mp4"), result.path)
    )
    difference = abs(shown - plain)
    assert difference[-160:, -480:].max() > 60
    assert difference[:400, :800].mean() < 5


@pytest.mark.parametrize("name", ["fades_in.mp4", "small.mp4", "webm.webm"])
def test_a_poster_is_not_black(sample: Sample, tmp_path: Path, name: str) -> None:
    poster = opened(run(sample(name), tmp_path, "thumbnail")["thumbnail"].path)
    assert numpy.asarray(poster.convert("L")).mean() > 40
    assert max(poster.size) == min(512, max(SIZES[name]))


# ── what is broken ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "step", "code"),
    [
        ("text.jpg", "thumbnail", "unsupported_media"),
        ("truncated.jpg", "thumbnail", "source_damaged"),
        ("truncated.jpg", "watermark", "source_damaged"),
        ("truncated.mp4", "transcode_720p", "source_damaged"),
        ("sound_only.m4a", "transcode_720p", "no_video_stream"),
    ],
)
def test_what_is_broken_is_refused_with_its_own_code(
    sample: Sample, tmp_path: Path, name: str, step: str, code: str
) -> None:
    with pytest.raises(JobError) as refusal:
        run(sample(name), tmp_path, step)
    assert refusal.value.code == code
    assert refusal.value.detail.endswith(".")


def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    with path.open("rb") as file, pytest.raises(JobError, match="20000 × 20000"):
        pillow.probe_image(file, "PNG", max_pixels=10**8)


def test_more_frames_than_a_file_has_room_for_are_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "lie.mov"
    path.write_bytes(attacks.movie(samples=40_000_000))
    # Where FFmpeg opens it, that takes a gigabyte: the refusal would be another one.
    with pytest.raises(JobError, match=r"more than it has room for.*\.") as refusal:
        facts_of(path, Budget(lambda: 60.0, 400 * 1024**2))
    assert refusal.value.code == "source_damaged"


def test_a_length_that_lies_is_not_said_to_be_a_large_film(tmp_path: Path) -> None:
    path = tmp_path / "licence.mov"
    path.write_bytes(attacks.movie(more=attacks.box(b"pssh", bytes(20), b"http")))
    budget = Budget(lambda: 20.0, 1600 * 1024**2)
    with pytest.raises(JobError, match=r"asks for more memory .* damaged, or too large\.$"):
        facts_of(path, budget)
