"""Cold import of every function, as packaged; baseline: import of the third-party modules that it loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure
from infra.deploying.build import build
from infra.paths import LOCAL
from infra.stack.catalogue import FUNCTIONS, Function

RUNS = 7

_WORKER = ("chalicelib.jobs.consumer", "chalicelib.jobs.runner")
# The modules that a function's handler in app.py imports on its first call.
_FIRST_CALL = {
    "api": ("chalicelib.api.submissions",),
    "estimate": ("chalicelib.engines.sandbox", "chalicelib.jobs.estimating"),
    "intake": ("chalicelib.engines.sandbox", "chalicelib.jobs.consumer", "chalicelib.jobs.intake"),
    "pictures": (*_WORKER, "chalicelib.engines.sandbox", "chalicelib.tasks.images"),
    "encode": (*_WORKER, "chalicelib.engines.ffmpeg", "chalicelib.tasks.chunks"),
    "audio": (*_WORKER, "chalicelib.engines.ffmpeg", "chalicelib.tasks.audio"),
    "package": (*_WORKER, "chalicelib.tasks.mp4"),
    "events": ("chalicelib.api.told", "chalicelib.jobs.consumer", "chalicelib.jobs.telling"),
    "dead_letters": ("chalicelib.jobs.consumer", "chalicelib.jobs.dead_letters"),
    "sweep": ("chalicelib.invocation", "chalicelib.jobs.sweep"),
}
# The modules that the fork server of decoders imports at the same time.
_DECODERS = {
    "intake": ("chalicelib.probing.frame_index", "chalicelib.engines.pillow"),
    "pictures": ("chalicelib.engines.pillow",),
}
TIMED = """\
import sys, time
started = time.perf_counter()
for name in sys.argv[1:]:
    __import__(name)
print(time.perf_counter() - started)
"""
_LOADED = """\
import json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    __import__(name)
found = [name for name, module in sys.modules.items() if name not in before
         and "/packages/" in (getattr(module, "__file__", "") or "")
         and not name.startswith(("app", "chalicelib"))]
print(json.dumps(found))
"""


def measure() -> list[Figure]:
    folder = unpacked()
    return [_measure(function, folder) for function in FUNCTIONS]


def modules_of(function: Function) -> list[str]:
    """The modules that a cold function imports until its first call is done."""
    return ["app", *_FIRST_CALL[function.name]]


def decoders_of(function: Function) -> list[str]:
    """The modules that the fork server of a cold function's decoders imports."""
    return [
        "chalicelib.engines.forkserver",
        "chalicelib.engines.sandbox_child",
        *_DECODERS.get(function.name, ()),
    ]


def _measure(function: Function, folder: Path) -> Figure:
    modules = modules_of(function)
    theirs = json.loads(in_function(folder, function, _LOADED, modules))
    ours: list[float] = []
    baselines: list[float] = []
    for number in range(RUNS + 1):
        took = float(in_function(folder, function, TIMED, modules))
        bare = float(in_function(folder, function, TIMED, theirs))
        if number:  # the first run only warms the disk cache
            ours.append(took)
            baselines.append(bare)
    return Figure(
        f"cold import of {function.name}", "s", ours, "its third-party modules", baselines
    )


def unpacked() -> Path:
    """The folder of code and layers, unpacked as by Lambda, where it is read-only: nothing is compiled.

    FFmpeg's binary, which no Python imports, is left out.
    """
    built = build("local")
    place = LOCAL / "benchmarks" / f"packages-{built.digest[:12]}"
    if not place.exists():
        for old in (LOCAL / "benchmarks").glob("packages-*"):
            shutil.rmtree(old, ignore_errors=True)  # another process does the same
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent) as part:
            for name in ("deployment", "ffmpeg", "pyav"):
                with zipfile.ZipFile(built.folder / f"{name}.zip") as zipped:
                    members = [each for each in zipped.namelist() if not each.startswith("bin/")]
                    zipped.extractall(Path(part) / "whole" / "packages" / name, members)
            with suppress(OSError):  # another process was first
                (Path(part) / "whole").rename(place)
    return place / "packages"


def in_function(folder: Path, function: Function, script: str, modules: list[str]) -> str:
    """The output of a script that runs with a function's packages only, and with tracing on, as on AWS."""
    path = [folder / "deployment"]
    if function.layer:
        path.append(folder / function.layer / "python")
    environment: Mapping[str, str] = {
        "PYTHONPATH": ":".join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_SERVICE_NAME": function.name,
        "POWERTOOLS_METRICS_NAMESPACE": "benchmarks",
        "SLUICE_AUTH": "none",
    }
    done = subprocess.run(
        # Outside of the project's virtual environment: only packaged modules may be found.
        [Path(sys.executable).resolve(), "-S", "-c", script, *modules],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
