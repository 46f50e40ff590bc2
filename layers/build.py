"""Builds a Lambda layer from a pinned, hash-checked wheel, the same bytes each time.

python -m layers.build ffmpeg --arch arm64 --out .local/layers
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
LAYERS = ("ffmpeg", "pyav")
PLATFORMS = {"x86_64": "manylinux_2_28_x86_64", "arm64": "manylinux_2_28_aarch64"}
# The earliest time that a zip can tell.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class LayerError(RuntimeError):
    """A layer cannot be built; the message says of which file, and what to do."""


def build(layer: str, arch: str, out: Path) -> Path:
    """The layer's zip in `out`, built unless it is there. Raises LayerError."""
    target = out / f"{layer}-{arch}-{_fingerprint(layer)}.zip"
    if target.exists():
        return target
    out.mkdir(parents=True, exist_ok=True)
    # Inside `out`, and renamed when whole: no half layer stays, and builds side by side do not meet.
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        wheel = _download(layer, arch, Path(scratch))
        part = Path(scratch) / "layer.zip"
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(part, "w") as zipped:
            for name, mode, content in sorted(_entries(layer, source)):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = 3  # Unix, wherever it is built
                entry.external_attr = (0o100000 | mode) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                zipped.writestr(entry, content, compresslevel=6)
        part.rename(target)
    return target


def unpacked(layer: str, out: Path) -> Path:
    """The layer for this machine, as Lambda would unpack it; for tests, samples and benchmarks."""
    arch = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    zipped = build(layer, arch, out)
    folder = zipped.with_suffix("")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=out) as scratch:
            part = Path(scratch) / "layer"
            with zipfile.ZipFile(zipped) as content:
                content.extractall(part)
            with contextlib.suppress(OSError):  # another process was there first
                part.rename(folder)
    return folder


def _fingerprint(layer: str) -> str:
    """Changes with everything that goes into the layer."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted((HERE / layer).iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _download(layer: str, arch: str, folder: Path) -> Path:
    pinned = HERE / layer / "requirements.txt"
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet",
            "--only-binary=:all:",
            "--no-deps",
            "--require-hashes",
            "--platform", PLATFORMS[arch],
            "--python-version", "3.13",
            "--dest", str(folder),
            "--requirement", str(pinned),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        reason = "its hash is not the pinned one" if "hash" in done.stderr.lower() else "see below"
        raise LayerError(
            f"The wheel of {pinned} could not be had for {arch}: {reason}.\n{done.stderr.strip()}"
        )
    return next(folder.glob("*.whl"))


def _entries(layer: str, wheel: zipfile.ZipFile) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of each file of the layer."""
    names = [name for name in wheel.namelist() if not name.endswith("/")]
    if layer == "ffmpeg":
        binary = next(name for name in names if "/binaries/ffmpeg-" in name)
        licence = next(name for name in names if name.endswith("/LICENSE"))
        yield "bin/ffmpeg", 0o755, wheel.read(binary)
        yield "LICENSE.imageio-ffmpeg", 0o644, wheel.read(licence)
        yield "NOTICE", 0o644, (HERE / layer / "NOTICE").read_bytes()
        module = HERE / layer / "sluice_ffmpeg.py"
        yield f"python/{module.name}", 0o644, module.read_bytes()
        return
    for name in names:
        if not name.endswith((".pyi", ".pxd", ".pyx", ".c", ".h", "/RECORD")):
            yield f"python/{name}", 0o644, wheel.read(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("--arch", choices=PLATFORMS, default="x86_64")
    parser.add_argument("--out", type=Path, default=Path(".local/layers"))
    chosen = parser.parse_args()
    try:
        sys.stdout.write(f"{build(chosen.layer, chosen.arch, chosen.out)}\n")
    except LayerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
