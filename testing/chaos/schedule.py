"""One schedule: a world with a cloud, functions and clients, and an observer of all writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import app
from chalicelib.model.pools import POOLS
from chalicelib.settings import settings
from testing.chaos.boundary import boundary
from testing.chaos.clients import OWNERS, Clients, Context, caller_of
from testing.chaos.cloud import Cloud, Stand
from testing.chaos.faults import Faults
from testing.chaos.media import SAMPLES, Memo, sample
from testing.chaos.simulated import inside
from testing.chaos.sqs import Sqs
from testing.chaos.world import Worker, World
from testing.environment import TIMEOUTS

MOST_SECONDS = 320 * 3600.0
MOST_EVENTS = 15_000
DELETED = "DELETED"
TERMINAL = ("SUCCESS", "FAILURE", "CANCELED", DELETED)
# Attributes that may change after a job's end: the sweep's next look, to tidy up.
_MAY_CHANGE = {"due_at", "due_shard"}
_RANKS = {"PENDING": 0, "STARTED": 1} | dict.fromkeys(TERMINAL, 2) | {DELETED: 3}


_STORING = ("PutObject", "CompleteMultipartUpload", "CopyObject")


@dataclass
class Life:
    """The observed states of a job: in its row, and in the API's answers."""

    item: dict[str, Any]
    begun: float
    ended: float | None = None
    shown: tuple[int, int, str] = (0, 0, "")  # rank of the status, percent, status
    generation: str = ""  # of the plan that it followed when it was shown
    outputs: frozenset[str] = frozenset()  # keys of those that were shown as complete


@dataclass
class Schedule:
    """The state of one run."""

    world: World
    stand: Stand
    clients: Clients
    sqs: Sqs
    lives: dict[str, Life] = field(default_factory=dict)
    _written: dict[str, str] = field(default_factory=dict)

    def is_deleted(self, job_id: str) -> bool:
        """Whether a job's tombstone is all that is to be left of it."""
        return bool(self.lives[job_id].item["status"]["S"] == DELETED)

    @property
    def is_over(self) -> bool:
        """Whether every existing job has ended."""
        return all(life.ended is not None for life in self.lives.values())

    def output_keys(self) -> list[str]:
        """All keys in the output bucket."""
        return list(self.stand.objects(settings().output_bucket))

    # ── functions ──

    def invoke(self, function: str, event: dict[str, Any], ended: Callable[[Worker], None]) -> None:
        """Start a function with an event."""
        seconds = TIMEOUTS[function]
        context = Context(self.world, seconds)
        handler = getattr(app, function)
        self.world.invocations[function] += 1
        name = f"{function} {context.aws_request_id.removeprefix('request-')}"
        self.world.spawn(name, function, lambda: handler(event, context), seconds, ended)

    def call(self, function: str, event: dict[str, Any]) -> Any:
        """Invoke a function synchronously, in the caller's simulated process. Returns its answer."""
        caller = self.world.current
        assert caller is not None
        self.world.invocations[function] += 1
        name, caller.function = caller.function, function
        try:
            return getattr(app, function)(event, Context(self.world, TIMEOUTS[function]))
        finally:
            caller.function = name

    def sweep(self) -> None:
        """Invoke the sweep, as EventBridge does at least once a minute."""
        world = self.world
        event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {},
                 "version": "0", "account": "1", "time": "", "region": "us-east-1",
                 "resources": [], "id": "1"}  # fmt: skip
        twice = world.happens(world.faults.sweep_doubled, "two sweeps at once")
        for _ in range(2 if twice else 1):
            self.invoke("sweep", event, self._swept)

    def _swept(self, worker: Worker) -> None:
        if worker.error is not None:
            self.world.note("the sweep raised", repr(worker.error)[:300])

    def due(self) -> float | None:
        """The time at which the sweep next has something to do."""
        dues = [
            float(item["due_at"]["N"])
            for item in self.stand.items()
            if "due_at" in item and "due_shard" in item
        ]
        return min(dues, default=None)

    # ── what is written ──

    def changed(self, service: str, operation: str, request: Any) -> None:
        """Observe the effect of a request."""
        self._check_it_has_stopped(service, operation, request)
        if service == "dynamodb":
            for written in _written(operation, json.loads(request.body)):
                item = self.stand.item(written)
                if item is None or item["pk"]["S"] in self.clients.spoilt:
                    continue
                if item["sk"]["S"] == "job":
                    self._job_written(item["pk"]["S"].partition("#")[2], item)
        elif service == "s3" and operation in _STORING:
            bucket, key = _place(request.url)
            if bucket == settings().output_bucket:
                self._output_written(key)
            elif operation == "PutObject":
                self._original_written(key)

    def _check_it_has_stopped(self, service: str, operation: str, request: Any) -> None:
        """A worker that has read that a job is canceled does nothing more for it.

        It may read that again, for another message, and give up an upload that it had begun.
        """
        worker = self.world.current
        if worker is None or worker.function not in POOLS or operation == "AbortMultipartUpload":
            return
        body = request.body.decode(errors="replace") if isinstance(request.body, bytes) else ""
        if (service, operation) == ("dynamodb", "GetItem"):
            key = json.loads(body)["Key"]
            item = self.stand.item(key) if key["sk"]["S"] == "job" else None
            if item is not None:
                if item["status"]["S"] == "CANCELED":
                    worker.knows_canceled.add(key["pk"]["S"].partition("#")[2])
                return
        place = request.url if service == "s3" else body
        for job_id in worker.knows_canceled:
            if job_id in place or job_id.replace("-", "") in place:
                what = f"{worker.name}: {operation} for {job_id}"
                self.world.violate("a worker goes on with a job that it knows is canceled", what)

    def _job_written(self, job_id: str, item: dict[str, Any]) -> None:
        world = self.world
        status = item["status"]["S"]
        life = self.lives.get(job_id)
        if life is None:
            life = self.lives[job_id] = Life({}, world.now)
        before, life.item = life.item, json.loads(json.dumps(item))
        if before == life.item:
            return
        before_status = before["status"]["S"] if before else "PENDING"
        is_buried = status == DELETED != before_status
        if before_status in TERMINAL and not is_buried and _changed(before, item) - _MAY_CHANGE:
            world.violate(
                "changed after its end", f"{job_id} {before_status}: {_changes(before, item)}"
            )
        if _RANKS[status] < _RANKS[before_status]:
            world.violate("status went back", f"{job_id}: {before_status}, {status}")
        if ("expires_at" in item) != (status in TERMINAL):
            world.violate("TTL without an end", f"{job_id} {status}")
        if status != before_status or not before:
            reason = (
                f"{item.get('error_code', {}).get('S', '')} {item.get('error', {}).get('S', '')}"
            )
            world.note("JOB", job_id[:8], status, reason[:200])
        if status in TERMINAL and life.ended is None:
            life.ended = world.now

    def _output_written(self, key: str) -> None:
        stored = self.stand.object(settings().output_bucket, key)
        assert stored is not None
        digest = hashlib.sha256(stored.body).hexdigest()
        if self._written.setdefault(key, digest) != digest:
            self.world.violate("a key has two writers with different bytes", key)
            self._written[key] = digest

    def _original_written(self, key: str) -> None:
        stored = self.stand.object(settings().upload_bucket, key)
        assert stored is not None
        name = next(name for name in SAMPLES if sample(name) == stored.body)
        self.clients.stored(key, stored.etag, name)

    # ── what is shown ──

    def look(self) -> None:
        """Read one of the jobs through the API, as clients may at any time."""
        if not self.lives:
            return
        job_id = self.world.random.choice(list(self.lives))
        view = self.shown(job_id)
        if view is None:
            return
        self._shown(self.lives[job_id], view)
        for output in view["outputs"]:
            if output["complete"] and not self.stand.object(
                settings().output_bucket, output["s3_key"]
            ):
                self.world.violate("a listed output is not there", output["s3_key"])

    def shown(self, job_id: str) -> dict[str, Any] | None:
        """A job as its owner sees it; checks that no other caller sees it."""
        owner = self.lives[job_id].item["owner"]["S"]
        answers = {
            caller: self.clients.look("/jobs/{job_id}", caller=caller, job_id=job_id)
            for caller in OWNERS
        }
        answer = answers.pop(caller_of(owner))
        (strangers,) = answers.values()
        if strangers.status != 404:
            self.world.violate("another's job is shown", f"{job_id}: {strangers}")
        if self.is_deleted(job_id):
            if answer.status != 410:
                self.world.violate("a deleted job is shown", f"{job_id}: {answer}")
            return None
        if answer.status != 200:
            self.world.violate("a job cannot be shown", f"{job_id}: {answer}")
            return None
        view: dict[str, Any] = answer.body
        return view

    def _shown(self, life: Life, view: dict[str, Any]) -> None:
        rank, percent, status = life.shown
        life.shown = _RANKS[view["status"]], view["progress"], view["status"]
        generation = life.item.get("generation", {}).get("S", "")
        if generation != life.generation:
            percent = 0  # a job that another version plans again starts at 0 %
        life.generation = generation
        told = f"{view['id']}: {status} {percent}, {view['status']} {view['progress']}"
        if life.shown[0] < rank:
            self.world.violate("the status that is shown went back", told)
        # The progress of a canceled job is that which the call had read.
        if view["progress"] < percent and (view["status"] != "CANCELED" or rank == 2):
            self.world.violate("progress went back", told)
        if rank == 2 and life.shown != (rank, percent, status):
            self.world.violate("the end that is shown changed", told)
        outputs = frozenset(each["s3_key"] for each in view["outputs"] if each["complete"])
        if life.outputs - outputs:
            self.world.violate("an output that was shown is gone", f"{told}: {life.outputs}")
        life.outputs = outputs


Scenario = Callable[[Schedule], None]


def run(
    scenario: Scenario,
    seed: str,
    faults: Faults,
    stand: Stand,
    memo: Memo,
    judge: Callable[[Schedule], None],
    *,
    trace: bool = False,
) -> Schedule:
    """Run a schedule to its end, and judge it."""
    world = World(seed, faults, trace=trace)
    cloud = Cloud(stand)
    boundary.cloud = cloud
    stand.begin(world)
    sqs = Sqs(world, lambda function, event, ended: schedule.invoke(function, event, ended))
    schedule = Schedule(world, stand, Clients(world, sqs), sqs)
    cloud.queues, cloud.functions = sqs.answer, schedule.call
    cloud.on_change = schedule.changed
    world.sweep_when(schedule.due, schedule.sweep)
    world.between.append(lambda: schedule.look() if world.random.random() < 0.02 else None)
    with inside(world, memo):
        scenario(schedule)
        world.run(most_seconds=MOST_SECONDS, most_events=MOST_EVENTS)
        judge(schedule)
    return schedule


def _written(operation: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys of the items that a request writes."""
    match operation:
        case "PutItem":
            written = [body["Item"]]
        case "UpdateItem":
            written = [body["Key"]]
        case "TransactWriteItems":
            written = [item["Update"]["Key"] for item in body["TransactItems"]]
        case _:
            written = []
    return [{name: item[name] for name in ("pk", "sk")} for item in written]


def _place(url: str) -> tuple[str, str]:
    address = urlsplit(url)
    return address.netloc.split(".s3")[0], unquote(address.path).lstrip("/")


def _changes(before: dict[str, Any], item: dict[str, Any]) -> str:
    names = sorted(_changed(before, item))
    return ", ".join(f"{name}: {before.get(name)} -> {item.get(name)}" for name in names)[:300]


def _changed(before: dict[str, Any], item: dict[str, Any]) -> set[str]:
    return {name for name in {*before, *item} if before.get(name) != item.get(name)}
