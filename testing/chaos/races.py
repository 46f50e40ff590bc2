"""Races by design: the situations in which a state machine is most likely to be wrong.

Each race draws its times at random, so that its seeds differ. A new race is a function, and a line in RACES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from chalicelib.store import objects
from testing.chaos.faults import EACH, Fault, Faults
from testing.chaos.scenarios import cancel_any
from testing.chaos.schedule import Scenario, Schedule
from testing.chaos.versions import OTHER
from testing.chaos.world import Worker
from testing.environment import TIMEOUTS

_ONE = ("thumbnail",)
_ENDLESS = Faults(budget=10**6, end=1e9)
_HLS = "/jobs/{job_id}/hls/{token}/{name}"


def fifty(schedule: Schedule) -> None:
    """Fifty calls at once for one job: without Idempotency-Key, with one, with different ones; some die."""
    world, clients = schedule.world, schedule.clients
    chance = world.random
    idempotency = chance.choice((None, "one", "each"))
    rates = {Fault.DIES_BEFORE: 0.005, Fault.DIES_AFTER: 0.005, Fault.ANSWER_LOST: 0.01}
    world.faults = replace(world.faults, rates=rates, budget=3, end=30.0)

    def asks(key: str, at: float) -> None:
        for number in range(50):
            idempotency_key = f"key {number}" if idempotency == "each" else idempotency
            ask = partial(clients.from_key, key, _ONE, idempotency_key)
            world.at(at + chance.uniform(0, 0.05), ask)

    def uploads(key: str, _: str | None) -> None:
        world.at(0.5, lambda: clients.put(key, "photo.jpg"))
        asks(key, 0.6)
        if chance.random() < 0.5:
            asks(key, 20.0)

    world.at(1, lambda: clients.presign(uploads))


def another_file(schedule: Schedule) -> None:
    """Intake dies before it starts a job, and the client PUTs another file to its URL."""
    world, clients = schedule.world, schedule.clients
    pipeline = world.random.choice((("thumbnail",), ("thumbnail", "watermark")))
    keys: list[str] = []

    def uploads(key: str, _: str | None) -> None:
        keys.append(key)
        world.at(1, lambda: clients.put(key, "photo.jpg"))

    def dies() -> None:
        world.at(5, lambda: clients.put(keys[0], "film.mp4"))

    _once(schedule, "intake", _starts, Fault.DIES_BEFORE, dies)
    world.at(1, lambda: clients.presign(uploads, pipeline))


def other_metadata(schedule: Schedule) -> None:
    """Intake dies before it starts a job, and the same bytes are PUT with another pipeline."""
    world, clients = schedule.world, schedule.clients

    def dies() -> None:
        world.at(
            0.5,
            lambda: clients.put("drop/a.x", "photo.jpg", event_is_sent=world.random.random() < 0.5),
        )

    _once(schedule, "intake", _starts, Fault.DIES_BEFORE, dies)
    world.at(1, lambda: clients.put("drop/a.x", "photo.jpg", pipeline=_ONE))


def end_refused(schedule: Schedule) -> None:
    """The write that ends a task is refused until its client gives up; nothing else goes wrong."""
    _once(schedule, "pictures", _ends_task, Fault.REFUSED)
    at = 1 + schedule.world.random.random()
    schedule.world.at(at, lambda: schedule.clients.put("drop/a.x", "photo.jpg", pipeline=_ONE))


def killed_beside_a_copy(schedule: Schedule) -> None:
    """A worker is killed while another copy of its message exists."""
    world, clients = schedule.world, schedule.clients
    _once(schedule, "pictures", _stores, Fault.DIES_BEFORE)
    for _ in range(world.random.choice((1, 2, 4))):
        world.at(1.5 + world.random.uniform(0, 1), lambda: clients.from_key("drop/a.x", _ONE))
    world.at(1, lambda: clients.put("drop/a.x", "photo.jpg", pipeline=_ONE))


def poison(schedule: Schedule) -> None:
    """Five images arrive in one batch, and one of them kills its worker; the other four must succeed."""
    world, clients = schedule.world, schedule.clients

    def kills(worker: Worker, _: str, request: Any) -> Fault | None:
        is_poison = worker.function == "pictures" and "/drop/poison.x" in request.url
        return Fault.DIES_BEFORE if is_poison else None

    world.design = kills
    schedule.sqs.batches_are_full = True
    world.faults = replace(world.faults, backlogs={"pictures": 6.0})
    clients.spoilt.add("drop/poison.x")
    for name in ("poison", "b", "c", "d", "e"):
        sample = "wide.jpg" if name == "poison" else "photo.jpg"
        put = partial(clients.put, f"drop/{name}.x", sample, pipeline=_ONE)
        world.at(1 + world.random.uniform(0, 0.01), put)


def at_the_deadline(schedule: Schedule) -> None:
    """An upload arrives in the minute in which its URL expires, and two sweeps run."""
    world, clients = schedule.world, schedule.clients
    doubled = world.random.choice((0.0, 1.0))
    world.faults = replace(_ENDLESS, sweep_doubled=doubled, index_stale=0.3, slow=0.1)

    def uploads(key: str, _: str | None) -> None:
        sweep = world.next_sweep()
        assert sweep is not None
        at = sweep - world.now + world.random.uniform(-2.5, 0.5)
        event_is_sent = world.random.random() < 0.8
        world.at(at, lambda: clients.put(key, "photo.jpg", event_is_sent=event_is_sent))

    world.at(1, lambda: clients.presign(uploads, _ONE))


def unheard_and_two_sweeps(schedule: Schedule) -> None:
    """S3's event of an upload is lost, and sweeps come in pairs."""
    world, clients = schedule.world, schedule.clients
    world.faults = replace(_ENDLESS, sweep_doubled=1.0, index_stale=0.3, slow=0.1)

    def uploads(key: str, _: str | None) -> None:
        world.at(10, lambda: clients.put(key, "photo.jpg", event_is_sent=False))

    world.at(1, lambda: clients.presign(uploads, _ONE))


def killed_and_swept(schedule: Schedule) -> None:
    """Workers die after they have claimed tasks, and messages come back while the sweep runs."""
    world, clients = schedule.world, schedule.clients
    world.faults = replace(_ENDLESS, sweep_doubled=0.5, index_stale=0.5, message_late=0.5)
    _once(schedule, "pictures", _stores, Fault.DIES_BEFORE)
    at = 1 + world.random.uniform(0, 60)
    world.at(at, lambda: clients.put("drop/a.x", "photo.jpg", pipeline=_ONE))


def storm(schedule: Schedule) -> None:
    """A client asks twenty times for a job, and S3 is slow for some seconds."""
    world, clients = schedule.world, schedule.clients
    until = world.random.choice((2, 4, 8, 14))

    def slow(worker: Worker, event_name: str, _: Any) -> Fault | None:
        is_hit = ".s3." in event_name and worker.function != "api" and 3 < world.elapsed < until
        return Fault.THROTTLED if is_hit else None

    world.design = slow

    def uploads(key: str, _: str | None) -> None:
        world.at(1.2, lambda: clients.put(key, "photo.jpg"))
        for number in range(20):
            world.at(1.3 + 0.05 * number, lambda: clients.from_key(key, _ONE))

    world.at(1, lambda: clients.presign(uploads))


def one_identity(schedule: Schedule) -> None:
    """One file and pipeline in every way: dropped or uploaded, by default or explicitly."""
    world, clients = schedule.world, schedule.clients
    chance = world.random
    ways = (None, ("thumbnail", "watermark"), ("watermark", "thumbnail"))

    def asks(key: str) -> None:
        for pipeline in chance.sample(ways, chance.randint(1, 3)):
            world.at(chance.uniform(0, 3), partial(clients.from_key, key, pipeline))

    if chance.random() < 0.5:
        world.at(1, lambda: clients.put("drop/a.x", "photo.jpg"))
        world.at(1.1, lambda: asks("drop/a.x"))
        return

    def uploads(key: str, _: str | None) -> None:
        world.at(0.5, lambda: clients.put(key, "photo.jpg"))
        world.at(chance.uniform(0.6, 2), lambda: asks(key))

    world.at(1, lambda: clients.presign(uploads, ways[1]))


def two_puts(schedule: Schedule) -> None:
    """Two files are PUT to one URL almost at the same time."""
    world, clients = schedule.world, schedule.clients
    gap = world.random.uniform(0, 0.4)

    def uploads(key: str, _: str | None) -> None:
        world.at(0.5, lambda: clients.put(key, "photo.jpg"))
        world.at(0.5 + gap, lambda: clients.put(key, "film.mp4"))

    world.at(1, lambda: clients.presign(uploads, _ONE))


def put_again(schedule: Schedule) -> None:
    """The same bytes are PUT repeatedly to one URL, and intake dies now and then."""
    world, clients = schedule.world, schedule.clients
    rates = {Fault.DIES_BEFORE: 0.03, Fault.DIES_AFTER: 0.03, Fault.ANSWER_LOST: 0.03}
    world.faults = Faults(rates=rates, budget=world.random.choice((0, 1, 2)), end=600.0)
    name = world.random.choice(("photo.jpg", "short.mp4"))

    def uploads(key: str, _: str | None) -> None:
        for _put in range(world.random.choice((2, 5, 12))):
            at = world.random.choice((0.5, 0.5, 3.0, 40.0)) + world.random.uniform(0, 0.3)
            world.at(at, lambda: clients.put(key, name))

    world.at(1, lambda: clients.presign(uploads, _ONE))


def watched(schedule: Schedule) -> None:
    """A player polls a growing film's playlists: nothing in them vanishes or changes."""
    world, clients = schedule.world, schedule.clients
    deaths = world.random.choice((0, 1))
    world.faults = Faults(rates={Fault.DIES_BEFORE: 0.01}, budget=deaths, end=3000.0, slow=0.2)
    name = world.random.choice(("film.mp4", "short.mp4", "film.mkv"))
    world.at(1, lambda: clients.put("drop/a.x", name, pipeline=("hls_720p",)))
    told: dict[str, list[str]] = {}

    def find() -> None:
        for job_id in schedule.lives:
            view = clients.look("/jobs/{job_id}", job_id=job_id).body
            for output in view["outputs"]:
                for track in ("video", "audio"):
                    poll(job_id, _token(output), f"{track}.m3u8")
                return
        if not schedule.lives or not schedule.is_over:
            world.at(0.1, find)

    def poll(job_id: str, token: str, file: str, after_end: int = 0) -> None:
        def read(answer: Any) -> None:
            over = schedule.is_over
            if answer.status == 200:
                _grows(schedule, file, told.get(file, []), answer.body)
                told[file] = _lasting(answer.body)
            elif file in told and schedule.lives[job_id].item["status"]["S"] != "FAILURE":
                world.violate("a playlist that was there is gone", f"{file}: {answer}")
            if not over or after_end < 5:
                again = partial(poll, job_id, token, file, after_end + over)
                soon = world.random.choice((0.0, 0.3, 0.6, 1.0))
                world.at(soon if world.elapsed < 40 else 20 * soon, again)

        clients.call("GET", _HLS, read, tries=9, pause=0.1, job_id=job_id, token=token, name=file)

    world.at(1.5, find)


def deployed(schedule: Schedule) -> None:
    """Another version of the code is deployed, function by function, while jobs run; it may be rolled back.

    Neither version reads the other's plans.
    """
    world, clients = schedule.world, schedule.clients
    chance = world.random
    rates = {Fault.DIES_BEFORE: 0.01, Fault.DIES_AFTER: 0.01, Fault.ANSWER_LOST: 0.02}
    world.faults = Faults(rates=rates, budget=chance.choice((0, 0, 2)), end=600.0, slow=0.05)
    names = chance.sample(("film.mp4", "short.mp4", "film.mkv", "photo.jpg"), 2)
    for number, name in enumerate(names):
        world.at(1 + number, partial(clients.put, f"drop/{number}.x", name))
    begin, takes = chance.uniform(1, 20), chance.choice((0.0, 2.0, 40.0))
    changes = {function: begin + chance.uniform(0, takes) for function in TIMEOUTS}
    back = begin + takes + chance.uniform(1, 30) if chance.random() < 0.4 else None

    def version_of(function: str) -> str | None:
        is_other = world.elapsed >= changes[function] and (back is None or world.elapsed < back)
        return OTHER if is_other else None

    world.version_of = version_of

    _play(schedule)


def conflicts(schedule: Schedule) -> None:
    """Steps of one job end at the same time, and many writes meet a transaction at their item."""
    world, clients = schedule.world, schedule.clients
    rate = world.random.choice((0.0, 0.2, 0.5))

    def design(_: Worker, event_name: str, __: Any) -> Fault | None:
        is_hit = ".dynamodb." in event_name and world.random.random() < rate
        return Fault.CONFLICT if is_hit else None

    world.design = design
    for number, name in enumerate(("short.mp4", "film.mp4", "photo.jpg")):
        world.at(1 + number, partial(clients.put, f"drop/{number}.x", name))


def unreadable(schedule: Schedule) -> None:
    """Unreadable messages are in every queue, and a job is done at the same time."""
    world = schedule.world
    for queue in schedule.sqs.queues:
        for body in ("", "{}", "[]", '{"job_id": 7}', '{"job_id": "none", "task_id": "none"}'):
            world.at(world.random.uniform(0, 3), partial(schedule.sqs.send, queue, body))
    world.at(1, lambda: schedule.clients.put("drop/a.x", "photo.jpg"))


def unreadable_row(schedule: Schedule) -> None:
    """The row of one job is unreadable; other jobs are still swept, shown and listed."""
    world, clients = schedule.world, schedule.clients
    world.enough = 900.0  # the row never ends: each sweep reports it again

    def spoils() -> None:
        row = next(iter(schedule.lives.values())).item
        spoilt = {
            **row,
            "pk": {"S": "job#00000000-0000-4000-8000-000000000000"},
            "steps": {"S": "no map"},
            "due_shard": {"S": "0"},
            "due_at": {"N": str(int(world.now) + world.random.randint(0, 300))},
        }
        clients.write(spoilt)

    world.at(5, spoils)
    _once(schedule, "pictures", _stores, Fault.DIES_BEFORE)
    for number in range(3):
        put = partial(clients.put, f"drop/{number}.x", "photo.jpg", pipeline=_ONE)
        world.at(1 + world.random.uniform(0, 2), put)
    world.faults = replace(world.faults, lose=frozenset({world.random.randint(1, 4)}))


def buried(schedule: Schedule) -> None:
    """Intake dies of an event until it is a dead letter, which is refused once; then all works again."""
    world = schedule.world
    refused = [Fault.REFUSED]

    def design(worker: Worker, event_name: str, _: Any) -> Fault | None:
        if worker.function == "intake" and not world.invocations["dead_letters"]:
            return Fault.DIES_BEFORE
        if worker.function == "dead_letters" and refused and "dynamodb" in event_name:
            return refused.pop()
        return None

    world.design = design
    name = world.random.choice(("photo.jpg", "short.mp4"))
    world.at(1, lambda: schedule.clients.put("drop/a.x", name))


def gone(schedule: Schedule) -> None:
    """Films are deleted directly before they are read for encoding or copying."""
    world, clients = schedule.world, schedule.clients
    films = {"drop/a.x": "film.mp4", "drop/b.x": "film.mkv", "drop/c.x": "film.mp4"}
    readers = {"drop/a.x": "encode", "drop/b.x": "audio", "drop/c.x": "audio"}

    def design(worker: Worker, event_name: str, request: Any) -> Fault | None:
        if not event_name.endswith("s3.GetObject"):
            return None
        found = next((key for key in readers if request.url.endswith(key)), None)
        if found is None or readers[found] != worker.function:
            return None
        del readers[found]
        world.at(0, partial(clients.delete, found))
        return Fault.DIES_BEFORE

    world.design = design
    for key, name in films.items():
        world.at(1, partial(clients.put, key, name, pipeline=("transcode_720p",)))


def stuck(schedule: Schedule) -> None:
    """A queue's messages are not delivered for days: the job ends by its deadline."""
    world = schedule.world
    schedule.clients.spoilt.add("drop/a.x")
    world.faults = replace(world.faults, backlogs={"encode": 120 * 3600.0})
    world.at(1, lambda: schedule.clients.put("drop/a.x", "short.mp4", pipeline=("transcode_720p",)))


def large(schedule: Schedule) -> None:
    """All objects are stored in parts, as large ones are, and the first part is refused everywhere."""
    world = schedule.world
    objects.TRANSFER.multipart_threshold = 1  # restored when this world ends
    seen: set[tuple[str, bool]] = set()

    def design(worker: Worker, event_name: str, request: Any) -> Fault | None:
        place = worker.function, "/work/" in request.url
        if not event_name.endswith("s3.UploadPart") or place in seen:
            return None
        seen.add(place)
        return Fault.REFUSED

    world.design = design
    for name, step in (
        ("photo.jpg", "watermark"), ("film.mp4", "hls_720p"), ("film.mkv", "transcode_720p"),
        ("moving.gif", "transcode_720p"),
    ):  # fmt: skip
        world.at(1, partial(schedule.clients.put, f"drop/{name}", name, pipeline=(step,)))


def overtaken(schedule: Schedule) -> None:
    """Another version plans jobs; workers get tasks of its plan, or of the plan that replaces it."""
    world, clients = schedule.world, schedule.clients
    behind = world.random.choice((("intake",), ("intake", "encode", "audio")))
    world.version_of = lambda f: OTHER if f in behind and world.elapsed < 30 else None
    for name, step in (
        ("photo.jpg", "thumbnail"), ("wide.jpg", "watermark"),
        ("film.mp4", "hls_720p"), ("short.mp4", "transcode_720p"),
    ):  # fmt: skip
        world.at(1, partial(clients.put, f"drop/{name}", name, pipeline=(step,)))
    _play(schedule)


def unsent(schedule: Schedule) -> None:
    """The worker of a film's last part dies before it sends the next task, until its message is buried."""
    world = schedule.world

    def design(worker: Worker, event_name: str, _: Any) -> Fault | None:
        is_next = worker.function == "encode" and event_name.endswith("sqs.SendMessageBatch")
        return Fault.DIES_BEFORE if is_next else None

    world.design = design
    for pipeline in (("transcode_720p",), ("watermark", "hls_720p")):
        put = partial(
            schedule.clients.put, f"drop/{len(pipeline)}.x", "short.mp4", pipeline=pipeline
        )
        world.at(1, put)


def canceled(schedule: Schedule) -> None:
    """A job is canceled just as one of its workers makes some request, which may go wrong, too."""
    world, clients = schedule.world, schedule.clients
    chance = world.random
    operation = chance.choice(
        (
            "TransactWriteItems",
            "UpdateItem",
            "PutObject",
            "GetObject",
            "SendMessageBatch",
            "GetItem",
        )
    )
    fault = chance.choice((None, None, *EACH))
    left = [chance.randint(0, 20)]

    def design(worker: Worker, event_name: str, _: Any) -> Fault | None:
        if worker.function == "api" or not event_name.endswith(f".{operation}") or left[0] < 0:
            return None
        left[0] -= 1
        if left[0] >= 0:
            return None
        for _call in range(chance.choice((1, 1, 2))):
            world.at(chance.choice((0.0, 0.0, 0.01, 1.0)), lambda: cancel_any(schedule))
        return fault

    world.design = design
    name = chance.choice(
        ("photo.jpg", "film.mp4", "film.mp4", "short.mp4", "film.mkv", "moving.gif")
    )
    pipeline = ("transcode_720p",) if name == "moving.gif" else ()
    world.at(1, lambda: clients.put("drop/a.x", name, pipeline=pipeline))


def canceled_upload(schedule: Schedule) -> None:
    """The job of an upload is canceled before it comes, as it comes, or after; then another is asked for."""
    world, clients = schedule.world, schedule.clients
    chance = world.random

    def uploads(key: str, _: str | None) -> None:
        world.at(1, lambda: clients.put(key, "photo.jpg", event_is_sent=chance.random() < 0.8))
        world.at(chance.uniform(0.5, 3), lambda: cancel_any(schedule))
        for at in chance.choice(((), (20.0,), (1.5, 2.0, 20.0))):
            world.at(at, lambda: clients.from_key(key, _ONE))

    world.at(1, lambda: clients.presign(uploads, _ONE))


GENTLE = (
    "fifty", "another_file", "other_metadata", "end_refused", "killed_beside_a_copy", "poison",
    "at_the_deadline", "unheard_and_two_sweeps", "killed_and_swept", "one_identity", "two_puts",
    "put_again", "watched", "deployed", "conflicts", "unreadable_row", "buried", "gone", "stuck", "large",
    "overtaken", "unsent", "canceled", "canceled_upload",
)  # fmt: skip
RACES: dict[str, Scenario] = {
    race.__name__: race
    for race in (
        fifty, another_file, other_metadata, end_refused, killed_beside_a_copy, poison,
        at_the_deadline, unheard_and_two_sweeps, killed_and_swept, storm, one_identity, two_puts,
        put_again, watched, deployed, conflicts, unreadable, unreadable_row, buried, gone, stuck, large,
        overtaken, unsent, canceled, canceled_upload,
    )
}  # fmt: skip


def _token(output: dict[str, Any]) -> str:
    """The token in the URL of an HLS output; "" for other outputs."""
    _, _, rest = output["url"].partition("/hls/")
    return str(rest.partition("/")[0])


def _play(schedule: Schedule) -> None:
    """Poll all playlists, whatever their content, until every job has ended."""
    world, clients = schedule.world, schedule.clients

    def play() -> None:
        for job_id in schedule.lives:
            for output in clients.look("/jobs/{job_id}", job_id=job_id).body["outputs"]:
                if token := _token(output):
                    look = partial(clients.call, "GET", _HLS, lambda _: None, name="video.m3u8")
                    look(job_id=job_id, token=token)
        if not schedule.is_over:
            # A job that is planned again lists its parts at once.
            items = (life.item for life in schedule.lives.values())
            again = any(item.get("replanned", {}).get("BOOL") for item in items)
            world.at(0.1 if again else 2.0, play)

    world.at(2, play)


def _once(
    schedule: Schedule,
    function: str,
    matches: Callable[[str, Any], bool],
    fault: Fault,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Give this fault to the first matching request of a function."""
    left = [fault]

    def design(worker: Worker, event_name: str, request: Any) -> Fault | None:
        if left and worker.function == function and matches(event_name, request):
            then()
            return left.pop()
        return None

    schedule.world.design = design


def _starts(event_name: str, request: Any) -> bool:
    return event_name.endswith("TransactWriteItems") and b'"STARTED"' in request.body


def _ends_task(event_name: str, request: Any) -> bool:
    return event_name.endswith("UpdateItem") and b'"done"' in request.body


def _stores(event_name: str, _: Any) -> bool:
    return event_name.endswith("s3.PutObject")


def _lasting(playlist: str) -> list[str]:
    """The lines that may not change while a playlist grows: segments, and tags that apply to all of them."""
    lasting = ("#EXTINF", "#EXT-X-MAP", "#EXT-X-TARGETDURATION")
    lines = playlist.splitlines()
    return [line for line in lines if line.startswith(lasting) or not line.startswith("#")]


def _grows(schedule: Schedule, file: str, before: list[str], playlist: str) -> None:
    now = _lasting(playlist)
    if now[: len(before)] != before:
        schedule.world.violate("a playlist changed what it had said", f"{file}: {before} {now}")
    made = {key.rpartition("/")[2] for key in schedule.output_keys()}
    for line in now:
        if line.endswith((".m4s", ".mp4")) and line not in made:
            schedule.world.violate("a playlist names what is not there", f"{file}: {line}")
