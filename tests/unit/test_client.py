"""The client's uploads in parts, against an S3 that fails now and then."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice import uploads

ABOUT = {"filename": "film.mp4", "pipeline": ["thumbnail"], "size": 10}


class S3:
    """Signs requests, and answers them; `fails` are answers or errors that come first, by operation."""

    def __init__(self, **fails: list[int | str]) -> None:
        self.fails = fails
        self.signed: Counter[str] = Counter()
        self.parts: dict[int, bytes] = {}
        self.stored = b""
        self.begun = 0
        self.http = httpx.Client(transport=httpx.MockTransport(self._answer))

    def sign(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = {
            ("POST", False): "create",
            ("PUT", True): f"part_{request.get('partNumber')}",
            ("GET", True): "list",
            ("POST", True): "complete",
        }[request["method"], "uploadId" in request]
        self.signed[operation] += 1
        return {"url": f"https://s3.test/{operation}", "key": "uploads/k", "job_id": "job"}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        operation = request.url.path.strip("/")
        body = request.read()
        if self.fails.get(operation):
            fault = self.fails[operation].pop(0)
            if isinstance(fault, int):
                return httpx.Response(fault)
            if fault == "cut":
                raise httpx.ReadError("cut")
            return httpx.Response(200, text=fault)
        if operation.startswith("part_"):
            number = int(operation.removeprefix("part_"))
            assert request.headers["Content-Length"] == str(len(body))
            self.parts[number] = body
            return httpx.Response(200, headers={"ETag": f'"{number}"'})
        return httpx.Response(200, text=getattr(self, f"_{operation}")(body.decode()))

    def _create(self, _: str) -> str:
        self.begun += 1
        self.parts = {}
        return f'<R xmlns="http://s3.test/"><UploadId>{self.begun}</UploadId></R>'

    def _list(self, _: str) -> str:
        parts = (f'<Part><PartNumber>{n}</PartNumber><ETag>"{n}"</ETag></Part>' for n in self.parts)
        return f'<R xmlns="http://s3.test/">{"".join(parts)}</R>'

    def _complete(self, body: str) -> str:
        named = [int(number) for number in re.findall("<PartNumber>(.*?)</PartNumber>", body)]
        assert re.findall("<ETag>(.*?)</ETag>", body) == [f'"{number}"' for number in named]
        self.stored = b"".join(self.parts[number] for number in named)
        return "<R><Key>k</Key></R>"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"0123456789")
    return path


def send(s3: S3, film: Path, resume: Path | None = None, **about: Any) -> str:
    said = ABOUT | about
    return uploads.send_in_parts(s3.http, s3.sign, film, said, resume, part_bytes=4)


def test_what_fails_for_now_is_signed_and_sent_anew(film: Path) -> None:
    s3 = S3(
        part_2=["cut", 503], complete=["<Error><Code>InternalError</Code></Error>"], create=[500]
    )
    assert send(s3, film) == "job"
    assert s3.stored == film.read_bytes()
    # What begins an upload makes a ticket: it is signed once.
    assert s3.signed == {"create": 1, "part_1": 1, "part_2": 3, "part_3": 1, "complete": 2}


@pytest.mark.parametrize("fault", [403, 404])
def test_what_is_refused_is_not_sent_again(film: Path, fault: int) -> None:
    s3 = S3(part_2=[fault])
    with pytest.raises(httpx.HTTPStatusError):
        send(s3, film)
    assert s3.signed["part_2"] == 1


def test_what_always_fails_is_given_up(film: Path) -> None:
    with pytest.raises(httpx.ReadError):
        send(S3(part_1=["cut"] * 100), film)


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ("", {"part_1": 1, "part_2": 2, "part_3": 1, "list": 1, "create": 1, "complete": 1}),
        ("another file", {"part_1": 2, "part_2": 2, "part_3": 1, "create": 2, "complete": 1}),
        ("another pipeline", {"part_1": 2, "part_2": 2, "part_3": 1, "create": 2, "complete": 1}),
        (
            "it is over",
            {"part_1": 2, "part_2": 2, "part_3": 1, "list": 1, "create": 2, "complete": 1},
        ),
    ],
)
def test_an_upload_goes_on_unless_it_is_another_one(
    film: Path, tmp_path: Path, change: str, sent: dict[str, int]
) -> None:
    s3, kept = S3(part_2=[403]), tmp_path / "kept"
    with pytest.raises(httpx.HTTPStatusError):
        send(s3, film, kept)
    assert kept.exists()
    if change == "another file":
        film.write_bytes(b"9876543210")
    if change == "it is over":
        s3.fails["list"] = [404]
    send(s3, film, kept, **({"pipeline": ["watermark"]} if change == "another pipeline" else {}))
    assert s3.stored == film.read_bytes()
    assert s3.signed == sent
    assert not kept.exists()


def test_a_file_that_becomes_shorter_meanwhile_is_no_file_of_zeros(film: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        send(S3(), film, size=11)
