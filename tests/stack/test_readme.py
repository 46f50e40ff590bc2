"""The README is true: its commands run on the local cloud of `make up`, which comes once and goes whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chalicelib.operations import PRESETS
from chalicelib.operations.recipes import DEFAULT, KINDS, read_book
from chalicelib.settings import recipes
from infra.local import cloud
from infra.local.cloud import free_port
from infra.paths import ROOT
from sluice.client import Client, until
from testing.commands import NAMES, copy_project, make, run
from testing.processes import alive, ffmpegs, processes

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"<!-- tested -->\n```sh\n(.*?)```", README, re.DOTALL)


def test_every_step_is_in_the_readme() -> None:
    for step in PRESETS:
        assert step.name in README
    default = read_book(recipes()).recipes[DEFAULT]
    for kind in KINDS:
        items = default.pipeline(kind)
        pipeline = ", ".join(each if isinstance(each, str) else json.dumps(each) for each in items)
        assert f"{kind} → {pipeline}" in re.sub(r"\s+", " ", README)


# ── one cloud, from up to down: these tests run in this order ───────────────────────────────────


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("readme") / "project")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def up(project: Path, port: int) -> Iterator[dict[str, Any]]:
    """What `make up` writes down of the cloud that it leaves running."""
    done = make(project, "up", f"PORT={port}")
    assert done.returncode == 0, done.stdout + done.stderr
    told = written_down(project)
    assert httpx.get(f"{told['api_url']}/jobs/", timeout=600).json()["jobs"] == []
    yield told
    make(project, "down")


def written_down(project: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((project / ".local" / "stack.json").read_text())
    return told


@pytest.mark.stack
def test_a_busy_port_is_refused_and_nothing_is_up(project: Path, busy_port: int) -> None:
    refused = make(project, "up", f"PORT={busy_port}")
    assert refused.returncode != 0
    assert f"Port {busy_port} of 127.0.0.1 cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "Nothing is up" in make(project, "env").stderr


@pytest.mark.stack
@pytest.mark.usefixtures("up")
def test_every_command_of_the_readme_runs(project: Path, tmp_path: Path) -> None:
    script = "\n".join([*COMMANDS, "cat film.json > ~/film"])
    done = run(project, "/bin/bash", "-euo", "pipefail", "-c", script, HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in project.iterdir()} - {"__pycache__"} == NAMES
    film = json.loads((tmp_path / "film").read_text())
    assert (film["status"], len(film["outputs"])) == ("SUCCESS", 2)
    for shown in (
        '"status": "SUCCESS"',
        "#thumbnail",
        "sluice-local-dead-letters",
        '"0"',
        "Done",
    ):
        assert shown in done.stdout


@pytest.mark.stack
def test_up_twice_is_harmless(project: Path, port: int, up: dict[str, Any]) -> None:
    again = make(project, "up", f"PORT={port}", AWS_ENDPOINT_URL="", SLUICE_X="")
    assert (again.returncode, "Already up" in again.stdout) == (0, True)
    assert written_down(project) == up
    assert httpx.get(f"{up['api_url']}/jobs/", timeout=600).status_code == 200


@pytest.mark.stack
@pytest.mark.usefixtures("up")
def test_down_takes_everything_along(project: Path, sample: Callable[[str], Path]) -> None:
    stack = cloud.read(project / ".local")
    assert stack is not None
    assert (project / ".local" / "stack.json").stat().st_mode & 0o777 == 0o600
    with Client(stack) as client:
        client.upload(sample("anamorphic.mp4"), "watermark")
        until(lambda: ffmpegs(stack), 600)
    everything = processes(stack)
    assert len(everything) > 3
    down = make(project, "down")
    assert down.returncode == 0
    assert down.stdout.splitlines()[-1].startswith("Stopped")
    assert [process for process in everything if alive(process)] == []
    left = {path.name for path in (project / ".local").iterdir()}
    assert left == {"layers", "cache", "cloud-venv", "build", "cloud.log"}
