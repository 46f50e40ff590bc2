from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import create_loader
from xdist.scheduler import LoadScopeScheduling

from testing.prepared import HAS_CORPUS, LOCAL, ROOT

if TYPE_CHECKING:
    from sluice.client import Client
    from sluice.stack import Stack

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

# Tests that one worker runs one after the other, for they share a cloud; others are shared out by file.
SHARED = {
    "test_stack": "stack",
    "test_players": "stack",
    "test_large_uploads": "stack",
    "test_webhooks": "stack",
}
# Files of which each test may run in another worker.
APART = ("test_auth", "test_chaos")
# What takes longest comes first: at the end, no worker waits for another one's long file.
FIRST = (
    *("test_players", "test_stack", "test_readme", "test_auth", "test_chaos", "test_cloud"),
    *("test_pipeline", "test_canary", "test_corpus", "test_chunks", "test_exact", "test_films"),
    *("test_sound", "test_media", "test_template", "test_budget", "test_pictures", "test_walls"),
)


def pytest_report_header(config: pytest.Config) -> list[str]:
    left_out = [f"the tests that need {name}" for name, absent in ABSENT.items() if absent]
    return [
        f"RUN: the tests of -m {config.getoption('markexpr')!r}, and no others",
        *(f"NOT RUN: {what}" for what in left_out),
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = [name for name in ABSENT if ABSENT[name]]
    left_out = [item for item in items if any(map(item.get_closest_marker, absent))]
    config.hook.pytest_deselected(items=left_out)
    rank = {name: number for number, name in enumerate(FIRST)}
    items[:] = sorted(
        (item for item in items if item not in left_out),
        key=lambda item: rank.get(item.path.stem, len(rank)),
    )


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Shares tests out to the workers of xdist by file, or as `SHARED` and `APART` say."""

    def _split_scope(self, nodeid: str) -> str:
        name = Path(nodeid.split("::", 1)[0]).stem
        return nodeid if name in APART else SHARED.get(name, name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """A sample that the project makes, by its name."""
    from infra.tools.samples import sample

    return lambda name: sample(name, LOCAL / "samples")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stage `test` on a local cloud, for all tests that leave it as it was; each has keys of its own."""
    from infra.local import cloud

    with cloud.running("test") as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    from sluice.client import Client

    with Client(stack) as client:
        yield client


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
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    """Sessions of boto3 are new; the models of the services are the same for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield


@pytest.fixture
def cloud() -> Iterator[None]:
    """The table, buckets and queues, under moto."""
    from testing.cloud import make_cloud
    from testing.mocked import mocked

    with mocked():
        make_cloud()
        yield
