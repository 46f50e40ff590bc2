"""The deployed stack on the local cloud, IAM enforced: every trigger, step and class of error, end to end."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import boto3
import httpx
import psutil
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from chalicelib.model.plan import FORMAT, GENERATION
from infra.deploying.account import Account
from infra.deploying.build import build
from infra.deploying.deploy import delete, deploy
from infra.tools.samples import film
from sluice.client import Client, until
from sluice.stack import Stack
from testing.commands import copy_project, make
from testing.processes import ffmpegs
from testing.pump import event_of

pytestmark = [pytest.mark.stack, pytest.mark.media]
Sample = Callable[[str], Path]
# Nothing takes as long on any machine, in seconds: what does will never come.
PATIENCE = 600


def opened(client: Client, output: dict[str, Any]) -> Image.Image:
    content = client.http.get(output["url"]).raise_for_status().content
    assert len(content) == output["size"]
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.size == (output["width"], output["height"])
        return image.copy()


def frames(source: str | io.BytesIO) -> int:
    """How many frames of a film can be decoded, start to end, given nothing but this."""
    with av.open(source, "r") as container:
        return sum(1 for _ in container.decode(video=0))


def types(job: dict[str, Any]) -> list[str]:
    return [output["type"] for output in job["outputs"]]


# ── the calls of the API, as the README shows them ──────────────────────────────────────────────


@pytest.mark.parametrize("slash", ["", "/"])
def test_presign_put_from_key_get(client: Client, sample: Sample, slash: str) -> None:
    asked = {"filename": "image.png", "content_type": "image/png"}
    ticket = client.post(f"/uploads/presign{slash}", asked)
    assert ticket.status_code == 200
    early = client.post(f"/jobs/from-key{slash}", {"key": ticket.json()["key"]})
    assert (early.status_code, early.json()["code"]) == (409, "upload_incomplete")
    body = sample("transparent.png").read_bytes()
    put = client.http.put(ticket.json()["url"], content=body, headers=ticket.json()["headers"])
    assert put.status_code == 200
    wanted = {"key": ticket.json()["key"], "pipeline": ["thumbnail", "watermark"]}
    started = client.post(f"/jobs/from-key{slash}", wanted)
    assert started.status_code == 202
    job = client.wait(started.json()["job_id"])
    assert (job["status"], job["progress"], types(job)) == (
        "SUCCESS",
        100,
        ["thumbnail", "watermark"],
    )
    for output in job["outputs"]:
        opened(client, output)
    assert client.get(f"/jobs/{job['id']}{slash}").json()["status"] == "SUCCESS"
    assert client.get(f"/jobs{slash}").json()["jobs"][0]["id"] == job["id"]
    assert client.http.get(job["input_url"]).content == body
    again = client.post(f"/jobs/from-key{slash}", wanted)
    assert again.json()["job_id"] == job["id"]


def test_an_upload_with_a_pipeline_starts_by_itself(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("orientation_6.jpg"), "thumbnail"))
    assert opened(client, job["outputs"][0]).size == (512, 384)


def test_a_form_arrives_byte_for_byte(client: Client, sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    answer = client.http.post(
        client.stack.api_url + "/jobs/upload/", files={"file": ("ä photo.jpg", body)}
    )
    assert answer.status_code == 202
    job = client.wait(answer.json()["job_id"])
    assert (job["status"], types(job)) == ("SUCCESS", ["thumbnail", "watermark"])
    assert client.http.get(job["input_url"]).content == body


def test_a_form_of_5_mb_is_refused_with_a_remedy(client: Client) -> None:
    answer = client.http.post(
        client.stack.api_url + "/jobs/upload/", files={"file": ("a.jpg", b"x" * 5_000_000)}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "form_too_large")
    assert "presign" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/jobs/from-key", {"key": "a", "pipeline": ["sepia"]}, 422, "unknown_step"),
        ("/jobs/from-key", {"key": "a", "pipeline": []}, 422, "empty_pipeline"),
        ("/jobs/from-key", {"key": "a", "pipeline": ["thumbnail"] * 2}, 422, "repeated_step"),
        ("/jobs/from-key", {"key": "not/there.png"}, 404, "key_not_found"),
        ("/jobs/from-key", {"pipeline": ["thumbnail"]}, 400, "malformed_request"),
    ],
)
def test_a_bad_request_is_refused_with_its_sentence(
    client: Client, path: str, body: Any, status: int, code: str
) -> None:
    answer = client.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json()["detail"].endswith(".")


def test_malformed_json_is_refused(client: Client) -> None:
    answer = client.http.post(client.stack.api_url + "/jobs/from-key", content=b"{nonsense")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


def test_the_description_is_served(client: Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert described["servers"] == [{"url": client.stack.api_url}]


@pytest.fixture(scope="module")
def forgotten(client: Client) -> str:
    """A job whose upload never comes, and whose time is up."""
    asked = {"filename": "a.png", "content_type": "image/png", "pipeline": ["thumbnail"]}
    job_id = str(client.post("/uploads/presign", asked).json()["job_id"])
    client.aws("dynamodb").update_item(
        TableName=client.stack.jobs_table,
        Key={"pk": {"S": f"job#{job_id}"}, "sk": {"S": "job"}},
        UpdateExpression="SET due_at = :past, deadline_at = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    return job_id


@pytest.mark.usefixtures("forgotten")
def test_a_listing_filters_by_status(client: Client) -> None:
    pending = client.get("/jobs", status="PENDING").json()["jobs"]
    assert {job["status"] for job in pending} == {"PENDING"}


# ── drops ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["inbox/a b+c.jpg", "ünï/%41 100%.jpg", "a&b=c?.jpg"])
def test_a_dropped_picture_is_found_by_its_key(client: Client, sample: Sample, key: str) -> None:
    client.drop(sample("photo.jpg"), key)
    job = client.wait_for_drop(key)
    assert (job["status"], job["key"], types(job)) == ("SUCCESS", key, ["thumbnail", "watermark"])


@pytest.fixture(scope="module")
def bereaved(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job whose worker was killed at work, and took FFmpeg along.

    Its message is visible again once the timeout of 20 s and its margin are over.
    """
    long = tmp_path_factory.mktemp("bereaved") / "long.mp4"
    # Enough work to be seen, and so little that a busy machine does it in the function's 20 s, too.
    film(long, size="854x480", seconds=6)
    job_id = client.upload(long, "transcode_720p")
    running, *_ = until(lambda: ffmpegs(client.stack), PATIENCE)
    _, worker, *_ = running.parents()
    worker.kill()
    assert not psutil.wait_procs([running], timeout=PATIENCE)[1]
    assert client.job(job_id)["status"] == "STARTED"
    return job_id


@pytest.mark.usefixtures("bereaved")
def test_a_dropped_film_is_found_and_every_output_is_good(client: Client, sample: Sample) -> None:
    client.drop(sample("plain.mp4"), "films/plain.mp4")
    job = client.wait_for_drop("films/plain.mp4")
    assert types(job) == ["thumbnail", "transcode_720p", "hls_720p"]
    thumbnail, mp4, hls = job["outputs"]
    assert max(opened(client, thumbnail).size) == 512
    assert frames(io.BytesIO(client.http.get(mp4["url"]).content)) == 75
    assert frames(hls["url"]) == 75
    assert mp4["duration"] == hls["duration"] == 3.0


def test_a_job_tells_what_it_cost_and_the_estimate_knew_it_before(
    client: Client, sample: Sample
) -> None:
    client.drop(sample("plain.mp4"), "films/costs.mp4")
    answer = client.post("/jobs/estimate/", {"key": "films/costs.mp4"})
    # The second time it is not looked at again.
    assert client.post("/jobs/estimate/", {"key": "films/costs.mp4"}).json() == answer.json()
    assert answer.status_code == 200
    estimated, used = answer.json()["usage"], client.wait_for_drop("films/costs.mp4")["usage"]
    assert used["functions"].keys() == estimated["functions"].keys()
    for name, function in used["functions"].items():
        assert function["gb_seconds"] > 0
        assert function["invocations"] == estimated["functions"][name]["invocations"]
    # Seconds vary with what else this machine does; requests and bytes do not.
    assert used["cost_usd_by_service"]["s3"] == pytest.approx(
        estimated["cost_usd_by_service"]["s3"], rel=0.05
    )
    assert 0.5 < used["bytes_read"] / estimated["bytes_read"] < 2
    assert 0.5 < used["bytes_stored"] / estimated["bytes_stored"] < 2
    assert used["cost_usd"] > sum(used["cost_usd_by_service"][name] for name in ("s3", "sqs"))


def test_a_film_without_an_index_is_copied_and_cut(client: Client, tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", size="160x96", rate="10", seconds=20, output=("-g", "20"))
    client.drop(tmp_path / "a.mkv", "films/a.mkv")
    job = client.wait_for_drop("films/a.mkv")
    assert job["encoding"].startswith("In 4 chunks at once, from a copy")
    thumbnail, mp4, hls = job["outputs"]
    opened(client, thumbnail)
    assert frames(io.BytesIO(client.http.get(mp4["url"]).content)) == frames(hls["url"]) == 200


def test_metadata_chooses_and_a_multipart_upload_counts(client: Client, sample: Sample) -> None:
    client.drop(sample("small.mp4"), "meta.mp4", pipeline="watermark")
    s3, bucket = client.aws("s3"), client.stack.upload_bucket
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts.jpg")["UploadId"]
    part = s3.upload_part(
        Bucket=bucket,
        Key="parts.jpg",
        UploadId=upload,
        PartNumber=1,
        Body=sample("photo.jpg").read_bytes(),
    )
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="parts.jpg",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    s3.copy_object(Bucket=bucket, Key="copy.jpg", CopySource=f"{bucket}/parts.jpg")
    assert types(client.wait_for_drop("meta.mp4")) == ["watermark"]
    assert client.wait_for_drop("parts.jpg")["status"] == "SUCCESS"
    assert client.wait_for_drop("copy.jpg")["status"] == "SUCCESS"


def test_folder_markers_make_no_job_and_empty_files_a_failed_one(client: Client) -> None:
    s3, bucket = client.aws("s3"), client.stack.upload_bucket
    s3.put_object(Bucket=bucket, Key="a folder/")
    s3.put_object(Bucket=bucket, Key="empty.jpg", Body=b"")
    assert client.wait_for_drop("empty.jpg")["error_code"] == "empty_file"
    assert client.jobs_of("a folder/") == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("text.jpg", "unsupported_media"),
        ("truncated.jpg", "source_damaged"),
        ("truncated.mp4", "source_damaged"),
    ],
)
def test_a_bad_file_fails_with_its_sentence(
    client: Client, sample: Sample, name: str, code: str
) -> None:
    client.drop(sample(name), f"bad/{name}")
    job = client.wait_for_drop(f"bad/{name}")
    assert (job["status"], job["error_code"]) == ("FAILURE", code)
    assert job["error"].endswith(".")


def test_a_film_step_on_a_picture_fails(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("photo.jpg"), "hls_720p"))
    assert (job["status"], job["error_code"]) == ("FAILURE", "step_needs_video")


# ── HLS and browsers ────────────────────────────────────────────────────────────────────────────


def test_hls_plays_in_a_browsers_way(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("no_audio.mp4"), "hls_720p"))
    with httpx.Client(headers={"Origin": "http://localhost:3000"}) as browser:
        _plays(browser, job["outputs"][0]["url"])
    assert frames(job["outputs"][0]["url"]) == 75


def _plays(browser: httpx.Client, url: str) -> None:
    master = browser.get(url)
    assert master.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert master.headers["access-control-allow-origin"] == "*"
    video = browser.get(urljoin(str(master.url), "video.m3u8"))
    segment_url = urljoin(
        str(video.url), next(line for line in video.text.splitlines() if line.endswith(".m4s"))
    )
    redirect = browser.get(segment_url)
    assert redirect.status_code == 302
    assert redirect.headers["access-control-allow-origin"] == "*"
    segment = browser.get(redirect.headers["location"], headers={"Range": "bytes=0-99"})
    assert segment.status_code == 206
    assert segment.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")
    assert len(segment.content) == 100
    forged = browser.get(segment_url.replace("/hls/", "/hls/x"))
    assert (forged.status_code, forged.json()["code"]) == (403, "token_invalid")


def test_a_browser_may_upload_and_read_the_etag(client: Client, sample: Sample) -> None:
    ticket = client.post(
        "/uploads/presign", {"filename": "a.png", "content_type": "image/png"}
    ).json()
    origin = {"Origin": "http://localhost:3000"}
    preflight = client.http.options(
        ticket["url"],
        headers={
            **origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert preflight.status_code == 200
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    put = client.http.put(
        ticket["url"],
        content=sample("tiny.png").read_bytes(),
        headers={**origin, **ticket["headers"]},
    )
    assert "etag" in put.headers["access-control-expose-headers"].lower()
    for path in ("/jobs/", "/uploads/presign/", "/jobs/upload/", "/jobs/from-key/"):
        answer = client.http.options(client.stack.api_url + path, headers=origin)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"


FOREIGN = (
    {"Host": "evil.example"},  # a name that its owner has lead to this machine
    {"Host": "127.0.0.1.evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "null"},  # a frame in a sandbox, or a page from a file
    {"Sec-Fetch-Site": "cross-site"},  # a picture of a page, or a link in it
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_the_local_cloud_serves_no_page_of_strangers(
    client: Client, headers: dict[str, str]
) -> None:
    stack = client.stack
    for method in ("GET", "POST", "OPTIONS"):
        for url in (f"{stack.api_url}/jobs/", f"{stack.aws_endpoint_url}/?Action=ListQueues"):
            answer = client.http.request(method, url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "not_local"), (method, url)
            assert "access-control-allow-origin" not in answer.headers


def test_pages_of_this_machine_show_what_links_lead_to(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("no_audio.mp4"), "thumbnail", "hls_720p"))
    for output in job["outputs"]:
        embedded = client.http.get(output["url"], headers={"Sec-Fetch-Site": "cross-site"})
        assert embedded.status_code == 200


# ── security ────────────────────────────────────────────────────────────────────────────────────


def test_nobody_reads_or_lists_a_bucket_without_a_signature(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("tiny.png"), "thumbnail"))
    anonymous = boto3.client(
        "s3",
        endpoint_url=client.stack.aws_endpoint_url,
        region_name=client.stack.region,
        config=Config(signature_version=UNSIGNED),
    )
    for bucket, key in (
        (client.stack.upload_bucket, job["key"]),
        (client.stack.output_bucket, job["outputs"][0]["s3_key"]),
    ):
        for attempt in (
            lambda b=bucket, k=key: anonymous.get_object(Bucket=b, Key=k),
            lambda b=bucket: anonymous.list_objects_v2(Bucket=b),
            lambda b=bucket: anonymous.put_object(Bucket=b, Key="uploads/x", Body=b"x"),
        ):
            with pytest.raises(ClientError, match=r"403|AccessDenied|Forbidden"):
                attempt()


def test_a_signed_size_is_enforced(client: Client) -> None:
    asked = {"filename": "a.png", "content_type": "image/png", "size": 10}
    ticket = client.post("/uploads/presign", asked).json()
    assert client.http.put(ticket["url"], content=b"x" * 11).status_code == 403
    assert client.http.put(ticket["url"], content=b"x" * 10).status_code == 200


# ── everything arrives twice, and workers die ───────────────────────────────────────────────────


def send(client: Client, queue: str, body: str) -> None:
    sqs = client.aws("sqs")
    url = client.stack.intake_queue_url.removesuffix("intake") + queue
    sqs.send_message(QueueUrl=url, MessageBody=body)


def waiting(client: Client, queue: str) -> int:
    """Messages of a queue, those in work included."""
    return sum(_counts(client, queue).values())


def in_work(client: Client, queue: str) -> int:
    return _counts(client, queue)["ApproximateNumberOfMessagesNotVisible"]


def _counts(client: Client, queue: str) -> dict[str, int]:
    url = client.stack.intake_queue_url.removesuffix("intake") + queue
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return {name: int(count) for name, count in found["Attributes"].items()}


def keys(client: Client, job_id: str) -> set[str]:
    pages = (
        client.aws("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=client.stack.output_bucket, Prefix=f"outputs/{job_id.replace('-', '')}")
    )
    return {item["Key"] for page in pages for item in page.get("Contents", [])}


def test_an_event_delivered_five_times_is_one_job(client: Client, sample: Sample) -> None:
    client.drop(sample("photo.jpg"), "five.jpg", pipeline="thumbnail")
    job = client.wait_for_drop("five.jpg")
    etag = client.aws("s3").head_object(Bucket=client.stack.upload_bucket, Key="five.jpg")["ETag"]
    event = event_of("five.jpg", size=1, etag=etag.strip('"'), sequencer="0055AED6DCD90281E5")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: send(client, "intake", event), range(5)))
    until(lambda: waiting(client, "intake") == 0, PATIENCE)
    found = client.jobs_of("five.jpg")
    assert len(found) == 2  # the drop's own event, and the five that were one
    assert job["id"] in {j["id"] for j in found}
    assert {client.wait(j["id"])["status"] for j in found} == {"SUCCESS"}


def message(job_id: str, task_id: str) -> str:
    return json.dumps({"job_id": job_id, "task_id": task_id, "generation": GENERATION})


def test_a_message_delivered_five_times_at_once_is_one_set_of_outputs(
    client: Client, sample: Sample
) -> None:
    job_id = client.upload(sample("plain.mp4"), "transcode_720p", "hls_720p")
    until(lambda: client.job(job_id)["status"] == "STARTED", PATIENCE)
    body = message(job_id, "film.0")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: send(client, "encode", body), range(5)))
    job = client.wait(job_id)
    before = keys(client, job_id)
    for step in ("transcode_720p", "hls_720p"):
        body = message(job_id, step)
        for _ in range(5):
            send(client, "package", body)
    time.sleep(2)
    # Links are signed anew each half hour.
    links: Any = {"outputs": [], "input_url": "", "input_url_expires_at": ""}
    assert client.job(job_id) | links == job | links
    assert keys(client, job_id) == before
    row = client.aws("dynamodb").get_item(
        TableName=client.stack.jobs_table,
        Key={"pk": {"S": f"job#{job_id}"}, "sk": {"S": f"task#{GENERATION}#film.0"}},
    )["Item"]
    assert row["attempts"] == {"N": "1"}


def test_a_job_succeeds_whose_worker_was_killed(client: Client, bereaved: str) -> None:
    job = client.wait(bereaved, PATIENCE)
    assert job["status"] == "SUCCESS", job["error"]
    assert frames(io.BytesIO(client.http.get(job["outputs"][0]["url"]).content)) == 150


def test_a_canceled_film_ends_at_once_and_its_ffmpeg_with_it(
    client: Client, tmp_path: Path
) -> None:
    film(tmp_path / "long.mp4", size="1280x720", seconds=24)
    job_id = client.upload(tmp_path / "long.mp4", "thumbnail", {"make": "mp4", "codec": "av1"})
    until(lambda: client.job(job_id)["outputs"], PATIENCE)
    running = until(lambda: ffmpegs(client.stack), PATIENCE)
    assert client.cancel(job_id)["status"] == "CANCELED"
    # Its worker looks every two seconds. On a busy machine all takes a little longer.
    assert not psutil.wait_procs(running, timeout=8)[1]
    # What waits is acknowledged, and nothing is encoded.
    until(lambda: not waiting(client, "encode"), PATIENCE)
    assert ffmpegs(client.stack) == []
    tasks = client.aws("dynamodb").query(
        TableName=client.stack.jobs_table,
        KeyConditionExpression="pk = :job AND begins_with(sk, :task)",
        ExpressionAttributeValues={":job": {"S": f"job#{job_id}"}, ":task": {"S": "task#"}},
    )["Items"]
    assert "running" in {task["state"]["S"] for task in tasks}  # none of them came to its end
    job = client.cancel(job_id)
    assert [step["status"] for step in job["steps"]] == ["SUCCESS", "CANCELED"]
    assert (types(job), job["error"]) == (["thumbnail"], "")
    opened(client, job["outputs"][0])
    listed = client.get("/jobs/", status="CANCELED").json()["jobs"]
    assert [each["updated_at"] for each in listed] == [job["updated_at"]]
    # The same file and steps are another job from now on.
    wanted = {"key": job["key"], "pipeline": job["pipeline"]}
    again = client.post("/jobs/from-key/", wanted).raise_for_status().json()["job_id"]
    assert again != job_id
    client.cancel(again)


def test_a_message_that_always_fails_fails_its_step_alone_and_a_retry_makes_that_and_no_more(
    client: Client, tmp_path: Path
) -> None:
    """The retry's files are copied by each pool under its own rights. Then both jobs are deleted."""
    film(tmp_path / "a.mp4", size="160x96", seconds=6)
    s3, bucket = client.aws("s3"), client.stack.output_bucket
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{bucket}/outputs/*_thumb.jpg",
            }
        ],
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    try:
        job_id = client.upload(tmp_path / "a.mp4", "thumbnail", "transcode_720p", "hls_720p")
        job = client.wait(job_id, PATIENCE)
    finally:
        s3.delete_bucket_policy(Bucket=bucket)
    assert (job["status"], job["error_code"]) == ("FAILURE", "attempts_exhausted")
    assert "AccessDenied" in job["error"]
    assert types(job) == ["transcode_720p", "hls_720p"]
    again = client.wait(client.retry(job["id"]), PATIENCE)
    assert (again["status"], again["retry_of"]) == ("SUCCESS", job["id"])
    assert types(again) == ["thumbnail", "transcode_720p", "hls_720p"]
    picture, *films = again["outputs"]
    opened(client, picture)
    assert len({frames(output["url"]) for output in (*films, *job["outputs"])}) == 1
    playlist = films[1]["url"]
    for each in (job, again):
        client.delete(each["id"])
        answer = client.get(f"/jobs/{each['id']}/")
        assert (answer.status_code, answer.json()["code"]) == (410, "job_deleted")

    def is_gone() -> bool:
        client.aws("lambda").invoke(
            FunctionName=f"sluice-{client.stack.stage}-sweep", Payload=b"{}"
        )
        listed = s3.list_objects_v2(Bucket=bucket)
        ids = [each["id"] for each in (job, again)]
        names = [*ids, *(name.replace("-", "") for name in ids)]
        keys = [item["Key"] for item in listed.get("Contents", ())]
        return not [key for key in keys if any(name in key for name in names)]

    until(is_gone, PATIENCE)
    assert client.http.get(playlist).status_code == 410


def test_the_sweep_runs_by_itself_and_ends_what_was_forgotten(
    client: Client, forgotten: str
) -> None:
    job = client.wait(forgotten, PATIENCE)
    assert (job["status"], job["error_code"]) == ("FAILURE", "upload_expired")


# ── watching ────────────────────────────────────────────────────────────────────────────────────


def test_logs_can_be_searched_for_a_job(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("photo.jpg"), "hls_720p"))
    logs = client.aws("logs")

    def lines() -> list[Any]:
        found = logs.filter_log_events(
            logGroupName="/aws/lambda/sluice-test-intake", filterPattern=f'"{job["id"]}"'
        )["events"]
        return list(found)

    (event, *_) = until(lines, PATIENCE)
    line = json.loads(event["message"])
    assert (line["job_id"], line["service"]) == (job["id"], "intake")


def refusals(logs: Any, job_id: str) -> list[Any]:
    found = logs.filter_log_events(
        logGroupName="/aws/lambda/sluice-test-api", filterPattern=f'"{job_id}"'
    )["events"]
    return [event for event in found if "file_not_found" in event["message"]]


def test_no_token_is_in_any_log(client: Client, sample: Sample) -> None:
    job = client.wait(client.upload(sample("small.mp4"), "hls_720p"))
    url = job["outputs"][0]["url"]
    frames(url)
    token = url.split("/hls/")[1].split("/")[0]
    client.http.get(url.replace("master.m3u8", "missing.m3u8"))
    logs = client.aws("logs")
    until(lambda: refusals(logs, job["id"]), PATIENCE)
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        assert not [event for event in events if token in event["message"]]


def test_no_dead_letter_is_left(client: Client) -> None:
    until(lambda: waiting(client, "dead-letters") == 0, PATIENCE)


def test_what_the_emulator_drops_from_the_template_is_there_all_the_same(client: Client) -> None:
    ttl = client.aws("dynamodb").describe_time_to_live(TableName=client.stack.jobs_table)
    assert ttl["TimeToLiveDescription"]["AttributeName"] == "expires_at"
    s3 = client.aws("s3")
    for bucket in (client.stack.upload_bucket, client.stack.output_bucket):
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert "AbortIncompleteMultipartUpload" in rules[0]


# ── what the emulator has beside the stage ──────────────────────────────────────────────────────


def test_what_a_deleted_stage_leaves_is_taken_over_by_the_next_of_its_name(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    account, built = (
        Account(stack.aws_endpoint_url, stack.region, "test", "test"),
        build("prod", "x86_64", "none"),
    )
    s3, cloudformation = account.s3(), account.cloudformation()
    dynamodb = account.session().client("dynamodb", endpoint_url=stack.aws_endpoint_url)
    kept = ("UploadBucket", "OutputBucket", "JobsTable")
    first = deploy(built, account)
    s3.put_object(Bucket=first["UploadBucket"], Key="film", Body=b"somebody's")
    row = {"pk": {"S": "job#1"}, "sk": {"S": "job"}}
    dynamodb.put_item(TableName=first["JobsTable"], Item=row)

    with pytest.raises(ClientError, match="TerminationProtection"):
        cloudformation.delete_stack(StackName="sluice-prod")
    delete("prod", account)
    said = capsys.readouterr().out
    assert all(first[name] in said for name in kept)
    artefacts = s3.list_objects_v2(Bucket="sluice-artifacts-000000000000-us-east-1")["Contents"]
    assert {artefact["Key"].partition("/")[0] for artefact in artefacts} == {"test"}
    assert not delete("prod", account)

    second = deploy(built, account)
    assert [second[name] for name in kept] == [first[name] for name in kept]
    assert second["RestAPIId"] != first["RestAPIId"]
    assert s3.get_object(Bucket=first["UploadBucket"], Key="film")["Body"].read() == b"somebody's"
    assert dynamodb.get_item(TableName=first["JobsTable"], Key=row)["Item"] == row
    resources = cloudformation.describe_stack_resources(StackName="sluice-prod")["StackResources"]
    assert set(kept) <= {resource["LogicalResourceId"] for resource in resources}
    (again,) = cloudformation.describe_stacks(StackName="sluice-prod")["Stacks"]
    assert again["EnableTerminationProtection"]
    assert delete("prod", account)


def test_the_ledger_keeps_its_contract_here_too(stack: Stack) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            Path(__file__).parents[1] / "moto" / "test_store.py",
        ],
        env={**os.environ, "SLUICE_TEST_ENDPOINT_URL": stack.aws_endpoint_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_a_film_at_work_survives_a_deployment_of_another_plan_format_and_the_way_back(
    client: Client, stack: Stack, tmp_path: Path
) -> None:
    """Both ways: the one that is replaced has begun it, and meets what its successor has planned.

    The last of this file: in between, the stage is another one.
    """
    minute = tmp_path / "film.mp4"
    film(minute, size="160x96", rate="10", seconds=80, output=("-g", "20"))
    project = copy_project(tmp_path / "project")
    module = project / "chalicelib" / "model" / "plan.py"
    other = re.sub(r"^FORMAT = \d+$", "FORMAT = 99", module.read_text(), flags=re.MULTILINE)
    module.write_text(other.replace('tag="chunk"', 'tag="span"'))

    def begun(generation: int) -> str:
        """A film at work: some of its parts are made, and the others wait in their queue."""
        job_id = client.upload(minute, "transcode_720p", "hls_720p")
        until(lambda: client.job(job_id)["progress"] > 5, PATIENCE)
        encodes(at_once=False)
        # An update ends workers, and a message that one of them had comes again a minute later.
        until(lambda: not in_work(client, "encode"), PATIENCE)
        assert waiting(client, "encode")
        assert planned_by(job_id) == generation
        return job_id

    def planned_by(job_id: str) -> int:
        key = {"pk": {"S": f"job#{job_id}"}, "sk": {"S": "job"}}
        table = client.aws("dynamodb")
        row = table.get_item(TableName=stack.jobs_table, Key=key)["Item"]
        return int(row["generation"]["S"].partition("-")[0])

    def encodes(*, at_once: bool) -> None:
        lambdas = client.aws("lambda")
        found = lambdas.list_event_source_mappings(FunctionName="sluice-test-encode")
        for mapping in found["EventSourceMappings"]:
            lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=at_once)

    def ended(job_id: str, generation: int) -> None:
        encodes(at_once=True)
        job = client.wait(job_id, PATIENCE, 1)
        assert (job["status"], job["error"], job["warnings"]) == ("SUCCESS", "", [])
        assert planned_by(job_id) == generation
        urls = {output["type"]: output["url"] for output in job["outputs"]}
        assert frames(io.BytesIO(client.http.get(urls["transcode_720p"]).content)) == 800
        assert frames(urls["hls_720p"]) == 800

    first = begun(FORMAT)
    said = make(
        project,
        *("deploy", "STAGE=test", "AUTH=none"),
        AWS_ENDPOINT_URL=stack.aws_endpoint_url,
        AWS_DEFAULT_REGION=stack.region,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 jobs are at work" in said.stdout
    ended(first, 99)
    second = begun(99)
    deploy(
        build("test", auth="none"), Account(stack.aws_endpoint_url, stack.region, "test", "test")
    )
    ended(second, FORMAT)
