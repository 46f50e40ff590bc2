"""The conditions that every schedule must meet at its end."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.model.plan import GENERATION
from chalicelib.settings import DROPS, settings
from testing.chaos.clients import METADATA, OWNERS
from testing.chaos.schedule import Life, Schedule
from testing.chaos.versions import OTHER

# Requests of SQS's poller per invocation, which Sluice counts as the function's.
_POLLER_REQUESTS = 2
# Tries of a dead letter. One is enough, but in an outage it is tried again after growing pauses.
_MOST_BURIALS = 10
# The number of an owner's jobs that are also listed by their key.
_LOOKED_AT = 2
# Codes of failures that the file or the client causes, whatever other faults there are.
_DESERVED = {
    "unsupported_media",
    "source_changed",
    "source_missing",
    "step_needs_video",
    "upload_expired",
}

# The outputs of a sample and a pipeline in a run without faults: digests of files by name.
Reference = Callable[[str, tuple[str, ...]], dict[str, str]]


class Judge:
    """Judges a schedule at its end. `is_gentle`: it has so few faults that no valid job may fail."""

    def __init__(self, schedule: Schedule, reference: Reference, *, is_gentle: bool) -> None:
        self._schedule = schedule
        self._world = schedule.world
        self._violate = schedule.world.violate
        self._reference = reference
        self._is_gentle = is_gentle
        self._objects = schedule.stand.objects(settings().output_bucket)
        self._listed: set[str] = set()
        self._views: dict[str, dict[str, Any] | None] = {}

    def judge(self) -> None:
        """Run every check; violations are noted in the world."""
        for job_id, life in self._schedule.lives.items():
            self._one_end(job_id, life)
            view = self._views[job_id] = self._schedule.shown(job_id)
            self._is_gone_if_deleted(job_id)
            if view is not None and life.ended is not None:
                self._is_canceled_if_so_told(job_id, view)
                self._end_is_deserved(life, view)
                self._outputs(life, view)
        self._rows()
        self._pages()
        self._nothing_left()
        self._nothing_spins()
        self._usage()
        self._identities()
        self._budgets()
        self._promises()

    # ── jobs ──

    def _one_end(self, job_id: str, life: Life) -> None:
        if life.ended is None:
            self._violate("a job does not end", f"{job_id} {life.item['status']['S']}")

    def _is_gone_if_deleted(self, job_id: str) -> None:
        clients, is_deleted = self._schedule.clients, self._schedule.is_deleted(job_id)
        if is_deleted and job_id not in clients.removals:
            self._violate("deleted, but nobody asked for that", job_id)
        if not is_deleted:
            if job_id in clients.removed:
                self._violate("not deleted, though the API has said so", job_id)
            return
        left = [key for key in self._objects if job_id in key or job_id.replace("-", "") in key]
        left += [
            item["sk"]["S"]
            for item in self._schedule.stand.items()
            if item["pk"]["S"] == f"job#{job_id}" and item["sk"]["S"] != "job"
        ]
        if left:
            self._violate("something of a deleted job is left", f"{job_id}: {left}")

    def _is_canceled_if_so_told(self, job_id: str, view: dict[str, Any]) -> None:
        clients, status = self._schedule.clients, view["status"]
        if status == "CANCELED" and job_id not in clients.cancels:
            self._violate("canceled, but nobody asked for that", job_id)
        if status != "CANCELED" and job_id in clients.canceled:
            self._violate("not canceled, though the API has said so", f"{job_id} {status}")
        if not view["outputs"] and self._schedule.lives[job_id].outputs:
            self._violate("an output that was shown is gone", job_id)
        open_steps = [step for step in view["steps"] if step["status"] in ("PENDING", "STARTED")]
        if open_steps:
            self._violate("a step of a job that has ended has not", f"{job_id} {open_steps}")

    def _end_is_deserved(self, life: Life, view: dict[str, Any]) -> None:
        code, key = _code(view), view["key"]
        took = (life.ended or 0.0) - life.begun
        what = f"{view['id']} {key} after {took:.0f} s: {view['error']}"
        puts = [put for put in self._schedule.clients.puts if put.key == key]
        deserved = code in _DESERVED or key in self._schedule.clients.spoilt
        if code == "deadline_exceeded" and key not in self._schedule.clients.spoilt:
            self._violate("ended by its deadline alone", what)
        elif self._is_gentle and view["status"] == "FAILURE" and not deserved:
            self._violate("a good job failed", what)
        if code == "source_changed" and len({put.etag for put in puts}) < 2:
            self._violate("source_changed, but it did not", what)
        if code == "source_missing" and key not in self._schedule.clients.deleted:
            self._violate("source_missing, but it was there", what)
        is_there = puts and key not in self._schedule.clients.deleted
        if code == "upload_expired" and is_there and puts[0].at < (life.ended or 0.0) - 60:
            self._violate("upload_expired, but it came", what)
        is_lost = key in self._schedule.clients.deleted or code == "source_changed"
        if view["metadata"] != METADATA and not is_lost:
            self._violate("a job has not the metadata that it was given", what)
        if view["status"] == "SUCCESS" and [o["type"] for o in view["outputs"]] != view["pipeline"]:
            self._violate("SUCCESS without all outputs", what)

    def _outputs(self, life: Life, view: dict[str, Any]) -> None:
        name = self._schedule.clients.samples.get(life.item.get("etag", {}).get("S", ""), "")
        for output in view["outputs"]:
            if not output["complete"]:
                self._violate("an output of a job that has ended is not complete", output["s3_key"])
                continue
            wanted = self._reference(name, tuple(view["pipeline"]))
            prefix, files = _files(output["s3_key"], wanted)
            if not set(files) <= wanted.keys() or not files:
                self._violate("a strange output is listed", output["s3_key"])
                continue
            size = 0
            for file in files:
                key = prefix + file
                self._listed.add(key)
                stored = self._objects.get(key)
                if stored is None:
                    self._violate("a listed output is not there", key)
                elif _digest(stored.body) != wanted[file]:
                    self._violate("an output is not that of a run without faults", key)
                else:
                    size += len(stored.body)
            # The size of an HLS output does not count its initialisation segments.
            if output["size"] != size and len(files) == 1:
                self._violate("an output has another size than it is said to", f"{output}: {size}")

    def _rows(self) -> None:
        most = settings().max_attempts + 1
        for item in self._schedule.stand.items():
            name = f"{item['pk']['S']} {item['sk']['S']}"
            if item["pk"]["S"] in self._schedule.clients.spoilt:
                continue
            if "due_at" in item:
                self._violate("a row is still due", name)
            if float(item.get("attempts", {"N": "0"})["N"]) > most:
                self._violate("too many attempts", f"{name}: {item['attempts']}")
            if "expires_at" not in item and "arrived" not in item:  # kept as long as the file
                self._violate("a row without TTL", name)

    def _pages(self) -> None:
        owners = {
            job_id: life.item["owner"]["S"]
            for job_id, life in self._schedule.lives.items()
            if not self._schedule.is_deleted(job_id)
        }
        told = {ack.job_id for ack in self._schedule.clients.acks}
        told |= {job_id for job_id, owner in owners.items() if owner == DROPS}
        for caller in OWNERS:
            answer = self._schedule.clients.look("/jobs", caller=caller)
            if answer.status != 200:
                self._violate("jobs cannot be listed", str(answer))
                continue
            there = {job["id"] for job in answer.body["jobs"]}
            seen = settings().owners_seen_by(caller)
            own = {job_id for job_id, owner in owners.items() if owner in seen}
            if own - there and len(own) <= 20:
                self._violate("a job is not listed", str(own - there))
            if there & (owners.keys() - own):
                self._violate("another's job is listed", str(there - own))
            if len(own) > 20:  # more than one page
                continue
            # The ticket of a key that no client was told may be missing.
            for job_id in sorted(own & told)[:_LOOKED_AT]:
                key = self._schedule.lives[job_id].item["source_key"]["S"]
                answer = self._schedule.clients.look("/jobs", caller=caller, query={"key": key})
                if job_id not in {job["id"] for job in answer.body["jobs"]}:
                    self._violate("a job is not listed with its key", f"{job_id} {key}")

    def _nothing_left(self) -> None:
        left = self._schedule.sqs.left()
        if left:
            self._violate("a message is left", str(left))
        for key, stored in self._objects.items():
            if key.startswith("outputs/") and key not in self._listed and not stored.tags:
                self._violate("an output that no job lists is left", key)
            elif not key.startswith(("outputs/", "work/")):
                self._violate("a strange object", key)

    def _nothing_spins(self) -> None:
        world = self._world
        ended = sum(world.metrics[name] for name in ("JobsSuccess", "JobsFailure"))
        if ended > len(self._schedule.lives):
            self._violate("an end is counted twice", f"{ended} of {len(self._schedule.lives)}")
        buried = world.invocations["dead_letters"]
        if buried > _MOST_BURIALS * (1 + self._schedule.sqs.sent_messages):
            self._violate("dead letters spin", f"{buried} invocations")

    def _usage(self) -> None:
        """The usage of all jobs is no more than what was used."""
        told: dict[str, Counter[str]] = defaultdict(Counter)
        for view in self._views.values():
            usage = (view and view["usage"]) or {"functions": {}}
            for function, used in usage["functions"].items():
                told[function] += Counter(invocations=used["invocations"], **used["requests"])
        for function, counts in told.items():
            invocations = self._world.invocations[function]
            most = {"invocations": invocations}
            for service in ("dynamodb", "s3", "sqs"):
                most[service] = self._world.sent[function, service]
            most["sqs"] += _POLLER_REQUESTS * invocations
            for what, count in counts.items():
                if count > most[what]:
                    seen = f"{function}: {what} {count}, were {most[what]}"
                    self._violate("more is told than was used", seen)

    # ── promises ──

    def _budgets(self) -> None:
        """Every owner was charged once for each job."""
        owed: dict[str, float] = defaultdict(float)
        spent: dict[str, float] = defaultdict(float)
        for item in self._schedule.stand.items():
            if item["pk"]["S"] in self._schedule.clients.spoilt:
                continue
            if item["sk"]["S"] == "job" and "charged_usd" in item:
                owed[item["owner"]["S"]] += float(item["charged_usd"]["N"])
            if item["pk"]["S"].startswith("budget#"):
                spent[item["pk"]["S"].partition("#")[2]] += float(item["spent_usd"]["N"])
        for owner in owed.keys() | spent.keys():
            if abs(owed[owner] - spent[owner]) > 1e-9:
                self._violate("a budget is not what was charged", f"{owner}: {owed} {spent}")
        for job_id, life in self._schedule.lives.items():
            has_started = "started_by" in life.item and life.item["started_by"]["S"]
            if has_started and not float(life.item.get("charged_usd", {"N": "0"})["N"]):
                self._violate("a job has started that nobody was charged for", job_id)

    def _identities(self) -> None:
        clients = self._schedule.clients
        by_idempotency: dict[Any, set[str]] = defaultdict(set)
        for ack in clients.acks:
            if ack.idempotency_key is not None:
                by_idempotency[ack.idempotency_key, ack.key, ack.pipeline].add(ack.job_id)
        for what, told in by_idempotency.items():
            if len(told) > 1:
                self._violate("two jobs for one Idempotency-Key", f"{what}: {told}")
        same: dict[Any, list[str]] = defaultdict(list)
        for job_id, life in self._schedule.lives.items():
            item = life.item
            is_over = item["status"]["S"] in ("FAILURE", "CANCELED", "DELETED")
            if not is_over and item.get("etag", {}).get("S"):
                steps = tuple(sorted(step["S"] for step in item["pipeline"]["L"]))
                same[item["source_key"]["S"], item["etag"]["S"], steps].append(job_id)
        presigned = {ack.key for ack in clients.acks if ack.call == "presign"}
        for (key, etag, steps), ids in same.items():
            times = sum(put.key == key and put.etag == etag for put in clients.puts)
            wanted = {ask.idempotency_key for ask in clients.asked if ask.key == key}
            # Each Idempotency-Key asks for its own job; all other calls and the event ask for the same job.
            others = not wanted or None in wanted or key in presigned
            is_drop = key.startswith("drop/")
            # An upload starts one job, whatever is PUT after it; each drop to a key starts another job.
            most = (max(1, times) if is_drop else int(others)) + len(wanted - {None})
            most += clients.retries.count(key)  # which ask for a job of their own
            if len(ids) > most:
                seen = f"{key} {steps}: {sorted(ids)}, {times} PUT, {len(wanted)} Idempotency-Keys"
                self._violate("more than one job for a file and pipeline", seen)

    def _promises(self) -> None:
        clients, lives = self._schedule.clients, self._schedule.lives
        for ack in clients.acks:
            if ack.job_id not in lives:
                self._violate("a job that was promised is not there", str(ack))
        keys = {life.item["source_key"]["S"] for life in lives.values()}
        for put in clients.puts:
            is_drop = put.key.startswith("drop/")
            if is_drop and put.event_is_sent and put.key not in keys and not self._may_lose_events:
                self._violate("a drop without a job", put.key)

    @property
    def _may_lose_events(self) -> bool:
        """Whether the schedule may lose S3's events; the event of a drop is the only trace of it."""
        faults = self._world.faults
        return bool(faults.event_lost or faults.message_lost or faults.lose)


def lives(schedule: Schedule) -> Iterator[float]:
    """The life of each job in seconds, from its creation to its end."""
    for life in schedule.lives.values():
        if life.ended is not None:
            yield life.ended - life.begun


def output_digests(schedule: Schedule, job_id: str) -> dict[str, str]:
    """Digests of a job's output files, by their keys without the job's prefix."""
    prefix = f"outputs/{job_id.replace('-', '')}_"
    return {
        key.removeprefix(prefix).partition("_")[2]: _digest(stored.body)
        for key, stored in schedule.stand.objects(settings().output_bucket).items()
        if key.startswith(prefix)
    }


def _files(key: str, wanted: dict[str, str]) -> tuple[str, list[str]]:
    """(prefix of an output's keys, names of the files that it must have)."""
    head, _, tail = key.partition("_")
    stem, _, name = tail.partition("_")
    prefix = f"{head}_{stem}_"
    for label in (
        f"{GENERATION}_",
        f"{OTHER}_",
    ):  # in keys of a plan that replaced another version's
        if name.startswith(label):
            prefix, name = prefix + label, name.removeprefix(label)
    if not name.endswith(".m3u8"):
        return prefix, [name]
    folder = name.rpartition("/")[0] + "/"
    return prefix, [file for file in wanted if file.startswith(folder)]


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _code(view: dict[str, Any]) -> str:
    return str(view["error_code"])
