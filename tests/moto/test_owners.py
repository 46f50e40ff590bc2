"""Two owners, under moto: neither sees, starts, estimates, lists or guesses anything of the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from botocore.client import BaseClient

import app
from chalicelib.jobs import s3_events
from chalicelib.settings import settings
from chalicelib.store import jobs
from testing import owners, rows
from testing.owners import Answer, Ask, Call, Things
from testing.pump import Context, deliver, drop

pytestmark = pytest.mark.usefixtures("cloud")

ACCOUNT = "arn:aws:iam::123456789012"
ROLE = "arn:aws:sts::123456789012:assumed-role/uploader"


@pytest.fixture(autouse=True)
def _settings_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


class Stage(NamedTuple):
    """Who is asked of a caller, who may see drops, and what two callers are called."""

    auth: str
    operators: str
    identities: tuple[dict[str, str], dict[str, str]]


BY_KEY = {"apiKeyId": "k1aaaaaaaa"}, {"apiKeyId": "k2bbbbbbbb"}
STAGES = {
    "api_key": Stage("api_key", "", BY_KEY),
    "users": Stage("iam", "", ({"userArn": f"{ACCOUNT}:user/a"}, {"userArn": f"{ACCOUNT}:user/b"})),
    "roles": Stage("iam", "", ({"userArn": f"{ROLE}/x"}, {"userArn": f"{ROLE}s/x"})),
    "operators": Stage("api_key", " ".join(each["apiKeyId"] for each in BY_KEY), BY_KEY),
}


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Who is asked of a caller, and who sees drops."""

    def chosen(auth: str, operators: str = "") -> None:
        monkeypatch.setenv("SLUICE_AUTH", auth)
        monkeypatch.setenv("SLUICE_OPERATORS", operators)
        settings.cache_clear()

    return chosen


def caller(**identity: str) -> Ask:
    """Calls the API as API Gateway would for this identity."""

    def ask(call: Call) -> Answer:
        path, _, asked = call.path.partition("?")
        names = [name for name in call.route.split("/") if name.startswith("{")]
        values = path.split("/")[2:] if names else []
        body = call.body if isinstance(call.body, bytes) else json.dumps(call.body).encode()
        query = parse_qsl(asked, keep_blank_values=True)
        event = {
            "httpMethod": call.method,
            "resource": call.route,
            "path": f"/api{path}",
            "pathParameters": dict(zip((n.strip("{}") for n in names), values, strict=False))
            or None,
            "multiValueQueryStringParameters": {n: [v] for n, v in query} or None,
            "headers": {"content-type": "application/json", **dict(call.headers)},
            "body": base64.b64encode(body).decode() if call.body is not None else None,
            "isBase64Encoded": True,
            "stageVariables": None,
            "requestContext": {
                "httpMethod": call.method,
                "resourcePath": call.route,
                "path": f"/api{path}",
                "requestId": "r",
                "identity": {
                    "sourceIp": "192.0.2.1",
                    "apiKeyId": None,
                    "userArn": None,
                    **identity,
                },
            },
        }
        answered = app.app(event, Context())
        return Answer(answered["statusCode"], json.loads(answered["body"] or "null"))

    return ask


ANYBODY = caller()
JUNK = b"not media"


def arrive(key: str, body: bytes) -> None:
    """A drop, whose job is written and not begun."""
    s3_events.arrivals(s3_events.decode(drop(key, body)))


def upload(ask: Ask, body: bytes, *pipeline: str) -> Things:
    """What comes of two URLs, of which one is uploaded to."""
    waits = ask(owners.presign(pipeline=pipeline)).body
    awaited = ask(owners.presign(pipeline=pipeline)).body["key"]
    assert deliver("intake", drop(waits["key"], body)) == []
    webhook_id = ask(owners.new_webhook()).body["id"]
    return Things(waits["job_id"], waits["key"], awaited, webhook_id)


@pytest.mark.parametrize("name", STAGES)
def test_nothing_of_anothers_is_told(choose: Callable[[str, str], None], name: str) -> None:
    stage = STAGES[name]
    choose(stage.auth, stage.operators)
    one, other = (caller(**identity) for identity in stage.identities)
    theirs, ours = (upload(ask, JUNK, "thumbnail") for ask in (one, other))
    owners.check_all_is_revealed(one, theirs)
    owners.check_all_is_revealed(other, ours)
    for stranger, things in ((other, theirs), (one, ours)):
        owners.check_nothing_is_revealed(stranger, things)
    assert jobs.get(owners.NOTHING.job_id) is None
    for ask, things in ((one, theirs), (other, ours)):
        told = ask(owners.listing()).body["jobs"]
        assert {job["key"] for job in told} == {things.key, things.awaited}


def test_all_calls_are_in_the_matrix() -> None:
    routes = {path for path, methods in app.app.routes.items() if set(methods) - {"OPTIONS"}}
    assert owners.routes_asked() | owners.OF_THEMSELVES | owners.OF_A_LINK == routes


def test_of_anothers_file_no_more_is_asked_of_aws_than_of_none(
    choose: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose("api_key", "")
    one, other = (caller(**identity) for identity in BY_KEY)
    theirs = upload(one, JUNK, "thumbnail")
    sent: list[str] = []
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(client: Any, operation: str, *arguments: Any) -> Any:
        sent.append(operation)
        return send(client, operation, *arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)

    def requests_of(call: Call) -> list[str]:
        sent.clear()
        other(call)
        return list(sent)

    calls = zip(owners.calls_about(theirs), owners.calls_about(owners.NOTHING), strict=True)
    for call, same_of_none in calls:
        assert requests_of(call) == requests_of(same_of_none), call
        assert "GetObject" not in sent


def test_drops_are_for_operators(
    choose: Callable[[str, str], None], sample: Callable[[str], Path]
) -> None:
    operator, other = (caller(**identity) for identity in BY_KEY)
    arrive("in/a.png", sample("tiny.png").read_bytes())
    drop("backups/customers.csv", b"not media")
    choose("api_key", f"another {BY_KEY[0]['apiKeyId']}")
    (job,) = operator(owners.listing()).body["jobs"]
    assert operator(owners.listing(key="in/a.png")).body["jobs"] == [job]
    assert operator(owners.get(job["id"])).body == job
    # The default, spelt out: the event and the call mean the same job, whoever calls.
    started = operator(owners.from_key("in/a.png", "watermark", "thumbnail"))
    assert started.body == {"job_id": job["id"]}
    assert operator(owners.estimate("backups/customers.csv")).body["code"] == "unsupported_media"
    owners.check_nothing_is_revealed(other, Things(job["id"], "in/a.png", "backups/customers.csv"))
    for operators, seen in (("", 0), ("*", 1), ("-", 0)):
        choose("api_key", operators)
        assert len(other(owners.listing()).body["jobs"]) == seen


def test_where_nobody_is_asked_who_he_is_a_key_and_an_id_are_all_that_open_anything(
    choose: Callable[[str, str], None],
) -> None:
    arrive("in/a.png", JUNK)
    choose("none", "-")
    (dropped,) = ANYBODY(owners.listing()).body["jobs"]
    choose("none", "")
    things = upload(ANYBODY, JUNK, "thumbnail")
    assert ANYBODY(owners.get(things.job_id)).body["key"] == things.key
    assert [j["id"] for j in ANYBODY(owners.listing(key=things.key)).body["jobs"]] == [
        things.job_id
    ]
    for call in owners.listings():
        assert ANYBODY(call).body["code"] == "key_required"
    of_drop = Things(dropped["id"], "in/a.png", "in/b.png")
    for call in owners.calls_about(of_drop):
        told = ANYBODY(call)
        assert told.status == 404 or told.body["jobs"] == []


def test_an_idempotency_key_is_its_callers_own(
    choose: Callable[[str, str], None],
) -> None:
    choose("api_key", "")
    asked = []
    for identity in BY_KEY:
        ask = caller(**identity)
        key = ask(owners.presign()).body["key"]
        drop(key, JUNK)
        asked.append(ask(owners.from_key(key, idempotency_key="a key")))
    assert [answer.status for answer in asked] == [202, 202]
    assert asked[0].body != asked[1].body


def test_sessions_of_a_role_are_one_caller(choose: Callable[[str, str], None]) -> None:
    choose("iam", "")
    one, other = (caller(userArn=f"{ROLE}/{session}") for session in ("monday", "tuesday"))
    job_id = one(owners.presign(pipeline=["thumbnail"])).body["job_id"]
    assert other(owners.get(job_id)).status == 200


@pytest.mark.parametrize("auth", ["api_key", "iam"])
def test_whom_the_gateway_does_not_name_gets_nothing(
    choose: Callable[[str, str], None], auth: str
) -> None:
    choose(auth, "*")
    own = (owners.presign(), Call("POST", "/jobs/upload", "/jobs/upload", b"x"))
    for call in (*owners.calls_about(owners.NOTHING), *owners.listings(), *own):
        told = ANYBODY(call)
        assert told.status == 403
        assert call.method == "HEAD" or told.body["code"] == "unknown_caller"


def test_a_ticket_says_whose_an_object_is_for_as_long_as_there_is_one(
    choose: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ANYBODY(owners.presign()).body["key"]
    waiting = rows.ticket_item(key)
    deliver("intake", drop(key, b"x"))
    assert "expires_at" not in rows.ticket_item(key)
    monkeypatch.setenv("SLUICE_ORIGINAL_DAYS", "60")
    settings.cache_clear()
    key = ANYBODY(owners.presign()).body["key"]
    deliver("intake", drop(key, b"x"))
    longer = expiry(rows.ticket_item(key)) - expiry(waiting)
    assert longer // 86400 == 59  # its URL, and an hour


def expiry(item: dict[str, Any]) -> int:
    return int(item["expires_at"]["N"])


def test_a_row_of_before_there_were_owners_is_for_operators(
    choose: Callable[[str, str], None],
) -> None:
    job_id = ANYBODY(owners.presign(pipeline=["thumbnail"])).body["job_id"]
    boto3.client("dynamodb").update_item(
        TableName=settings().jobs_table,
        Key={"pk": {"S": f"job#{job_id}"}, "sk": {"S": "job"}},
        UpdateExpression="REMOVE #owner",
        ExpressionAttributeNames={"#owner": "owner"},
    )
    for operators, status in (("", 404), ("-", 200)):
        choose("none", operators)
        assert ANYBODY(owners.get(job_id)).status == status


def test_a_link_opens_what_it_names_whoever_has_it(choose: Callable[[str, str], None]) -> None:
    choose("api_key", "")
    path = f"/jobs/{owners.NOTHING.job_id}/hls/forged/master.m3u8"
    told = ANYBODY(Call("GET", "/jobs/{job_id}/hls/{token}/{name}", urlsplit(path).path))
    assert (told.status, told.body["code"]) == (403, "token_invalid")
