"""The actions of clients in a schedule: small fixed stories, and random mixtures of actions.

A new action is a function of a schedule, a moment and a file's name, and a line in ACTIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from testing.chaos.schedule import Scenario, Schedule

PICTURES = ("photo.jpg", "wide.jpg")
FILMS = ("film.mp4", "short.mp4", "film.mkv")
JUNK = "text.jpg"
PICTURE_PIPELINES = (("thumbnail", "watermark"), ("thumbnail",), ("watermark",))
FILM_PIPELINES = (
    ("thumbnail", "transcode_720p", "hls_720p"),
    ("thumbnail",),
    ("transcode_720p",),
    ("hls_720p",),
    ("transcode_720p", "hls_720p"),
    ("thumbnail", "watermark"),
    ("watermark", "hls_720p"),
)
ANIMATION = "moving.gif"
ANIMATION_PIPELINES = (("transcode_720p",), ("thumbnail", "transcode_720p"))
Pipeline = Sequence[str] | None

# ── stories ─────────────────────────────────────────────────────────────────────────────────────


def image(schedule: Schedule) -> None:
    """An image is dropped."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "photo.jpg"))


def film(schedule: Schedule) -> None:
    """A film is dropped, and encoded in chunks."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "film.mp4"))


def marked(schedule: Schedule) -> None:
    """A film is dropped, and gets a watermark and HLS."""
    pipeline = ("watermark", "hls_720p")
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "short.mp4", pipeline=pipeline))


def mkv(schedule: Schedule) -> None:
    """A film is dropped, and is copied before it is planned."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "film.mkv"))


def animation(schedule: Schedule) -> None:
    """An animated image is dropped, and is copied into a film before it is planned."""
    pipeline = ANIMATION_PIPELINES[1]
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", ANIMATION, pipeline=pipeline))


def canceled(schedule: Schedule) -> None:
    """A film is dropped, and its job is canceled while it is encoded."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "film.mp4"))
    schedule.world.at(3, lambda: cancel_any(schedule))


def retried(schedule: Schedule) -> None:
    """A film is dropped, its job is canceled while it is encoded, and tried again."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "film.mp4"))
    schedule.world.at(6, lambda: cancel_any(schedule))
    schedule.world.at(30, lambda: retry_any(schedule))


def deleted(schedule: Schedule) -> None:
    """A film is dropped, and its job is deleted while it is encoded."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", "film.mp4"))
    schedule.world.at(4, lambda: remove_any(schedule))


def junk(schedule: Schedule) -> None:
    """A file that is neither image nor film is dropped."""
    schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", JUNK))


def presigned(schedule: Schedule) -> None:
    """A client asks for a URL with a pipeline, and uploads."""
    _upload(schedule, ("thumbnail",))


def unheard(schedule: Schedule) -> None:
    """A client asks for a URL with a pipeline, and uploads; S3's event is lost."""
    _upload(schedule, ("thumbnail",), event_is_sent=False)


def never(schedule: Schedule) -> None:
    """A client asks for a URL with a pipeline, and never uploads."""
    schedule.world.at(1, lambda: schedule.clients.presign(lambda *_: None, ("thumbnail",)))


def from_key(schedule: Schedule) -> None:
    """A client uploads, and asks for a job."""
    _upload(schedule, None, lambda key: schedule.clients.from_key(key, ("thumbnail",)))


def idempotent(schedule: Schedule) -> None:
    """A client uploads, and asks for a job with an Idempotency-Key."""
    _upload(schedule, None, lambda key: schedule.clients.from_key(key, ("thumbnail",), "a key"))


def form(schedule: Schedule) -> None:
    """An image is uploaded in a form."""
    schedule.world.at(1, lambda: schedule.clients.form("photo.jpg", ("thumbnail",)))


def both(schedule: Schedule) -> None:
    """A client asks for a URL with a pipeline, and for a job with the same: they are one job."""
    _upload(schedule, ("thumbnail",), lambda key: schedule.clients.from_key(key, ("thumbnail",)))


def estimated(schedule: Schedule) -> None:
    """A client uploads, and asks twice for an estimate."""

    def asks(key: str) -> None:
        for at in (0, 5):
            schedule.world.at(at, lambda: schedule.clients.estimate(key, ("thumbnail",)))

    _upload(schedule, None, asks)


STORIES: dict[str, Scenario] = {
    story.__name__: story
    for story in (
        image, film, marked, mkv, animation, canceled, retried, deleted, junk, presigned, unheard, never,
        from_key, idempotent, form, both, estimated,
    )
}  # fmt: skip


def _upload(
    schedule: Schedule,
    pipeline: Pipeline,
    then: Callable[[str], None] | None = None,
    *,
    event_is_sent: bool = True,
) -> None:
    world, clients = schedule.world, schedule.clients

    def uploads(key: str, _: str | None) -> None:
        world.at(1, lambda: clients.put(key, "photo.jpg", event_is_sent=event_is_sent))
        if then is not None:
            world.at(2, lambda: then(key))

    world.at(1, lambda: clients.presign(uploads, pipeline))


# ── by chance ───────────────────────────────────────────────────────────────────────────────────


def _drop(schedule: Schedule, at: float, name: str) -> None:
    key, pipeline = _dropped(schedule, at, name)
    if schedule.world.random.random() < 0.3:
        for _ in range(schedule.world.random.choice((1, 2, 5))):
            late = schedule.world.random.uniform(0, 3)
            schedule.world.at(at + late, lambda: schedule.clients.from_key(key, pipeline))


def _dropped(schedule: Schedule, at: float, name: str) -> tuple[str, Pipeline]:
    key = f"drop/{schedule.world.number()}.x"
    pipeline = _pipeline(schedule, name)
    schedule.world.at(at, lambda: schedule.clients.put(key, name, pipeline=pipeline or ()))
    _change(schedule, key, at, name)
    return key, pipeline


def _ask(schedule: Schedule, at: float, name: str) -> None:
    """A client asks for a URL, with a pipeline or without, mostly uploads, and asks often for a job."""
    world, clients = schedule.world, schedule.clients
    chance = world.random
    pipeline = _pipeline(schedule, name)
    announced = pipeline if chance.random() < 0.5 else None
    asks = announced is None or chance.random() < 0.3
    idempotency_key = chance.choice((None, f"key {world.number()}"))
    comes = chance.random() > 0.05

    def uploads(key: str, _: str | None) -> None:
        if comes:
            for _put in range(chance.choice((1, 1, 1, 2))):
                world.at(chance.uniform(0, 2), lambda: clients.put(key, name))
            _change(schedule, key, 1.0, name)
        if asks:
            for _call in range(chance.choice((1, 1, 2, 3, 8))):
                world.at(
                    chance.uniform(0, 4), lambda: clients.from_key(key, pipeline, idempotency_key)
                )

    world.at(at, lambda: clients.presign(uploads, announced))


def _form(schedule: Schedule, at: float, name: str) -> None:
    pipeline = _pipeline(schedule, name) or ()
    schedule.world.at(at, lambda: schedule.clients.form(name, pipeline))


ACTIONS: tuple[Callable[[Schedule, float, str], None], ...] = (_drop, _drop, _ask, _ask, _form)


def anything(schedule: Schedule) -> None:
    """One or two files arrive in random ways."""
    chance = schedule.world.random
    for _ in range(chance.choice((1, 1, 1, 2))):
        kinds = (PICTURES, PICTURES, PICTURES, FILMS, FILMS, (JUNK,))
        action, name = chance.choice(ACTIONS), chance.choice(chance.choice(kinds))
        action(schedule, chance.uniform(0, 20), name)
    if chance.random() < 0.2:
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.choice((5.0, 30.0, 100.0))
            schedule.world.at(chance.uniform(0, at), lambda: cancel_any(schedule))
    for act in (retry_any, remove_any):
        if chance.random() < 0.2:
            for _ in range(chance.choice((1, 1, 2, 5))):
                at = chance.choice((5.0, 30.0, 100.0, 2000.0, 100_000.0))
                schedule.world.at(chance.uniform(0, at), partial(act, schedule))


def retry_any(schedule: Schedule) -> None:
    """One of the jobs that there are is tried again."""
    if schedule.lives:
        job_id = schedule.world.random.choice(list(schedule.lives))
        item = schedule.lives[job_id].item
        schedule.clients.retry(job_id, item["owner"]["S"], item["source_key"]["S"])


def remove_any(schedule: Schedule) -> None:
    """One of the jobs that there are is deleted."""
    if schedule.lives:
        job_id = schedule.world.random.choice(list(schedule.lives))
        schedule.clients.remove(job_id, schedule.lives[job_id].item["owner"]["S"])


def cancel_any(schedule: Schedule) -> None:
    """One of the jobs that there are is canceled."""
    if schedule.lives:
        job_id = schedule.world.random.choice(list(schedule.lives))
        schedule.clients.cancel(job_id, schedule.lives[job_id].item["owner"]["S"])


def _pipeline(schedule: Schedule, name: str) -> Pipeline:
    known = FILM_PIPELINES if name in FILMS else PICTURE_PIPELINES
    chosen: Pipeline = schedule.world.random.choice((None, *known))
    return chosen


def _change(schedule: Schedule, key: str, at: float, name: str) -> None:
    """Now and then the file is overwritten, by another or by the same, or deleted."""
    world, clients = schedule.world, schedule.clients
    when = at + world.random.choice((0.2, 1.0, 1.5, 3.0, 30.0, 200.0))
    chance = world.random.random()
    if chance < 0.08:
        other = world.random.choice(PICTURES)
        world.at(when, lambda: clients.put(key, other))
    elif chance < 0.12:
        world.at(when, lambda: clients.delete(key))
    elif chance < 0.17:
        world.at(when, lambda: clients.put(key, name))
