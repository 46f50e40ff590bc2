"""The routes, under moto: shapes of answers, and a sentence for each refusal."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice, permutations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import boto3
import httpx
import msgspec
import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from chalice.app import Request
from chalice.test import Client
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from app import app
from chalicelib.api import hls, job_lists, uploads
from chalicelib.api import jobs as api_jobs
from chalicelib.api.hls_tokens import Grant, Tokens, tokens
from chalicelib.api.http import base_url
from chalicelib.api.openapi import DESCRIPTIONS, document
from chalicelib.api.recipes import book
from chalicelib.api.requests import encode_cursor, parse_cursor
from chalicelib.errors import Forbidden, NotFound, RequestError
from chalicelib.model.job import Job
from chalicelib.model.step import SUCCESS, Output, StepState
from chalicelib.operations import OPERATIONS
from chalicelib.settings import Settings, settings
from chalicelib.store import clients, identities, jobs, progress, signing, starts, steps, tasks
from chalicelib.store.queues import QUEUES
from testing.cloud import Throttled
from testing.local import FREE, a_plan
from testing.pump import take

pytestmark = pytest.mark.usefixtures("cloud")
JOB = "d7b8f4bf-5809-4c62-97a4-c008686e881d"
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(app) as client:
        yield client


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


def call(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    raw = (
        body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    )
    answer = client.http.request(
        method,
        path,
        headers={**JSON, **{k.replace("_", "-"): v for k, v in headers.items()}},
        body=raw,
    )
    text = answer.body.decode()
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    is_json = "json" in answer.headers.get("Content-Type", "")
    return Answer(answer.status_code, json.loads(text) if is_json else text, answer.headers)


def refused(answer: Answer, status: int, code: str) -> str:
    """The sentence of a refusal of this kind."""
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["title"]
    return str(answer.body["detail"])


def put(key: str, body: bytes = b"x") -> None:
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key=key, Body=body)


def waiting_job(key: str) -> str | None:
    ticket = identities.get_ticket(key)
    assert ticket is not None
    return ticket.ticket_job_id


# ── presign ─────────────────────────────────────────────────────────────────────────────────────


def test_presign_gives_a_url_that_signs_neither_type_nor_checksum(client: Client) -> None:
    answer = call(
        client,
        "POST",
        "/uploads/presign",
        {"filename": "my image.png", "content_type": "image/png"},
    )
    assert answer.status == 200
    assert set(answer.body) == {"key", "url", "headers"}
    assert answer.body["key"].startswith("uploads/")
    assert answer.body["key"].endswith("_my_image.png")
    assert answer.body["headers"] == {"Content-Type": "image/png"}
    query = parse_qs(urlsplit(answer.body["url"]).query)
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert not [name for name in query if "checksum" in name.lower()]
    assert waiting_job(answer.body["key"]) is None


def test_presign_with_a_size_signs_it(client: Client) -> None:
    body = {"filename": "a.png", "content_type": "image/png", "size": 12}
    url = call(client, "POST", "/uploads/presign", body).body["url"]
    assert parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"] == ["content-length;host"]


def test_presign_with_a_pipeline_writes_the_job_that_waits(client: Client) -> None:
    body = {"filename": "a.png", "content_type": "image/png", "pipeline": ["thumbnail"]}
    answer = call(client, "POST", "/uploads/presign", body)
    job = call(client, "GET", f"/jobs/{answer.body['job_id']}").body
    assert (job["status"], job["pipeline"], job["key"]) == (
        "PENDING",
        ["thumbnail"],
        answer.body["key"],
    )
    assert waiting_job(answer.body["key"]) == answer.body["job_id"]


@pytest.mark.parametrize(
    ("filename", "tail"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\Ä ö.JPG", "A_o.JPG"),
        ("Übergröße привет.jpg", "Ubergrosse_privet.jpg"),
        ("Cafe\u0301 日本.png", "Cafe_RiBen.png"),
        (".htaccess", "htaccess"),
        ("///", "file"),
        ("a" * 300 + ".png", "a" * 96 + ".png"),
    ],
)
def test_of_a_file_name_only_a_harmless_tail_survives(filename: str, tail: str) -> None:
    key = uploads.new_key(filename)
    name = key.removeprefix("uploads/")
    assert "/" not in name
    assert name[32] == "_"
    assert name[33:].isascii()
    assert name.endswith(tail)


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        (b"{nonsense", 400, "malformed_json", "JSON"),
        (b"", 400, "malformed_json", "JSON"),
        (b"\xff\xfe", 400, "malformed_json", "JSON"),
        ({"filename": "a.png"}, 400, "malformed_request", "content_type"),
        ({"filename": 7, "content_type": "image/png"}, 400, "malformed_request", "$.filename"),
        (
            {"filename": "a", "content_type": "b/c", "pipelin": []},
            400,
            "malformed_request",
            "pipelin",
        ),
        (
            {"filename": "a", "content_type": "b/c", "pipeline": []},
            422,
            "empty_pipeline",
            "thumbnail",
        ),
        (
            {"filename": "a", "content_type": "b/c", "pipeline": ["x"]},
            422,
            "unknown_step",
            "hls_720p",
        ),
        (
            {"filename": "a", "content_type": "b/c", "pipeline": ["thumbnail"] * 2},
            422,
            "repeated_step",
            "thumbnail",
        ),
        ({"filename": "a", "content_type": "b/c", "size": 0}, 400, "malformed_request", "$.size"),
        ({"filename": "a", "content_type": "b/c", "size": 2**40}, 413, "source_too_large", "bytes"),
        (
            {"filename": "a", "content_type": "b/c", "max_usd": 1},
            422,
            "pipeline_required",
            "from-key",
        ),
        (
            {"filename": "a", "content_type": "b/c", "pipeline": ["thumbnail"], "max_usd": 5e-324},
            400,
            "malformed_request",
            "$.max_usd",
        ),
    ],
)
def test_presign_refuses(client: Client, body: Any, status: int, code: str, word: str) -> None:
    assert word in refused(call(client, "POST", "/uploads/presign", body), status, code)


def test_a_stage_on_aws_wants_to_know_the_size(
    client: Client, configure: Callable[..., None]
) -> None:
    assert Settings().require_size
    configure(SLUICE_REQUIRE_SIZE="true")
    body: dict[str, Any] = {"filename": "a.png", "content_type": "image/png"}
    assert "size" in refused(call(client, "POST", "/uploads/presign", body), 422, "size_required")
    answer = call(client, "POST", "/uploads/presign", {**body, "size": 7})
    assert "content-length" in answer.body["url"].lower()


# ── from-key ────────────────────────────────────────────────────────────────────────────────────


def test_from_key_starts_a_job_and_gives_the_same_for_the_same(client: Client) -> None:
    put("drops/a.png")
    body = {"key": "drops/a.png", "pipeline": ["thumbnail"]}
    first = call(client, "POST", "/jobs/from-key", body)
    assert first.status == 202
    assert set(first.body) == {"job_id"}
    assert call(client, "POST", "/jobs/from-key", body).body == first.body
    assert take("intake") == [json.dumps(first.body, separators=(",", ":"))] * 2
    other = call(client, "POST", "/jobs/from-key", {"key": "drops/a.png"})
    assert other.body != first.body
    put("drops/a.png", b"changed")
    assert call(client, "POST", "/jobs/from-key", body).body != first.body


def test_the_order_of_steps_asks_for_no_other_job(client: Client) -> None:
    put("a.png")
    steps = ["thumbnail", "watermark", "transcode_720p", "hls_720p"]
    job_ids = {
        call(client, "POST", "/jobs/from-key", {"key": "a.png", "pipeline": order}).body["job_id"]
        for order in islice(permutations(steps), 5)
    }
    (job_id,) = job_ids
    assert call(client, "GET", f"/jobs/{job_id}").body["pipeline"] == steps
    waits = {"filename": "a.png", "content_type": "image/png", "pipeline": steps[:2]}
    upload = call(client, "POST", "/uploads/presign", waits).body
    put(upload["key"])
    asked = {"key": upload["key"], "pipeline": steps[1::-1]}
    assert call(client, "POST", "/jobs/from-key", asked).body["job_id"] == upload["job_id"]


def test_from_key_gives_a_new_job_after_a_failure(client: Client) -> None:
    put("a.png")
    first = call(client, "POST", "/jobs/from-key", {"key": "a.png"}).body["job_id"]
    fail(first)
    second = call(client, "POST", "/jobs/from-key", {"key": "a.png"}).body["job_id"]
    assert second != first
    assert call(client, "POST", "/jobs/from-key", {"key": "a.png"}).body["job_id"] == second


def test_an_idempotency_key_gives_the_same_job_and_refuses_another_body(client: Client) -> None:
    put("a.png")
    put("b.png")
    first = call(client, "POST", "/jobs/from-key", {"key": "a.png"}, Idempotency_Key="k").body
    fail(first["job_id"])
    again = call(client, "POST", "/jobs/from-key", {"key": "a.png"}, Idempotency_Key="k")
    assert again.body == first
    other = call(client, "POST", "/jobs/from-key", {"key": "b.png"}, Idempotency_Key="k")
    refused(other, 422, "idempotency_key_reused")


def test_of_two_bodies_with_one_idempotency_key_only_one_starts_a_job(client: Client) -> None:
    put("a.png")
    identities.claim("idempotency - k", "of-another-body", fingerprint="another body")
    answer = call(client, "POST", "/jobs/from-key", {"key": "a.png"}, Idempotency_Key="k")
    refused(answer, 422, "idempotency_key_reused")
    assert call(client, "GET", "/jobs").body["jobs"] == []
    assert take("intake") == []


def test_a_call_that_died_before_its_job_was_written_can_be_repeated(client: Client) -> None:
    put("a.png")
    body = {"key": "a.png"}
    fingerprint = hashlib.sha256(b'{"key":"a.png","pipeline":null}').hexdigest()
    identities.claim("idempotency - k", "00000000", fingerprint=fingerprint)
    first = call(client, "POST", "/jobs/from-key", body, Idempotency_Key="k")
    assert call(client, "POST", "/jobs/from-key", body, Idempotency_Key="k").body == first.body
    assert jobs.get(first.body["job_id"]) is not None


def test_a_key_that_s3_could_not_have_is_refused(client: Client) -> None:
    answer = call(client, "POST", "/jobs/from-key", {"key": 600 * "ü"})
    assert "1024 bytes" in refused(answer, 400, "malformed_request")


def test_from_key_refuses_what_is_not_there(client: Client) -> None:
    answer = call(client, "POST", "/jobs/from-key", {"key": "nothing.png"})
    assert "nothing.png" in refused(answer, 404, "key_not_found")
    key = call(
        client, "POST", "/uploads/presign", {"filename": "a.png", "content_type": "image/png"}
    ).body["key"]
    answer = call(client, "POST", "/jobs/from-key", {"key": key})
    assert "PUT" in refused(answer, 409, "upload_incomplete")


# ── the form ────────────────────────────────────────────────────────────────────────────────────


def form(files: dict[str, tuple[str, bytes]], **fields: str) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://x", files=files, data=fields)
    return request.read(), request.headers["content-type"]


def test_a_form_is_stored_byte_for_byte_and_its_job_waits_for_the_event(client: Client) -> None:
    content = bytes(range(256)) * 40
    body, content_type = form({"file": ("ä.png", content)}, pipeline="thumbnail, watermark")
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert answer.status == 202
    job = call(client, "GET", f"/jobs/{answer.body['job_id']}").body
    assert job["pipeline"] == ["thumbnail", "watermark"]
    stored = boto3.client("s3").get_object(Bucket=settings().upload_bucket, Key=job["key"])
    assert stored["Body"].read() == content
    assert waiting_job(job["key"]) == answer.body["job_id"]


def test_a_form_is_refused_with_a_remedy(client: Client) -> None:
    body, content_type = form({"file": ("a.png", b"x" * 5_000_000)})
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert "presign" in refused(answer, 413, "form_too_large")
    refused(call(client, "POST", "/jobs/upload", {"file": "a"}), 415, "unsupported_type")
    body, content_type = form({"other": ("a.png", b"x")})
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert "file" in refused(answer, 400, "file_missing")
    answer = call(client, "POST", "/jobs/upload", b"no form", Content_Type=content_type)
    refused(answer, 400, "malformed_form")
    body, content_type = form({"file": ("a.png", b"x")}, pipeline="thumbnale")
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert "thumbnale" in refused(answer, 422, "unknown_step")


@pytest.mark.parametrize(
    "part",
    [
        b'name="pipeline"\r\n\r\n\xff\xfe',
        b'name="pipeline"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nthumbnail',
        b'name="file"; filename="\xff\xfe"\r\n\r\nx',
    ],
)
def test_a_form_in_no_known_alphabet_is_refused(client: Client, part: bytes) -> None:
    whole = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nx\r\n'
    whole += b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n--b--\r\n"
    content_type = "multipart/form-data; boundary=b"
    answer = call(client, "POST", "/jobs/upload", whole, Content_Type=content_type)
    assert "(" not in refused(answer, 400, "malformed_form")


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────


def fail(job_id: str) -> None:
    row = jobs.get(job_id)
    assert row is not None
    assert jobs.fail_pending(row, "source_damaged", "It is damaged.")


def start(job_id: str, seconds: float, *pipeline: str) -> None:
    plan, row = a_plan(*pipeline), jobs.get(job_id)
    assert row is not None
    assert starts.start(
        row,
        duration=seconds,
        etag="e",
        pipeline=[*plan.steps],
        recipe="",
        plan=plan,
        starter="m",
        charge=FREE,
    )
    progress.write(job_id, plan)


def end_steps(job_id: str, *outputs: Output) -> Job:
    row = jobs.get(job_id)
    assert row is not None
    ended = steps.end(row, {each.type: StepState(SUCCESS, outputs=(each,)) for each in outputs})
    assert ended is not None
    return ended


def finished_job(client: Client, output: Output) -> str:
    put("a.mp4")
    body = {"key": "a.mp4", "pipeline": [output.type]}
    job_id = str(call(client, "POST", "/jobs/from-key", body).body["job_id"])
    start(job_id, 60.0, output.type)
    jobs.end(end_steps(job_id, output))
    return job_id


MP4 = Output("transcode_720p", "outputs/j_a_720p.mp4", 9, "video/mp4", 1280, 720, 60.0)
HLS = Output(
    "hls_720p", "outputs/j_a_hls/master.m3u8", 9, "application/vnd.apple.mpegurl", 1280, 720, 60.0
)


def test_a_finished_job_lists_its_outputs_with_links(client: Client) -> None:
    job = call(client, "GET", f"/jobs/{finished_job(client, MP4)}").body
    assert (job["status"], job["progress"], job["error"]) == ("SUCCESS", 100, "")
    assert job["steps"] == [
        {
            "name": "transcode_720p",
            "status": "SUCCESS",
            "progress": 100,
            "error": "",
            "error_code": "",
        }
    ]
    (output,) = job["outputs"]
    assert (output["type"], output["s3_key"]) == ("transcode_720p", MP4.s3_key)
    assert MP4.s3_key in urlsplit(output["url"]).path
    disposition = parse_qs(urlsplit(job["input_url"]).query)["response-content-disposition"]
    assert disposition[0].startswith("attachment")
    assert job["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("given", "shown", "ascii_only"),
    [
        ("Übergröße привет.jpg", "Übergröße привет.jpg", "Ubergrosse_privet.jpg"),
        ('C:\\photos\\a "b";c.jpg', 'a "b";c.jpg', "a_b_c.jpg"),
        ("../..", "..", "file"),
        ("ü" * 300 + ".jpeg", "ü" * 125 + ".jpeg", "u" * 125 + ".jpeg"),
    ],
)
def test_a_file_keeps_its_name(client: Client, given: str, shown: str, ascii_only: str) -> None:
    asked = {"filename": given, "content_type": "image/jpeg"}
    waits = call(client, "POST", "/uploads/presign", {**asked, "pipeline": ["thumbnail"]}).body
    key = call(client, "POST", "/uploads/presign", asked).body["key"]
    put(key)
    later = call(client, "POST", "/jobs/from-key", {"key": key}).body
    body, content_type = form({"file": (given, b"x")})
    sent = call(client, "POST", "/jobs/upload", body, Content_Type=content_type).body
    for job_id in (waits["job_id"], later["job_id"], sent["job_id"]):
        job = call(client, "GET", f"/jobs/{job_id}").body
        assert job["filename"] == shown
        (told,) = parse_qs(urlsplit(job["input_url"]).query)["response-content-disposition"]
        assert told == f"attachment; filename=\"{ascii_only}\"; filename*=UTF-8''" + quote(
            shown, safe=""
        )


def test_a_dropped_file_is_called_as_its_key_ends(client: Client) -> None:
    for key, name in (("in/Grüße.png", "Grüße.png"), (f"in/{'a' * 32}_b.png", f"{'a' * 32}_b.png")):
        put(key)
        job_id = call(client, "POST", "/jobs/from-key", {"key": key}).body["job_id"]
        assert call(client, "GET", f"/jobs/{job_id}").body["filename"] == name


def test_an_output_is_saved_by_the_name_of_its_original(client: Client) -> None:
    asked = {"filename": "Grüße 1.mp4", "content_type": "video/mp4", "pipeline": ["transcode_720p"]}
    job_id = call(client, "POST", "/uploads/presign", asked).body["job_id"]
    key = f"outputs/{job_id.replace('-', '')}_Grusse_1_720p.mp4"
    mp4 = msgspec.structs.replace(MP4, s3_key=key)
    start(job_id, 1.0, mp4.type)
    end_steps(job_id, mp4)
    (output,) = call(client, "GET", f"/jobs/{job_id}").body["outputs"]
    (told,) = parse_qs(urlsplit(output["url"]).query)["response-content-disposition"]
    name = "Gr%C3%BC%C3%9Fe%201_720p.mp4"
    assert told == f"inline; filename=\"Grusse_1_720p.mp4\"; filename*=UTF-8''{name}"


def test_progress_weighs_tasks_and_stays_under_100_until_the_end(client: Client) -> None:
    put("a.mp4")
    job_id = call(client, "POST", "/jobs/from-key", {"key": "a.mp4"}).body["job_id"]
    start(job_id, 1.0, "transcode_720p", "hls_720p")
    job = call(client, "GET", f"/jobs/{job_id}").body
    assert (job["progress"], job["eta_seconds"]) == (0, None)
    tasks.add_ended(job_id, "film.0")
    progress.advance(job_id, "film.1", 50)
    job = call(client, "GET", f"/jobs/{job_id}").body
    assert (job["status"], job["progress"]) == ("STARTED", 40)
    assert [step["progress"] for step in job["steps"]] == [44, 44]
    assert job["eta_seconds"] in (0, 1, 2)
    for part in ("film.1", "film.2"):
        tasks.add_ended(job_id, part)
    progress.advance(job_id, "hls_720p", 100)
    progress.advance(job_id, "transcode_720p", 100)
    job = call(client, "GET", f"/jobs/{job_id}").body
    assert (job["progress"], [step["progress"] for step in job["steps"]]) == (99, [99, 99])


def test_an_estimate_tells_what_a_job_would_be_and_starts_nothing(
    client: Client, sample: Callable[[str], Path]
) -> None:
    put("a.mp4", sample("small.mp4").read_bytes())
    answer = call(client, "POST", "/jobs/estimate", {"key": "a.mp4"})
    assert answer.status == 200
    told = {name: answer.body[name] for name in answer.body if name != "usage"}
    assert told == {
        "key": "a.mp4",
        "kind": "video",
        "duration": pytest.approx(2.0),
        "pipeline": ["thumbnail", "transcode_720p", "hls_720p"],
        "recipe": f"default@{book().version_of('default')}",
        "tasks": 5,
        "encoding": "In one piece.",
    }
    used = answer.body["usage"]
    assert used["functions"]["encode"]["gb_seconds"] > used["functions"]["package"]["gb_seconds"]
    services = ("lambda", "dynamodb", "s3", "sqs")
    assert list(used["cost_usd_by_service"]) == list(services)
    assert used["cost_usd"] == pytest.approx(sum(used["cost_usd_by_service"].values()), abs=1e-8)
    table = boto3.client("dynamodb").scan(TableName=settings().jobs_table)
    assert table["Count"] == 0
    (kept,) = boto3.client("s3").list_objects_v2(Bucket=settings().output_bucket)["Contents"]
    assert kept["Key"].startswith("work/looked/")
    assert [take(queue) for queue in QUEUES] == [[]] * len(QUEUES)


def test_a_file_is_looked_at_once_for_all_estimates_of_it(
    client: Client, sample: Callable[[str], Path]
) -> None:
    reads: list[str] = []

    def asked(model: Any, params: Any, **_: Any) -> None:
        reads.append(params["headers"].get("Range", ""))

    clients.s3().meta.events.register("before-call.s3.GetObject", asked)
    put("a.mp4", sample("small.mp4").read_bytes())
    first = call(client, "POST", "/jobs/estimate", {"key": "a.mp4"})
    looked = len(reads)
    again = call(client, "POST", "/jobs/estimate", {"key": "a.mp4"})
    assert again.body == first.body
    other = call(client, "POST", "/jobs/estimate", {"key": "a.mp4", "pipeline": ["thumbnail"]})
    assert other.body["tasks"] == 1
    # What it is told to be, and whether it is there.
    assert len(reads) == looked + 2 * 2
    put("a.mp4", sample("photo.jpg").read_bytes())
    assert call(client, "POST", "/jobs/estimate", {"key": "a.mp4"}).body["kind"] == "image"


def test_what_the_function_that_estimates_says_is_not_trusted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.jpg")

    def asked(answer: Any) -> Answer:
        def taken_over(event: Any, context: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("app.estimate", taken_over)
        return call(client, "POST", "/jobs/estimate", {"key": "a.jpg"})

    for answer in (
        ValueError("It crashes."),
        {"type": "refusal", "code": "<script>", "detail": "x"},
        {"type": "refusal", "code": "too_long", "detail": "x" * 10_000},
        {"type": "estimate", "estimate": {}},
        ["x"] * 1_000_000,
        None,
    ):
        refused(asked(answer), 422, "not_looked_at")
    busy = asked(Throttled())
    refused(busy, 429, "estimates_busy")
    assert busy.headers["Retry-After"] == "5"


def test_an_estimate_follows_the_pipeline_asked_for_in_body_or_metadata(
    client: Client, sample: Callable[[str], Path]
) -> None:
    body = sample("photo.jpg").read_bytes()
    boto3.client("s3").put_object(
        Bucket=settings().upload_bucket,
        Key="a.jpg",
        Body=body,
        Metadata={"pipeline": "watermark"},
    )
    by_metadata = call(client, "POST", "/jobs/estimate", {"key": "a.jpg"}).body
    assert (by_metadata["kind"], by_metadata["duration"]) == ("image", None)
    assert (by_metadata["pipeline"], by_metadata["tasks"]) == (["watermark"], 1)
    asked = {"key": "a.jpg", "pipeline": ["thumbnail", "watermark"]}
    more = call(client, "POST", "/jobs/estimate", asked).body
    assert more["tasks"] == 1
    assert more["usage"]["cost_usd"] > by_metadata["usage"]["cost_usd"]


@pytest.mark.parametrize(
    ("name", "pipeline", "code"),
    [
        ("text.jpg", None, "unsupported_media"),
        ("empty.png", None, "empty_file"),
        ("sound_only.m4a", ["thumbnail"], "no_video_stream"),
        ("photo.jpg", ["hls_720p"], "step_needs_video"),
        ("photo.jpg", ["sepia"], "unknown_step"),
    ],
)
def test_an_estimate_refuses_what_a_job_would_fail_for(
    client: Client,
    sample: Callable[[str], Path],
    name: str,
    pipeline: list[str] | None,
    code: str,
) -> None:
    put("a", sample(name).read_bytes())
    body = {"key": "a", "pipeline": pipeline}
    assert refused(call(client, "POST", "/jobs/estimate", body), 422, code).endswith(".")


def test_an_estimate_needs_a_file_that_is_there(client: Client) -> None:
    body = {"filename": "a.png", "content_type": "image/png"}
    key = call(client, "POST", "/uploads/presign", body).body["key"]
    early = call(client, "POST", "/jobs/estimate", {"key": key})
    assert "PUT it first" in refused(early, 409, "upload_incomplete")
    refused(call(client, "POST", "/jobs/estimate", {"key": "nowhere"}), 404, "key_not_found")
    refused(call(client, "POST", "/jobs/estimate", {}), 400, "malformed_request")


def test_there_is_no_other_job(client: Client) -> None:
    for job_id in ("d7b8f4bf-5809-4c62-97a4-c008686e881d", "x", 3000 * "a"):
        refused(call(client, "GET", f"/jobs/{job_id}"), 404, "job_not_found")


def test_jobs_are_listed_page_by_page(client: Client) -> None:
    for number in range(5):
        put(f"{number}.png")
        call(client, "POST", "/jobs/from-key", {"key": f"{number}.png"})
    seen, cursor = [], ""
    while True:
        page = call(client, "GET", f"/jobs?limit=2{cursor}").body
        seen += [job["key"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"{number}.png" for number in (4, 3, 2, 1, 0)]
    assert [j["key"] for j in call(client, "GET", "/jobs?key=3.png").body["jobs"]] == ["3.png"]
    assert call(client, "GET", "/jobs?status=FAILURE").body["jobs"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 400, "malformed_request"),
        ("limit=101", 400, "malformed_request"),
        ("limit=ten", 400, "malformed_request"),
        ("limit=%C2%B2", 400, "malformed_request"),
        ("limit=" + 5000 * "1", 400, "malformed_request"),
        ("key=", 400, "malformed_request"),
        ("key=" + 513 * "%C3%BC", 400, "malformed_request"),
        ("cursor=AAAA", 400, "malformed_cursor"),
        ("cursor=%21%21", 400, "malformed_cursor"),
        ("status=DONE", 422, "unknown_status"),
    ],
)
def test_a_listing_refuses(client: Client, query: str, status: int, code: str) -> None:
    refused(call(client, "GET", f"/jobs?{query}"), status, code)


# ── HLS ─────────────────────────────────────────────────────────────────────────────────────────


def hls_path(client: Client) -> str:
    job = call(client, "GET", f"/jobs/{finished_job(client, HLS)}").body
    path = str(urlsplit(job["outputs"][0]["url"]).path)
    return path[path.index("/jobs/") :]


def test_the_url_of_hls_serves_playlists_and_redirects_to_segments(client: Client) -> None:
    master = hls_path(client)
    boto3.client("s3").put_object(
        Bucket=settings().output_bucket, Key=HLS.s3_key, Body=b"#EXTM3U\nvideo.m3u8\n"
    )
    answer = call(client, "GET", master)
    assert (answer.status, answer.body) == (200, "#EXTM3U\nvideo.m3u8\n")
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    path = master.replace("master.m3u8", "video_00000.m4s")
    refused(call(client, "GET", path), 404, "file_not_found")
    boto3.client("s3").put_object(
        Bucket=settings().output_bucket, Key="outputs/j_a_hls/video_00000.m4s", Body=b"x"
    )
    segment = call(client, "GET", path)
    assert segment.status == 302
    assert "outputs/j_a_hls/video_00000.m4s" in segment.headers["Location"]
    assert "X-Amz-Signature" in segment.headers["Location"]


def test_what_changes_is_not_kept_and_what_is_whole_is(client: Client) -> None:
    master = hls_path(client)
    boto3.client("s3").put_object(
        Bucket=settings().output_bucket, Key=HLS.s3_key, Body=b"#EXTM3U\nvideo.m3u8\n"
    )
    kept = call(client, "GET", master).headers["Cache-Control"]
    # As long as the link works.
    assert re.fullmatch(r"private, max-age=\d+", kept)
    assert 5 * 3600 < int(kept.rpartition("=")[2]) <= 9 * 3600
    boto3.client("s3").put_object(
        Bucket=settings().output_bucket, Key="outputs/j_a_hls/video_00000.m4s", Body=b"x"
    )
    segment = call(client, "GET", master.replace("master.m3u8", "video_00000.m4s"))
    assert re.fullmatch(r"private, max-age=\d{1,3}", segment.headers["Cache-Control"])


def test_links_are_the_same_for_a_while_and_say_how_long_they_work(client: Client) -> None:
    job_id = finished_job(client, MP4)
    one, other = (call(client, "GET", f"/jobs/{job_id}").body for _ in range(2))
    output = one["outputs"][0]
    lifetime, now = settings().download_url_seconds, time.time()
    for url, told in (
        (output["url"], output["expires_at"]),
        (one["input_url"], one["input_url_expires_at"]),
    ):
        asked = dict(parse_qsl(urlsplit(url).query))
        signed_at = datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%S%z").timestamp()
        assert signed_at % (lifetime // 2) == 0
        expires_at = datetime.fromisoformat(told).timestamp()
        assert expires_at == signed_at + int(asked["X-Amz-Expires"])
        assert lifetime / 2 - 5 < expires_at - now <= lifetime
    if one["input_url_expires_at"] == other["input_url_expires_at"]:
        assert (one["input_url"], output) == (other["input_url"], other["outputs"][0])


def test_a_signature_is_that_of_botocore(client: Client) -> None:
    clients.credentials.cache_clear()
    disposition = 'attachment; a="b"'
    params = {"Bucket": "b", "Key": "a b+ü/c~.jpg", "ResponseContentDisposition": disposition}
    query = {"response-content-disposition": disposition}
    for _ in range(5):
        theirs = clients.s3().generate_presigned_url("get_object", Params=params, ExpiresIn=60)
        ours = signing.signed_address("b", params["Key"], query, int(time.time()), 60)
        one, other = (dict(parse_qsl(urlsplit(url).query)) for url in (theirs, ours))
        if one["X-Amz-Date"] == other["X-Amz-Date"]:
            break
    assert one == other
    assert theirs.partition("?")[0] == ours.partition("?")[0]


def test_a_token_opens_its_own_jobs_folder_and_nothing_else(client: Client) -> None:
    master = hls_path(client)
    _, _, job_id, _, token, _ = master.split("/")
    other = master.replace(job_id, "d7b8f4bf-5809-4c62-97a4-c008686e881d")
    refused(call(client, "GET", other), 403, "token_invalid")
    # The last of the signature's characters stand for fewer bits than they have.
    forged = token[:-10] + ("a" if token[-10] != "a" else "b") + token[-9:]
    refused(call(client, "GET", master.replace(token, forged)), 403, "token_invalid")
    for name in ("plan.json", "..%2Fplan.json", "missing.m3u8", "Video.m3u8"):
        answer = call(client, "GET", master.replace("master.m3u8", name))
        assert answer.status == 404


def test_a_token_expires_after_its_film_could_be_watched_twice(client: Client) -> None:
    for duration, hours in ((6 * 3600, 12), (60, 6)):
        issued, expires_at = tokens().issue("job", "outputs/x", duration)
        assert tokens().check(issued, "job").expires_at == expires_at
        assert 1 <= (expires_at - time.time()) / (hours * 3600) <= 1.5
    old = tokens().sign(Grant("job", "outputs/x", int(time.time()) - 1))
    refused(call(client, "GET", f"/jobs/job/hls/{old}/master.m3u8"), 403, "token_expired")


def test_a_redirect_to_a_segment_ends_with_its_token(client: Client) -> None:
    key = "outputs/x/segment.m4s"
    boto3.client("s3").put_object(Bucket=settings().output_bucket, Key=key, Body=b"x")
    for left in (90, 7200):
        ends = int(time.time()) + left
        token = tokens().sign(Grant("job", "outputs/x", ends))
        answer = call(client, "GET", f"/jobs/job/hls/{token}/segment.m4s")
        told = parse_qs(urlsplit(answer.headers["Location"]).query)
        signed_at = datetime.strptime(told["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        lifetime = int(told["X-Amz-Expires"][0])
        assert lifetime == min(ends - signed_at.timestamp(), settings().download_url_seconds)


def tokens_of_another_process() -> Tokens:
    return Tokens("hls", SecretsProvider())


def test_a_key_has_a_successor(client: Client) -> None:
    first, _ = tokens().issue("job", "outputs/x", 1)
    secrets = boto3.client("secretsmanager")
    secrets.put_secret_value(SecretId="hls", SecretString="second" * 8)
    second, _ = tokens_of_another_process().issue("job", "outputs/x", 1)
    for old_or_new in (tokens(), tokens_of_another_process()):
        assert old_or_new.check(second, "job").folder == "outputs/x"
        assert old_or_new.check(first, "job").folder == "outputs/x"
    secrets.put_secret_value(SecretId="hls", SecretString="third " * 8)
    assert tokens_of_another_process().check(second, "job").folder == "outputs/x"
    with pytest.raises(Forbidden, match="not valid"):
        tokens_of_another_process().check(first, "job")


def test_keys_are_asked_for_once_in_a_while(client: Client) -> None:
    asked: list[str] = []
    now = time.monotonic()
    provider = SecretsProvider()
    provider.client.meta.events.register(
        "before-call.secrets-manager", lambda params, **_: asked.append(params["body"])
    )
    one = Tokens("hls", provider, lambda: now)
    issued, _ = one.issue("job", "outputs/x", 1)
    for _ in range(3):
        one.check(issued, "job")
    assert len(asked) == 2  # of the key, and of its predecessor, which is not there
    with pytest.raises(Forbidden):
        one.check("forged", "job")
    assert len(asked) == 4
    now += 299
    one.check(issued, "job")
    assert len(asked) == 4
    now += 1
    one.check(issued, "job")
    assert len(asked) == 6


# ── where the API is ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("route", "path", "base"),
    [
        ("/jobs/{job_id}", "/api/jobs/1b2c", "https://x.execute-api.test/api"),
        ("/jobs/{job_id}", "/api/jobs/1b2c/", "https://x.execute-api.test/api"),
        ("/jobs", "/api/jobs/", "https://x.execute-api.test/api"),
        ("/openapi.json", "/openapi.json", "https://x.execute-api.test"),
        ("/jobs", "/media/v1/jobs", "https://x.execute-api.test/media/v1"),
    ],
)
def test_the_base_is_told_by_api_gateway(
    configure: Callable[..., None], route: str, path: str, base: str
) -> None:
    configure(SLUICE_API_URL="")
    event = {
        "multiValueQueryStringParameters": None,
        "headers": {},
        "pathParameters": {"job_id": "1b2c"},
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": route,
            "path": path,
            "domainName": "x.execute-api.test",
        },
        "body": None,
        "stageVariables": None,
        "isBase64Encoded": False,
    }
    assert base_url(Request(event)) == base


# ── all of it ───────────────────────────────────────────────────────────────────────────────────


def test_every_route_answers_a_browsers_preflight(client: Client) -> None:
    for path in app.routes:
        answer = client.http.request("OPTIONS", path.replace("{job_id}", "a"))
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_openapi_is_valid_and_true_to_the_routes(client: Client) -> None:
    described = document(app.routes, "http://127.0.0.1/api")
    OpenAPIV31SpecValidator(described).validate()
    routes = {
        (path, method.lower())
        for path, methods in app.routes.items()
        for method in methods
        if allows(client, path, method) and method not in ("HEAD", "OPTIONS")
    }
    assert {(path, m) for path, item in described["paths"].items() for m in item} == routes


def test_every_description_is_that_of_one_call() -> None:
    described = document(app.routes, "http://127.0.0.1/api")["paths"]
    operations = [operation for item in described.values() for operation in item.values()]
    ids = [operation["operationId"] for operation in operations]
    assert sorted(ids) == sorted(each.operation_id for each in DESCRIPTIONS.values())


def test_openapi_names_the_parameters_that_a_route_takes(client: Client) -> None:
    for path, item in document(app.routes, "http://127.0.0.1/api")["paths"].items():
        for method, operation in item.items():
            answer = client.http.request(method.upper(), f"{path}?nonsense=1")
            named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
            if operation["operationId"] == "hlsFile":  # players add parameters of their own
                assert answer.status_code == 403
                assert not named
                continue
            detail = json.loads(answer.body)["detail"].partition(":")[2]
            assert set(re.findall("`([a-z_]+)`", detail)) == named


def test_openapi_describes_everything_and_its_examples_are_right() -> None:
    described = document(app.routes, "http://127.0.0.1/api")

    def check(schema: Any, example: Any) -> None:
        whole = {**schema, "components": described["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(example)

    shapes = described["components"]["schemas"]
    operations = {*(shape.__name__ for shape in OPERATIONS), "Rung"}
    for name, shape in shapes.items():
        assert shape["description"], name
        for field, schema in shape.get("properties", {}).items():
            assert schema["description"], (name, field)
            if name not in operations:
                assert "default" not in schema, (name, field)
            (example,) = schema["examples"]
            if example is not None:  # of a shape that has its own
                check(schema, example)
    for path, item in described["paths"].items():
        for operation in item.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]
            for parameter in operation.get("parameters", ()):
                check(parameter["schema"], *parameter["schema"]["examples"])
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in [each for body in bodies for each in body.get("content", {}).values()]:
                assert content["example"], path
                check(content["schema"], content["example"])


@pytest.mark.parametrize("auth", ["none", "api_key", "iam"])
def test_openapi_says_how_this_stage_is_called(configure: Callable[..., None], auth: str) -> None:
    configure(SLUICE_AUTH=auth)
    described = document(app.routes, "http://127.0.0.1/api")
    OpenAPIV31SpecValidator(described).validate()
    assert list(described["components"].get("securitySchemes", [])) == [auth][: auth != "none"]
    assert described["security"] == [{auth: []}][: auth != "none"]


def allows(client: Client, path: str, method: str) -> bool:
    return client.http.request(method, path).status_code != 405


def test_a_method_that_a_path_does_not_have_is_refused_and_told_which_it_has(
    client: Client,
) -> None:
    for path in app.routes:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = client.http.request(method, path)
            if answer.status_code != 405:
                continue
            allowed = answer.headers["Allow"].split(", ")
            assert method not in allowed
            assert "OPTIONS" in allowed
            assert all(client.http.request(m, path).status_code != 405 for m in allowed)
            if method != "HEAD":
                detail = refused(call(client, method, path), 405, "method_not_allowed")
                assert method in detail
    assert allows(client, "/jobs", "GET")
    assert not allows(client, "/jobs", "POST")
    assert not allows(client, "/jobs/upload", "GET")


def test_head_answers_as_get_does_without_a_body(client: Client) -> None:
    job_id = finished_job(client, MP4)
    for path in ("/jobs", f"/jobs/{job_id}", "/openapi.json", "/jobs/none"):
        got = client.http.request("GET", path)
        headed = client.http.request("HEAD", path)
        assert (headed.status_code, headed.body) == (got.status_code, b"")
        assert headed.headers["Content-Type"] == got.headers["Content-Type"]


def test_the_id_of_a_job_may_be_in_capitals(client: Client) -> None:
    job_id = finished_job(client, HLS)
    job = call(client, "GET", f"/jobs/{job_id.upper()}").body
    assert job["id"] == job_id
    boto3.client("s3").put_object(
        Bucket=settings().output_bucket, Key=HLS.s3_key, Body=b"#EXTM3U\n"
    )
    path = job["outputs"][0]["url"].removeprefix("https://api.test/api")
    assert call(client, "GET", path.replace(job_id, job_id.upper())).status == 200


# ── text of clients ─────────────────────────────────────────────────────────────────────────────

NASTY = ("", "Û", "\0", "\ud800", "a\r\nb", "x" * 10_000)
BODIES: dict[str, dict[str, Any]] = {
    "/uploads/presign": {"filename": "a.png", "content_type": "image/png", "size": 1},
    "/jobs/from-key": {"key": "nowhere", "pipeline": ["thumbnail"]},
    "/jobs/estimate": {"key": "nowhere", "pipeline": ["thumbnail"]},
}


def refusal_or_none(answer: Answer, field: str) -> None:
    """An answer that is no fault of ours, and a refusal that names the field."""
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert field in answer.body["detail"] or answer.body["code"] in (
            "malformed_json", "key_not_found", "job_not_found", "token_invalid", "unknown_step",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, body in BODIES.items() for field in body]
)
def test_no_value_in_a_body_is_a_fault_of_ours(client: Client, path: str, field: str) -> None:
    others: tuple[Any, ...] = (
        *({text: 1} for text in NASTY),
        10**30,
        -1,
        1.5,
        None,
        True,
        [[]] * 3,
    )
    for value in (*NASTY, *([text] for text in NASTY), *others):
        answer = call(client, "POST", path, {**BODIES[path], field: value})
        refusal_or_none(answer, field)


@pytest.mark.parametrize("path", BODIES)
def test_no_name_in_a_body_is_a_fault_of_ours(client: Client, path: str) -> None:
    for text in NASTY:
        answer = call(client, "POST", path, {**BODIES[path], text: 1})
        refusal_or_none(answer, "The fields are")


def test_no_parameter_is_a_fault_of_ours(client: Client) -> None:
    for text in NASTY:
        quoted = quote(text, errors="surrogatepass")
        refused(call(client, "GET", f"/jobs?a{quoted}=1"), 400, "malformed_request")
        for field in ("limit", "cursor", "status", "key"):
            refusal_or_none(call(client, "GET", f"/jobs?{field}={quoted}"), field)
            # What a gateway hands on need not be what a client can send.
            with pytest.raises(RequestError):
                job_lists.list_jobs("-", {field: text + "\ud800"}, "")


def test_nothing_in_a_path_is_a_fault_of_ours(client: Client) -> None:
    folder = hls_path(client).rpartition("/")[0]
    for text in NASTY[1:]:
        quoted = quote(text, errors="surrogatepass", safe="")
        refused(call(client, "GET", f"/jobs/{quoted}"), 404, "job_not_found")
        refused(call(client, "GET", f"/jobs/{JOB}/hls/{quoted}/a.m3u8"), 403, "token_invalid")
        refused(call(client, "GET", f"{folder}/{quoted}.m3u8"), 404, "file_not_found")
        with pytest.raises(NotFound):
            api_jobs.get_job("-", text, "")
        with pytest.raises(Forbidden):
            hls.hls_file(JOB, text, "a.m3u8")


def test_no_idempotency_key_is_a_fault_of_ours(client: Client) -> None:
    for text in NASTY:
        answer = call(client, "POST", "/jobs/from-key", {"key": "a.png"}, Idempotency_Key=text)
        assert "Idempotency-Key" in refused(answer, 400, "malformed_request")


@pytest.mark.parametrize("place", ["filename", "content type", "pipeline", "name", "boundary"])
def test_nothing_in_a_form_is_a_fault_of_ours(client: Client, place: str) -> None:
    for text in NASTY:
        told = {"filename": "a.png", "content type": "image/png", "pipeline": "thumbnail"}
        told |= {"name": "file", "boundary": "b", place: text}
        body = (
            f"--{told['boundary']}\r\nContent-Disposition: form-data; "
            f'name="{told["name"]}"; filename="{told["filename"]}"\r\n'
            f"Content-Type: {told['content type']}\r\n\r\nx\r\n--{told['boundary']}\r\n"
            'Content-Disposition: form-data; name="pipeline"\r\n\r\n'
            f"{told['pipeline']}\r\n--{told['boundary']}--\r\n"
        )
        raw = body.encode(errors="surrogatepass")
        form_type = f"multipart/form-data; boundary={told['boundary']}"
        answer = call(client, "POST", "/jobs/upload", raw, Content_Type=form_type)
        assert answer.status == 202 or refused(answer, answer.status, answer.body["code"])
        assert answer.status < 500


@pytest.mark.parametrize("name", ["a\nb.png", "a.png\n", "\na.png", "a\x7f.png"])
def test_a_name_with_control_characters_leaves_no_job_behind(client: Client, name: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    for content_type in ("image/png", "image/png\n"):
        body = f"{head}Content-Type: {content_type}\r\n\r\nx\r\n--b--\r\n".encode()
        form_type = "multipart/form-data; boundary=b"
        answer = call(client, "POST", "/jobs/upload", body, Content_Type=form_type)
        refused(answer, 400, answer.body["code"])
        asked = {"filename": name, "content_type": content_type, "pipeline": ["thumbnail"]}
        refused(call(client, "POST", "/uploads/presign", asked), 400, "malformed_request")
    assert boto3.client("dynamodb").scan(TableName=settings().jobs_table)["Count"] == 0


def test_no_metadata_of_a_dropped_file_is_a_fault_of_ours(
    client: Client, sample: Callable[[str], Path]
) -> None:
    body = sample("tiny.png").read_bytes()
    # S3 tells what is not ASCII so.
    for named in ("=?UTF-8?B?w5s=?=", "x" * 1900, ";", "thumbnail,thumbnail"):
        boto3.client("s3").put_object(
            Bucket=settings().upload_bucket, Key="a", Body=body, Metadata={"pipeline": named}
        )
        assert call(client, "POST", "/jobs/from-key", {"key": "a"}).status == 202
        answer = call(client, "POST", "/jobs/estimate", {"key": "a"})
        assert refused(answer, 422, answer.body["code"])


def test_a_key_that_no_object_can_have_is_refused(client: Client) -> None:
    for key in ("a\0b", "../a", "a/../../b", ""):
        answer = call(client, "POST", "/jobs/from-key", {"key": key})
        assert "key" in refused(answer, 400, "malformed_request")
    for key in ("a/../b", "..a", "\x01\t\u2028", "ü" * 512):
        answer = call(client, "POST", "/jobs/from-key", {"key": key})
        refused(answer, 404, "key_not_found")


def test_what_comes_twice_is_refused_by_its_name(client: Client) -> None:
    put("a.png")
    twice = b'{"key": "a.png", "pipeline": ["thumbnail"], "k\\u0065y": "b.png"}'
    for path in ("/jobs/from-key", "/jobs/estimate"):
        answer = call(client, "POST", path, twice)
        assert "`key`" in refused(answer, 400, "malformed_request")
    answer = call(client, "GET", "/jobs?limit=1&limit=2")
    assert "`limit`" in refused(answer, 400, "malformed_request")
    head = b'--b\r\nContent-Disposition: form-data; name="'
    part = head + b'file"; filename="a.png"\r\n\r\nx\r\n'
    for again in (part, head + b'pipeline"\r\n\r\nthumbnail\r\n'):
        body = part + again * 2 + b"--b--\r\n"
        form_type = "multipart/form-data; boundary=b"
        answer = call(client, "POST", "/jobs/upload", body, Content_Type=form_type)
        assert "more than once" in refused(answer, 400, "malformed_form")


def test_what_is_not_known_is_refused_with_what_is(client: Client) -> None:
    answer = call(client, "GET", "/jobs?statsu=SUCCESS")
    detail = refused(answer, 400, "malformed_request")
    assert "`statsu`" in detail
    assert "`status`" in detail
    body = {"filename": "a.png", "content_type": "image/png"}
    answer = call(client, "POST", "/uploads/presign?dry_run=1", body)
    assert "`dry_run`" in refused(answer, 400, "malformed_request")
    answer = call(client, "POST", "/uploads/presign", {**body, "name": "a"})
    assert "`content_type`" in refused(answer, 400, "malformed_request")
    form_body, content_type = form({"file": ("a.png", b"x")}, pipelines="thumbnail")
    answer = call(client, "POST", "/jobs/upload", form_body, Content_Type=content_type)
    detail = refused(answer, 400, "malformed_form")
    assert "`pipelines`" in detail
    assert "`pipeline`" in detail
    assert call(client, "GET", f"{hls_path(client)}?t=1").status == 404


def test_answers_have_the_shapes_that_openapi_says(
    client: Client, sample: Callable[[str], Path]
) -> None:
    described = document(app.routes, "http://127.0.0.1/api")

    def check(answer: Answer, shape: str) -> None:
        schema = {"$ref": f"#/components/schemas/{shape}", "components": described["components"]}
        Draft202012Validator(schema).validate(answer.body)

    job_id = finished_job(client, MP4)
    check(call(client, "GET", f"/jobs/{job_id}"), "JobView")
    check(call(client, "GET", "/jobs"), "JobPage")
    check(call(client, "GET", "/jobs?limit=x"), "Problem")
    body = {"filename": "a.png", "content_type": "image/png", "pipeline": ["thumbnail"]}
    check(call(client, "POST", "/uploads/presign", body), "Presigned")
    check(call(client, "POST", "/jobs/from-key", {"key": "a.mp4"}), "Accepted")
    put("b.jpg", sample("tiny.png").read_bytes())
    check(call(client, "POST", "/jobs/estimate", {"key": "b.jpg"}), "EstimateView")


def test_something_unexpected_is_a_problem_too_and_tells_nothing(client: Client) -> None:
    boto3.client("dynamodb").delete_table(TableName=settings().jobs_table)
    detail = refused(call(client, "GET", "/jobs"), 500, "internal_error")
    assert "Table" not in detail


def test_a_cursor_is_opaque_and_survives_the_trip() -> None:
    position = "2025-08-29T18:06:18.752043Z#d7b8f4bf-5809-4c62-97a4-c008686e881d"
    assert parse_cursor(encode_cursor(position)) == position
    assert base64.urlsafe_b64decode(encode_cursor(position) + "==").decode() == position
