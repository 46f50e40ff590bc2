"""`make demo`: an image and a film through every step, on a local cloud of its own."""

from __future__ import annotations

import io
import re
import shutil
import time
from pathlib import Path
from urllib.parse import urljoin

import av
from PIL import Image

from infra.local import cloud, demo_page
from infra.local.demo_page import SavedOutput, ShownJob
from infra.paths import LOCAL
from infra.tools import samples
from sluice.client import Client, Job

PAGE = LOCAL / "demo"


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(PAGE, ignore_errors=True)
    with cloud.running("local") as stack, Client(stack) as client:
        picture = samples.sample("photo.jpg", LOCAL / "samples")
        film = samples.sample("plain.mp4", LOCAL / "samples")
        jobs = [
            _show(client, picture, "thumbnail", "watermark"),
            _show(client, film, "thumbnail", "watermark", "transcode_720p", "hls_720p"),
        ]
    page = demo_page.write(jobs, PAGE)
    print(
        f"\nAll of it took {time.monotonic() - started:.0f} s. `make up` leaves the cloud running."
        f"\nThis page shows what came out: {page}"
    )


def _show(client: Client, path: Path, *pipeline: str) -> ShownJob:
    print(f"\n{path.name}, {path.stat().st_size:,} bytes → {', '.join(pipeline)}", flush=True)
    printed = None
    for job in client.follow(client.upload(path, *pipeline), seconds=120):
        steps = "  ".join(f"{step['name']} {step['progress']}%" for step in job["steps"])
        line = f"  {job['status']:8} {job['progress']:3}%  {steps}"
        if line != printed:
            print(line, flush=True)
            printed = line
    if job["status"] != "SUCCESS":
        raise SystemExit(f"The demo failed: {job['error']}")
    folder = PAGE / path.stem
    folder.mkdir(parents=True)
    original = folder / path.name
    shutil.copy(path, original)
    return ShownJob(
        job, original, [_fetch(client, job, output, folder) for output in job["outputs"]]
    )


def _fetch(client: Client, job: Job, output: Job, folder: Path) -> SavedOutput:
    """Download an output to `folder` and probe it, whatever the job says about it."""
    if output["type"] == "hls_720p":
        probed = probe_film(output["url"])
        file = _fetch_hls(client, output["url"], folder / "hls")
    else:
        content = client.http.get(output["url"]).raise_for_status().content
        is_film = output["content_type"].startswith("video/")
        probed = probe_film(io.BytesIO(content)) if is_film else probe_picture(content)
        file = folder / Path(output["s3_key"]).name.partition("_")[2]
        file.write_bytes(content)
    print(f"  {output['type']:15} {output['size']:>10,} bytes  {probed:32} {output['s3_key']}")
    return SavedOutput(output, probed, file)


def _fetch_hls(client: Client, url: str, folder: Path) -> Path:
    """Download a playlist and everything that it refers to, by relative paths, to `folder`."""
    folder.mkdir(exist_ok=True)
    file = folder / url.rpartition("/")[2]
    content = client.http.get(url, follow_redirects=True).raise_for_status().content
    file.write_bytes(content)
    if file.suffix == ".m3u8":
        text = content.decode()
        for name in {*re.findall(r'URI="([^"]+)"', text), *re.findall(r"^[^#\s].*$", text, re.M)}:
            _fetch_hls(client, urljoin(url, name), folder)
    return file


def probe_picture(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return f"{image.width} × {image.height}"


def probe_film(source: str | io.BytesIO) -> str:
    """Size, length and whether there is audio, by decoding every frame of a file or URL."""
    with av.open(source, "r") as container:
        video = container.streams.video[0]
        times = [frame.time or 0.0 for frame in container.decode(video)]
        rate = float(video.average_rate or 25)
        sound = "with sound" if container.streams.audio else "silent"
        size = f"{video.codec_context.width} × {video.codec_context.height}"
        return f"{size}, {max(times) - min(times) + 1 / rate:.2f} s, {sound}"


if __name__ == "__main__":
    main()
