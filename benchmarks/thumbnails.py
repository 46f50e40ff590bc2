"""The thumbnail of a 24-megapixel JPEG by the step; baselines: Pillow, libvips and thumbor's engine.

Each runs warm in its own process: the first image does not count. The step decodes in a child.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure
from benchmarks.images import picture
from infra.paths import LOCAL, ROOT

ROUNDS = 5
RUNS = 5
_MEGAPIXELS = (6000, 4000)
_REQUIREMENTS = Path(__file__).parent / "requirements.txt"

# Each script defines make(source, target), which writes a progressive JPEG of 512 × 341 at quality 85.
_STEP = """\
from benchmarks.machine import stand_in_for_lambda
stand_in_for_lambda()
import shutil, tempfile
from pathlib import Path
from chalicelib.engines import sandbox
from chalicelib.invocation import Budget
from chalicelib.jobs import consumer, runner
from chalicelib.model.picture import Picture, Variant
from chalicelib.model.work import Images
from chalicelib.tasks import images
picture = Picture((Variant("thumb.jpg", 512, 341, "jpeg", 85),))
work = Images("JPEG", {"thumbnail": picture})
folder = Path(tempfile.mkdtemp())
(folder / "out").mkdir()
shutil.copy(SOURCE, folder / "source")
def make(source, target):
    images.draw(work, folder, Budget(lambda: 60.0, 1769 * 1024**2))
def done():
    shutil.rmtree(folder)
    sandbox.stop()
"""
_PILLOW = """\
from PIL import Image
def make(source, target):
    with Image.open(source) as image:
        image.thumbnail((512, 512), Image.Resampling.LANCZOS)
        image.save(target, quality=85, optimize=True, progressive=True)
"""
_LIBVIPS = """\
import pyvips
def make(source, target):
    small = pyvips.Image.thumbnail(source, 512, size="down")
    small.jpegsave(target, Q=85, interlace=True, optimize_coding=True, strip=True)
"""
_THUMBOR = """\
from pathlib import Path
from thumbor.config import Config
from thumbor.context import Context, RequestParameters, ServerParameters
from thumbor.engines.pil import Engine
server = ServerParameters(0, "", "", None, "info", None)
context = Context(server=server, config=Config(PROGRESSIVE_JPEG=True))
context.request = RequestParameters(buffer=None, width=512, height=341)
def make(source, target):
    engine = Engine(context)
    engine.load(Path(source).read_bytes(), ".jpg")
    engine.resize(512, 341)
    Path(target).write_bytes(engine.read(".jpg", 85))
"""
_TIMED = """\
import json, resource, sys, time
SOURCE, TARGET = sys.argv[1:]
{maker}
times = []
for _ in range({runs} + 1):
    started = time.perf_counter()
    make(SOURCE, TARGET)
    times.append(time.perf_counter() - started)
own = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])  # since exec, unlike ru_maxrss
if "done" in dir():
    done()
peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(json.dumps([times[1:], peak / 1024]))
"""


class _Made(NamedTuple):
    """What one script took."""

    seconds: list[float]  # for each image
    peak: float  # MiB of its largest process


def measure() -> list[Figure]:
    source = picture(*_MEGAPIXELS)
    ours, others = Path(sys.executable), _python_of_others()
    makers = {
        "step": (ours, _STEP),
        "bare Pillow, reduced decoding": (ours, _PILLOW),
        "libvips": (others, _LIBVIPS),
        "thumbor's engine": (others, _THUMBOR),
    }
    rounds = [
        {name: _made(python, maker, source) for name, (python, maker) in makers.items()}
        for _ in range(ROUNDS)
    ]
    seconds = {name: [s for results in rounds for s in results[name].seconds] for name in makers}
    step = seconds.pop("step")
    name = "thumbnail of a 24-megapixel JPEG inside the step"
    return [
        *(Figure(name, "s", step, baseline, values) for baseline, values in seconds.items()),
        Figure(f"{name}, largest process", "MiB", [results["step"].peak for results in rounds]),
    ]


def _made(python: Path, maker: str, source: Path) -> _Made:
    script = _TIMED.format(maker=maker, runs=RUNS)
    target = LOCAL / "benchmarks" / "thumbnail.jpg"
    done = subprocess.run(
        [python, "-c", script, str(source), str(target)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return _Made(*json.loads(done.stdout.splitlines()[-1]))


def _python_of_others() -> Path:
    """The Python of a virtual environment with the baselines' packages; created if it is missing."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = LOCAL / "benchmarks" / f"others-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = [str(LOCAL / "uv" / "bin" / "uv"), "--quiet"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [*uv, "pip", "sync", "--require-hashes", "--python", python, _REQUIREMENTS], check=True
        )
        (folder / "complete").touch()
    return python
