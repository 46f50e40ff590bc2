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


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A film of 200 MiB, which Uppy sends in 25 parts."""
    film = samples.sample("small.mp4", LOCAL / "samples").read_bytes()
    path = tmp_path / "Größe XXL.mp4"
    rest = 200 * 1024**2 - len(film)
    with path.open("wb") as file:
        file.write(film + rest.to_bytes(4, "big") + b"free")  # players ignore this
        file.truncate(len(film) + rest)
    return path


def under_way(stack: Stack) -> list[str]:
    """The keys of uploads in parts that are neither complete nor aborted."""
    with Client(stack) as client:
        listed = client.aws("s3").list_multipart_uploads(Bucket=stack.upload_bucket)
        return [each["Key"] for each in listed.get("Uploads", [])]


def test_uppy_goes_on_after_the_network_was_cut_and_after_the_tab_was_loaded_anew(
    stack: Stack, large: Path
) -> None:
    with uppy.opened(stack.api_url, todays=True) as page:
        parts = uppy.Parts(page)
        uppy.choose(page, large)
        uppy.press(page, "Upload")
        parts.wait_for(5)
        page.context.set_offline(True)
        page.wait_for_timeout(3000)
        page.context.set_offline(False)
        uppy.press(page, "Retry")
        parts.wait_for(12)
        assert len(under_way(stack)) == 1
        page.reload()
        uppy.press(
            page, "Add more"
        )  # beside the file that Uppy knows, and wants to be chosen again
        uppy.choose(page, large)
        uppy.press(page, "Upload")
        assert uppy.wait(page, 1, seconds=240) == ["SUCCESS"]
    assert len(set(parts.stored)) == len(parts.stored)  # none was sent again
    # Of one that came as the tab was loaded, the page was not told.
    assert len(parts.stored) in (24, 25)
    assert under_way(stack) == []


def test_an_upload_that_is_canceled_in_uppy_leaves_no_part(stack: Stack, large: Path) -> None:
    with uppy.opened(stack.api_url, todays=True) as page:
        parts = uppy.Parts(page)
        uppy.choose(page, large)
        uppy.press(page, "Upload")
        parts.wait_for(3)
        assert len(under_way(stack)) == 1
        with page.expect_response(lambda answer: answer.request.method == "DELETE") as aborted:
            uppy.press(page, "Cancel")
        assert aborted.value.status == 204
    assert under_way(stack) == []


def test_uppy_in_chromium_sends_a_picture_a_film_and_what_it_cuts_into_parts(
    stack: Stack, large: Path, photo: Path
) -> None:
    film = samples.sample("small.mp4", LOCAL / "samples")
    with uppy.opened(stack.api_url) as page:
        assert uppy.send(page, photo, film, large, seconds=240) == ["SUCCESS"] * 3
        page.wait_for_function("[...document.images].every(image => image.naturalWidth)")
        page.screenshot(path=LOCAL / "uppy.png", full_page=True)
        assert "Größe XXL.mp4" in page.inner_text("#jobs")
