"""The checks of `make corpus` of pipelines: what is right passes, what is wrong fails its own check."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from corpus import codecs, crops, files, films, judging, pictures, pipelines, posters
from corpus.crops import Box
from corpus.decode import Film, decode
from corpus.failures import Failure
from corpus.files import opened
from corpus.manifest import Entry
from corpus.outputs import Outputs
from corpus.pictures import Original
from corpus.pipelines import Mp4, NotJudged, Poster
from corpus.placeholders import thumbhash
from corpus.sending import Ran
from infra.tools import samples
from infra.tools.samples import run_ffmpeg

pytestmark = pytest.mark.media

ROOT = Path(__file__).parent.parent.parent
Bytes = Callable[[Image.Image], bytes]


def checks(found: Iterable[Failure]) -> set[str]:
    return {failure.check for failure in found}


# ── pipelines ───────────────────────────────────────────────────────────────────────────────────


def test_the_pipelines_of_a_page_are_nine_images_two_posters_three_films() -> None:
    asked = pipelines.read(ROOT / "corpus" / "web.json")
    image, card = pipelines.steps(asked["image"])
    assert isinstance(image, pipelines.Image)
    assert len(image.widths) * len(image.formats) == 9
    poster, still, *mp4s = pipelines.steps(asked["video"])
    assert [step.name for step in (image, card, poster, still)] == [
        "image",
        "card",
        "poster",
        "still",
    ]
    assert [(mp4.height, mp4.codec) for mp4 in mp4s if isinstance(mp4, Mp4)] == [
        (1080, "h264"), (720, "hevc"), (480, "av1")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        '{"image": [{"make": "image", "widths": [320], "quality": 80}]}',
        '{"image": [{"make": "preview"}]}',
        '{"video": [{"make": "mp4", "codec": "vp9"}]}',
    ],
)
def test_what_is_not_judged_is_not_sent(tmp_path: Path, text: str) -> None:
    path = tmp_path / "asked.json"
    path.write_text(text)
    with pytest.raises(NotJudged):
        pipelines.read(path)


@pytest.mark.parametrize(
    ("item", "original", "sizes"),
    [
        ({"widths": [320, 640]}, (800, 600), [(320, 240), (640, 480)]),
        ({"widths": [320, 640, 1280]}, (500, 250), [(320, 160), (500, 250)]),
        ({"widths": [640, 1280]}, (500, 250), [(500, 250)]),
        ({}, (500, 250), [(500, 250)]),
        ({"size": [400, 400]}, (800, 600), [(400, 300)]),
        ({"size": [400, 400], "fit": "cover"}, (800, 600), [(400, 400)]),
        ({"size": [400, 200], "fit": "cover"}, (300, 300), [(300, 150)]),
    ],
)
def test_sizes_that_files_should_have(
    item: dict[str, Any], original: tuple[int, int], sizes: list[tuple[int, int]]
) -> None:
    (step,) = pipelines.steps([{"make": "image", **item}])
    assert isinstance(step, pipelines.Image)
    assert step.sizes(*original) == sizes


# ── images ──────────────────────────────────────────────────────────────────────────────────────

WIDTHS = (160, 320)
FORMATS: tuple[pipelines.Format, ...] = ("avif", "webp", "jpeg", "png")
IMAGE = pipelines.Image(name="image", widths=WIDTHS, formats=FORMATS, placeholder="thumbhash")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# ThumbHash of the scene, and of the same with nothing of it at the top.
SCENE_HASH, CLEAR_HASH = "XscFHZy0b4mPY2WVd0d3podfZwlZ", "HCeGDIg45I+cMpRqpvQissCKhwiIeIiHBw=="
SCENE_COLOR = "#2e4057"


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A landscape with grain."""
    plain = np.asarray(samples.scene(640, 480)).astype(np.int16)
    grain = np.random.default_rng(0).integers(-40, 41, (240, 320, 1)).repeat(2, 0).repeat(2, 1)
    return Image.fromarray(np.clip(plain + grain, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def clear(scene: Image.Image) -> Image.Image:
    """The scene, at the top nothing of it."""
    picture = scene.copy()
    picture.putalpha(Image.linear_gradient("L").resize(scene.size))
    return picture


def written(image: Image.Image, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    chosen = {"jpeg": {"quality": 85}, "webp": {"quality": 82}, "avif": {"quality": 65}}
    image.save(content, file_format, **{**chosen.get(file_format, {}), **options})
    return content.getvalue()


def flat(image: Image.Image, ground: str = "white") -> Image.Image:
    below = Image.new("RGB", image.size, ground)
    below.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    return below


def resized(image: Image.Image, width: int) -> Image.Image:
    height = round(image.height * width / image.width)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def right(image: Image.Image, file_format: str) -> bytes:
    return written(flat(image) if file_format == "jpeg" else image, file_format)


def listed(
    step: str, file_format: str, content: bytes, **said: Any
) -> tuple[dict[str, Any], bytes]:
    with Image.open(io.BytesIO(content)) as image:
        size = image.size
    told = {
        "type": step,
        "format": file_format,
        "content_type": f"image/{file_format}",
        "width": size[0],
        "height": size[1],
        "size": len(content),
    }
    return {**told, **said}, content


def outputs_of(
    folder: Path, made: list[tuple[dict[str, Any], bytes]], warnings: tuple[str, ...] = ()
) -> Outputs:
    contents = {f"/{number}": content for number, (_, content) in enumerate(made)}
    said = [{**told, "url": f"http://cloud.test/{number}"} for number, (told, _) in enumerate(made)]
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, content=contents[request.url.path])
    )
    folder.mkdir(exist_ok=True)
    job = {"outputs": said, "warnings": list(warnings), "pipeline": [], "steps": []}
    return Outputs(job, httpx.Client(transport=transport), folder)


def in_all(image: Image.Image, **said: Any) -> list[tuple[dict[str, Any], bytes]]:
    """The files of IMAGE, as they should be."""
    told = {"placeholder": SCENE_HASH, "color": SCENE_COLOR, **said}
    return [
        listed("image", file_format, right(resized(image, width), file_format), **told)
        for width in WIDTHS
        for file_format in FORMATS
    ]


def only(file_format: Any) -> pipelines.Image:
    return pipelines.Image(name="image", widths=(320,), formats=(file_format,))


def judged_image(
    folder: Path,
    made: list[tuple[dict[str, Any], bytes]],
    original: Image.Image,
    step: pipelines.Image = IMAGE,
    warnings: tuple[str, ...] = (),
) -> set[str]:
    outputs = outputs_of(folder, made, warnings)
    alpha = original.getchannel("A") if original.mode == "RGBA" else None
    found = pictures.check_image(
        step, outputs, opened(step, outputs), Original(flat(original), alpha, 3.0)
    )
    return checks(found)


def test_right_pictures_pass(tmp_path: Path, scene: Image.Image, clear: Image.Image) -> None:
    assert judged_image(tmp_path / "opaque", in_all(scene), scene) == set()
    made = in_all(clear, placeholder=CLEAR_HASH)
    assert judged_image(tmp_path / "clear", made, clear) == set()


def with_exif(image: Image.Image, file_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    return written(image, file_format, exif=exif)


def to_be_turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(image.rotate(90, expand=True), "avif", exif=exif)


def with_text(image: Image.Image) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("place", "secret")
    return written(image, "png", pnginfo=text)


def with_spot(image: Image.Image) -> Image.Image:
    spotted = image.copy()
    ImageDraw.Draw(spotted).rectangle((200, 150, 240, 190), fill="lime")
    return spotted


def blurred(image: Image.Image) -> Image.Image:
    return resized(resized(image, image.width // 2), image.width)


def animated(image: Image.Image) -> bytes:
    return written(image, "webp", save_all=True, append_images=[image.rotate(180)])


@pytest.mark.parametrize(
    ("file_format", "wrong", "check"),
    [
        ("jpeg", lambda s: written(s.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "jpeg"), "picture"),
        ("webp", lambda s: written(s.rotate(180), "webp"), "picture"),
        ("avif", lambda s: written(Image.merge("RGB", s.split()[::-1]), "avif"), "picture"),
        ("png", lambda s: written(s.point(lambda v: round(255 * (v / 255) ** 1.4)), "png"), "picture"),
        ("webp", lambda s: written(with_spot(s), "webp"), "place"),
        ("jpeg", lambda s: written(s, "jpeg", quality=50), "details"),
        ("webp", lambda s: written(s, "webp", quality=20), "details"),
        ("avif", lambda s: written(s, "avif", quality=20), "details"),
        ("png", lambda s: written(blurred(s), "png"), "details"),
        ("jpeg", lambda s: written(resized(s, 319), "jpeg"), "size"),
        ("webp", lambda s: written(s.resize((320, 238)), "webp"), "size"),
        ("avif", lambda s: written(resized(s, 640), "avif"), "size"),
        ("avif", lambda s: written(s, "jpeg"), "format"),
        ("webp", animated, "format"),
        ("jpeg", lambda s: written(s.convert("L"), "jpeg"), "format"),
        ("jpeg", lambda s: with_exif(s, "jpeg"), "metadata"),
        ("webp", lambda s: with_exif(s, "webp"), "metadata"),
        ("avif", lambda s: with_exif(s, "avif"), "metadata"),
        ("webp", lambda s: written(s, "webp", icc_profile=PROFILE), "metadata"),
        ("avif", lambda s: written(s, "avif", icc_profile=PROFILE), "metadata"),
        ("avif", to_be_turned, "upright"),
        ("png", with_text, "metadata"),
    ],
)  # fmt: skip
def test_a_wrong_picture_fails(
    tmp_path: Path, scene: Image.Image, file_format: str, wrong: Bytes, check: str
) -> None:
    made = [listed("image", file_format, wrong(resized(scene, 320)))]
    assert check in judged_image(tmp_path, made, scene, only(file_format))


@pytest.mark.parametrize(
    ("file_format", "wrong", "check"),
    [
        ("webp", lambda s: written(flat(s), "webp"), "alpha"),
        ("avif", lambda s: written(flat(s), "avif"), "alpha"),
        ("png", lambda s: written(s.rotate(180), "png"), "alpha"),
        ("jpeg", lambda s: written(flat(s, "black"), "jpeg"), "picture"),
        ("jpeg", lambda s: written(s.convert("RGB"), "jpeg"), "picture"),
    ],
)
def test_a_picture_with_another_alpha_fails(
    tmp_path: Path, clear: Image.Image, file_format: str, wrong: Bytes, check: str
) -> None:
    made = [listed("image", file_format, wrong(resized(clear, 320)))]
    assert check in judged_image(tmp_path, made, clear, only(file_format))


def test_files_that_are_missing_or_too_many_fail(tmp_path: Path, scene: Image.Image) -> None:
    jpeg, webp = (
        listed("image", file_format, right(resized(scene, 320), file_format))
        for file_format in ("jpeg", "webp")
    )
    assert judged_image(tmp_path / "right", [jpeg], scene, only("jpeg")) == set()
    assert judged_image(tmp_path / "missing", [], scene, only("jpeg")) == {"size"}
    assert judged_image(tmp_path / "twice", [jpeg, jpeg], scene, only("jpeg")) == {"size"}
    assert judged_image(tmp_path / "others", [jpeg, webp], scene, only("jpeg")) == {"size"}


def test_a_width_that_is_left_out_is_told(tmp_path: Path, scene: Image.Image) -> None:
    step = pipelines.Image(name="image", widths=(320, 1280), formats=("webp",))
    made = [
        listed("image", "webp", right(picture, "webp")) for picture in (resized(scene, 320), scene)
    ]
    said = ("image: It was not enlarged.",)
    assert judged_image(tmp_path / "told", made, scene, step, said) == set()
    assert judged_image(tmp_path / "not told", made, scene, step) == {"warning"}
    assert judged_image(tmp_path / "of another", made, scene, step, ("card: …",)) == {"warning"}


@pytest.mark.parametrize(
    ("said", "check"),
    [
        ({"width": 321}, "said"),
        ({"size": 1}, "said"),
        ({"content_type": "image/png"}, "format"),
        ({"placeholder": ""}, "placeholder"),
        ({"placeholder": "no hash"}, "placeholder"),
        ({"placeholder": SCENE_HASH[:8]}, "placeholder"),
        ({"placeholder": b64encode(b"\x00" * 24).decode()}, "placeholder"),
        ({"color": ""}, "color"),
        ({"color": "red"}, "color"),
        ({"color": "#ff00ff"}, "color"),
    ],
)
def test_what_is_said_wrongly_fails(
    tmp_path: Path, scene: Image.Image, said: dict[str, Any], check: str
) -> None:
    step = msgspec.structs.replace(only("webp"), placeholder="thumbhash")
    told = {"placeholder": SCENE_HASH, "color": SCENE_COLOR}
    content = right(resized(scene, 320), "webp")
    made = [listed("image", "webp", content, **{**told, **said})]
    assert check in judged_image(tmp_path, made, scene, step)


def test_a_placeholder_of_the_picture_turned_fails(tmp_path: Path, scene: Image.Image) -> None:
    turned = scene.rotate(180)
    assert judged_image(tmp_path, in_all(turned), turned) == {"placeholder"}


def test_a_placeholder_is_drawn() -> None:
    """The scene's corners, clockwise from top left, are red, green, blue and white; its top is light."""
    drawn = thumbhash(b64decode(SCENE_HASH)).astype(int)
    assert drawn.shape == (23, 32, 3)
    assert drawn[0, 0, 0] > drawn[0, -1, 0]
    clear = thumbhash(b64decode(CLEAR_HASH))
    assert clear[0].mean() > 230
    assert abs(clear[-1].astype(int) - drawn[-1]).mean() < 25


def test_another_decoder_that_sees_something_else_is_told_of(
    tmp_path: Path, scene: Image.Image
) -> None:
    outputs = outputs_of(tmp_path, in_all(scene))
    (file, *_) = opened(IMAGE, outputs)
    path = outputs.path(file.said)

    def seen(picture: Image.Image) -> set[str]:
        return checks(files.check_elsewhere(file, path, lambda _: picture))

    assert seen(file.picture) == set()
    assert seen(file.picture.rotate(180)) == {"elsewhere"}
    assert seen(file.picture.resize((100, 75))) == {"elsewhere"}


# ── crops ───────────────────────────────────────────────────────────────────────────────────────

CARD = {"make": "image", "name": "card", "size": [120, 120], "fit": "cover"}


@pytest.mark.parametrize("left", [0.0, 33.3, 160.0])
def test_a_crop_is_found_where_it_is(scene: Image.Image, left: float) -> None:
    box = (left, 0.0, left + 480, 480.0)
    crop = scene.resize((120, 120), Image.Resampling.LANCZOS, box)
    assert crops.find(crop, scene) == pytest.approx(box, abs=2.5)


@pytest.mark.parametrize(
    ("focus", "box", "wanted"),
    [
        ("attention", (60, 0, 540, 480), set()),
        ("center", (80, 0, 560, 480), set()),
        ("center", (60, 0, 540, 480), {"crop"}),
        ("attention", (0, 0, 640, 480), {"picture", "details"}),  # squeezed
        ("attention", (100, 60, 500, 460), {"picture", "details"}),  # cropped too much
    ],
)
def test_a_crop_is_as_large_as_can_be(
    tmp_path: Path, scene: Image.Image, focus: str, box: Box, wanted: set[str]
) -> None:
    (step,) = pipelines.steps([{**CARD, "focus": focus}])
    assert isinstance(step, pipelines.Image)
    crop = scene.resize((120, 120), Image.Resampling.LANCZOS, box)
    found = judged_image(tmp_path, [listed("card", "jpeg", right(crop, "jpeg"))], scene, step)
    assert found == wanted if not wanted else found & wanted


# ── films ───────────────────────────────────────────────────────────────────────────────────────

TO_709 = "scale=in_color_matrix=bt601:out_color_matrix=bt709:out_range=tv"
TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
FIRST = ("-movflags", "+faststart", "-map_metadata", "-1")
CODECS = {
    "h264": ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", "25"),
    "hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "22", "-tag:v", "hvc1"),
    "av1": ("-c:v", "libsvtav1", "-preset", "10", "-crf", "18", "-g", "25"),
}  # fmt: skip
X265 = "open-gop=0:keyint=25:log-level=none"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """A film without sound whose pictures never come again, by the matrix of its size."""
    path = folder / "source.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=256x144:rate=25:duration=2",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p",
        str(path),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def original(source: Path) -> Film:
    return decode(source)


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(source: Path, folder: Path) -> Make:
    """An MP4 of the source: right, but for what is said otherwise."""

    def make(
        codec: str,
        vf: str = "null",
        pixels: str = "yuv420p",
        tags: str = TAGS,
        x265: str = X265,
        video: tuple[str, ...] = (),
    ) -> Path:
        options = (*CODECS[codec], *(("-x265-params", x265) if codec == "hevc" else ()))
        path = folder / f"{len(list(folder.iterdir()))}.mp4"
        run_ffmpeg(
            "-i", str(source), "-vf", f"{TO_709},{vf},format={pixels},{tags}",
            "-fps_mode", "passthrough", "-enc_time_base", "1/12800",
            *options, *video, *FIRST,
            str(path),
        )  # fmt: skip
        return path

    return make


def judged_film(path: Path, original: Film, codec: Any, height: int = 720) -> set[str]:
    step = Mp4("film", height, codec)
    return checks(films.check_film("film", path, decode(path), original, step=step))


@pytest.mark.parametrize("codec", CODECS)
def test_a_right_film_of_a_codec_passes(make: Make, original: Film, codec: str) -> None:
    path = make(codec)
    assert judged_film(path, original, codec) == set()
    assert judged_film(path, original, codec, height=96) == {"size"}
    other = {"h264": "hevc", "hevc": "av1", "av1": "h264"}[codec]
    assert judged_film(path, original, other) >= {"codec"}


@pytest.mark.parametrize("codec", ["hevc", "av1"])
@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("picture", {"vf": "hflip"}),
        ("frames", {"vf": "select='not(eq(n,30))'"}),
        ("times", {"vf": "setpts='PTS+gte(N,30)*0.02/TB'"}),
        ("codec", {"pixels": "yuv420p10le"}),
        ("tags", {"tags": TAGS.replace("trc=bt709", "trc=smpte170m")}),
        # One group of three seconds.
        (
            "groups",
            {"vf": "setpts=1.5*PTS", "video": ("-g", "250"), "x265": X265.replace("25", "250")},
        ),
    ],
)
def test_a_wrong_film_of_a_codec_fails(
    make: Make, original: Film, codec: str, check: str, wrong: dict[str, Any]
) -> None:
    assert check in judged_film(make(codec, **wrong), original, codec)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("codec", {"video": ("-tag:v", "hev1")}),
        ("groups", {"x265": X265.replace("open-gop=0", "open-gop=1:bframes=3:b-adapt=0")}),
    ],
)
def test_a_wrong_film_of_hevc_fails(
    make: Make, original: Film, check: str, wrong: dict[str, Any]
) -> None:
    assert check in judged_film(make("hevc", **wrong), original, "hevc")


def test_parameter_sets_belong_into_the_sample_entry(make: Make) -> None:
    first, *others = films.packets(make("hevc"))
    assert not checks(films.check_groups("film", [first, *others]))
    assert checks(films.check_groups("film", [replace(first, says_sets=True), *others])) == {
        "groups"
    }
    sets = b"".join(b"\0\0\0\2" + bytes([kind << 1, 1]) for kind in (32, 33, 34))
    assert codecs.of("hevc").units(sets) == codecs.of("hevc").sets


@pytest.mark.parametrize(
    ("codec", "box", "at", "level"),
    [("h264", b"avcC", 3, 10), ("hevc", b"hvcC", 12, 30), ("av1", b"av1C", 1, 3)],
)
def test_a_level_that_is_too_low_fails(
    make: Make, original: Film, tmp_path: Path, codec: str, box: bytes, at: int, level: int
) -> None:
    """AV1's lowest is enough for this film: there, it is one that there is not."""
    content = bytearray(make(codec).read_bytes())
    content[content.index(box) + 4 + at] = level
    path = tmp_path / "low.mp4"
    path.write_bytes(content)
    assert "level" in judged_film(path, original, codec)


def test_only_a_tiny_film_is_too_small_for_a_codec(source: Path) -> None:
    refused = {"error_code": "too_small_for_codec", "error": "A video of that size is too small."}
    job = {
        "status": "FAILURE",
        "pipeline": [],
        "steps": [],
        "outputs": [],
        "warnings": [],
        **refused,
    }
    entry = Entry(source.name, "video", "", "ok")
    asked = [{"make": "mp4", "codec": "hevc"}]
    with httpx.Client() as http:
        judged = judging.judge(entry, source, Ran(job, 1, asked), http)
    assert checks(judged.failures) == {"status"}


# ── posters ─────────────────────────────────────────────────────────────────────────────────────

STILL = Poster(name="still", at="50%", widths=(128, 256), formats=("webp", "jpeg"))
POSTER = Poster(name="poster", formats=("jpeg",))
EIGHTH = Poster(name="still", at=0.25, formats=("jpeg",))


def frame_of(film: Path, second: float) -> Image.Image:
    """The frame that a film shows at a second, upright."""
    path = film.with_suffix(f".{second}.png")
    run_ffmpeg("-ss", str(second), "-i", str(film), "-frames:v", "1", str(path))
    return Image.open(path).convert("RGB")


def posters_of(step: Poster, picture: Image.Image) -> list[tuple[dict[str, Any], bytes]]:
    return [
        listed(step.name, file_format, right(resized(picture, width), file_format))
        for width in step.widths or (picture.width,)
        for file_format in step.formats
    ]


def judged_poster(
    folder: Path, step: Poster, made: list[tuple[dict[str, Any], bytes]], film: Film
) -> set[str]:
    outputs = outputs_of(folder, made)
    return checks(posters.check_poster(step, outputs, opened(step, outputs), film, 8.0))


@pytest.mark.parametrize(
    ("step", "second", "wanted"),
    [
        (STILL, 1.0, set()),
        (STILL, 0.96, set()),
        (STILL, 1.2, {"moment"}),
        (STILL, 0.5, {"moment"}),
        (EIGHTH, 0.25, set()),
        (EIGHTH, 1.0, {"moment"}),
        (POSTER, 0.5, set()),
    ],
)
def test_a_poster_shows_its_moment(
    tmp_path: Path, source: Path, original: Film, step: Poster, second: float, wanted: set[str]
) -> None:
    made = posters_of(step, frame_of(source, second))
    assert judged_poster(tmp_path, step, made, original) == wanted


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (lambda frame: Image.new("RGB", frame.size), "poster"),
        (lambda frame: frame.rotate(180), "poster"),
        (lambda frame: frame.resize((128, 144)), "size"),
    ],
)
def test_a_wrong_poster_fails(
    tmp_path: Path,
    source: Path,
    original: Film,
    wrong: Callable[[Image.Image], Image.Image],
    check: str,
) -> None:
    made = posters_of(POSTER, wrong(frame_of(source, 1.0)))
    assert check in judged_poster(tmp_path, POSTER, made, original)


def test_files_of_a_poster_show_the_same_frame(
    tmp_path: Path, source: Path, original: Film
) -> None:
    made = posters_of(STILL, frame_of(source, 1.0))
    other = resized(frame_of(source, 1.48), 128)
    made[1] = listed("still", "jpeg", right(other, "jpeg"))
    assert {"details", "moment"} <= judged_poster(tmp_path, STILL, made, original)


# ── what people, and the checks of single files, see ────────────────────────────────────────────


def test_the_report_shows_every_file(tmp_path: Path, clear: Image.Image) -> None:
    outputs = outputs_of(tmp_path, in_all(clear, placeholder=CLEAR_HASH))
    shown = judging.shown_files(opened(IMAGE, outputs))
    assert [caption for caption in shown if "webp" in caption] == [
        "image webp 160 × 120", "image webp 320 × 240"
    ]  # fmt: skip
    assert len(shown) == 8 + 2
    # White checks, and grey ones, lie below what is transparent.
    top = np.asarray(shown["image png 320 × 240"])[0]
    assert sorted({int(value) for value in top[:, 0]}) == [215, 255]
    color = next(picture for caption, picture in shown.items() if SCENE_COLOR in caption)
    assert color.getpixel((0, 0)) == (46, 64, 87)


def test_what_is_cropped_does_not_show_a_whole_chart(tmp_path: Path, scene: Image.Image) -> None:
    made = [*in_all(scene), listed("card", "jpeg", right(scene, "jpeg"))]
    outputs = outputs_of(tmp_path, made)
    assert {name: len(found) for name, found in outputs.pictures().items()} == {
        "image": 8, "card": 1
    }  # fmt: skip
    whole = Outputs(outputs.job, httpx.Client(), tmp_path, {"card"})
    assert whole.pictures().keys() == {"image"}


def test_steps_by_name_are_those_that_a_job_delivers() -> None:
    asked = [{"make": "image", "widths": [320]}, {"make": "image", "name": "card", "size": [9, 9]}]
    step = {"status": "SUCCESS", "error": "", "error_code": ""}
    ended = {
        "status": "SUCCESS", "error": "", "error_code": "", "pipeline": asked,
        "steps": [{"name": name, **step} for name in ("image", "card")],
        "outputs": [{"type": "image"}, {"type": "image"}, {"type": "card"}],
    }  # fmt: skip
    assert checks(judging.check_ending("ok", ended, 1)) == set()
    ended["outputs"] = [{"type": "image"}]
    assert checks(judging.check_ending("ok", ended, 1)) == {"status"}
