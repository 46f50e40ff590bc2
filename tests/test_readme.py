"""The README is true: its commands run, on the local cloud, one after the other as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from chalicelib.operations import DEFAULT_PIPELINES, STEPS
from infra.paths import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"<!-- tested -->\n```sh\n(.*?)```", README, re.DOTALL)


def test_every_step_is_in_the_readme() -> None:
    for step in STEPS:
        assert step.name in README
    for kind, pipeline in DEFAULT_PIPELINES.items():
        assert f"{kind} → {', '.join(pipeline)}" in re.sub(r"\s+", " ", README)


@pytest.mark.stack
def test_every_command_of_the_readme_runs(project: Path, free_port: int, tmp_path: Path) -> None:
    up = [f"make up PORT={free_port}", f"trap 'make -C {project} down' EXIT"]
    script = "\n".join([*up, *COMMANDS, "cat film.json > ~/film"])
    before = set(project.iterdir())
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(project.iterdir()) - before <= {project / "__pycache__"}
    film = json.loads((home / "film").read_text())
    assert (film["status"], len(film["outputs"])) == ("SUCCESS", 2)
    for shown in (
        '"status": "SUCCESS"',
        "#thumbnail",
        "sluice-local-dead-letters",
        '"0"',
        "Done",
    ):
        assert shown in done.stdout
