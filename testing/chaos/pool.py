"""Run many schedules in several processes, and report the outcomes."""

from __future__ import annotations

import gc
import multiprocessing
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from infra.paths import ROOT
from testing.chaos.campaigns import EVERY_RIGHT, Outcome, Simulator
from testing.chaos.rights import Right, given

_REPORT = ROOT / ".local" / "chaos" / "violations.txt"
_SHOWN = 3  # examples of each kind of violation in each kind of schedule
_TOLD_SECONDS = 15.0


class _Ran(NamedTuple):
    outcome: Outcome
    seconds: float


class _Kind:
    """The sums over all schedules of a kind."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.found: dict[str, list[str]] = defaultdict(list)  # names of schedules, by violation

    def add(self, ran: _Ran) -> None:
        self.count += 1
        self.seconds += ran.seconds
        self.longest = max(self.longest, ran.outcome.longest)
        for violation, seen in ran.outcome.violations:
            names = self.found[violation]
            line = f"VIOLATION {ran.outcome.name} {violation}: {seen}; had: {ran.outcome.had}"
            with _REPORT.open("a") as report:
                report.write(line + "\n")
            if ran.outcome.name in names:
                continue
            names.append(ran.outcome.name)
            if len(names) <= _SHOWN:
                print(f"{line[:700]}\n    again: make chaos NAME={ran.outcome.name}", flush=True)


# The simulator, which forked processes inherit from their parent.
_simulators: list[Simulator] = []


def run_all(simulator: Simulator, names: Sequence[str], processes: int, seed: str) -> int:
    """Run schedules. Returns 1 if anything was violated, or if EVERY_RIGHT ran and some right was unused."""
    print(f"{len(names)} schedules of seed {seed}, in {processes} processes", flush=True)
    _simulators[:] = [simulator]
    _REPORT.unlink(missing_ok=True)
    gc.freeze()
    start = last_report = time.monotonic()
    kinds: dict[str, _Kind] = defaultdict(_Kind)
    used: set[Right] = set()
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for number, ran in enumerate(pool.imap_unordered(_run, names, 4), 1):
            kinds[ran.outcome.name.partition(":")[0]].add(ran)
            used |= ran.outcome.used
            if time.monotonic() - last_report > _TOLD_SECONDS:
                last_report = time.monotonic()
                print(f"{number} of {len(names)} in {last_report - start:.0f} s", flush=True)
    print(f"\n{'':10}{'schedules':>10}{'ms each':>10}{'longest life of a job':>24}")
    for name, kind in sorted(kinds.items()):
        milliseconds = 1000 * kind.seconds / kind.count
        print(f"{name:10}{kind.count:10}{milliseconds:10.0f}{kind.longest:22.0f} s")
    print(f"{'all':10}{len(names):10}    in {time.monotonic() - start:.0f} s")
    for name, kind in sorted(kinds.items()):
        for violation, where in sorted(kind.found.items()):
            print(f"VIOLATED in {len(where)} of {kind.count} {name}: {violation}; as in {where[0]}")
    unused = sorted(given() - used)
    for right in unused:
        print(f"A right that nobody uses: {' '.join(right)}")
    violated = any(kind.found for kind in kinds.values())
    # A part of the schedules need not use every right.
    violated = violated or bool(unused and set(names) >= set(EVERY_RIGHT))
    print(
        f"{'Violations' if violated else 'No violation'}. All of it again: make chaos SEED={seed}"
    )
    return int(violated)


def run_aloud(simulator: Simulator, names: Sequence[str]) -> int:
    """Run schedules one by one, and print every event. Returns 1 if anything was violated."""
    violated = False
    for name in names:
        outcome = simulator.run(name, trace=True)
        print(f"{name}: {outcome.requests} requests, longest life {outcome.longest:.0f} s")
        for violation, detail in outcome.violations:
            violated = True
            print(f"VIOLATION {violation}: {detail}")
    return int(violated)


def _run(name: str) -> _Ran:
    start = time.perf_counter()
    try:
        outcome = _simulators[0].run(name)
    except Exception:
        # This may not be the product's fault, but the schedule cannot be judged.
        trace = traceback.format_exc()[-1500:]
        outcome = Outcome(
            name, [("the simulation itself failed", trace)], [], 0.0, 0, 0, frozenset()
        )
    return _Ran(outcome, time.perf_counter() - start)
