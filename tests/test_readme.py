"""The README is true: its commands run, on the local cloud, one after the other as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chalicelib.steps import DEFAULT_PIPELINES, STEPS
from infra import cloud
from infra.paths import LOCAL, ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"<!-- tested -->\n```sh\n(.*?)```", README, re.DOTALL)


def test_every_step_is_in_the_readme() -> None:
    for step in STEPS:
        assert step.name in README
    for kind, pipeline in DEFAULT_PIPELINES.items():
        assert f"{kind} → {', '.join(pipeline)}" in re.sub(r"\s+", " ", README)


@pytest.mark.stack
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    with cloud.running("local") as stack:
        # The cloud of this test stands where `make up` would have put its own.
        said = (LOCAL / "run" / stack.aws_endpoint_url.rsplit(":", 1)[1] / "stack.json").read_text()
        project = tmp_path / "project"
        (project / ".local").mkdir(parents=True)
        (project / ".local" / "stack.json").write_text(said)
        for name in ("infra", "layers", "chalicelib", "Makefile", "app.py", ".chalice"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, project / name)
        for name in (".venv", ".local/layers"):
            (project / name).symlink_to(ROOT / name)
        (project / "infra" / "setup.sh").write_text("exit 0\n")
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)],
            cwd=project,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in (project / "film.json").read_text()
    for shown in (
        '"status": "SUCCESS"',
        "task#thumbnail",
        "sluice-local-encode-dead",
        '"0"',
        "Done",
    ):
        assert shown in done.stdout
