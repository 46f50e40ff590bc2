"""A client that polls a job is told whether it has changed, and when to look again; lists are filtered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.handlers
import msgspec
import pytest
from chalice.test import Client, HTTPResponse

from app import app
from chalicelib.api import jobs as api_jobs
from chalicelib.api import polling, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.settings import settings
from chalicelib.store import progress
from chalicelib.store.queues import QUEUES
from infra.tools.samples import film
from testing import rows
from testing.pump import deliver, drain, take

pytestmark = pytest.mark.usefixtures("cloud")
Sample = Callable[[str], Path]
_reads: list[str] = []


def _count(event_name: str, **_: Any) -> None:
    _reads.append(event_name.removeprefix("before-send.dynamodb."))


# PynamoDB keeps its session: so for all of them, and before the first.
botocore.handlers.BUILTIN_HANDLERS.append(
    ("before-send.dynamodb", _count, botocore.handlers.REGISTER_FIRST)
)


def started(sample: Path, *pipeline: Any, recipe: str | None = None) -> str:
    body = sample.read_bytes()
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key=sample.name, Body=body)
    request = FromKeyRequest(sample.name, list(pipeline) or None, recipe=recipe)
    return submissions.from_key("-", request, None).job_id


def get(path: str, etag: str = "") -> HTTPResponse:
    with Client(app) as client:
        answer: HTTPResponse = client.http.get(
            path, headers={"If-None-Match": etag} if etag else {}
        )
        return answer


@pytest.mark.media
def test_a_job_that_has_not_changed_is_a_304_by_one_read(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    drain()
    first = get(f"/jobs/{job_id}")
    etag = first.headers["ETag"]
    assert etag.startswith('W/"')
    assert "Retry-After" not in first.headers  # it will not change any more
    for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        _reads.clear()
        again = get(f"/jobs/{job_id}", given)
        assert (again.status_code, again.body) == (304, b"")
        assert again.headers["ETag"] == etag
        assert again.headers["Access-Control-Expose-Headers"].startswith("ETag")
        assert _reads == ["BatchGetItem"]
    assert get(f"/jobs/{job_id}", '"other"').json_body == first.json_body


@pytest.mark.media
def test_the_tag_changes_with_whatever_is_shown(tmp_path: Path, short_chunks: None) -> None:
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    job_id = started(tmp_path / "a.mp4", "hls_720p")
    tags, told = [], []

    def look() -> None:
        answer = get(f"/jobs/{job_id}")
        tags.append(answer.headers["ETag"])
        told.append({**answer.json_body, "eta_seconds": None})
        if answer.json_body["status"] in ("PENDING", "STARTED"):
            assert 1 <= int(answer.headers["Retry-After"]) <= 10

    look()
    while waiting := [(queue, body) for queue in QUEUES for body in take(queue)]:
        for queue, body in waiting:
            deliver(queue, body)
            look()
    progress.advance(job_id, "film.1", 40)
    look()
    pairs = list(zip(tags, told, strict=True))
    # The same tag means the same job, and another one another.
    for tag, job in pairs:
        assert [other == job for other_tag, other in pairs if other_tag == tag] == [
            True for other_tag, _ in pairs if other_tag == tag
        ]
        assert not [1 for other_tag, other in pairs if other_tag != tag and other == job]
    assert len(set(tags)) > 4


@pytest.mark.parametrize(("eta", "seconds"), [(None, 1), (3, 1), (45, 5), (4000, 10)])
def test_when_to_look_again(eta: int | None, seconds: int) -> None:
    assert polling.pause(eta) == seconds


@pytest.mark.media
def test_the_tag_is_not_of_signatures(sample: Sample) -> None:
    """Two Lambdas sign with different credentials. When links are signed anew, it changes."""
    job_id = started(sample("photo.jpg"), "thumbnail")
    drain()
    view = api_jobs.get_job("-", job_id, "")
    (output,) = view.outputs
    replace = msgspec.structs.replace
    other = replace(output, url="https://signed.by.another")
    assert polling.entity_tag(replace(view, outputs=[other])) == polling.entity_tag(view)
    later = replace(output, expires_at="2030-01-01T00:00:00Z")
    assert polling.entity_tag(replace(view, outputs=[later])) != polling.entity_tag(view)


@pytest.mark.media
def test_a_list_by_recipe_and_by_time(sample: Sample) -> None:
    by_recipe = started(sample("photo.jpg"), recipe="default")
    other = started(sample("photo.jpg"), "thumbnail")
    drain()
    recipe = rows.job_item(by_recipe)["recipe"]["S"]

    def listed(query: str) -> list[str]:
        answer = get(f"/jobs?{query}")
        assert answer.status_code == 200, answer.body
        return [job["id"] for job in answer.json_body["jobs"]]

    assert listed("recipe=default") == [by_recipe]
    assert listed(f"recipe={recipe.replace('@', '%40')}") == [by_recipe]
    assert listed("recipe=default%40ffffff") == []
    assert listed("recipe=unknown") == []
    created = rows.job_item(other)["created_at"]["S"]
    assert listed(f"created_after={created}") == [other]
    assert listed(f"created_before={created}") == [by_recipe]
    assert listed(f"created_after={created}&recipe=default") == []
    assert listed("created_after=2020-01-01T00:00:00Z&status=SUCCESS") == [other, by_recipe]
    assert listed("created_before=2020-01-01T00:00:00%2B01:00") == []


@pytest.mark.parametrize(
    "query",
    [
        "created_after=yesterday",
        "created_after=2026-11-29",
        "created_before=2026-11-29T10:00:00",
        "created_after=2026-11-29T10:00:00Z&created_before=2026-11-29T10:00:00Z",
        "created_after=2026-11-29T10:00:00Z&created_before=2026-11-29T10:00:00%2B02:00",
        "created_before=9999-12-31T23:59:59-01:00",
    ],
)
def test_instants_that_are_refused(query: str) -> None:
    answer = get(f"/jobs?{query}")
    assert (answer.status_code, answer.json_body["code"]) == (400, "malformed_request")
    assert "created_" in answer.json_body["detail"]


def test_messages_of_a_job_are_a_group(sample: Sample) -> None:
    """So SQS prefers those of jobs of which few are at work."""
    job_id = started(sample("photo.jpg"), "thumbnail")
    deliver("intake", *take("intake"))

    url = os.environ["SLUICE_QUEUE_URL_PICTURES"]
    (message,) = boto3.client("sqs").receive_message(QueueUrl=url, AttributeNames=["All"])[
        "Messages"
    ]
    assert message["Attributes"]["MessageGroupId"] == job_id
