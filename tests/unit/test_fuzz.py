"""A short slice of the fuzz, the same each time; and what the harness calls a defect."""

from __future__ import annotations

import subprocess
import time

import pytest

from chalicelib.engines import sandbox
from chalicelib.errors import JobError, Transient
from testing import fuzz
from testing.prepared import CORPUS

pytestmark = [
    pytest.mark.media,
    # They are errors in tests, which children inherit, but not in Lambda.
    pytest.mark.filterwarnings("ignore:::PIL"),
]
SEED = 1


@pytest.fixture(scope="module", params=["own", pytest.param("corpus", marks=pytest.mark.corpus)])
def originals(request: pytest.FixtureRequest) -> list[fuzz.Base]:
    return fuzz.own_bases() if request.param == "own" else fuzz.bases(CORPUS)


def test_no_damage_breaks_intake(originals: list[fuzz.Base]) -> None:
    report = fuzz.fuzz_probing(SEED, 0, 150, originals)
    assert not report.defects, report.text()
    assert report.codes["ok"] > 30
    assert report.codes["source_damaged"] > 30


def test_no_damage_breaks_a_step(originals: list[fuzz.Base]) -> None:
    report = fuzz.fuzz_steps(SEED, 0, 8, originals)
    assert not report.defects, report.text()
    assert report.codes["ok"] > 2


def test_a_variant_is_repeated_by_its_numbers() -> None:
    bases = fuzz.own_bases()
    assert fuzz.variant(7, 11, bases) == fuzz.variant(7, 11, bases)
    assert len({fuzz.variant(7, number, bases).content for number in range(50)}) > 40


def fail() -> bytes:
    raise ZeroDivisionError


def refuse() -> None:
    raise JobError("source_damaged", "The image cannot be read.")


def be_killed() -> None:
    raise Transient("killed", "The decoder was killed from outside.")


def ramble() -> None:
    raise JobError("source_damaged", "Traceback (most recent call last)")


def crash() -> None:
    error = ZeroDivisionError()
    sandbox.call("testing.decoders:fail", error, returns=bytes, seconds=5, memory_bytes=2**31)


def test_what_is_a_refusal_and_what_a_defect() -> None:
    assert fuzz.judge(refuse, 5)[:2] == ("source_damaged", "")
    assert "Transient killed" in fuzz.judge(be_killed, 5).defect
    assert "no sentence" in fuzz.judge(ramble, 5).defect
    assert "ZeroDivisionError" in fuzz.judge(fail, 5).defect
    assert "ZeroDivisionError" in fuzz.judge(crash, 5).defect
    assert "took" in fuzz.judge(lambda: time.sleep(0.1), -fuzz.GRACE_SECONDS).defect


def test_a_child_that_is_left_behind_is_a_defect() -> None:
    started = []

    def leave() -> None:
        started.append(subprocess.Popen(("sleep", "60")))

    try:
        assert "left a child" in fuzz.judge(leave, 5).defect
    finally:
        for process in started:
            process.kill()
            process.wait()
