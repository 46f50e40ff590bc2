"""Recipes on the local cloud: every parameter of `image`, `poster` and `mp4`, judged by decoding outputs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import m3u8
import pytest
from PIL import Image, ImageCms, ImageStat

from sluice.client import Client
from testing.webvtt import cues_of

pytestmark = [pytest.mark.stack, pytest.mark.media]
Sample = Callable[[str], Path]
Colour = tuple[float, float, float]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def made(client: Client, path: Path, *pipeline: Any) -> dict[str, list[dict[str, Any]]]:
    """The outputs of a job that succeeds, by the names of its steps."""
    job = client.wait(client.upload(path, *pipeline))
    assert job["status"] == "SUCCESS", job
    found: dict[str, list[dict[str, Any]]] = {step["name"]: [] for step in job["steps"]}
    for output in job["outputs"]:
        assert output["name"] == output["type"]
        found[output["name"]].append(output)
    return found


def content(client: Client, output: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(client.http.get(output["url"]).raise_for_status().content)


def picture(client: Client, output: dict[str, Any]) -> Image.Image:
    """A picture, decoded; it is of the format and the size that its output tells."""
    with Image.open(content(client, output)) as image:
        image.load()
        assert (image.format or "").lower() == output["format"]
        assert output["content_type"] == f"image/{output['format']}"
        assert image.size == (output["width"], output["height"])
        return image.copy()


def near(colour: Any, wanted: Colour, within: float = 40) -> bool:
    return all(abs(one - other) <= within for one, other in zip(colour[:3], wanted, strict=True))


@pytest.mark.parametrize(
    ("audio_format", "codec"), [("m4a", "aac"), ("mp3", "mp3float"), ("opus", "opus")]
)
def test_sound_comes_of_a_film_and_of_a_file_of_sound(
    client: Client, sample: Sample, audio_format: str, codec: str
) -> None:
    step = {"make": "audio", "format": audio_format, "kbps": 96}
    for source in ("plain.mp4", "sound_only.m4a"):
        (output,) = made(client, sample(source), step)["audio"]
        assert (output["format"], output["width"], output["height"]) == (audio_format, None, None)
        assert output["s3_key"].endswith(f"_audio.{audio_format}")
        with av.open(content(client, output), "r") as container:
            (stream,) = container.streams.audio
            seconds = sum(frame.samples / frame.rate for frame in container.decode(stream))
            assert stream.codec_context.codec.name == codec
        assert seconds == pytest.approx(output["duration"], abs=0.1)


def test_a_preview_of_a_film_and_of_an_animated_picture(
    client: Client, sample: Sample, tmp_path: Path
) -> None:
    frames = [Image.new("RGB", (320, 180), (10 * number, 0, 0)) for number in range(20)]
    animation = tmp_path / "animation.gif"
    frames[0].save(animation, save_all=True, append_images=frames[1:], duration=100, loop=0)
    step = {"make": "preview", "seconds": 2, "width": 160, "formats": ["webp", "mp4"]}
    for source in (sample("plain.mp4"), animation):
        pictures, film = made(client, source, step)["preview"]
        assert (pictures["format"], film["format"]) == ("webp", "mp4")
        with Image.open(content(client, pictures)) as image:
            assert (image.size[0], getattr(image, "n_frames", 1) > 5) == (160, True)
        with av.open(content(client, film), "r") as container:
            decoded = list(container.decode(container.streams.video[0]))
        assert (decoded[0].width, film["width"]) == (160, 160)
        assert len(decoded) / film["duration"] == pytest.approx(
            25 if source != animation else 20, 0.3
        )


def test_sound_that_says_nothing_gets_the_recipe_for_sound(client: Client, sample: Sample) -> None:
    client.drop(sample("sound_only.m4a"), "sounds/a.m4a")
    job = client.wait_for_drop("sounds/a.m4a")
    assert (job["status"], job["pipeline"]) == ("SUCCESS", [{"make": "audio"}])
    assert job["recipe"].startswith("default@")


def test_each_size_comes_in_each_format(client: Client, sample: Sample) -> None:
    step = {"make": "image", "widths": [320, 640, 5000], "formats": ["avif", "webp", "jpeg", "png"]}
    outputs = made(client, sample("photo.jpg"), step)["image"]
    assert len(outputs) == 12
    for output in outputs:
        image = picture(client, output)
        assert image.width in (320, 640, 1600)
        assert image.width * 3 == image.height * 4
        assert near(image.convert("RGB").getpixel((4, 4)), RED)
        assert output["s3_key"].endswith(
            f"_image_{image.width}.{output['s3_key'].rpartition('.')[2]}"
        )


def test_a_width_above_the_pictures_own_is_told(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("photo.jpg"), {"make": "image", "widths": [5000]}))
    assert [output["width"] for output in job["outputs"]] == [1600]
    assert "there is none of width 5000" in job["warnings"][0]


def test_fits_and_focuses(client: Client, sample: Sample) -> None:
    square = {"make": "image", "size": [300, 300]}
    outputs = made(
        client,
        sample("photo.jpg"),
        {**square, "name": "inside"},
        {**square, "name": "middle", "fit": "cover"},
        {**square, "name": "left", "fit": "cover", "focus": [0, 0.5]},
        {**square, "name": "right", "fit": "cover", "focus": [1, 0.5]},
        {**square, "name": "seen", "fit": "cover", "focus": "attention"},
        {**square, "name": "whole", "fit": "contain", "background": "#ff00ff"},
        {"make": "image", "name": "boxed", "box": 100},
        {"make": "image", "name": "own"},
    )
    images = {name: picture(client, each[0]).convert("RGB") for name, each in outputs.items()}
    assert images["inside"].size == (300, 225)
    assert images["boxed"].size == (100, 75)
    assert images["own"].size == (1600, 1200)
    cropped = ("middle", "left", "right", "seen", "whole")
    assert {images[name].size for name in cropped} == {(300, 300)}
    assert near(images["left"].getpixel((3, 3)), RED)
    assert near(images["right"].getpixel((296, 3)), GREEN)
    for corner in ((3, 3), (296, 3)):
        assert not near(images["middle"].getpixel(corner), RED)
        assert not near(images["middle"].getpixel(corner), GREEN)
    assert near(images["whole"].getpixel((150, 5)), (255, 0, 255))
    assert near(images["whole"].getpixel((3, 45)), RED)


def test_transparency_is_kept_where_a_format_has_it(client: Client, sample: Sample) -> None:
    formats = {"formats": ["avif", "webp", "png", "jpeg"]}
    outputs = made(
        client,
        sample("transparent.png"),
        {"make": "image", **formats},
        {"make": "image", "name": "filled", "background": "#00ff00", **formats},
    )
    for output in outputs["image"]:
        image = picture(client, output)
        alpha = image.convert("RGBA").getchannel("A")
        if output["format"] == "jpeg":
            assert near(image.getpixel((320, 1)), WHITE)
        else:
            top, bottom = (alpha.getpixel((320, row)) for row in (0, 479))
            assert isinstance(top, int)
            assert isinstance(bottom, int)
            assert top <= 4 < 250 < bottom
    for output in outputs["filled"]:
        image = picture(client, output)
        assert not image.has_transparency_data
        assert near(image.convert("RGB").getpixel((320, 1)), (0, 255, 0))


def test_quality_colour_and_placeholder(client: Client, sample: Sample) -> None:
    outputs = made(
        client,
        sample("photo.jpg"),
        {"make": "image", "name": "poor", "box": 400, "quality": 20},
        {"make": "image", "name": "good", "box": 400, "quality": {"jpeg": 95}},
        {"make": "image", "name": "thumb_hash", "box": 400, "placeholder": "thumbhash"},
        {"make": "image", "name": "blur_hash", "box": 400, "placeholder": "blurhash"},
    )
    poor, good = outputs["poor"][0], outputs["good"][0]
    assert poor["size"] < good["size"] / 2
    assert "placeholder" not in poor
    assert len(base64.b64decode(outputs["thumb_hash"][0]["placeholder"])) in range(15, 30)
    assert len(outputs["blur_hash"][0]["placeholder"]) >= 6
    for each in outputs.values():
        assert len(each[0]["color"]) == 7


def test_what_is_kept_of_metadata(client: Client, tmp_path: Path) -> None:
    wide = ImageCms.ImageCmsProfile(str(_display_p3(tmp_path)))
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x010E] = "© Ada", "Ada", "a secret place"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "p3.jpg"
    Image.new("RGB", (320, 240), (255, 0, 0)).save(
        path, "JPEG", quality=95, exif=exif, icc_profile=wide.tobytes(), subsampling=0
    )
    formats = {"formats": ["jpeg", "webp", "avif", "png"]}
    outputs = made(
        client,
        path,
        {"make": "image", **formats},
        {"make": "image", "name": "kept", "keep": ["copyright", "icc"], **formats},
    )
    for output in outputs["image"]:
        image = picture(client, output)
        assert not dict(image.getexif())
        assert "icc_profile" not in image.info
    for output in outputs["kept"]:
        image = picture(client, output)
        assert set(image.getexif()) == {0x8298, 0x013B}, output["format"]
        assert image.getexif()[0x013B] == "Ada"
        assert near(image.convert("RGB").getpixel((9, 9)), RED, 6)
        assert image.info["icc_profile"] == wide.tobytes()


def test_the_watermark_lies_where_and_as_it_is_said(client: Client, sample: Sample) -> None:
    step = {"make": "image", "box": 800}
    outputs = made(
        client,
        sample("photo.jpg"),
        {**step, "name": "bare"},
        {**step, "name": "usual", "watermark": True},
        {**step, "name": "own", "watermark": {"position": "top_left", "scale": 0.5, "opacity": 1}},
    )
    bare, usual, own = (
        picture(client, outputs[name][0]).convert("L") for name in ("bare", "usual", "own")
    )
    assert (
        _changed(bare, usual, (600, 500, 800, 600)) > 100 > _changed(bare, usual, (0, 0, 200, 100))
    )
    assert _changed(bare, own, (0, 0, 400, 200)) > 1000 > _changed(bare, own, (600, 500, 800, 600))


def test_a_step_may_name_an_operators_watermark(
    client: Client, sample: Sample, tmp_path: Path
) -> None:
    purple = (255, 0, 255)
    Image.new("RGB", (60, 60), purple).save(tmp_path / "acme.png")
    key = "watermarks/acme.png"
    client.aws("s3").upload_file(str(tmp_path / "acme.png"), client.stack.output_bucket, key)
    mark = {"image": "acme.png", "position": "center", "scale": 0.5, "opacity": 1}
    step = {"make": "image", "box": 400, "watermark": mark}
    (output,) = made(client, sample("photo.jpg"), step)["image"]
    image = picture(client, output).convert("RGB")
    assert near(image.getpixel((image.width // 2, image.height // 2)), purple)
    step = {"make": "mp4", "height": 240, "watermark": mark}
    client.drop(sample("plain.mp4"), "marked.mp4")
    asked = {"key": "marked.mp4", "pipeline": [step]}
    assert client.post("/jobs/estimate/", asked).raise_for_status().json()["usage"]["cost_usd"] > 0
    (output,) = made(client, sample("plain.mp4"), step)["mp4"]
    _, shown = frames(client, output)
    assert all(near(frame.to_image().getpixel((213, 120)), purple) for frame in shown[::10])


def test_a_film_gets_what_a_player_expects(client: Client, sample: Sample) -> None:
    """The pipeline of the README: all of it from one decode."""
    pipeline = [
        {"make": "hls"},
        {"make": "storyboard"},
        {"make": "poster"},
        {"make": "mp4", "height": 720},
    ]
    outputs = made(client, sample("plain.mp4"), *pipeline)
    assert [len(outputs[name]) for name in ("hls", "storyboard", "poster", "mp4")] == [1, 3, 1, 1]
    (stream,) = outputs["hls"]
    master = m3u8.loads(client.http.get(stream["url"]).raise_for_status().text)
    assert (1280, 720) in [each.stream_info.resolution for each in master.playlists]
    for each in (*master.playlists, *master.iframe_playlists):
        listed = m3u8.loads(
            client.http.get(urljoin(stream["url"], each.uri)).raise_for_status().text
        )
        assert listed.is_endlist
        assert sum(segment.duration for segment in listed.segments) == pytest.approx(3, abs=0.1)


def test_a_storyboard_is_read_from_its_address_alone(client: Client, sample: Sample) -> None:
    outputs = made(
        client, sample("plain.mp4"), {"make": "storyboard"}, {"make": "mp4", "height": 240}
    )
    vtt, told, sheet = outputs["storyboard"]
    answer = client.http.get(vtt["url"]).raise_for_status()
    assert answer.headers["content-type"].startswith("text/vtt")
    (name,) = {line.partition("#")[0] for line in answer.text.splitlines() if "#xywh=" in line}
    address = urljoin(vtt["url"], name)
    content = client.http.get(address, follow_redirects=True).raise_for_status().content
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (sheet["width"], sheet["height"])
    assert client.http.get(told["url"]).raise_for_status().json()["sheets"] == [name]


def _changed(one: Image.Image, other: Image.Image, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a part of two pictures differ much."""
    pairs = zip(one.crop(box).tobytes(), other.crop(box).tobytes(), strict=True)
    return sum(abs(first - second) > 30 for first, second in pairs)


def _display_p3(folder: Path) -> Path:
    """The ICC profile of Display P3, as the product's own colours have it for tests of them."""
    from chalicelib.model import colours

    path = folder / "p3.icc"
    path.write_bytes(colours.profile(colours.of_code_points(12, 13)))
    return path


# ── films ───────────────────────────────────────────────────────────────────────────────────────


def frames(client: Client, output: dict[str, Any]) -> tuple[av.VideoStream, list[av.VideoFrame]]:
    with av.open(content(client, output), "r") as container:
        found = list(container.decode(video=0))
        return container.streams.video[0], found


@pytest.fixture(scope="module")
def film_outputs(client: Client, sample: Sample) -> dict[str, list[dict[str, Any]]]:
    """What is made of a film of 3 s, 1280 × 720 at 25 frames a second."""
    return made(
        client,
        sample("plain.mp4"),
        {"make": "mp4"},
        {"make": "mp4", "name": "small", "height": 360, "max_fps": 13, "max_kbps": 100},
        {"make": "mp4", "name": "hevc", "height": 240, "codec": "hevc"},
        {"make": "mp4", "name": "av1", "height": 240, "codec": "av1"},
        {"make": "mp4", "name": "marked", "height": "source", "watermark": {"position": "center"}},
        {"make": "poster"},
        {"make": "poster", "name": "late", "at": 2.5, "box": 640},
        {
            "make": "poster",
            "name": "middle",
            "at": "50%",
            "widths": [320, 640],
            "formats": ["webp", "jpeg"],
        },
    )


@pytest.mark.parametrize(
    ("name", "size", "tag"),
    [
        ("mp4", (1280, 720), "avc1"),
        ("small", (640, 360), "avc1"),
        ("hevc", (426, 240), "hvc1"),
        ("av1", (426, 240), "av01"),
        ("marked", (1280, 720), "avc1"),
    ],
)
def test_films_have_their_size_codec_and_all_frames(
    client: Client,
    film_outputs: dict[str, list[dict[str, Any]]],
    name: str,
    size: tuple[int, int],
    tag: str,
) -> None:
    (output,) = film_outputs[name]
    stream, decoded = frames(client, output)
    assert (stream.width, stream.height) == size == (output["width"], output["height"])
    assert stream.codec_context.codec_tag == tag
    assert output["format"] == "mp4"
    every = 2 if name == "small" else 1
    times = [round(float(frame.time or 0) * 25) for frame in decoded]
    assert times == list(range(0, 75, every))


def test_a_rate_has_its_limit(
    client: Client, film_outputs: dict[str, list[dict[str, Any]]]
) -> None:
    (small,), (full,) = film_outputs["small"], film_outputs["mp4"]
    assert small["size"] * 8 / 3 < 400_000 < full["size"] * 8 / 3


def test_posters_show_the_frame_that_was_asked_for(
    client: Client, sample: Sample, film_outputs: dict[str, list[dict[str, Any]]]
) -> None:
    with av.open(str(sample("plain.mp4")), "r") as container:
        source = [frame.to_image() for frame in container.decode(video=0)]
    (poster,) = film_outputs["poster"]
    assert (poster["width"], poster["height"]) == (1280, 720)
    assert picture(client, poster).convert("L").getextrema() != (0, 0)
    (late,) = film_outputs["late"]
    assert (late["width"], late["height"]) == (640, 360)
    assert _closest(picture(client, late), source) == 62
    middle = film_outputs["middle"]
    assert sorted((each["width"], each["format"]) for each in middle) == [
        (320, "jpeg"),
        (320, "webp"),
        (640, "jpeg"),
        (640, "webp"),
    ]
    assert {_closest(picture(client, each), source) for each in middle} == {37}


def _closest(shown: Image.Image, frames: list[Image.Image]) -> int:
    """The number of the frame that a picture shows."""
    target = shown.convert("RGB").resize((160, 90))

    def difference(number: int) -> float:
        frame = frames[number].resize((160, 90))
        pairs = zip(target.tobytes(), frame.tobytes(), strict=True)
        return sum(abs(one - other) for one, other in pairs)

    return min(range(len(frames)), key=difference)


def test_an_animated_image_is_a_picture_and_a_film(client: Client, sample: Sample) -> None:
    outputs = made(client, sample("animated.gif"), {"make": "image"}, {"make": "mp4"})
    assert picture(client, outputs["image"][0]).size == (320, 240)
    _, decoded = frames(client, outputs["mp4"][0])
    assert [round(float(frame.time or 0) * 1000) for frame in decoded] == [0, 100]


# ── recipes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_recipe_is_asked_for_by_its_name(client: Client, sample: Sample) -> None:
    listed = client.get("/recipes/").json()
    version = {each["name"]: each["version"] for each in listed["recipes"]}["web"]
    key = client.job(client.upload(sample("photo.jpg"), "thumbnail"))["key"]
    asked = client.post("/jobs/from-key/", {"key": key, "recipe": "web"})
    job = client.wait(asked.json()["job_id"])
    assert job["recipe"] == f"web@{version}"
    assert {output["format"] for output in job["outputs"]} == {"avif", "webp", "jpeg"}
    assert all(
        ImageStat.Stat(picture(client, each).convert("L")).stddev[0] > 5 for each in job["outputs"]
    )


def test_all_faults_of_a_pipeline_come_with_their_places(client: Client) -> None:
    answer = client.post(
        "/uploads/presign/",
        {
            "filename": "a.jpg",
            "content_type": "image/jpeg",
            "size": 10,
            "pipeline": ["thumbnial", {"make": "image", "width": [320], "fit": "covr"}],
        },
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["pointer"] for each in answer.json()["errors"]] == [
        "#/pipeline/0",
        "#/pipeline/1/width",
        "#/pipeline/1/fit",
    ]


def test_captions_are_read_from_a_file_beside_the_film(client: Client, sample: Sample) -> None:
    def put(name: str, body: bytes) -> str:
        request = {"filename": name, "content_type": "application/octet-stream", "size": len(body)}
        ticket = client.post("/uploads/presign/", request).raise_for_status().json()
        client.http.put(ticket["url"], content=body, headers=ticket["headers"]).raise_for_status()
        return str(ticket["key"])

    srt = put("a.en.srt", b"1\n00:00:00,250 --> 00:00:01,125\nHello & <script>\n")
    step = {"make": "hls", "ladder": [240], "captions": {"en": srt, "de": srt}}
    asked = {"key": put("plain.mp4", sample("plain.mp4").read_bytes()), "pipeline": [step]}
    assert client.post("/jobs/estimate/", asked).raise_for_status().json()["usage"]
    job_id = client.post("/jobs/from-key/", asked).raise_for_status().json()["job_id"]
    job = client.wait(job_id)
    assert job["status"] == "SUCCESS", job
    (output,) = job["outputs"]
    master = m3u8.loads(client.http.get(output["url"]).text)
    listed = [each for each in master.media if each.type == "SUBTITLES"]
    assert [(each.name, each.language) for each in listed] == [("English", "en"), ("Deutsch", "de")]
    playlist = m3u8.loads(client.http.get(urljoin(output["url"], listed[0].uri)).text)
    answer = client.http.get(urljoin(output["url"], playlist.segments[0].uri))
    assert answer.headers["content-type"].split(";")[0] == "text/vtt"
    (cue,) = cues_of(answer.text)
    assert cue[:3] == (0.25, 1.125, "Hello & <script>")
    step["captions"] = {"en": "uploads/none.srt"}
    refused = client.post("/jobs/estimate/", asked)
    assert (refused.status_code, refused.json()["code"]) == (422, "captions_not_found")
