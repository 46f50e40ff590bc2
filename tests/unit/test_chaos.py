"""The simulation of faults: a slice of it holds, it finds what is broken, and its cloud is as moto's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from testing.chaos import expressions
from testing.chaos.expressions import Item, Scope, Value
from testing.prepared import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the simulation stands for this one's time."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, check=False
    )


@pytest.mark.slow
def test_a_slice_of_all_schedules_holds_and_uses_every_right() -> None:
    # Every race once, those of the rights among them; the others are single faults and pairs.
    told = run("-m", "testing.chaos", "--schedules", "66", "--seed", "rights", "--processes", "1")
    assert told.returncode == 0, told.stdout


@pytest.mark.slow
def test_the_cloud_in_memory_answers_as_moto_does() -> None:
    names = ("each:image:ANSWER_LOST@5", "each:idempotent:DIES_AFTER@9", "each:film:REFUSED@40")
    told = run("-m", "testing.chaos", "--compare", *names)
    assert told.returncode == 0, told.stdout


class Break(NamedTuple):
    """One thing that is broken in the product, a schedule that meets it, and what is violated there."""

    change: str
    schedule: str
    violation: str


_UNCONDITIONAL = (
    "TransactWrite.update = lambda write, row, actions, condition, update=TransactWrite.update, **_:"
    " update(write, row, actions)"
)
BREAKS = {
    "a worker acknowledges and does nothing": Break(
        "app.pictures = lambda event, context: {'batchItemFailures': []}",
        "each:from_key:DIES_BEFORE@0",
        "ended by its deadline alone",
    ),
    "there is no sweep": Break(
        "sweep.sweep = lambda _: None", "lost:image:1", "a job does not end"
    ),
    "new rows have no conditions": Break(
        "Model.save = lambda row, condition=None, save=Model.save: save(row)",
        "race:one_identity:1",
        "more than one job for a file and pipeline",
    ),
    "changes have no conditions": Break(
        "Model.update = lambda row, actions, condition=None, update=Model.update: update(row, actions);"
        + _UNCONDITIONAL,
        "race:storm:1",
        "changed after its end",
    ),
    "a job is charged each time": Break(
        _UNCONDITIONAL, "race:storm:1", "a budget is not what was charged"
    ),
    "a role lacks a right": Break(
        "rights.given.cache_clear();"
        "functions.statements = lambda *of, every=functions.statements: ["
        "    each for each in every(*of) if 's3:GetObject' not in each['Action']]",
        "each:image:DIES_BEFORE@0",
        "a function does what its role does not let it",
    ),
    "an output has other bytes": Break(
        "options = image_encoders._OPTIONS;"
        "options['jpeg'] = lambda _, fine, of=options['jpeg']: of(9, fine)",
        "each:image:DIES_BEFORE@0",
        "an output is not that of a run without faults",
    ),
    "a worker goes on after a cancel": Break(
        "Watch.__call__ = lambda watch: jobs.has_ended(watch._job_id) and None",
        "race:canceled:2",
        "a worker goes on with a job that it knows is canceled",
    ),
    "what is used is counted twice": Break(
        "writes.usage_entries = lambda used, entries=writes.usage_entries: 2 * entries(used)",
        "each:image:DIES_BEFORE@0",
        "more is told than was used",
    ),
}
_PROGRAM = """
import json, os, sys
from testing.chaos.process import make_simulator, prepare_process
prepare_process()
simulator = make_simulator()
simulator.prepare(films=False)
import app
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite
from chalicelib.engines import image_encoders
from chalicelib.jobs import sweep
from chalicelib.store import jobs, writes
from chalicelib.store.watch import Watch
from infra.stack import functions
from testing.chaos import rights
for change, schedule in json.loads(sys.argv[1]):
    if os.fork() == 0:
        exec(change)
        print(json.dumps([kind for kind, _ in simulator.run(schedule).violations]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_what_is_broken_is_found() -> None:
    told = run("-c", _PROGRAM, json.dumps([each[:2] for each in BREAKS.values()]))
    assert told.returncode == 0, told.stdout
    found = dict(zip(BREAKS, map(json.loads, told.stdout.splitlines()), strict=True))
    assert {name: each.violation in found[name] for name, each in BREAKS.items()} == dict.fromkeys(
        BREAKS, True
    ), found


ITEM: Item = {
    "n": {"N": "10"},
    "s": {"S": "abc"},
    "l": {"L": [{"S": "x"}]},
    "m": {"M": {"in": {"N": "1"}}},
    "set": {"SS": ["a", "b"]},
}
VALUES: dict[str, Value] = {
    ":2": {"N": "2"},
    ":10": {"N": "10.0"},
    ":a": {"S": "a"},
    ":x": {"S": "x"},
    ":c": {"SS": ["c"]},
    ":l": {"L": [{"S": "y"}]},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n > :2", True),  # as numbers, and not as text
        ("n = :10", True),
        ("n = :a", False),
        ("n <> :a", True),
        ("absent <> :a", True),
        ("absent < :2", False),
        ("NOT absent = :a AND attribute_exists (s)", True),
        ("attribute_not_exists (m.in) OR begins_with (s, :a)", True),
        ("#m.#in IN (:2, :a)", False),
        ("contains (l, :x) AND contains (set, :a)", True),
        ("n BETWEEN :2 AND :10", True),
        ("size (set) = :2", True),
        ("(n = :2 OR n = :10) AND NOT (s = :x)", True),
    ],
)
def test_a_condition_holds_as_in_dynamodb(text: str, holds: bool) -> None:
    scope = Scope(ITEM, {"#m": "m", "#in": "in"}, VALUES)
    assert expressions.condition(text)(scope) is holds


def test_an_update_changes_an_item_as_dynamodb_does() -> None:
    item: Item = {name: dict(value) for name, value in ITEM.items()}
    text = "SET n = n + :2, l = list_append(if_not_exists(l, :l), :l) REMOVE s ADD set :c"
    for change in expressions.update(text):
        change(Scope(ITEM, {}, VALUES), item)
    assert item == {
        "n": {"N": "12"},
        "l": {"L": [{"S": "x"}, {"S": "y"}]},
        "m": ITEM["m"],
        "set": {"SS": ["a", "b", "c"]},
    }


def test_an_update_in_a_map_that_is_not_there_is_invalid() -> None:
    (change,) = expressions.update("SET absent.x = :2")
    with pytest.raises(expressions.Invalid):
        change(Scope(ITEM, {}, VALUES), {})
