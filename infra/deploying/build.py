"""Packages a stage from the sources: layers, code and template, in .local/build/."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chalice.cli.factory import CLIFactory
from chalice.config import Config

from chalicelib import settings
from chalicelib.operations.recipes import read_book
from infra.deploying.errors import BuildError
from infra.paths import LOCAL, ROOT
from infra.stack import sizing
from infra.stack.catalogue import LAYERS
from infra.stack.sizing import AccountLimits, Sizes
from infra.stack.targets import LOCAL_STAGES
from infra.stack.template import merge_template
from layers.build import build as build_layer
from layers.build import compile_packages, pip

# Who may call the API.
AUTHS = ("none", "api_key", "iam")
# The services that the functions call, X-Ray's SDK included. botocore's descriptions of four hundred others
# would be half of all bytes.
SERVICES = ("dynamodb", "lambda", "s3", "secretsmanager", "sqs", "xray")
_NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True)
class Build:
    """A packaged stage: `folder` holds sam.json and the zips that it names; `digest` is of the sources."""

    stage: str
    architecture: str
    auth: str
    folder: Path
    digest: str


def build(
    stage: str,
    architecture: str | None = None,
    auth: str | None = None,
    account: AccountLimits | None = None,
) -> Build:
    """Package a stage unless its sources are unchanged; with `account`, make it fit the account.

    Raises BuildError, LayerError, InvalidSetting and InvalidRecipes.
    """
    architecture = architecture or _default_architecture(stage)
    own = chosen_auth(stage)
    if not (auth or own):
        print(
            f"Nobody has chosen who may call the API of stage {stage}: packaged with iam. "
            "AUTH=none|api_key|iam, or SLUICE_AUTH in .chalice/config.json, chooses."
        )
    name = f"{stage}-{architecture}" + (f"-{auth}" if auth and auth != own else "")
    auth = auth or own or "iam"
    config = _config(ROOT, stage)
    for line in sizing.notes(config, account):
        print(line)
    read_book(settings.recipes())
    sizes = sizing.fitted(config, account)
    if sizes != sizing.fitted(config, None):
        name += "-fitted"
    folder = LOCAL / "build" / name
    with _locked(LOCAL / "build"):
        digest = _digest(_sources(), stage, architecture, auth, repr(sizes))
        packaged = Build(stage, architecture, auth, folder, digest)
        if _digest_of(folder) == digest:
            print(f"Build of {name}: nothing has changed")
            return packaged
        print(f"Build of {name}: layers, code, template", flush=True)
        layers = {layer: build_layer(layer, architecture, LOCAL / "layers") for layer in LAYERS}
        dependencies = _dependencies(architecture)
        with TemporaryDirectory(dir=LOCAL / "build") as scratch:
            out = Path(scratch) / "out"
            package(stage, architecture, auth, out, dependencies, sizes)
            for layer, path in layers.items():
                (out / f"{layer}.zip").hardlink_to(path)
            (out / "digest").write_text(digest)
            shutil.rmtree(folder, ignore_errors=True)
            out.rename(folder)
    return packaged


def package(
    stage: str,
    architecture: str,
    auth: str,
    out: Path,
    dependencies: Path | None = None,
    sizes: Sizes | None = None,
) -> None:
    """Run `chalice package` with our template merged in; writes sam.json and deployment.zip to `out`.

    `dependencies` are unpacked packages that go into the zip. Raises BuildError.
    """
    # In a copy of the sources: the config gets what the stage chooses, the zip gets no caches, and Chalice's
    # own folders stay out of the repository.
    out = out.absolute()
    with TemporaryDirectory() as scratch:
        project = Path(scratch)
        _copy_project(project, stage, architecture, auth, sizes)
        if dependencies:
            (project / "vendor").symlink_to(dependencies)
        merge = project / "merge.json"
        merge.write_text(json.dumps(merge_template(_config(project, stage))))
        command = [sys.executable, "-c", "from chalice.cli import main; main()"]
        arguments = ["package", "--stage", stage, "--merge-template", str(merge), str(out)]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": scratch,
            "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
            "SLUICE_AUTH": auth,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "PYTHONDONTWRITEBYTECODE": "1",  # Chalice imports the app before it zips it
        }
        done = subprocess.run(
            [*command, *arguments],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"chalice package failed:\n{done.stdout}{done.stderr}")


def chosen_auth(stage: str) -> str | None:
    """Who may call the API, by the stage's configuration; None where it says nothing.

    Raises BuildError where there is no such stage.
    """
    config = _config(ROOT, stage)
    if stage not in config.config_from_disk.get("stages", {}):
        raise BuildError(f"There is no stage {stage!r} in .chalice/config.json.")
    return config.environment_variables.get("SLUICE_AUTH")


def _config(project: Path, stage: str) -> Config:
    return CLIFactory(str(project)).create_config_obj(stage)


def _default_architecture(stage: str) -> str:
    """This machine's for local stages, whose functions run here; else the configuration's."""
    if stage in LOCAL_STAGES:
        return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    return _config(ROOT, stage).lambda_architecture


def _copy_project(
    project: Path, stage: str, architecture: str, auth: str, sizes: Sizes | None
) -> None:
    shutil.copy(ROOT / "app.py", project)
    shutil.copytree(ROOT / "chalicelib", project / "chalicelib", ignore=_NOT_SHIPPED)
    _compile(project / "chalicelib", "/var/task/chalicelib")
    (project / "requirements.txt").touch()  # dependencies come as vendor/, see _dependencies
    (project / ".chalice").mkdir()
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    own = config["stages"][stage]
    own["lambda_architecture"] = architecture
    own.setdefault("environment_variables", {})["SLUICE_AUTH"] = auth
    if sizes:
        sizing.write(sizes, own)
    for scope in (config, own):
        sizing.remove_account_settings(scope.get("environment_variables", {}))
    (project / ".chalice" / "config.json").write_text(json.dumps(config))


def _dependencies(architecture: str) -> Path:
    """A folder with the packages of requirements.txt for Lambda, checked by their hashes and cached.

    Chalice would download them again for every change of the code, without hashes for another architecture,
    and run build scripts where there is no wheel.
    """
    requirements = ROOT / "requirements.txt"
    digest = _digest([requirements, Path(__file__), ROOT / "layers" / "build.py"], architecture)
    cached = LOCAL / "cache" / f"dependencies-{architecture}-{digest[:16]}"
    # Several copies of the project may share the cache: the tests' do.
    with _locked(cached.parent):
        if cached.exists():
            return cached
        print(f"  the packages of requirements.txt for {architecture}", flush=True)
        with TemporaryDirectory(dir=cached.parent) as scratch:
            unpacked = Path(scratch) / "packages"
            pip("install", requirements, architecture, "--no-compile", "--target", str(unpacked))
            for folder in (unpacked / "botocore" / "data").iterdir():
                if folder.is_dir() and folder.name not in SERVICES:
                    shutil.rmtree(folder)
            shutil.rmtree(unpacked / "bin", ignore_errors=True)  # command-line scripts
            _compile(unpacked, "/var/task")
            unpacked.rename(cached)
    return cached


def _compile(folder: Path, at: str) -> None:
    if not compile_packages(folder, at):
        raise BuildError(f"Something in {folder} is not Python of this version.")


def _sources() -> Iterator[Path]:
    yield from (ROOT / "app.py", ROOT / "requirements.txt", ROOT / ".chalice" / "config.json")
    yield ROOT / "infra" / "deploying" / "build.py"
    for folder in ("chalicelib", "infra/stack", "layers"):
        yield from _files(ROOT / folder)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            yield path


def _digest(files: Iterable[Path], *facts: str) -> str:
    digest = hashlib.sha256("\0".join((*facts, sys.version)).encode())
    for path in files:
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _digest_of(folder: Path) -> str | None:
    try:
        return (folder / "digest").read_text()
    except FileNotFoundError:
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process builds in this folder at a time: tests in parallel start with the same build."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
