"""Every call of the API, made by a stranger about another owner's files and jobs; none may reveal them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote


class Answer(NamedTuple):
    status: int
    body: Any


class Call(NamedTuple):
    """A call of the API: `path` as the client sends it, and the route that matches it."""

    method: str
    route: str
    path: str
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


# Sends a call as one caller.
Ask = Callable[[Call], Answer]


class Things(NamedTuple):
    """The files and jobs of an owner."""

    job_id: str
    key: str  # of a stored file, the source of the job
    awaited: str  # of a file that is not uploaded yet
    webhook_id: str = "00000000-0000-4000-8000-000000000001"  # without another, there is none

    @property
    def words(self) -> tuple[str, ...]:
        return self.job_id, self.key, self.awaited, self.webhook_id


NOTHING = Things(
    "00000000-0000-4000-8000-000000000000",
    f"uploads/{'0' * 32}_tiny.png",
    f"uploads/{'1' * 32}_tiny.png",
)
# Routes that name no existing file or job; their results are the caller's own.
OF_THEMSELVES = {"/uploads/presign", "/jobs/upload", "/recipes", "/webhooks"}
# Routes that everybody with the link may read.
OF_A_LINK = {"/jobs/{job_id}/hls/{token}/{name}", "/openapi.json"}


def presign(**more: Any) -> Call:
    body = {"filename": "tiny.png", "content_type": "image/png", **more}
    return Call("POST", "/uploads/presign", "/uploads/presign", body)


def from_key(key: str, *pipeline: str, idempotency_key: str = "") -> Call:
    body = {"key": key, **({"pipeline": pipeline} if pipeline else {})}
    headers = (("Idempotency-Key", idempotency_key),) if idempotency_key else ()
    return Call("POST", "/jobs/from-key", "/jobs/from-key", body, headers)


def estimate(key: str) -> Call:
    return Call("POST", "/jobs/estimate", "/jobs/estimate", {"key": key})


def get(job_id: str, method: str = "GET") -> Call:
    return Call(method, "/jobs/{job_id}", f"/jobs/{job_id}")


def sign(key: str, method: str, **more: Any) -> Call:
    """A later request of an upload in parts."""
    body = {"method": method, "key": key, "uploadId": "an-upload", **more}
    return Call("POST", "/uploads/sign", "/uploads/sign", body)


def cancel(job_id: str) -> Call:
    return Call("POST", "/jobs/{job_id}/cancel", f"/jobs/{job_id}/cancel")


def retry(job_id: str) -> Call:
    return Call("POST", "/jobs/{job_id}/retry", f"/jobs/{job_id}/retry")


def delete(job_id: str, query: str = "") -> Call:
    return Call("DELETE", "/jobs/{job_id}", f"/jobs/{job_id}{query}")


def new_webhook() -> Call:
    body = {"url": "https://shop.example/", "events": ["job.*"]}
    return Call("POST", "/webhooks", "/webhooks", body)


def webhook(webhook_id: str, method: str = "GET") -> Call:
    return Call(method, "/webhooks/{webhook_id}", f"/webhooks/{webhook_id}")


def deliveries(webhook_id: str) -> Call:
    route = "/webhooks/{webhook_id}/deliveries"
    return Call("GET", route, f"/webhooks/{webhook_id}/deliveries")


def replay(webhook_id: str) -> Call:
    route = "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"
    return Call("POST", route, f"/webhooks/{webhook_id}/deliveries/Zm9v/replay")


def listing(**parameters: str) -> Call:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return Call("GET", "/jobs", f"/jobs?{query}" if query else "/jobs")


def calls_about(things: Things) -> list[Call]:
    """Every call that names a file or a job."""
    keyed = [
        call
        for key in (things.key, things.awaited)
        for call in (
            from_key(key),
            from_key(key, "thumbnail"),
            from_key(key, "hls_720p"),
            from_key(key, idempotency_key="a key"),
            estimate(key),
            listing(key=key),
            listing(key=key, status="SUCCESS"),
            sign(key, "PUT", partNumber=1),
            sign(key, "GET"),
            sign(key, "POST"),
            sign(key, "DELETE"),
        )
    ]
    return [
        *keyed,
        get(things.job_id),
        get(things.job_id, "HEAD"),
        get(things.job_id.upper()),
        cancel(things.job_id),
        retry(things.job_id),
        delete(things.job_id),
        delete(things.job_id, "?cancel=true"),
        webhook(things.webhook_id),
        webhook(things.webhook_id, "DELETE"),
        deliveries(things.webhook_id),
        replay(things.webhook_id),
    ]


def listings() -> list[Call]:
    statuses = ("PENDING", "STARTED", "SUCCESS", "FAILURE", "CANCELED")
    return [listing(), listing(limit="1"), *(listing(status=status) for status in statuses)]


def routes_asked() -> set[str]:
    return {call.route for call in (*calls_about(NOTHING), *listings())}


def check_nothing_is_revealed(stranger: Ask, things: Things) -> None:
    """A stranger's answers about another's things equal, byte for byte, those about missing things."""
    for call, same_of_none in zip(calls_about(things), calls_about(NOTHING), strict=True):
        answer, answer_of_nothing = stranger(call), stranger(same_of_none)
        assert _with_other_names(answer, things) == _with_other_names(answer_of_nothing, NOTHING), (
            call
        )
        assert answer.status in (200, 404), call
        assert answer.status == 404 or answer.body == {"jobs": [], "next_cursor": None}, call
    for call in listings():
        answer = stranger(call)
        assert answer.status == 200
        assert not [word for word in things.words if word in json.dumps(answer.body)], call


def check_all_is_revealed(owner: Ask, things: Things) -> None:
    """The owner's answers to the same calls do reveal the files and jobs."""
    assert owner(get(things.job_id)).body["key"] == things.key
    assert owner(from_key(things.awaited)).body["code"] == "upload_incomplete"
    assert owner(estimate(things.awaited)).body["code"] == "upload_incomplete"
    assert owner(estimate(things.key)).status in (200, 422)  # depends on the file
    assert owner(from_key(things.key, "thumbnail")).status == 202
    for call in (listing(), listing(key=things.key)):
        assert things.job_id in [job["id"] for job in owner(call).body["jobs"]]
    assert owner(cancel(things.job_id)).status in (202, 409)  # depends on how far it is


def _with_other_names(answer: Answer, things: Things) -> Answer:
    """The answer with the names of things that do not exist, and without the request's id."""
    text = json.dumps({**(answer.body or {}), "request_id": ""})
    for word, other in zip(things.words, NOTHING.words, strict=True):
        text = text.replace(word, other)
    return Answer(answer.status, json.loads(text))
