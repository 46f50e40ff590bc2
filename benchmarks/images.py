"""An image job, from the PUT to SUCCESS on the warm local cloud; baseline: bare Pillow."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from PIL import Image, ImageChops

from benchmarks.figures import Figure
from chalicelib.tasks.workbench import ASSETS
from infra.local import cloud
from infra.paths import LOCAL
from infra.tools import samples
from sluice.client import Client

RUNS = 60
_WARM_UP = 5
_MEGAPIXELS = (4000, 3000)


def measure() -> list[Figure]:
    source = picture(*_MEGAPIXELS)
    jobs: list[float] = []
    bare: list[float] = []
    with cloud.running("local") as stack, Client(stack) as client:
        for number in range(_WARM_UP + RUNS):
            took, pillow = _job(client, source), bare_pillow(source, source.parent)
            if number >= _WARM_UP:
                jobs.append(took)
                bare.append(pillow)
    name = "image job, 12 megapixels, thumbnail + watermark, PUT to SUCCESS"
    return [
        Figure(f"{name}, {reduced}", "s", jobs, "bare Pillow, one core", bare, reduced)
        for reduced in ("median", "p95")
    ]


def picture(width: int, height: int) -> Path:
    """A JPEG with the grain of a photograph, about 0.4 bytes per pixel."""
    path = LOCAL / "benchmarks" / f"grain_{width}x{height}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        scene = samples.scene(width, height)
        grain = Image.effect_noise(scene.size, 12).convert("RGB")
        ImageChops.add(scene, grain, offset=-128).save(path, "JPEG", quality=90)
    return path


def _job(client: Client, source: Path) -> float:
    """Seconds from the start of the PUT to the write of SUCCESS."""
    ticket_request = {
        "filename": source.name,
        "content_type": "image/jpeg",
        "pipeline": ["thumbnail", "watermark"],
    }
    ticket = client.post("/uploads/presign", ticket_request).raise_for_status().json()
    body = source.read_bytes()
    started = time.time()
    client.http.put(ticket["url"], content=body, headers=ticket["headers"]).raise_for_status()
    job = client.wait(ticket["job_id"])
    if job["status"] != "SUCCESS":
        raise RuntimeError(f"The job failed: {job['error']}")
    return datetime.fromisoformat(job["updated_at"]).timestamp() - started


def bare_pillow(source: Path, folder: Path) -> float:
    """Seconds of a script that draws the same two images, and does nothing else."""
    started = time.monotonic()
    with Image.open(source) as image:
        image.thumbnail((512, 512), Image.Resampling.LANCZOS)
        image.save(folder / "bare_thumb.jpg", quality=85, optimize=True, progressive=True)
    with Image.open(source) as image, Image.open(ASSETS / "watermark.png") as drawn:
        width = round(image.width * 0.22)
        mark = drawn.convert("RGBA").resize((width, round(drawn.height * width / drawn.width)))
        at = image.width - mark.width - 100, image.height - mark.height - 100
        image.paste(mark, at, mark)
        image.save(folder / "bare_wm.jpg", quality=90, optimize=True, progressive=True)
    return time.monotonic() - started
