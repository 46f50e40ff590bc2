"""`make demo`: an image and a film through every step, on the real stack, on this machine."""

from __future__ import annotations

import io
import time
from pathlib import Path

import av
from PIL import Image

from infra import cloud, samples
from infra.client import Client, Job
from infra.paths import LOCAL


def main() -> None:
    started = time.monotonic()
    with cloud.running("local") as stack, Client(stack) as client:
        picture = samples.sample("photo.jpg", LOCAL / "samples")
        film = samples.sample("plain.mp4", LOCAL / "samples")
        _show(client, picture, "thumbnail", "watermark")
        _show(client, film, "thumbnail", "watermark", "transcode_720p", "hls_720p")
    print(
        f"\nAll of it took {time.monotonic() - started:.0f} s. `make up` leaves the cloud running."
    )


def _show(client: Client, path: Path, *pipeline: str) -> None:
    print(f"\n{path.name}, {path.stat().st_size:,} bytes → {', '.join(pipeline)}", flush=True)
    shown = None
    for job in client.follow(client.upload(path, *pipeline), seconds=120):
        steps = "  ".join(f"{step['name']} {step['progress']}%" for step in job["steps"])
        line = f"  {job['status']:8} {job['progress']:3}%  {steps}"
        if line != shown:
            print(line, flush=True)
            shown = line
    if job["status"] != "SUCCESS":
        raise SystemExit(f"The demo failed: {job['error']}")
    _print_outputs(client, job)


def _print_outputs(client: Client, job: Job) -> None:
    """Each output as it is when fetched and looked into, not as the job says."""
    for output in job["outputs"]:
        if output["type"] == "hls_720p":
            found = probe_film(output["url"])
        else:
            content = client.http.get(output["url"]).raise_for_status().content
            is_film = output["content_type"].startswith("video/")
            found = probe_film(io.BytesIO(content)) if is_film else probe_picture(content)
        print(f"  {output['type']:15} {output['size']:>10,} bytes  {found:32} {output['s3_key']}")


def probe_picture(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return f"{image.width} × {image.height}"


def probe_film(source: str | io.BytesIO) -> str:
    """Size and length, by decoding every frame. A URL is all that a player of HLS gets."""
    with av.open(source, "r") as container:
        video = container.streams.video[0]
        times = [frame.time or 0.0 for frame in container.decode(video)]
        rate = float(video.average_rate or 25)
        sound = "with sound" if container.streams.audio else "silent"
        size = f"{video.codec_context.width} × {video.codec_context.height}"
        return f"{size}, {max(times) - min(times) + 1 / rate:.2f} s, {sound}"


if __name__ == "__main__":
    main()
