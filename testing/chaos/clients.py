"""The clients of a schedule: they upload, ask for jobs, ask again, cancel, overwrite files and read jobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import boto3
from botocore.config import Config

import app
from chalicelib.settings import DROPS, settings
from testing.chaos.media import sample
from testing.chaos.sqs import Sqs
from testing.chaos.world import Worker, World
from testing.environment import TIMEOUTS

_BOUNDARY = "a-boundary"
# The callers; the first one also sees drops.
OPERATOR, OTHER = OWNERS = ("operator", "other")
METADATA = {"order": "4711"}  # of every upload and drop


class Context:
    """The context that Lambda gives a handler."""

    function_name = "chaos"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:chaos"
    memory_limit_in_mb = 3072

    def __init__(self, world: World, seconds: float) -> None:
        self.aws_request_id = f"request-{world.number()}"
        self._world = world
        self._deadline = world.now + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - self._world.now)))


class Answer(NamedTuple):
    """An answer of the API. Status 0: it died before it answered."""

    status: int
    body: Any = None


class Put(NamedTuple):
    """An object that was stored in the upload bucket."""

    key: str
    etag: str
    sample: str
    at: float
    event_is_sent: bool  # whether its event was sent


class Ack(NamedTuple):
    """A job that the API has confirmed to a client, and the call that asked for it."""

    call: str
    job_id: str
    key: str | None
    pipeline: tuple[str, ...]
    idempotency_key: str | None


@dataclass
class Clients:
    """All clients. Their actions and the answers are kept for the judge."""

    world: World
    sqs: Sqs
    puts: list[Put] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    asked: list[Ack] = field(default_factory=list)  # calls for jobs, answered or not; without ids
    cancels: set[str] = field(default_factory=set)  # jobs that a client wanted to be canceled
    canceled: set[str] = field(default_factory=set)  # of those, the ones that the API says are
    removals: set[str] = field(default_factory=set)  # jobs that a client wanted to be deleted
    removed: set[str] = field(default_factory=set)  # of those, the ones that the API says are
    retries: list[str] = field(default_factory=list)  # keys of the files of jobs to be tried again
    deleted: set[str] = field(default_factory=set)
    spoilt: set[str] = field(default_factory=set)  # keys and jobs that cannot end well
    samples: dict[str, str] = field(default_factory=dict)  # by ETag
    owners: dict[str, str] = field(default_factory=dict)  # of presigned keys
    estimates: dict[str, int] = field(default_factory=dict)  # estimated tasks of a job, by key
    _presigned: Iterator[int] = field(default_factory=count)

    # ── S3 ──

    def put(
        self, key: str, name: str, *, pipeline: Sequence[str] = (), event_is_sent: bool = True
    ) -> None:
        """PUT a sample to the upload bucket; the named steps are in its metadata."""
        metadata = {**METADATA, **({"pipeline": ",".join(pipeline)} if pipeline else {})}
        put = _s3().put_object(
            Bucket=settings().upload_bucket, Key=key, Body=sample(name), Metadata=metadata
        )
        self.stored(key, put["ETag"].strip('"'), name, event_is_sent=event_is_sent)

    def stored(self, key: str, etag: str, name: str, *, event_is_sent: bool = True) -> None:
        """Note a stored object; S3 sends its event if `event_is_sent`."""
        self.samples[etag] = name
        self.puts.append(Put(key, etag, name, self.world.now, event_is_sent))
        self.world.note("PUT", key, name)
        if event_is_sent:
            sequencer = f"{self.world.number():018x}"
            self.sqs.event(_event(key, etag, len(sample(name)), sequencer))

    def delete(self, key: str) -> None:
        """Delete an original."""
        self.world.note("DELETE", key)
        self.deleted.add(key)
        _s3().delete_object(Bucket=settings().upload_bucket, Key=key)

    def write(self, row: dict[str, Any]) -> None:
        """Write a row directly, past the product's code."""
        self.spoilt.add(row["pk"]["S"])
        _dynamodb().put_item(TableName=settings().jobs_table, Item=row)

    # ── the API ──

    def presign(
        self,
        then: Callable[[str, str | None], None],
        pipeline: Sequence[str] | None = None,
    ) -> None:
        """Ask for a presigned URL. `then` gets the key and the job that waits for the upload."""
        body = {"filename": "f.x", "content_type": "image/jpeg", "metadata": METADATA}
        owner = OWNERS[(next(self._presigned) + 1) % 2]

        def told(answer: Answer) -> None:
            if answer.status != 200:
                self.world.note("no URL:", answer)
                return
            key, job_id = answer.body["key"], answer.body.get("job_id")
            self.owners[key] = owner
            if job_id:
                self.acks.append(Ack("presign", job_id, key, tuple(pipeline or ()), None))
            then(key, job_id)

        asked = body if pipeline is None else {**body, "pipeline": list(pipeline)}
        self.call("POST", "/uploads/presign", told, caller=owner, body=asked, tries=4)

    def from_key(
        self,
        key: str,
        pipeline: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        *,
        tries: int = 4,
    ) -> None:
        """Ask for a job; ask again without an answer, and a little later if the file is not there yet."""
        ack = Ack("from-key", "", key, tuple(pipeline or ()), idempotency_key)
        self.asked.append(ack)
        over = self.canceled | self.removed

        def told(answer: Answer) -> None:
            if answer.status == 202:
                if idempotency_key is None and answer.body["job_id"] in over:
                    self.world.violate("a job that was ended by hand is given again", str(answer))
                self.acks.append(ack._replace(job_id=answer.body["job_id"]))
                self.world.note("202", key, answer.body["job_id"][:8])
            elif answer.status == 409 and tries > 1:
                again = lambda: self.from_key(key, pipeline, idempotency_key, tries=tries - 1)  # noqa: E731
                self.world.at(3.0, again)
            else:
                self.world.note("no job:", key, answer)

        headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        body = {"key": key} if pipeline is None else {"key": key, "pipeline": list(pipeline)}
        caller = self.owners.get(key, OPERATOR)
        self.call(
            "POST", "/jobs/from-key", told, caller=caller, body=body, headers=headers, tries=tries
        )

    def form(self, name: str, pipeline: Sequence[str] = ()) -> None:
        """Upload a sample in a form."""
        parts = [
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f.x"\r\n\r\n'.encode(),
            sample(name),
        ]
        fields = {"metadata": json.dumps(METADATA)}
        if pipeline:
            fields["pipeline"] = ",".join(pipeline)
        for name, value in fields.items():
            field = f'Content-Disposition: form-data; name="{name}"'
            parts.append(f"\r\n--{_BOUNDARY}\r\n{field}\r\n\r\n{value}".encode())
        parts.append(f"\r\n--{_BOUNDARY}--\r\n".encode())

        def told(answer: Answer) -> None:
            if answer.status == 202:
                job_id = answer.body["job_id"]
                self.acks.append(Ack("form", job_id, None, tuple(pipeline), None))

        headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
        body = b"".join(parts)
        self.call("POST", "/jobs/upload", told, caller=OTHER, body=body, headers=headers, tries=3)

    def cancel(self, job_id: str, owner: str) -> None:
        """Cancel a job."""
        self.cancels.add(job_id)

        def told(answer: Answer) -> None:
            self.world.note("cancel:", job_id[:8], answer.status)
            if answer.status == 202:
                self.canceled.add(job_id)
                if answer.body["status"] != "CANCELED":
                    self.world.violate("a canceled job is shown as another", str(answer))

        route = "/jobs/{job_id}/cancel"
        self.call("POST", route, told, caller=caller_of(owner), tries=4, job_id=job_id)

    def retry(self, job_id: str, owner: str, key: str) -> None:
        """Have a job tried again."""
        self.retries.append(key)

        def told(answer: Answer) -> None:
            self.world.note("retry:", job_id[:8], answer)
            if answer.status == 202:
                self.acks.append(Ack("retry", answer.body["job_id"], key, (), None))

        route = "/jobs/{job_id}/retry"
        self.call("POST", route, told, caller=caller_of(owner), tries=4, job_id=job_id)

    def remove(self, job_id: str, owner: str) -> None:
        """Delete a job, whatever it is at."""
        self.removals.add(job_id)

        def told(answer: Answer) -> None:
            self.world.note("delete:", job_id[:8], answer.status)
            if answer.status == 204:
                self.removed.add(job_id)

        query = {"cancel": "true"}
        self.cancels.add(job_id)
        self.call(
            "DELETE", "/jobs/{job_id}", told,
            caller=caller_of(owner), tries=4, query=query, job_id=job_id,
        )  # fmt: skip

    def call(
        self,
        method: str,
        route: str,
        told: Callable[[Answer], None],
        *,
        caller: str = OPERATOR,
        body: Any = None,
        headers: dict[str, str] | None = None,
        tries: int = 1,
        pause: float = 2.0,
        query: dict[str, str] | None = None,
        **parameters: str,
    ) -> None:
        """Call the API; call again after a 5xx or no answer, as clients do."""
        event = request_of(caller, method, route, parameters, body, headers or {}, query)
        world = self.world
        seconds = TIMEOUTS["api"]

        def ended(worker: Worker) -> None:
            answer = Answer(0) if worker.dead or worker.error else answer_of(worker.result)
            if worker.error is not None:
                world.note("the API raised", repr(worker.error)[:200])
            if (answer.status == 0 or answer.status >= 500) and tries > 1:
                again = lambda: self.call(  # noqa: E731
                    method, route, told,
                    caller=caller, body=body, headers=headers, tries=tries - 1, pause=pause, query=query,
                    **parameters,
                )  # fmt: skip
                world.at(pause, again)
            else:
                told(answer)

        run = lambda: app.app(event, Context(world, seconds))  # noqa: E731
        world.spawn(f"{method} {route}", "api", run, seconds, ended)

    def look(
        self,
        route: str,
        *,
        caller: str = OPERATOR,
        query: dict[str, str] | None = None,
        **parameters: str,
    ) -> Answer:
        """GET from the API, without faults and in no time."""
        event = request_of(caller, "GET", route, parameters, None, {}, query)
        self.world.looks_as = "api"
        try:
            return answer_of(app.app(event, Context(self.world, TIMEOUTS["api"])))
        finally:
            self.world.looks_as = None

    def estimate(self, key: str, pipeline: Sequence[str]) -> None:
        """Ask for an estimate; all estimates of a file must be equal."""

        def told(answer: Answer) -> None:
            if answer.status != 200:
                self.world.note("no estimate:", key, answer)
            elif answer.body["tasks"] != self.estimates.setdefault(key, answer.body["tasks"]):
                self.world.violate("two estimates of a file differ", f"{key}: {answer.body}")

        body = {"key": key, "pipeline": list(pipeline)}
        caller = self.owners.get(key, OPERATOR)
        self.call("POST", "/jobs/estimate", told, caller=caller, body=body, tries=4)


def caller_of(owner: str) -> str:
    """Who sees what this owner has."""
    return OPERATOR if owner == DROPS else owner


def request_of(
    caller: str,
    method: str,
    route: str,
    parameters: dict[str, str],
    body: Any,
    headers: dict[str, str],
    query: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The event of a call, as API Gateway passes it to Lambda."""
    is_bytes = isinstance(body, bytes)
    text = (
        base64.b64encode(body).decode() if is_bytes else None if body is None else json.dumps(body)
    )
    return {
        "httpMethod": method,
        "resource": route,
        "path": f"/api{route.format(**parameters)}",
        "pathParameters": parameters or None,
        "multiValueQueryStringParameters": query and {name: [v] for name, v in query.items()},
        "headers": {"content-type": "application/json", **headers},
        "multiValueHeaders": {},
        "body": text,
        "isBase64Encoded": is_bytes,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": route,
            "path": f"/api{route.format(**parameters)}",
            "domainName": "api.test",
            "requestId": "request",
            "identity": {"apiKeyId": caller},
        },
    }


def answer_of(result: dict[str, Any]) -> Answer:
    text = result.get("body") or "null"
    try:
        return Answer(result["statusCode"], json.loads(text))
    except ValueError:
        return Answer(result["statusCode"], text)


def _event(key: str, etag: str, size: int, sequencer: str) -> str:
    stored = {"key": quote_plus(key), "size": size, "eTag": etag, "sequencer": sequencer}
    bucket = {"name": settings().upload_bucket}
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": stored}}
    return json.dumps({"Records": [record]})


@cache
def _dynamodb() -> Any:
    return boto3.client("dynamodb")


@cache
def _s3() -> Any:
    return boto3.client("s3", config=Config(request_checksum_calculation="when_required"))
