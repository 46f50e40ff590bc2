"""docs/uppy.html in Chromium, served from this machine; files of Uppy's site are served from npm packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, Route, sync_playwright

from infra.paths import ROOT
from testing.contract.clients import MODULES

CHROMIUM = Path("/usr/bin/chromium")
_PAGE = "http://127.0.0.1:8000/uppy.html"
_SITE = "https://releases.transloadit.com/uppy/v6.0.1/"


@contextmanager
def opened(api_url: str) -> Iterator[Page]:
    """Open the page with the API at this URL."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[
                "--no-sandbox",
                "--disable-dev-shm-usage",
                # A page that Playwright answers is of no network: Chromium asks whether it may use this one.
                "--disable-features=LocalNetworkAccessChecks",
            ],
        )
        page = browser.new_page()
        page.route(f"{_SITE}**", _from_npm)
        page.route(f"{_PAGE}?*", lambda route: route.fulfill(path=ROOT / "docs" / "uppy.html"))
        page.goto(f"{_PAGE}?api={quote(api_url, safe='')}")
        try:
            yield page
        finally:
            browser.close()


def _from_npm(route: Route) -> None:
    file = MODULES / "uppy" / "dist" / route.request.url.removeprefix(_SITE)
    kinds = {".mjs": "text/javascript", ".css": "text/css"}
    route.fulfill(
        body=file.read_bytes(),
        headers={"Content-Type": kinds[file.suffix], "Access-Control-Allow-Origin": "*"},
    )


def send(page: Page, *files: Path, seconds: float) -> list[str]:
    """Choose and upload files in the page, and wait. Returns the status of each job."""
    page.set_input_files("input[type=file] >> nth=0", list(files))
    page.get_by_role("button", name="Upload").first.click()
    page.wait_for_function(
        "count => document.querySelectorAll('#jobs li[data-status]').length === count",
        arg=len(files),
        timeout=seconds * 1000,
    )
    return [str(each.get_attribute("data-status")) for each in page.query_selector_all("#jobs li")]
