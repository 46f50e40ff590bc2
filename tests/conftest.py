from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

from testing.prepared import HAS_CORPUS, LOCAL, ROOT

# Marks of tests that need something which a machine may lack. There they are deselected, and pytest's header
# lists them.
ABSENT = {
    "corpus": not HAS_CORPUS,
    "strace": shutil.which("strace") is None,
    "npm": not (ROOT / "testing" / "contract" / "node_modules").exists(),
    "chromium": not (
        Path("/usr/bin/chromium").exists()
        and (ROOT / "testing" / "players" / "node_modules").exists()
    ),
}


def pytest_report_header() -> list[str]:
    return [f"NOT RUN: the tests that need {name}" for name, absent in ABSENT.items() if absent]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = [name for name in ABSENT if ABSENT[name]]
    left_out = [item for item in items if any(map(item.get_closest_marker, absent))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """A function from a sample's name to its path; see infra/tools/samples.py."""
    from infra.tools.samples import sample

    return lambda name: sample(name, LOCAL / "samples")


@pytest.fixture
def short_chunks() -> Iterator[None]:
    """Functions of this process plan chunks as short as a segment."""
    from chalicelib.settings import settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_CHUNK_WORK_SECONDS", "0.01")
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, set up, without a running local cloud."""
    project = tmp_path / "project"
    (project / ".local").mkdir(parents=True)
    for name in ("infra", "sluice", "layers", "chalicelib", ".chalice"):
        shutil.copytree(ROOT / name, project / name)
    for name in ("Makefile", "app.py", "requirements.txt"):
        shutil.copy(ROOT / name, project / name)
    for name in (".venv", ".local/layers", ".local/cache", ".local/cloud-venv"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
        (project / name).symlink_to(ROOT / name)
    (project / "infra" / "setup.sh").write_text("exit 0\n")
    return project


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    """Each test makes its own boto3 clients; they share the services' models, which are read once."""
    read = cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture
def cloud() -> Iterator[None]:
    """The table, buckets and queues, under moto."""
    from moto import mock_aws

    from testing.cloud import make_cloud

    with mock_aws():
        make_cloud()
        yield
