"""Storyboards, drawn: each tile shows the film at its time, in its colours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy
import pytest
from PIL import Image

from chalicelib.api import estimates, hls, jobs, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.api.views import JobView
from chalicelib.errors import NotFound
from chalicelib.model.step import SUCCESS
from chalicelib.settings import settings
from chalicelib.store.clients import s3
from infra.tools.samples import run_ffmpeg
from testing.pump import drain, drop

pytestmark = [pytest.mark.media, pytest.mark.usefixtures("cloud", "short_chunks")]
SECONDS = 40
# The film's colour in each of four spans of ten seconds.
COLOURS = {"red": (254, 0, 0), "lime": (0, 255, 1), "blue": (0, 0, 254), "white": (255, 255, 255)}


def coloured(path: Path, *options: str, size: str = "320x180") -> bytes:
    """A film that has another colour every ten seconds, with sound."""
    spans = [f"color={colour}:s={size}:r=10:d=10" for colour in COLOURS]
    inputs = [part for span in spans for part in ("-f", "lavfi", "-i", span)]
    run_ffmpeg(
        *inputs, "-f", "lavfi", "-i", f"sine=440:duration={SECONDS}",
        "-filter_complex",
        "[0][1][2][3]concat=n=4,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[v]",
        "-map", "[v]", "-map", "4:a", "-colorspace", "bt709", "-color_primaries", "bt709",
        "-color_trc", "bt709", "-c:v", "libx264", "-g", "20", "-qp", "10", *options, str(path),
    )  # fmt: skip
    return path.read_bytes()


def ask(key: str, *pipeline: object) -> JobView:
    job_id = submissions.from_key("-", FromKeyRequest(key, list(pipeline)), None).job_id
    drain()
    job = jobs.get_job("-", job_id, "https://x/api")
    assert job.status == SUCCESS, job.error
    return job


def stored(key: str, path: Path) -> Path:
    body = s3().get_object(Bucket=settings().output_bucket, Key=key)["Body"].read()
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("container", ["mp4", "avi"])  # with an index, and without one
@pytest.mark.parametrize("beside", [[], [{"make": "hls", "ladder": [180, 144]}]])
def test_each_tile_shows_the_film_at_its_time(
    tmp_path: Path, container: str, beside: list[dict[str, object]]
) -> None:
    drop("a", coloured(tmp_path / f"a.{container}"))
    job = ask("a", {"make": "storyboard", "every": 2.5, "width": 80}, *beside)
    vtt, told, sheet = (output for output in job.outputs if output.type == "storyboard")
    assert [each.format for each in (vtt, told, sheet)] == ["vtt", "json", "jpeg"]
    assert [each.content_type for each in (vtt, told, sheet)] == [
        *("text/vtt", "application/json", "image/jpeg")
    ]
    assert (vtt.width, vtt.height, vtt.duration) == (80, 44, SECONDS)
    with Image.open(stored(sheet.s3_key, tmp_path / "sheet.jpg")) as image:
        assert image.size == (sheet.width, sheet.height) == (400, 176)
        pixels = numpy.asarray(image.convert("RGB")).astype(int)
    cues = re.findall(
        r"(\d+):(\d+):([\d.]+) --> .*\n(\S+)#xywh=(\d+),(\d+),80,44",
        stored(vtt.s3_key, tmp_path / "a.vtt").read_text(),
    )
    assert len(cues) == 16
    for number, (hours, minutes, seconds, name, x, y) in enumerate(cues):
        assert sheet.s3_key.endswith(f"/{name}")
        start = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        assert start == pytest.approx(2.5 * number)
        middle = pixels[int(y) + 22, int(x) + 40]
        wanted = list(COLOURS.values())[int((start + 1.25) // 10)]
        assert abs(middle - wanted).max() <= 12, (number, middle, wanted)
    layout = json.loads(stored(told.s3_key, tmp_path / "a.json").read_text())
    assert [(each["x"], each["y"]) for each in layout["tiles"]] == [
        (int(x), int(y)) for *_, x, y in cues
    ]


def test_its_files_are_beside_its_address(tmp_path: Path) -> None:
    drop("a", coloured(tmp_path / "a.mp4"))
    job = ask("a", {"make": "storyboard", "name": "board"})
    vtt, told, sheet = job.outputs
    path = urlsplit(vtt.url).path
    token, name = path.split("/")[-2:]
    assert path.startswith("/api/jobs/")
    assert name == "storyboard.vtt"
    served = hls.hls_file(job.id, token, name)
    assert served.content_type == "text/vtt"
    assert served.playlist.startswith("WEBVTT")
    # A name in it is that of a file beside it.
    (named,) = set(re.findall(r"^(\S+)#", served.playlist, re.MULTILINE))
    assert urlsplit(hls.hls_file(job.id, token, named).address).path.endswith(sheet.s3_key)
    assert hls.hls_file(job.id, token, "storyboard.json").playlist.startswith("{")
    assert urlsplit(told.url).path.endswith("/storyboard.json")
    assert urlsplit(sheet.url).path.endswith(sheet.s3_key)
    with pytest.raises(NotFound):
        hls.hls_file(job.id, token, "storyboard_2.jpg")


def test_its_requests_are_those_that_were_estimated(tmp_path: Path) -> None:
    drop("a", coloured(tmp_path / "a.mp4"))
    pipeline = [{"make": "storyboard"}, {"make": "mp4", "height": 144}]
    estimated = estimates.estimate("-", FromKeyRequest("a", list(pipeline))).usage
    job = ask("a", *pipeline)
    assert job.usage
    for function in ("pictures", "encode", "package"):
        told, foreseen = job.usage.functions[function], estimated.functions[function]
        assert told.requests.s3 == foreseen.requests.s3, function
    assert list(job.usage.cost_usd_by_step) == ["storyboard", "mp4"]
    assert msgspec.structs.asdict(job.usage)["bytes_stored"] == sum(o.size for o in job.outputs)
