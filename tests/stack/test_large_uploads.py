"""Uploads in parts on the local cloud: what the API signs by its role there, clients may send."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sluice import uploads
from sluice.client import Client

pytestmark = [pytest.mark.stack, pytest.mark.media]
Sample = Callable[[str], Path]
MIB = 1024**2


class Cut(Exception):
    """The client's process was killed."""


def test_an_upload_that_was_killed_goes_on_and_starts_its_job(
    client: Client, sample: Sample, tmp_path: Path
) -> None:
    film, kept = tmp_path / "film.mp4", tmp_path / "film.resume"
    # Two parts of 5 MiB and one of the rest: players ignore what is in a box `free`.
    body = sample("small.mp4").read_bytes()
    film.write_bytes(body + (11 * MIB).to_bytes(4, "big") + b"free" + bytes(11 * MIB - 8))
    about = {"filename": film.name, "pipeline": ["thumbnail"], "size": film.stat().st_size}
    numbers: list[int] = []

    def send(killed_at: int | None = None) -> str:
        def sign(request: dict[str, object]) -> dict[str, object]:
            if (number := request.get("partNumber")) is not None:
                if number == killed_at:
                    raise Cut
                numbers.append(int(str(number)))
            return client.sign(request)

        return uploads.send_in_parts(client.http, sign, film, about, kept, part_bytes=5 * MIB)

    with pytest.raises(Cut):
        send(killed_at=2)
    job = client.wait(send())
    assert numbers == [1, 2, 3]
    assert not kept.exists()
    assert (job["status"], job["filename"]) == ("SUCCESS", film.name)
    assert client.http.get(job["input_url"]).content == film.read_bytes()
    later = {"method": "PUT", "key": job["key"], "uploadId": "any", "partNumber": 4}
    with pytest.raises(httpx.HTTPStatusError) as told:
        client.sign(later)
    assert told.value.response.json()["code"] == "upload_closed"


def test_a_part_is_sent_again_after_its_signature_and_an_aborted_upload_leaves_none(
    client: Client, tmp_path: Path
) -> None:
    begun = client.sign({"method": "POST", "key": "a.mp4", "size": 6 * MIB})
    answer = client.http.post(begun["url"]).raise_for_status()
    upload = answer.text.partition("<UploadId>")[2].partition("<")[0]
    later = {"key": begun["key"], "uploadId": upload}
    asked = {"method": "PUT", "partNumber": 1, **later}
    late = client.sign({**asked, "expiresIn": 1})
    time.sleep(3)
    assert client.http.put(late["url"], content=bytes(5 * MIB)).status_code == 403
    part = client.sign(asked)
    client.http.put(part["url"], content=bytes(5 * MIB)).raise_for_status()

    def kept() -> list[str]:
        bucket = client.stack.upload_bucket
        listed = client.aws("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [each["Key"] for each in listed]

    assert begun["key"] in kept()
    client.http.delete(client.sign({"method": "DELETE", **later})["url"]).raise_for_status()
    assert begun["key"] not in kept()
