"""Run the project's commands, as a person types them, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from testing.prepared import ROOT

_FOLDERS = ("infra", "sluice", "layers", "chalicelib", ".chalice")
_FILES = ("Makefile", "app.py", "requirements.txt")
_LINKS = (".venv", ".local/layers", ".local/cache", ".local/cloud-venv")
# The entries of a copy, before and after any command.
NAMES = {*_FOLDERS, *_FILES, ".venv", ".local"}
# Seconds after which a command counts as hanging, on any machine.
_HANGS_AFTER = 900


def copy_project(project: Path) -> Path:
    """Copy the project, set up, without a running local cloud."""
    (project / ".local").mkdir(parents=True)
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, project / name)
    for name in _FILES:
        shutil.copy(ROOT / name, project / name)
    for name in _LINKS:
        (ROOT / name).mkdir(parents=True, exist_ok=True)
        (project / name).symlink_to(ROOT / name)
    (project / "infra" / "setup.sh").write_text("exit 0\n")
    return project


def make(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make` with these targets, in an environment of `variables` only."""
    # The home is not the project: pip asks rustc for its version, and rustup writes into the home.
    return run(project, "make", "-s", *words, HOME=str(project.parent), **variables)


def run(project: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder, in an environment of PATH and `variables` only."""
    return subprocess.run(
        command,
        cwd=project,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=_HANGS_AFTER,
        check=False,
    )
