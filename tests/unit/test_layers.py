"""Layers: built from pinned wheels, the same bytes each time, for the right machine, and they run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sluice_ffmpeg

from layers.build import LAYERS, PLATFORMS, LayerError, build, pip, unpacked

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".local" / "layers"
ELF_MACHINES = {"x86_64": 62, "arm64": 183}
MIB = 2**20  # Lambda counts so: code and layers together may have 250 of these unpacked
UNPACKED_LIMITS = {"ffmpeg": 180 * MIB, "pyav": 180 * MIB}

every_layer = pytest.mark.parametrize("layer", LAYERS)
every_build = pytest.mark.parametrize(
    ("layer", "arch"), [(layer, arch) for layer in LAYERS for arch in PLATFORMS]
)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.slow
@every_layer
def test_built_twice_a_layer_has_the_same_bytes(
    layer: str, tmp_path: Path, umask: Callable[[int], int]
) -> None:
    first = build(layer, "x86_64", BUILT)
    umask(0o077)
    second = build(layer, "x86_64", tmp_path)
    assert second.name == first.name
    assert _sha256(second) == _sha256(first)
    assert list(tmp_path.iterdir()) == [second]


@every_build
def test_everything_compiled_is_for_the_machine(layer: str, arch: str) -> None:
    with zipfile.ZipFile(build(layer, arch, BUILT)) as zipped:
        heads = {name: _head(zipped, name) for name in zipped.namelist()}
    compiled = {name for name in heads if ".so" in name or name == "bin/ffmpeg"}
    assert compiled == {name for name, head in heads.items() if head.startswith(b"\x7fELF")}
    machines = {int.from_bytes(heads[name][18:20], "little") for name in compiled}
    assert machines == {ELF_MACHINES[arch]}


def test_the_licences_go_with_the_program() -> None:
    with zipfile.ZipFile(build("ffmpeg", "arm64", BUILT)) as zipped:
        assert b"GNU General Public" in zipped.read("NOTICE")
        assert b"BSD" in zipped.read("LICENSE.imageio-ffmpeg")


@every_build
def test_a_layer_leaves_room_for_the_code(layer: str, arch: str) -> None:
    with zipfile.ZipFile(build(layer, arch, BUILT)) as zipped:
        assert sum(entry.file_size for entry in zipped.infolist()) < UNPACKED_LIMITS[layer]


def test_only_the_binary_is_executable() -> None:
    with zipfile.ZipFile(build("ffmpeg", "x86_64", BUILT)) as zipped:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in zipped.infolist()}
    assert modes.pop("bin/ffmpeg") == 0o755
    assert set(modes.values()) == {0o644}


@pytest.fixture
def without_execute_bits(tmp_path: Path) -> Iterator[Path]:
    """An ffmpeg layer as some emulators unpack it, without execute bits."""
    layer = tmp_path / "layer"
    shutil.copytree(unpacked("ffmpeg", BUILT), layer)
    (layer / "bin" / "ffmpeg").chmod(0o644)
    yield layer
    shutil.rmtree(layer)  # pytest would keep those of its last three runs


@pytest.mark.media
def test_ffmpeg_runs_where_the_execute_bits_were_lost(without_execute_bits: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sluice_ffmpeg; print(sluice_ffmpeg.path(), end='')"],
        env={"PYTHONPATH": str(without_execute_bits / "python")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(found) == without_execute_bits / "bin" / "ffmpeg"
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("ffmpeg version n9.0.2")


def test_a_read_only_binary_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    binary = tmp_path / "ffmpeg"
    binary.write_bytes(b"one")
    copy = sluice_ffmpeg.executable_copy(binary)
    assert os.access(copy, os.X_OK)
    assert copy.read_bytes() == b"one"
    assert sluice_ffmpeg.executable_copy(binary) == copy
    assert list(copy.parent.iterdir()) == [copy]

    binary.write_bytes(b"another")
    assert sluice_ffmpeg.executable_copy(binary).read_bytes() == b"another"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to someone else")
def test_a_program_that_someone_else_left_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    binary = tmp_path / "ffmpeg"
    binary.write_bytes(b"ours")
    os.chown(sluice_ffmpeg.executable_copy(binary).parent, 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to someone else"):
        sluice_ffmpeg.executable_copy(binary)


def test_a_wheel_of_another_hash_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "layers", tmp_path / "layers")
    pinned = tmp_path / "layers" / "pyav" / "requirements.txt"
    pinned.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", pinned.read_text()))
    refused = subprocess.run(
        [sys.executable, "-m", "layers.build", "pyav", "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert f"A wheel of {pinned} could not be had for x86_64: its hash is not" in refused.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arch", PLATFORMS)
def test_what_functions_need_has_a_hash_on_every_machine(tmp_path: Path, arch: str) -> None:
    pinned = tmp_path / "requirements.txt"
    for content, reason in (
        ("six==1.17.0\n", "see below"),
        (f"six==1.17.0 --hash=sha256:{'0' * 64}\n", "its hash is not"),
    ):
        pinned.write_text(content)
        with pytest.raises(LayerError, match=f"could not be had for {arch}: {reason}"):
            pip("install", pinned, arch, "--target", str(tmp_path / "packages"))


def test_probing_has_the_same_packages_in_tests_and_on_lambda() -> None:
    assert _pins(ROOT / "layers" / "pyav" / "requirements.txt") <= _pins(
        ROOT / "requirements-dev.txt"
    )


def test_tests_run_on_the_packages_that_are_deployed() -> None:
    assert _pins(ROOT / "requirements.txt") <= _pins(ROOT / "requirements-dev.txt")


def _pins(requirements: Path) -> set[str]:
    lines = requirements.read_text().splitlines()
    return {line.split()[0] for line in lines if "==" in line and not line.startswith(" ")}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _head(zipped: zipfile.ZipFile, name: str) -> bytes:
    with zipped.open(name) as content:
        return content.read(20)
