from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

from layers.build import unpacked
from tests.environment import ENVIRONMENT

# Before anything of ours is imported: the table's name is read when its model is.
os.environ.update(ENVIRONMENT, SLUICE_RETRY_SECONDS="1")

os.environ.setdefault("POWERTOOLS_TRACE_DISABLED", "true")
# Not that of a shell that works with a cloud: moto would not stand in for it.
for _variable in ("AWS_PROFILE", *(name for name in os.environ if "AWS_ENDPOINT_URL" in name)):
    os.environ.pop(_variable, None)
if _endpoint_url := os.environ.get("SLUICE_TEST_ENDPOINT_URL"):
    os.environ["AWS_ENDPOINT_URL"] = _endpoint_url

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
CORPUS = ROOT.parent / "shared" / "corpus"
HAS_CORPUS = CORPUS.exists() and "CI" not in os.environ


# The FFmpeg of the layer, as in Lambda.
sys.path.insert(0, str(unpacked("ffmpeg", LOCAL / "layers") / "python"))


# Marks of tests that need what a machine may not have: left out there, which the header says.
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
    """A sample that the project makes, by its name."""
    from infra.samples import sample

    return lambda name: sample(name, LOCAL / "samples")


@pytest.fixture
def short_chunks() -> Iterator[None]:
    from tests.local import chunks_of

    with chunks_of(0.01):
        yield


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project that is set up, with a local cloud of its own still to be started."""
    project = tmp_path / "project"
    (project / ".local").mkdir(parents=True)
    for name in ("infra", "layers", "chalicelib", ".chalice"):
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
    """Each test has clients of its own; the models of the services are the same for all."""
    read = cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture
def cloud() -> Iterator[None]:
    """The table, buckets and queues, under moto."""
    from moto import mock_aws

    from tests.cloud import make_cloud

    with mock_aws():
        make_cloud()
        yield
