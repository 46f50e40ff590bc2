"""Uploads of files: a small one by one PUT, a large one in parts, which can go on where it was broken off."""

from __future__ import annotations

import random
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

MOST_PUT_BYTES = 100 * 1024**2  # what has more is sent in parts
_LEAST_PART_BYTES = 16 * 1024**2
_PARTS = 1000  # S3 lists as many at once
_BLOCK_BYTES = 1024**2
_TRIES = 8  # of each request: with the pauses, some two minutes
_MOST_PAUSE_SECONDS = 30
_OVER = (404, 409)  # nothing more of an upload is signed, or S3 knows it no more

# Has a request to S3 signed, by a body of POST /uploads/sign/; its answer. Raises httpx.HTTPError.
Sign = Callable[[dict[str, Any]], dict[str, Any]]


class _Begun(msgspec.Struct, frozen=True):
    """An upload in parts, as it is kept in a file to go on with it."""

    key: str
    upload_id: str
    job_id: str
    part_bytes: int
    about: dict[str, Any]  # what was said of the file
    modified: int  # when the file was, in nanoseconds


def put(http: httpx.Client, sign: Sign, path: Path, about: dict[str, Any]) -> str:
    """Send a file by one PUT; the id of the job that starts when it arrives.

    `about` is what the first request of an upload says of its file.
    """
    signed = sign({"method": "PUT", "key": path.name, **about})
    with path.open("rb") as file:
        answer = http.put(signed["url"], content=file, headers=signed.get("headers"))
    answer.raise_for_status()
    return str(signed["job_id"])


def send_in_parts(
    http: httpx.Client,
    sign: Sign,
    path: Path,
    about: dict[str, Any],
    resume: Path | None = None,
    part_bytes: int | None = None,
) -> str:
    """Send a file in parts of `part_bytes`, one after the other; the id of its job, as `put`.

    Memory holds a block of a part. A request that fails is signed and sent anew, with pauses between. With
    `resume`, that file keeps what is needed to go on in another process, until the upload is complete;
    an upload that is over, or of a file that has changed since, or that is to become something else, is
    begun anew.
    """
    size, modified = about["size"], path.stat().st_mtime_ns
    begun, etags = _resumed(http, sign, resume, about, modified)
    if begun is None:
        part = part_bytes or max(_LEAST_PART_BYTES, -(-size // _PARTS))
        begun, etags = _begin(http, sign, path.name, about, part, modified), {}
        if resume:
            _keep(resume, begun)
    upload = {"key": begun.key, "uploadId": begun.upload_id}
    for number in range(1, -(-size // begun.part_bytes) + 1):
        if number not in etags:
            request = {"method": "PUT", "partNumber": number, **upload}
            start = (number - 1) * begun.part_bytes
            length = min(begun.part_bytes, size - start)
            blocks = partial(_blocks, path, start, length)
            answer = _send(http, sign, request, blocks, length)
            etags[number] = answer.headers["ETag"]
    body = _parts_as_xml(etags)
    _send(http, sign, {"method": "POST", **upload}, lambda: body, len(body))
    if resume:
        resume.unlink(missing_ok=True)
    return begun.job_id


def _begin(
    http: httpx.Client, sign: Sign, name: str, about: dict[str, Any], part_bytes: int, modified: int
) -> _Begun:
    signed = _retried(lambda: sign({"method": "POST", "key": name, **about}))

    def create() -> httpx.Response:
        return http.post(signed["url"], headers=signed.get("headers")).raise_for_status()

    (upload_id,) = _texts(_retried(create), "UploadId")
    return _Begun(signed["key"], upload_id, signed["job_id"], part_bytes, about, modified)


def _keep(resume: Path, begun: _Begun) -> None:
    """Write the file as a whole: who is killed meanwhile leaves none, or the one before."""
    new = resume.with_name(f"{resume.name}.new")
    new.write_bytes(msgspec.json.encode(begun))
    new.replace(resume)


def _resumed(
    http: httpx.Client, sign: Sign, resume: Path | None, about: dict[str, Any], modified: int
) -> tuple[_Begun | None, dict[int, str]]:
    """The upload that `resume` tells of, if it can go on, and the ETags of the parts that S3 has."""
    if resume is None or not resume.exists():
        return None, {}
    begun = msgspec.json.decode(resume.read_bytes(), type=_Begun)
    if (begun.about, begun.modified) != (about, modified):
        return None, {}
    request = {"method": "GET", "key": begun.key, "uploadId": begun.upload_id}
    try:
        listed = _send(http, sign, request)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _OVER:
            raise
        return None, {}
    numbers = map(int, _texts(listed, "PartNumber"))
    return begun, dict(zip(numbers, _texts(listed, "ETag"), strict=True))


def _send(
    http: httpx.Client,
    sign: Sign,
    request: dict[str, Any],
    content: Callable[[], Any] = lambda: b"",
    length: int = 0,
) -> httpx.Response:
    """Have a request signed, and send it with `length` bytes of `content()`; both anew where it fails."""

    def send() -> httpx.Response:
        signed = sign(request)
        headers = {"Content-Length": str(length), **(signed.get("headers") or {})}
        answer = http.request(request["method"], signed["url"], content=content(), headers=headers)
        answer.raise_for_status()
        # S3 begins its answer before it has joined the parts, and may then tell of an error.
        if b"<Error>" in answer.content:
            raise httpx.TransportError(f"S3 answered: {answer.text}")
        return answer

    return _retried(send)


def _retried[T](act: Callable[[], T]) -> T:
    """What `act` returns; it is tried again where the network, S3 or the API fails for now."""
    tries = 0
    while True:
        try:
            return act()
        except httpx.HTTPError as error:
            tries += 1
            if tries == _TRIES or not _may_pass(error):
                raise
        time.sleep(random.uniform(0.5, 1) * min(2**tries, _MOST_PAUSE_SECONDS))


def _may_pass(error: httpx.HTTPError) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def _blocks(path: Path, start: int, length: int) -> Iterator[bytes]:
    """The bytes of a part. Raises ValueError where the file has become shorter."""
    with path.open("rb") as file:
        file.seek(start)
        while length:
            block = file.read(min(length, _BLOCK_BYTES))
            if not block:
                raise ValueError(f"{path} has become shorter while it was sent.")
            yield block
            length -= len(block)


def _parts_as_xml(etags: dict[int, str]) -> bytes:
    root = ET.Element("CompleteMultipartUpload")
    for number, etag in sorted(etags.items()):
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "PartNumber").text = str(number)
        ET.SubElement(part, "ETag").text = etag
    return ET.tostring(root)


def _texts(answer: httpx.Response, name: str) -> list[str]:
    """The texts of all elements of this name, in whatever namespace, of an answer of S3."""
    found = ET.fromstring(answer.content).iter()
    return [str(each.text) for each in found if each.tag.rpartition("}")[2] == name]
