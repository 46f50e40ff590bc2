"""docs/uppy.html in Chromium, served from this machine; files of Uppy's site are served from npm packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import Page, Request, Route, sync_playwright

from infra.paths import ROOT
from testing.contract.clients import MODULES, bundle

CHROMIUM = Path("/usr/bin/chromium")
_PAGE = "http://127.0.0.1:8000/uppy.html"
_SITE = "https://releases.transloadit.com/uppy/v6.0.1/"
_SCRIPT = "uppy.min.mjs"
# What the page imports, of today's packages, which come more often than the bundle on Uppy's site.
_TODAYS = """
export { Uppy } from "@uppy/core"
export { default as Dashboard } from "@uppy/dashboard"
export { default as GoldenRetriever } from "@uppy/golden-retriever"
export { default as AwsS3 } from "@uppy/aws-s3"
"""


@contextmanager
def opened(api_url: str, *, todays: bool = False) -> Iterator[Page]:
    """Open the page with the API at this URL, and with Uppy as its site or, `todays`, as npm has it."""
    script = bundle(_TODAYS) if todays else (MODULES / "uppy" / "dist" / _SCRIPT).read_bytes()

    def from_npm(route: Route) -> None:
        name = route.request.url.removeprefix(_SITE)
        is_script = name == _SCRIPT
        route.fulfill(
            body=script if is_script else (MODULES / "uppy" / "dist" / name).read_bytes(),
            headers={
                "Content-Type": "text/javascript" if is_script else "text/css",
                "Access-Control-Allow-Origin": "*",
            },
        )

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
        page.route(f"{_SITE}**", from_npm)
        page.route(f"{_PAGE}?*", lambda route: route.fulfill(path=ROOT / "docs" / "uppy.html"))
        page.goto(f"{_PAGE}?api={quote(api_url, safe='')}")
        try:
            yield page
        finally:
            browser.close()


def choose(page: Page, *files: Path) -> None:
    page.set_input_files("input[type=file] >> nth=0", list(files))


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).first.click()


def wait(page: Page, files: int, seconds: float) -> list[str]:
    """Wait for the jobs of so many files. Returns the status of each."""
    page.wait_for_function(
        "count => document.querySelectorAll('#jobs li[data-status]').length === count",
        arg=files,
        timeout=seconds * 1000,
    )
    return [str(each.get_attribute("data-status")) for each in page.query_selector_all("#jobs li")]


def send(page: Page, *files: Path, seconds: float) -> list[str]:
    """Choose and upload files in the page, and wait. Returns the status of each job."""
    choose(page, *files)
    press(page, "Upload")
    return wait(page, len(files), seconds)


class Parts:
    """The parts of which a page has been told that S3 has them, in the order of time."""

    def __init__(self, page: Page) -> None:
        self.stored: list[int] = []
        self._page = page
        page.on("requestfinished", self._note)

    def _note(self, request: Request) -> None:
        number = parse_qs(urlsplit(request.url).query).get("partNumber")
        answer = request.response() if request.method == "PUT" and number else None
        if number and answer and answer.ok:
            self.stored.append(int(number[0]))

    def wait_for(self, count: int) -> None:
        """Wait until there are so many."""
        while len(self.stored) < count:
            self._page.wait_for_event("requestfinished")
