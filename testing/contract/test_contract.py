"""`make contract`: whole jobs by generated clients and by Uppy in Chromium, and generated requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chalicelib.api.descriptions import EXAMPLE_KEY
from infra.local import cloud
from infra.paths import LOCAL
from infra.tools import samples
from sluice.client import Client
from sluice.stack import Stack
from testing.contract import clients, made_up, uppy

TOLD = {
    "filename": "photo.jpg",
    "outputs": ["thumbnail", "watermark"],
    "kind": "image",
    "newest": True,
    "refused": "job_not_found",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with cloud.running("test") as stack:
        yield stack


@pytest.fixture(scope="module")
def photo() -> Path:
    return samples.sample("photo.jpg", LOCAL / "samples")


@pytest.fixture
def description(stack: Stack, tmp_path: Path) -> Path:
    response = httpx.get(f"{stack.api_url}/openapi.json", timeout=60).raise_for_status()
    return clients.write(response.json(), tmp_path)


def test_linters_find_nothing(description: Path) -> None:
    print(clients.lint(description))


def test_a_job_by_the_generated_python_client(
    stack: Stack, description: Path, tmp_path: Path, photo: Path
) -> None:
    package = clients.python_client(description, tmp_path)
    assert clients.run_python(package, stack.api_url, photo) == TOLD


def test_a_job_by_the_generated_typescript_client(
    stack: Stack, description: Path, tmp_path: Path, photo: Path
) -> None:
    program = clients.typescript_client(description, tmp_path)
    assert clients.run_typescript(program, stack.api_url, photo) == TOLD


def test_requests_that_are_made_up(stack: Stack, description: Path, photo: Path) -> None:
    with Client(stack) as client:
        client.drop(photo, EXAMPLE_KEY)
    print(made_up.try_out(description, stack.api_url, examples=50))


def test_uppy_in_chromium_sends_a_picture_a_film_and_what_it_would_cut_into_parts(
    stack: Stack, tmp_path: Path, photo: Path
) -> None:
    film = samples.sample("small.mp4", LOCAL / "samples")
    # By default Uppy uploads files above 100 MB in parts: append as many bytes, which players ignore.
    large = tmp_path / "Größe XXL.mp4"
    large.write_bytes(film.read_bytes())
    with large.open("ab") as file:
        file.write((120 * 1024**2).to_bytes(4, "big") + b"free")
        file.truncate(film.stat().st_size + 120 * 1024**2)
    with uppy.opened(stack.api_url) as page:
        assert uppy.send(page, photo, film, large, seconds=240) == ["SUCCESS"] * 3
        page.wait_for_function("[...document.images].every(image => image.naturalWidth)")
        page.screenshot(path=LOCAL / "uppy.png", full_page=True)
        assert "Größe XXL.mp4" in page.inner_text("#jobs")
