"""Who may call the API, as the stage says: on the deployed stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from infra.local import cloud
from infra.paths import LOCAL
from sluice.client import ENDED, Client, until
from sluice.stack import Stack
from testing import owners
from testing.owners import Answer, Ask, Call, Things
from testing.processes import alive, ffmpegs, processes

pytestmark = pytest.mark.stack
PATIENCE = 600  # seconds; nothing takes as long on any machine


def get(stack: Stack, path: str, **headers: str) -> httpx.Response:
    return httpx.get(stack.api_url + path, headers=headers, timeout=PATIENCE)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json()["request_id"]


def asks(stack: Stack, headers_of: Callable[[str, str, bytes], dict[str, str]]) -> Ask:
    """Calls as somebody: `headers_of` a method, an address and a body say who."""

    def ask(call: Call) -> Answer:
        url, body = stack.api_url + call.path, json.dumps(call.body).encode()
        sent = body if call.body is not None else b""
        headers = {**dict(call.headers), **headers_of(call.method, url, sent)}
        answer = httpx.request(call.method, url, content=sent, headers=headers, timeout=PATIENCE)
        return Answer(answer.status_code, answer.json() if answer.content else None)

    return ask


def things_of(owner: Ask, body: bytes) -> Things:
    """What somebody has who has uploaded a file."""
    ticket = owner(owners.presign(pipeline=["thumbnail"])).body
    awaited = owner(owners.presign()).body["key"]
    httpx.put(ticket["url"], content=body, headers=ticket["headers"]).raise_for_status()

    def ended() -> bool:
        return bool(owner(owners.get(ticket["job_id"])).body["status"] in ENDED)

    until(ended, PATIENCE)
    return Things(ticket["job_id"], ticket["key"], awaited)


def test_a_stage_with_api_keys_whose_cloud_goes_whole(sample: Callable[[str], Path]) -> None:
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
        gateway = client.aws("apigateway")
        (plan,) = gateway.get_usage_plans()["items"]
        other = gateway.create_api_key(name="other", enabled=True)
        gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=other["id"], keyType="API_KEY")
        one, stranger = (
            asks(stack, lambda *_, key=key: {"x-api-key": key})
            for key in (stack.api_key, other["value"])
        )
        two_owners(one, stranger, sample)
        folder = LOCAL / "run" / stack.aws_endpoint_url.rsplit(":", 1)[1]
        assert (folder / "stack.json").stat().st_mode & 0o777 == 0o600
        client.upload(sample("anamorphic.mp4"), "watermark")
        until(lambda: ffmpegs(stack), PATIENCE)
        everything = processes(stack)
        assert len(everything) > 3
    # Also what is at work ends with the cloud, and its secrets go.
    assert [process for process in everything if alive(process)] == []
    assert not folder.exists()


def two_owners(one: Ask, other: Ask, sample: Callable[[str], Path]) -> None:
    body = sample("tiny.png").read_bytes()
    theirs, ours = things_of(one, body), things_of(other, body)
    owners.check_all_is_revealed(one, theirs)
    owners.check_nothing_is_revealed(other, theirs)
    owners.check_nothing_is_revealed(one, ours)


def signed(stack: Stack, key: str, secret: str) -> Ask:
    credentials = boto3.Session(key, secret).get_credentials()
    assert credentials

    def headers_of(method: str, url: str, body: bytes) -> dict[str, str]:
        request = AWSRequest(method, url, data=body)
        SigV4Auth(credentials, "execute-api", stack.region).add_auth(request)
        return dict(request.headers)

    return asks(stack, headers_of)


def test_a_stage_with_iam(sample: Callable[[str], Path]) -> None:
    with cloud.running("test", auth="iam") as stack, Client(stack) as client:
        refused(get(stack, "/jobs/"), 403, "forbidden")
        credentials = boto3.Session(stack.access_key_id, stack.secret_access_key).get_credentials()
        assert credentials
        request = AWSRequest("GET", stack.api_url + "/jobs/")
        SigV4Auth(credentials, "execute-api", stack.region).add_auth(request)
        assert get(stack, "/jobs/", **dict(request.headers)).status_code == 200
        iam = client.aws("iam")
        iam.create_user(UserName="other")
        allow = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName="other", PolicyName="calls", PolicyDocument=policy)
        made = iam.create_access_key(UserName="other")["AccessKey"]
        other = signed(stack, made["AccessKeyId"], made["SecretAccessKey"])
        two_owners(signed(stack, stack.access_key_id, stack.secret_access_key), other, sample)
