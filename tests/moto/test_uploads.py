"""Uploads by signed requests, under moto: every verb, each refusal, whose they are, the jobs they start."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import msgspec
import pytest
import requests
from boto3.s3.transfer import TransferConfig

from chalicelib.api import job_lists, signed_uploads, submissions, uploads
from chalicelib.api.requests import FromKeyRequest, PresignRequest, SignRequest
from chalicelib.api.views import JobView, Signed
from chalicelib.errors import RequestError
from chalicelib.model.step import FAILURE, PENDING, SUCCESS
from chalicelib.settings import settings
from chalicelib.store import jobs
from testing import rows
from testing.pump import deliver, drain, drop, event_of

pytestmark = pytest.mark.usefixtures("cloud")
Sample = Callable[[str], Path]
MIB = 1024**2
STEPS = ["thumbnail"]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets variables of the environment; the settings are read again."""

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield set_variables
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def content(sample: Sample) -> bytes:
    """A film of two parts; players ignore what is in a box `free`."""
    film = sample("small.mp4").read_bytes()
    return film + (6 * MIB).to_bytes(4, "big") + b"free" + bytes(6 * MIB - 8)


def sign(method: str, key: str, caller: str = "-", **more: Any) -> Signed:
    """What the API answers to Uppy's `signRequest`."""
    asked = msgspec.convert({"method": method, "key": key, **more}, SignRequest)
    return signed_uploads.sign(caller, asked)


def refused(method: str, key: str, caller: str = "-", **more: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as told:
        sign(method, key, caller, **more)
    return told.value.status, told.value.code


def send(method: str, signed: Signed, body: bytes = b"") -> requests.Response:
    answer = requests.request(method, signed.url, data=body, headers=signed.headers, timeout=60)
    answer.raise_for_status()
    return answer


def found(answer: requests.Response, name: str) -> list[str]:
    """The texts of an answer's elements of this name."""
    return [
        str(each.text) for each in ET.fromstring(answer.content).iter() if each.tag.endswith(name)
    ]


def begin(**more: Any) -> tuple[Signed, str]:
    """Begin an upload in parts: the answer, with its key, and its id."""
    signed = sign("POST", "film.mp4", contentType="video/mp4", **more)
    (upload,) = found(send("POST", signed), "UploadId")
    return signed, upload


def send_parts(key: str, upload: str, content: bytes, *numbers: int) -> dict[int, str]:
    """Send parts of 5 MiB, all or some of them; their ETags."""
    etags = {}
    for number in numbers or range(1, len(content) // (5 * MIB) + 2):
        part = content[(number - 1) * 5 * MIB : number * 5 * MIB]
        signed = sign("PUT", key, uploadId=upload, partNumber=number)
        etags[number] = send("PUT", signed, part).headers["ETag"]
    return etags


def complete(key: str, upload: str, etags: dict[int, str]) -> None:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in sorted(etags.items())
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    send("POST", sign("POST", key, uploadId=upload), body)


def arrived(key: str) -> str:
    """S3's event of an object that came in parts."""
    head = boto3.client("s3").head_object(Bucket=settings().upload_bucket, Key=key)
    etag = head["ETag"].strip('"')
    assert "-" in etag
    name = "ObjectCreated:CompleteMultipartUpload"
    return event_of(key, size=head["ContentLength"], etag=etag, name=name)


def job_of(key: str) -> JobView:
    (job,) = job_lists.list_jobs("-", {"key": key}, "https://x/api").jobs
    return job


def under_way() -> list[str]:
    s3 = boto3.client("s3")
    listed = s3.list_multipart_uploads(Bucket=settings().upload_bucket)
    return [each["Key"] for each in listed.get("Uploads", [])]


# ── every verb ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.media
def test_a_film_in_parts_starts_its_job_by_itself(content: bytes) -> None:
    asked = {"filename": "Größe.mp4", "size": len(content), "metadata": {"order": "7"}}
    signed, upload = begin(pipeline=STEPS, **asked)
    assert signed.key is not None
    assert signed.key.startswith("uploads/")
    assert signed.key.endswith("_Grosse.mp4")
    assert job_of(signed.key).status == PENDING
    etags = send_parts(signed.key, upload, content)
    assert list(etags) == [1, 2]
    complete(signed.key, upload, etags)
    event = arrived(signed.key)
    assert deliver("intake", event, event) == []
    drain()
    job = job_of(signed.key)
    assert (job.id, job.status, job.filename) == (signed.job_id, SUCCESS, "Größe.mp4")
    assert job.metadata == {"order": "7"}
    assert "-2" in rows.job_item(job.id)["etag"]["S"]


@pytest.mark.media
def test_a_film_in_parts_without_a_pipeline_waits_for_from_key(content: bytes) -> None:
    signed, upload = begin()
    assert signed.job_id is None
    key = str(signed.key)
    with pytest.raises(RequestError) as told:
        submissions.from_key("-", FromKeyRequest(key), None)
    assert told.value.code == "upload_incomplete"
    complete(key, upload, send_parts(key, upload, content))
    assert deliver("intake", arrived(key)) == []
    submissions.from_key("-", FromKeyRequest(key, list(STEPS)), None)
    drain()
    assert job_of(key).status == SUCCESS


def test_an_upload_goes_on_by_the_list_of_its_parts(content: bytes) -> None:
    signed, upload = begin(size=len(content))
    key = str(signed.key)
    first = send_parts(key, upload, content, 2)
    listed = send("GET", sign("GET", key, uploadId=upload))
    assert (found(listed, "PartNumber"), found(listed, "ETag")) == (["2"], [first[2]])
    complete(key, upload, first | send_parts(key, upload, content, 1))
    assert arrived(key)


def test_an_aborted_upload_leaves_nothing(content: bytes) -> None:
    signed, upload = begin()
    key = str(signed.key)
    send_parts(key, upload, content, 1)
    assert under_way() == [key]
    send("DELETE", sign("DELETE", key, uploadId=upload))
    assert under_way() == []


def test_a_small_file_is_one_put_as_presign_signs_it() -> None:
    signed = sign("PUT", "1-2-3-Ü.png", size=7, contentType="image/png", recipe="web")
    assert signed.headers == {"Content-Type": "image/png"}
    query = parse_qs(urlsplit(signed.url).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    key = str(signed.key)
    assert key.endswith("_1-2-3-U.png")  # the name is that of the proposed key
    assert job_of(key).id == signed.job_id


@pytest.mark.parametrize(
    ("said", "seconds"), [({}, 3600), ({"expiresIn": 60}, 60), ({"expiresIn": 604800}, 3600)]
)
def test_a_signature_is_valid_as_long_as_was_asked_for_and_the_stage_allows(
    said: dict[str, Any], seconds: int
) -> None:
    key = str(begin()[0].key)
    for signed in (
        sign("PUT", "a.png", **said),
        sign("POST", "a.mp4", **said),
        sign("PUT", key, uploadId="u", partNumber=10_000, **said),
        sign("DELETE", key, uploadId="u", **said),
    ):
        assert parse_qs(urlsplit(signed.url).query)["X-Amz-Expires"] == [str(seconds)]


# ── refusals ────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_not_deleted() -> None:
    key = str(begin()[0].key)
    assert refused("DELETE", key) == (403, "delete_refused")
    assert refused("DELETE", "any") == (403, "delete_refused")


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("GET", {}),
        ("PUT", {"uploadId": "u"}),
        ("PUT", {"partNumber": 1}),
        ("GET", {"uploadId": "u", "partNumber": 1}),
        ("DELETE", {"partNumber": 1}),
    ],
)
def test_what_no_upload_has_is_not_signed(method: str, more: dict[str, Any]) -> None:
    assert refused(method, "k", **more) == (400, "malformed_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "HEAD"},
        {"uploadId": "u", "partNumber": 0},
        {"uploadId": "u", "partNumber": 10_001},
        {"uploadId": "ü"},
        {"expiresIn": 0},
        {"key": ""},
        {"key": "a\nb"},
        {"size": 0},
        {"bucket": "theirs"},
    ],
)
def test_a_field_that_is_out_of_bounds_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"method": "PUT", "key": "k", **wrong}, SignRequest)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"size": 72_000_000_001}, (413, "source_too_large")),
        ({"pipeline": ["thumb"]}, (422, "unknown_step")),
        ({"pipeline": ["thumbnail"], "recipe": "web"}, (422, "recipe_and_pipeline")),
        ({"max_usd": 1.0}, (422, "pipeline_required")),
        ({"metadata": {"ü": "x"}}, (422, "invalid_metadata")),
    ],
)
def test_what_presign_refuses_is_refused(
    method: str, wrong: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert refused(method, "k", **wrong) == refusal


def test_in_parts_a_file_may_be_larger_than_by_one_put() -> None:
    size = 6 * 1024**3
    assert refused("PUT", "k", size=size) == (413, "source_too_large")
    assert sign("POST", "k", size=size).key


def test_a_stage_may_insist_on_the_size(configure: Callable[..., None]) -> None:
    configure(SLUICE_REQUIRE_SIZE="true")
    for method in ("PUT", "POST"):
        assert refused(method, "k") == (422, "size_required")
        assert sign(method, "k", size=7).key


LATER: list[tuple[str, dict[str, Any]]] = [
    ("PUT", {"partNumber": 1}),
    ("GET", {}),
    ("POST", {}),
    ("DELETE", {}),
]


@pytest.mark.parametrize(("method", "more"), LATER)
def test_a_key_that_is_not_of_an_upload_of_ones_own_is_none(
    method: str, more: dict[str, Any]
) -> None:
    signed, upload = begin()
    put = uploads.presign("-", PresignRequest("a.mp4", "video/mp4")).key
    drop("inbox/a.mp4", b"x")
    asked = {"uploadId": upload, **more}
    assert sign(method, str(signed.key), **asked).url
    assert refused(method, str(signed.key), "another", **asked) == (404, "key_not_found")
    for key in ("uploads/none", put, "inbox/a.mp4"):
        assert refused(method, key, **asked) == (404, "key_not_found")


@pytest.mark.parametrize(("method", "more"), LATER)
def test_of_an_upload_that_has_arrived_only_an_abort_is_signed(
    content: bytes, method: str, more: dict[str, Any]
) -> None:
    signed, upload = begin()
    key = str(signed.key)
    complete(key, upload, send_parts(key, upload, content))
    assert deliver("intake", arrived(key)) == []
    if method == "DELETE":
        assert sign(method, key, uploadId=upload, **more).url
    else:
        assert refused(method, key, uploadId=upload, **more) == (409, "upload_closed")


@pytest.mark.parametrize(("method", "more"), LATER)
def test_of_an_upload_whose_time_is_over_only_an_abort_is_signed(
    method: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, upload = begin(pipeline=STEPS)
    key, now = str(signed.key), time.time()
    job = jobs.get(str(signed.job_id))
    assert job is not None
    monkeypatch.setattr(time, "time", lambda: now + 86400 - 60)
    url = sign(method, key, uploadId=upload, **more).url
    left = int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])
    assert left <= 3600 if method == "DELETE" else left <= 60
    assert job.deadline_at > time.time() + left  # the job waits for what may still be sent
    monkeypatch.setattr(time, "time", lambda: now + 86400 + 1)
    if method == "DELETE":
        assert sign(method, key, uploadId=upload, **more).url
    else:
        assert refused(method, key, uploadId=upload, **more) == (409, "upload_closed")


# ── what arrives ────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_another_size_than_announced_is_refused(content: bytes) -> None:
    signed, upload = begin(size=len(content) - 1, pipeline=STEPS)
    key = str(signed.key)
    complete(key, upload, send_parts(key, upload, content))
    assert deliver("intake", arrived(key)) == []
    job = job_of(key)
    assert (job.status, job.error_code) == (FAILURE, "size_differs")
    assert f"{len(content)} bytes" in job.error
    with pytest.raises(RequestError) as told:
        submissions.from_key("-", FromKeyRequest(key), None)
    assert (told.value.status, told.value.code) == (422, "size_differs")


@pytest.mark.media
def test_an_operators_drop_in_parts_is_one_drop(content: bytes, tmp_path: Path) -> None:
    """As `aws s3 cp` sends it: by boto3's transfers, which cut what is large."""
    file = tmp_path / "film.mp4"
    file.write_bytes(content)
    cut = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    metadata = {"Metadata": {"pipeline": "thumbnail"}}
    bucket = settings().upload_bucket
    boto3.client("s3").upload_file(
        str(file), bucket, "inbox/film.mp4", ExtraArgs=metadata, Config=cut
    )
    event = arrived("inbox/film.mp4")
    assert deliver("intake", event) == []
    assert deliver("intake", event) == []
    drain()
    job = job_of("inbox/film.mp4")
    assert (job.status, job.pipeline) == (SUCCESS, STEPS)


@pytest.mark.media
def test_a_job_tells_the_checksum_that_s3_has(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    s3: Any = boto3.client("s3")
    checksum = "ejnX7aEJzrg="  # moto believes it
    for key, of_sender in (
        ("with.jpg", {"ChecksumAlgorithm": "CRC64NVME", "ChecksumCRC64NVME": checksum}),
        ("without.jpg", {"ChecksumAlgorithm": "SHA256"}),
    ):
        put = s3.put_object(Bucket=settings().upload_bucket, Key=key, Body=body, **of_sender)
        etag = put["ETag"].strip('"')
        assert deliver("intake", event_of(key, size=len(body), etag=etag)) == []
    assert job_of("with.jpg").checksum_crc64nvme == checksum
    assert job_of("without.jpg").checksum_crc64nvme == ""
