"""What is not ours understands the API: linters, generators of clients and of requests.

`make contract` runs whole jobs by the clients besides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import app
from chalicelib.api.openapi import document
from testing.contract import clients, made_up
from testing.contract.serving import served

pytestmark = pytest.mark.slow


@pytest.fixture
def description(tmp_path: Path) -> Path:
    return clients.write(document(app.routes, "http://127.0.0.1:4566/api"), tmp_path)


@pytest.mark.npm
def test_linters_find_nothing_in_the_description(description: Path) -> None:
    assert "No results" in clients.lint(description)


@pytest.mark.npm
def test_a_program_with_the_generated_types_compiles(description: Path, tmp_path: Path) -> None:
    assert clients.typescript_client(description, tmp_path).exists()


def test_a_python_client_is_generated_without_a_warning(description: Path, tmp_path: Path) -> None:
    assert (clients.python_client(description, tmp_path) / "sluice_client" / "client.py").exists()


def test_requests_that_are_made_up_find_nothing(
    tmp_path: Path, sample: Callable[[str], Path]
) -> None:
    with served(sample("tiny.png")) as url:
        description = clients.write(document(app.routes, url), tmp_path)
        assert "No issues found" in made_up.try_out(description, url, examples=3, seed=1)
