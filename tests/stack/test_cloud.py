"""The local cloud comes up once, says why it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.deploying.account import Account
from infra.deploying.deploy import delete
from infra.local import ministack
from infra.local.cloud import free_port as any_free_port
from infra.local.ministack import EmulatorError, start
from testing.commands import copy_project, make

pytestmark = pytest.mark.stack


def test_a_busy_port_is_named_with_the_remedy(busy_port: int, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=rf"Port {busy_port} .*PORT="):
        start(tmp_path, busy_port)
    assert not (tmp_path / "emulator.json").exists()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("cloud") / "project")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator that is not ours, with no stack on it: who deploys one deletes it."""
    folder, port = tmp_path_factory.mktemp("elsewhere"), any_free_port()
    ministack.start(folder, port)
    yield f"http://127.0.0.1:{port}"
    ministack.stop(folder)


def test_the_same_deploy_works_on_an_emulator_that_is_there(elsewhere: str) -> None:
    environment = {**os.environ, "AWS_ENDPOINT_URL": elsewhere, "AWS_ACCESS_KEY_ID": "test"}
    done = subprocess.run(
        [sys.executable, "-m", "infra", "deploy", "--stage", "test"],
        env=environment | {"AWS_SECRET_ACCESS_KEY": "test"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UploadBucket: sluice-test-upload-" in done.stdout
    base = f"{elsewhere}/_aws/execute-api/sluice/api"
    described = httpx.get(f"{base}/openapi.json", timeout=600).json()
    assert [server["url"] for server in described["servers"]] == [base]
    assert delete("test", Account(elsewhere, "us-east-1", "test", "test"))


def test_up_on_an_emulator_that_is_there_never_writes_the_callers_secret_down(
    project: Path, elsewhere: str
) -> None:
    variables = {"AWS_ENDPOINT_URL": elsewhere, "AWS_SECRET_ACCESS_KEY": "my own"}
    first = make(project, "up", **variables)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Already up" in make(project, "up", **variables).stdout
    assert "my own" not in (project / ".local" / "stack.json").read_text()
    assert make(project, "down").returncode == 0
    assert httpx.get(f"{elsewhere}/_ministack/health").status_code == 200


def test_a_cloud_that_is_not_there_is_a_sentence(project: Path, free_port: int) -> None:
    nowhere = make(
        project,
        *("deploy", "STAGE=local"),
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    )
    assert nowhere.returncode != 0
    assert "Could not connect" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr
