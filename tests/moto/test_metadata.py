"""What a client says of a job in words of its own comes back with the job, whichever way it was said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.api import job_lists
from chalicelib.api.views import JobView
from chalicelib.model.metadata import MOST_BYTES, MOST_NAMES, fault
from chalicelib.store import identities
from testing import rows
from testing.pump import deliver, drop, take
from tests.moto.test_api import call, form, put, refused

pytestmark = pytest.mark.usefixtures("cloud")
Sample = Callable[[str], Path]
# Names that PynamoDB, or DynamoDB's expressions, could take for something else.
OWN = {"order": "4711", "self": "ä", "a.b-c_d": "", "null": "\0\n", "size": "=", "pipeline": "mine"}
FILE = {"filename": "a.png", "content_type": "image/png"}


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(app) as client:
        yield client


def from_key(client: Client, key: str, **more: Any) -> str:
    return str(call(client, "POST", "/jobs/from-key", {"key": key, **more}).body["job_id"])


def told(client: Client, job_id: str) -> dict[str, str]:
    metadata: dict[str, str] = call(client, "GET", f"/jobs/{job_id}").body["metadata"]
    return metadata


def dropped(key: str) -> JobView:
    (job,) = job_lists.list_jobs("-", {"key": key}, "https://x/api").jobs
    return job


# ── the ways ────────────────────────────────────────────────────────────────────────────────────


def test_a_presigned_upload_gives_it_to_the_job_that_waits(client: Client) -> None:
    asked = {**FILE, "pipeline": ["thumbnail"], "metadata": OWN}
    answer = call(client, "POST", "/uploads/presign", asked).body
    assert told(client, answer["job_id"]) == OWN
    put(answer["key"])
    other = from_key(client, answer["key"], pipeline=["watermark"])
    assert told(client, other) == OWN  # as the file's own name


def test_a_presigned_upload_without_a_pipeline_keeps_it_for_the_job_that_is_asked_for(
    client: Client,
) -> None:
    key = call(client, "POST", "/uploads/presign", {**FILE, "metadata": OWN}).body["key"]
    put(key)
    assert told(client, from_key(client, key, pipeline=["thumbnail"])) == OWN
    of_another = from_key(client, key, pipeline=["watermark"], metadata={"order": "4712"})
    assert told(client, of_another) == {"order": "4712"}
    assert told(client, from_key(client, key, metadata={})) == {}


def test_a_job_that_is_there_already_keeps_its_own(client: Client) -> None:
    put("a.png")
    first = from_key(client, "a.png", metadata=OWN)
    assert from_key(client, "a.png", metadata={"order": "4712"}) == first
    assert told(client, first) == OWN
    put("b.png")
    without = from_key(client, "b.png")
    assert from_key(client, "b.png", metadata=OWN) == without
    assert told(client, without) == {}


def test_a_form_has_it_as_json(client: Client) -> None:
    body, content_type = form({"file": ("a.png", b"x")}, metadata=json.dumps(OWN))
    sent = call(client, "POST", "/jobs/upload", body, Content_Type=content_type).body
    assert told(client, sent["job_id"]) == OWN


def test_an_object_that_is_dropped_brings_it(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    event = drop("a.jpg", body, order="4711", pipeline="thumbnail")
    deliver("intake", event)
    job = dropped("a.jpg")
    assert (job.metadata, job.pipeline, job.warnings) == ({"order": "4711"}, ["thumbnail"], [])
    deliver("intake", event)
    assert dropped("a.jpg").metadata == {"order": "4711"}


def test_a_refused_drop_brings_it_too(sample: Sample) -> None:
    deliver("intake", drop("a.jpg", sample("text.jpg").read_bytes(), order="4711"))
    job = dropped("a.jpg")
    assert (job.status, job.metadata) == ("FAILURE", {"order": "4711"})


def test_who_asks_for_a_job_before_a_drops_event_gets_what_the_object_brings(
    client: Client, sample: Sample
) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes(), order="4711")
    job_id = from_key(client, "a.jpg")
    assert told(client, job_id) == {"order": "4711"}
    take("intake")
    deliver("intake", event)
    assert dropped("a.jpg").id == job_id


def test_a_job_whose_intake_died_before_its_row_was_written_has_it(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes(), order="4711", pipeline="thumbnail")
    named = json.loads(event)["Records"][0]["s3"]["object"]
    job_id = "0b7f9a0e-4b0e-4f8a-8a51-6d5c2a3b1e11"
    identities.claim_event("a.jpg", named["eTag"], named["sequencer"], job_id)
    deliver("intake", event)
    job = dropped("a.jpg")
    assert (job.id, job.pipeline, job.metadata) == (job_id, ["thumbnail"], {"order": "4711"})


@pytest.mark.parametrize(
    ("own", "word"),
    [
        ({"a": "x" * MOST_BYTES}, "1025 bytes"),
        ({f"a{n}": "" for n in range(51)}, "51 names"),
        ({"a" * 65: "x", "order": "4711"}, "1 to 64 letters"),
    ],
)
def test_a_drop_with_more_than_a_job_keeps_goes_without_and_says_so(
    sample: Sample, own: dict[str, str], word: str
) -> None:
    deliver("intake", drop("a.jpg", sample("photo.jpg").read_bytes(), **own))
    job = dropped("a.jpg")
    assert (job.status, job.metadata) == ("STARTED", {})
    (warning,) = job.warnings
    assert warning.startswith("The object's metadata has ")
    assert word in warning
    assert warning.endswith(": the job goes without.")


def test_the_same_key_with_other_metadata_is_another_body(client: Client) -> None:
    put("a.png")
    body = {"key": "a.png", "metadata": {"order": "1"}}
    call_once = {"Idempotency_Key": "k"}
    first = call(client, "POST", "/jobs/from-key", body, **call_once)
    assert first.status == 202
    assert call(client, "POST", "/jobs/from-key", body, **call_once).body == first.body
    for other in ({"key": "a.png"}, {"key": "a.png", "metadata": {}}):
        again = call(client, "POST", "/jobs/from-key", other, **call_once)
        refused(again, 422, "idempotency_key_reused")


# ── its limits ──────────────────────────────────────────────────────────────────────────────────


def test_what_fills_the_limits_is_kept(client: Client) -> None:
    names = [f"{n:0>14}" for n in range(MOST_NAMES)]
    own = dict.fromkeys(names, "ü" * 3) | {names[0]: "ü" * 15}
    assert sum(len((name + value).encode()) for name, value in own.items()) == MOST_BYTES
    key = call(client, "POST", "/uploads/presign", {**FILE, "metadata": own}).body["key"]
    assert rows.ticket_item(key)
    put(key)
    assert told(client, from_key(client, key)) == own
    assert fault({"n" * 64: "x" * (MOST_BYTES - 64)}) == ""


@pytest.mark.parametrize(
    ("own", "status", "code", "word"),
    [
        ({"a": "ü" * 512}, 422, "invalid_metadata", "1025 bytes"),
        ({f"a{n}": "" for n in range(51)}, 422, "invalid_metadata", "51 names"),
        ({"a" * 65: ""}, 422, "invalid_metadata", "1 to 64 letters"),
        ({"": ""}, 422, "invalid_metadata", "''"),
        ({"a b": ""}, 422, "invalid_metadata", "'a b'"),
        ({"a\n": ""}, 422, "invalid_metadata", "'a\\n'"),
        ({"ä": ""}, 422, "invalid_metadata", "'ä'"),
        ({"a": 1}, 400, "malformed_request", "$.metadata"),
        (["a"], 400, "malformed_request", "$.metadata"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_limit(
    client: Client, own: Any, status: int, code: str, word: str
) -> None:
    put("a.png")
    for path, body in (("/uploads/presign", FILE), ("/jobs/from-key", {"key": "a.png"})):
        answer = call(client, "POST", path, {**body, "metadata": own})
        assert word in refused(answer, status, code)
    sent, content_type = form({"file": ("a.png", b"x")}, metadata=json.dumps(own))
    answer = call(client, "POST", "/jobs/upload", sent, Content_Type=content_type)
    refused(answer, status, code.replace("_request", "_form"))


@pytest.mark.parametrize("text", ["", "{", "order=4711", "[" * 30_000, '"a"', '{"a": "\\ud800"}'])
def test_a_forms_metadata_that_are_no_object_of_strings_are_refused(
    client: Client, text: str
) -> None:
    body, content_type = form({"file": ("a.png", b"x")}, metadata=text)
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert "`metadata`" in refused(answer, 400, "malformed_form")


def test_a_forms_metadata_have_no_name_twice(client: Client) -> None:
    body, content_type = form({"file": ("a.png", b"x")}, metadata='{"a": "1", "a": "2"}')
    answer = call(client, "POST", "/jobs/upload", body, Content_Type=content_type)
    assert "more than once" in refused(answer, 400, "malformed_request")
