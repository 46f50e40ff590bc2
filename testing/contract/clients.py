"""Linters of the API's description, and clients that are generated from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
# No telemetry, and no check for newer versions.
_QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


class ToolError(Exception):
    """A tool has failed; the message is its output."""


def write(document: dict[str, Any], folder: Path) -> Path:
    """Write the description to a file. Returns its path."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return path


def lint(description: Path) -> str:
    """Lint the description with spectral and redocly. Raises ToolError for any finding, hints included."""
    spectral = _node("spectral", "lint", str(description), "--fail-severity", "hint")
    redocly = _node(
        "redocly", "lint", str(description), "--extends", "recommended", "--format", "json"
    )
    totals = json.loads(redocly)["totals"]
    if totals["errors"] or totals["warnings"]:
        raise ToolError(redocly)
    return f"{spectral.strip()}\n{totals}"


def typescript_client(description: Path, folder: Path) -> Path:
    """Compile job.ts with the types that openapi-typescript generates. Raises ToolError."""
    for name in ("job.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, folder / name)
    (folder / "node_modules").symlink_to(MODULES)
    _node("openapi-typescript", str(description), "--output", str(folder / "api.d.ts"))
    _node("tsc", "--project", str(folder))
    return folder / "built" / "job.js"


def python_client(description: Path, folder: Path) -> Path:
    """Generate the package sluice_client by openapi-python-client. Returns its folder. Raises ToolError."""
    config = folder / "config.json"
    # The generator does not know the media types of playlists and MPDs. Nobody reads the code: skip its
    # formatters.
    types = dict.fromkeys(("application/vnd.apple.mpegurl", "application/dash+xml"), "text/plain")
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": types}))
    _run(
        str(Path(sys.executable).with_name("openapi-python-client")),
        "generate", "--path", str(description), "--config", str(config),
        "--meta", "none", "--output-path", str(folder / "sluice_client"), "--fail-on-warning",
    )  # fmt: skip
    return folder


def bundle(module: str) -> bytes:
    """One script that has all that a module of ours imports from npm. Raises ToolError."""
    return _node(
        "esbuild", "--bundle", "--format=esm", "--log-level=warning", given=module
    ).encode()


def run_typescript(program: Path, api_url: str, file: Path) -> dict[str, Any]:
    """Run job.ts. Returns the job that it prints."""
    job: dict[str, Any] = json.loads(_run("node", str(program), api_url, str(file)))
    return job


def run_python(package: Path, api_url: str, file: Path) -> dict[str, Any]:
    """Run python_job.py. Returns the job that it prints."""
    program = str(HERE / "python_job.py")
    job: dict[str, Any] = json.loads(
        _run(sys.executable, program, api_url, str(file), PYTHONPATH=str(package))
    )
    return job


def _node(tool: str, *args: str, given: str = "") -> str:
    return _run(str(MODULES / ".bin" / tool), *args, given=given, **_QUIET)


def _run(*command: str, given: str = "", **variables: str) -> str:
    """Run a command with `given` as its input. Returns its output. Raises ToolError."""
    done = subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, **variables},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout
