"""Who may call the API, as the stage says: on the deployed stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from infra import cloud
from infra.client import Client
from infra.cloud import Stack

pytestmark = pytest.mark.stack
PATIENCE = 60  # a first call starts a Lambda


def get(stack: Stack, path: str, **headers: str) -> httpx.Response:
    return httpx.get(stack.api_url + path, headers=headers, timeout=PATIENCE)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json()["request_id"]


def test_a_stage_with_api_keys(sample: Callable[[str], Path]) -> None:
    with cloud.running("test", auth="api_key") as stack, Client(stack) as client:
        assert stack.api_key
        refused(get(stack, "/jobs/"), 403, "invalid_api_key")
        refused(get(stack, "/jobs/", **{"x-api-key": "wrong"}), 403, "invalid_api_key")
        refused(get(stack, "/nothing"), 404, "not_found")
        assert client.get("/jobs/").status_code == 200
        assert get(stack, "/openapi.json").json()["security"] == [{"api_key": []}]
        job = client.wait(client.upload(sample("small.mp4"), "hls_720p"))
        # A player sends no header: the token in the path stands for itself.
        assert httpx.get(job["outputs"][0]["url"], timeout=PATIENCE).status_code == 200


def test_a_stage_with_iam() -> None:
    with cloud.running("test", auth="iam") as stack:
        refused(get(stack, "/jobs/"), 403, "forbidden")
        credentials = boto3.Session(stack.access_key_id, stack.secret_access_key).get_credentials()
        assert credentials
        request = AWSRequest("GET", stack.api_url + "/jobs/")
        SigV4Auth(credentials, "execute-api", stack.region).add_auth(request)
        assert get(stack, "/jobs/", **dict(request.headers)).status_code == 200
