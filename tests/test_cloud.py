"""The local cloud comes up once, says why it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra import cloud, emulator
from infra.client import Client, until
from infra.emulator import EmulatorError, start
from infra.paths import LOCAL
from tests.test_stack import ffmpegs

pytestmark = pytest.mark.stack


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_busy_port_is_named_with_the_remedy(busy_port: int, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=rf"Port {busy_port} .*PORT="):
        start(tmp_path, busy_port)
    assert not (tmp_path / "emulator.json").exists()


def alive(process: psutil.Process) -> bool:
    """Whether it runs: not gone, nor dead with nobody who waits for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_goes_down_takes_everything_along(sample: Callable[[str], Path]) -> None:
    with cloud.running("test") as stack, Client(stack) as client:
        assert stack.pid is not None
        folder = LOCAL / "run" / stack.aws_endpoint_url.rsplit(":", 1)[1]
        secrets = (folder / "stack.json").stat().st_mode & 0o777
        assert secrets == 0o600
        client.upload(sample("anamorphic.mp4"), "watermark")
        until(lambda: ffmpegs(stack), 60)
        ministack = psutil.Process(stack.pid)
        everything = [ministack, *ministack.children(recursive=True)]
        assert len(everything) > 3
    assert [process for process in everything if alive(process)] == []
    assert not folder.exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """An emulator that is not ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    emulator.start(tmp_path, port)
    yield f"http://127.0.0.1:{port}"
    emulator.stop(tmp_path)


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


def test_the_ledger_keeps_its_contract_here_too(elsewhere: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", Path(__file__).with_name("test_ledger.py")],
        env={**os.environ, "SLUICE_TEST_ENDPOINT_URL": elsewhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
