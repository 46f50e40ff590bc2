"""Schedules by name: a name determines a schedule, so that it can be run again.

calm:SEED  few:SEED  many:SEED  loss:SEED  losses:SEED  zombies:SEED    any mixture of actions
each:STORY:FAULT@REQUEST                                               one fault, at one request
lost:STORY:MESSAGE                                                     one message lost
pair:STORY:FAULT@REQUEST+FAULT@REQUEST:SEED                            two faults
race:NAME:SEED                                                         a race by design
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple

from testing.chaos import checks, faults, races, scenarios
from testing.chaos.cloud import Stand
from testing.chaos.faults import CALM, EACH, Fault, Faults
from testing.chaos.media import Memo
from testing.chaos.rights import Right
from testing.chaos.schedule import Scenario, Schedule, run

# The longest life of a job in seconds: with one lost message, and with none.
MOST_WITH_LOSS = 3600.0

_BY_CHANCE: dict[str, Callable[[Random], Faults]] = {
    "calm": lambda _: CALM,
    "few": faults.few,
    "many": faults.many,
    "loss": faults.loss,
    "losses": faults.losses,
    "zombies": faults.zombies,
}
# Kinds of schedules in which no valid job may fail.
_GENTLE = ("calm", "few", "loss", "each", "lost", "pair")


class Outcome(NamedTuple):
    """The outcome of a schedule."""

    name: str
    violations: list[tuple[str, str]]
    had: list[str]
    longest: float  # the longest life of a job, in seconds
    requests: int
    messages: int
    used: frozenset[Right]


class Simulator:
    """Runs schedules by name, on a cloud that is created once."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._memo = Memo()
        self._references: dict[tuple[str, frozenset[str]], dict[str, str]] = {}

    def prepare(self, *, films: bool = True) -> None:
        """Run every story without faults; its outputs become the reference."""
        chosen = [*product(scenarios.PICTURES, scenarios.PICTURE_PIPELINES)]
        if films:
            chosen += product(scenarios.FILMS, scenarios.FILM_PIPELINES)
            chosen += product([scenarios.ANIMATION], scenarios.ANIMATION_PIPELINES)
        for name, pipeline in chosen:
            self._references[name, frozenset(pipeline)] = self._without_faults(name, pipeline)
        run(scenarios.junk, "junk", CALM, self._stand, self._memo, lambda _: None)
        self._memo.is_filled = True

    def _without_faults(self, name: str, pipeline: tuple[str, ...]) -> dict[str, str]:
        def drop(schedule: Schedule) -> None:
            schedule.world.at(1, lambda: schedule.clients.put("drop/a.x", name, pipeline=pipeline))

        made: dict[str, str] = {}

        def keep(schedule: Schedule) -> None:
            ((job_id, life),) = schedule.lives.items()
            assert life.item["status"]["S"] == "SUCCESS", (name, pipeline, life, schedule.world.log)
            made.update(checks.output_digests(schedule, job_id))

        run(drop, f"{name} {pipeline}", CALM, self._stand, self._memo, keep)
        return made

    def run(self, name: str, *, trace: bool = False, judged: bool = True) -> Outcome:
        """Run the schedule of this name. Judging it requires `prepare`."""
        kind, _, rest = name.partition(":")
        scenario, chosen = _find(name)
        is_gentle = kind in _GENTLE or (kind == "race" and rest.partition(":")[0] in races.GENTLE)

        def judge(schedule: Schedule) -> None:
            if not judged:
                return

            def reference(sample: str, pipeline: tuple[str, ...]) -> dict[str, str]:
                return self._references[sample, frozenset(pipeline)]

            checks.Judge(schedule, reference, is_gentle=is_gentle).judge()
            if kind in ("loss", "lost"):
                for life in checks.lives(schedule):
                    if life > MOST_WITH_LOSS and not _waited(schedule):
                        schedule.world.violate("a lost message costs hours", f"{life:.0f} s")

        done = run(scenario, name, chosen, self._stand, self._memo, judge, trace=trace)
        return Outcome(
            name,
            done.world.violations,
            done.world.had,
            0.0 if _waited(done) else max(checks.lives(done), default=0.0),
            done.world.requests,
            done.sqs.sent_messages,
            frozenset(done.world.used),
        )


def _waited(schedule: Schedule) -> bool:
    """Whether a job waited for its client, who acted late or never."""
    clients = schedule.clients
    waiting = {ack.key for ack in clients.acks if ack.call == "presign"}
    keys_with_events = {put.key for put in clients.puts if put.event_is_sent}
    return bool(waiting - keys_with_events) or schedule.world.faults.event_lost > 0


def _find(name: str) -> tuple[Scenario, Faults]:
    kind, _, rest = name.partition(":")
    if kind in _BY_CHANCE:
        return scenarios.anything, _BY_CHANCE[kind](Random(f"faults of {name}"))
    if kind == "race":
        return races.RACES[rest.partition(":")[0]], CALM
    story, _, what = rest.partition(":")
    scenario = scenarios.STORIES[story]
    if kind == "lost":
        return scenario, replace(CALM, lose=frozenset({int(what)}))
    at = dict(_fault_at(text) for text in what.partition(":")[0].split("+"))
    return scenario, replace(CALM, at=at)


def _fault_at(text: str) -> tuple[int, Fault]:
    fault, _, request = text.partition("@")
    return int(request), Fault[fault]


# ── which schedules ─────────────────────────────────────────────────────────────────────────────

# Schedules that together use every right of the functions. A right that none of them uses must be removed
# from the template, or get its own schedule.
EVERY_RIGHT = (
    *(f"race:{race}:rights" for race in ("buried", "large", "stuck", "unreadable", "unsent")),
    *(f"race:{race}:rights-{n}" for race in ("gone", "watched") for n in range(4)),
    *(f"race:overtaken:rights-{n}" for n in range(2)),
    *(
        f"each:{story}:DIES_BEFORE@0"
        for story in (
            "canceled",
            "deleted",
            "retried",
            "estimated",
            "form",
            "from_key",
            "marked",
            "unheard",
        )
    ),
)
_MOST_EACH = 75  # requests, from the start of a story and from its end
# The share of each kind in a hundred random schedules.
_SHARES = {"calm": 2, "few": 40, "many": 25, "loss": 8, "losses": 10, "zombies": 15}


def chosen(simulator: Simulator, seed: str, count: int, only: tuple[str, ...]) -> list[str]:
    """The names of `count` schedules; with `only`, of those whose names begin so.

    EVERY_RIGHT; each single fault, if there is room for all of them; races, pairs, and random ones.
    """
    random = Random(f"chosen {seed}")
    singles = [name for name in _singles(simulator) if name.startswith(only)]
    names = [name for name in EVERY_RIGHT if name.startswith(only)]
    names += random.sample(singles, min(len(singles), count // 3))
    raced = max(1, count // 12 // len(races.RACES))
    names += (f"race:{race}:{seed}-{number}" for race in races.RACES for number in range(raced))
    names += (_pair(simulator, random, f"{seed}-{number}") for number in range(count // 6))
    names = [name for name in names if name.startswith(only)]
    if only == ("",):
        kinds = [kind for kind, share in _SHARES.items() for _ in range(share)]
        random.shuffle(kinds)
        names += [f"{kinds[n % 100]}:{seed}-{n}" for n in range(count - len(names))]
    else:
        kinds = [kind for kind in only if kind in _BY_CHANCE or kind.startswith("race:")]
        names += [f"{kind}:{seed}-{n}" for kind in kinds for n in range(count // len(only))]
    return list(dict.fromkeys(names))[:count]


def _singles(simulator: Simulator) -> Iterator[str]:
    """Every fault at every request of every story, and the loss of every message."""
    for story in scenarios.STORIES:
        requests, messages = _extent(simulator, story)
        numbers = range(1, requests + 1)
        # In the middle of a story, the sweep repeats itself.
        for number in (*numbers[:_MOST_EACH], *numbers[_MOST_EACH:][-_MOST_EACH:]):
            for fault in EACH:
                yield f"each:{story}:{fault.name}@{number}"
        for number in range(1, messages + 1):
            yield f"lost:{story}:{number}"


@cache
def _extent(simulator: Simulator, story: str) -> tuple[int, int]:
    """(requests, messages) of a story without faults."""
    outcome = simulator.run(f"each:{story}:DIES_BEFORE@0")
    return outcome.requests, outcome.messages


def _pair(simulator: Simulator, random: Random, seed: str) -> str:
    """A schedule of a story with two faults, often close together."""
    story = random.choice(tuple(scenarios.STORIES))
    requests, _ = _extent(simulator, story)
    first = random.randint(1, requests)
    is_close = random.random() < 0.6
    second = first + random.randint(1, 12) if is_close else random.randint(1, 2 * requests)
    one, other = random.choice(EACH).name, random.choice(EACH).name
    return f"pair:{story}:{one}@{first}+{other}@{second}:{seed}"
