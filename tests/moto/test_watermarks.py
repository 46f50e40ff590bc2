"""Watermarks of operators: checked before a job starts, pinned, and laid on pictures and films."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from chalicelib.api import estimates, job_lists, jobs, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.api.views import JobView
from chalicelib.errors import Unprocessable
from chalicelib.model.step import FAILURE, SUCCESS
from chalicelib.settings import settings
from chalicelib.store.clients import s3
from infra.tools.samples import film
from testing.pump import deliver, drain, drop, take

pytestmark = pytest.mark.usefixtures("cloud")
RED, BLUE = (220, 0, 0), (0, 0, 220)
LAID = {"image": "acme.png", "position": "top_left", "scale": 0.5, "opacity": 1}


def png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 40), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG", **options)
    return file.getvalue()


def put(body: bytes, name: str = "acme.png") -> None:
    """An operator puts a watermark where steps find it."""
    s3().put_object(Bucket=settings().output_bucket, Key=f"watermarks/{name}", Body=body)


def ask(key: str, *pipeline: Any) -> JobView:
    job_id = submissions.from_key("-", FromKeyRequest(key, list(pipeline)), None).job_id
    drain()
    return jobs.get_job("-", job_id, "https://x/api")


def stored(key: str) -> bytes:
    body: bytes = s3().get_object(Bucket=settings().output_bucket, Key=key)["Body"].read()
    return body


def grey_photo() -> bytes:
    return png((128, 128, 128), (400, 400))


def test_an_image_gets_the_watermark_that_its_step_names() -> None:
    put(png(RED))
    put(png(BLUE), "other.png")
    drop("a.png", grey_photo())
    step = {"make": "image", "box": 200, "formats": ["png"]}
    job = ask(
        "a.png",
        {**step, "name": "acme", "watermark": LAID},
        {**step, "name": "other", "watermark": LAID | {"image": "other.png"}},
        {**step, "name": "usual", "watermark": True},
    )
    assert job.status == SUCCESS, job.error
    acme, other, usual = (
        Image.open(io.BytesIO(stored(output.s3_key))).convert("RGB") for output in job.outputs
    )
    assert (acme.getpixel((50, 50)), acme.getpixel((150, 150))) == (RED, (128, 128, 128))
    assert (other.getpixel((50, 50)), other.getpixel((150, 150))) == (BLUE, (128, 128, 128))
    assert usual.getpixel((50, 50)) == (128, 128, 128)


@pytest.mark.media
@pytest.mark.usefixtures("short_chunks")
def test_a_film_gets_it_in_each_chunk_and_so_does_its_poster(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    put(png(RED))
    drop("a.mp4", (tmp_path / "a.mp4").read_bytes())
    pipeline = [
        {"make": "mp4", "height": "source", "watermark": LAID},
        {"make": "poster", "watermark": LAID},
    ]
    asked = FromKeyRequest("a.mp4", list(pipeline))
    estimated = estimates.estimate("-", asked).usage
    job = ask("a.mp4", *pipeline)
    assert job.status == SUCCESS, job.error
    assert job.encoding == "In 3 chunks at once."
    assert job.usage
    for pool in ("encode", "pictures", "intake"):
        assert job.usage.functions[pool].requests.s3 == estimated.functions[pool].requests.s3, pool
    marked, poster = job.outputs
    with av.open(io.BytesIO(stored(marked.s3_key)), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 400
    assert all(is_red(frame[30, 40]) for frame in frames)
    assert not all(is_red(frame[80, 140]) for frame in frames)
    assert is_red(Image.open(io.BytesIO(stored(poster.s3_key))).convert("RGB").getpixel((40, 30)))


def is_red(colour: Any) -> bool:
    red, green, blue = map(int, colour)
    return red > 180 and max(green, blue) < 60


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        (lambda: None, "watermark_not_found", "into the output bucket as watermarks/acme.png."),
        (lambda: b"", "watermark_unusable", "is no PNG: it must be a PNG of 8 bits a channel"),
        (lambda: b"GIF89a" + bytes(60), "watermark_unusable", "is no PNG"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "watermark_unusable", "is no PNG"),
        (lambda: b"ID3\3" + bytes(60), "watermark_unusable", "is no PNG"),
        (lambda: png(RED)[:16] + bytes(20), "watermark_unusable", "is no PNG"),
        (lambda: png(RED, (2001, 2000)), "watermark_unusable", "2001 × 2000 pixels"),
        (lambda: deep(), "watermark_unusable", "has 16 bits a channel"),
    ],
)
def test_a_watermark_that_cannot_be_laid_is_refused_before_work(
    body: Callable[[], bytes | None], code: str, sentence: str
) -> None:
    if (content := body()) is not None:
        put(content)
    drop("a.png", grey_photo())
    asked = FromKeyRequest("a.png", [{"make": "image", "box": 64, "watermark": LAID}])
    with pytest.raises(Unprocessable) as refused:
        estimates.estimate("-", asked)
    job = ask("a.png", *(asked.pipeline or ()))
    assert (job.status, job.error_code, refused.value.code) == (FAILURE, code, code)
    assert sentence in job.error
    assert job.usage
    assert job.usage.functions.keys() == {"intake"}


def deep() -> bytes:
    file = io.BytesIO()
    Image.new("I;16", (16, 16), 40_000).save(file, "PNG")
    return file.getvalue()


def test_a_watermark_that_is_cut_short_is_told_by_its_name() -> None:
    put(png(RED, (400, 400), compress_level=0)[:5000])
    drop("a.png", grey_photo())
    job = ask("a.png", {"make": "image", "box": 64, "watermark": LAID})
    assert (job.status, job.error_code) == (FAILURE, "watermark_unusable")
    assert "acme.png is damaged" in job.error


def test_a_watermark_that_changes_while_a_job_runs_is_not_laid() -> None:
    put(png(RED))
    drop("a.png", grey_photo())
    asked = FromKeyRequest("a.png", [{"make": "image", "box": 64, "watermark": LAID}])
    job_id = submissions.from_key("-", asked, None).job_id
    assert deliver("intake", *take("intake")) == []
    put(png(BLUE))
    drain()
    job = jobs.get_job("-", job_id, "https://x/api")
    assert (job.status, job.error_code) == (FAILURE, "watermark_changed")
    assert "acme.png was changed or removed" in job.error


def test_a_dropped_file_may_name_it() -> None:
    put(png(RED))
    pipeline = json.dumps([{"make": "image", "box": 200, "formats": ["png"], "watermark": LAID}])
    assert deliver("intake", drop("b.png", grey_photo(), pipeline=pipeline)) == []
    drain()
    (job,) = job_lists.list_jobs("-", {"key": "b.png"}, "https://x/api").jobs
    assert job.status == SUCCESS, job.error
    (output,) = job.outputs
    image = Image.open(io.BytesIO(stored(output.s3_key))).convert("RGB")
    assert image.getpixel((50, 50)) == RED
