"""Builds Lambda layers from pinned, hash-checked wheels; equal inputs give equal bytes.

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
# Platform tags of wheels that run on Lambda's Python 3.13, which has glibc 2.34.
PLATFORMS = {
    arch: [f"{linux}_{machine}" for linux in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    for arch, machine in {"x86_64": "x86_64", "arm64": "aarch64"}.items()
}
# The earliest time that a zip can store.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class LayerError(RuntimeError):
    """A layer cannot be built; the message names the file and says what to do."""


def build(layer: str, arch: str, out: Path) -> Path:
    """Build a layer's zip in `out` unless it is there; return its path. Raises LayerError."""
    target = out / f"{layer}-{arch}-{_fingerprint(layer)}.zip"
    if target.exists():
        return target
    out.mkdir(parents=True, exist_ok=True)
    # Built in `out` and renamed when complete: no partial layer stays, and parallel builds do not collide.
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        wheels = _download(layer, arch, Path(scratch))
        entries = _program(*wheels) if layer == "ffmpeg" else _packages(wheels, Path(scratch))
        part = Path(scratch) / "layer.zip"
        with zipfile.ZipFile(part, "w") as zipped:
            for name, mode, content in sorted(entries):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = 3  # Unix, on whatever system it is built
                entry.external_attr = (0o100000 | mode) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                zipped.writestr(entry, content, compresslevel=3)
        part.rename(target)
    return target


def unpacked(layer: str, out: Path) -> Path:
    """The folder of a layer for this machine, unpacked as by Lambda; for tests, samples and benchmarks.

    Raises LayerError.
    """
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
    """A digest of everything that a layer is built from."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted((HERE / layer).iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def compile_packages(folder: Path, at: str) -> bool:
    """Add bytecode to a folder that will be at `at`; False where a file in it does not compile.

    Lambda cannot store bytecode, and would compile at every cold start. A process of its own compiles:
    bytecode depends on what a process did before, and must be the same each time.
    """
    done = subprocess.run(
        [
            sys.executable, "-m", "compileall", "-qq",
            "-s", folder,
            "-p", at,
            "--invalidation-mode", "unchecked-hash",
            folder,
        ],
        check=False,
    )  # fmt: skip
    return done.returncode == 0


def _download(layer: str, arch: str, folder: Path) -> list[Path]:
    pip("download", HERE / layer / "requirements.txt", arch, "--dest", str(folder))
    return sorted(folder.glob("*.whl"))


def pip(command: str, pinned: Path, arch: str, *options: str) -> None:
    """Run `pip download` or `pip install` for Lambda's platform, only with wheels of pinned hashes.

    Raises LayerError.
    """
    platforms = [f"--platform={platform}" for platform in PLATFORMS[arch]]
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check",
            "--only-binary=:all:",
            "--no-deps",
            "--require-hashes",
            *platforms,
            "--python-version", "3.13",
            "--implementation", "cp",
            "--requirement", str(pinned),
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        other = "do not match the hashes" in done.stderr.lower()
        reason = "its hash is not the pinned one" if other else "see below"
        raise LayerError(
            f"A wheel of {pinned} could not be had for {arch}: {reason}.\n{done.stderr.strip()}"
        )


# Name, mode and content of a file in a layer.
_Entry = tuple[str, int, bytes]


def _program(wheel: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(wheel) as source:
        names = source.namelist()
        binary = next(name for name in names if "/binaries/ffmpeg-" in name)
        licence = next(name for name in names if name.endswith("/LICENSE"))
        yield "bin/ffmpeg", 0o755, source.read(binary)
        yield "LICENSE.imageio-ffmpeg", 0o644, source.read(licence)
    yield "NOTICE", 0o644, (HERE / "ffmpeg" / "NOTICE").read_bytes()
    module = HERE / "ffmpeg" / "sluice_ffmpeg.py"
    yield f"python/{module.name}", 0o644, module.read_bytes()


def _packages(wheels: list[Path], scratch: Path) -> Iterator[_Entry]:
    folder = scratch / "python"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as source:
            names = [name for name in source.namelist() if _is_used(name)]
            source.extractall(folder, names)
    if not compile_packages(folder, "/opt/python"):
        raise LayerError("Something in the wheels is not Python of this version.")
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(scratch)), 0o644, path.read_bytes()


def _is_used(name: str) -> bool:
    return not name.endswith(_UNUSED) and not _UNUSED_FOLDERS & set(name.split("/"))


# Files that only compilers and other packages' tests use.
_UNUSED = (".pyi", ".pxd", ".pyx", ".c", ".h", ".a", "/RECORD", "/")
_UNUSED_FOLDERS = {"tests", "f2py"}


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
