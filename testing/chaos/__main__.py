"""Thousands of schedules with faults, each by a name that runs it again: python -m testing.chaos [NAME …]"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import secrets
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from infra.paths import ROOT
from layers.build import unpacked

if TYPE_CHECKING:
    from testing.chaos.campaigns import Outcome, Simulator

_REPORT = ROOT / ".local" / "chaos" / "violations.txt"
_SHOWN = 3  # of each kind of violation in each campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testing.chaos", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="schedules to run again, and trace"
    )
    parser.add_argument(
        "--schedules", type=int, default=10_000, help="about how many (%(default)s)"
    )
    parser.add_argument("--seed", default="", help="repeats an earlier run; fresh unless given")
    parser.add_argument("--only", default="", help="kinds, with commas: each, pair, race, few, …")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--moto", action="store_true", help="moto instead of what is in memory")
    parser.add_argument(
        "--compare", action="store_true", help="run schedules on both, compare logs"
    )
    chosen = parser.parse_args()
    _prepare_process()
    if chosen.compare:
        return _compare(chosen.names)
    simulator = _simulator(moto=chosen.moto)
    if chosen.names:
        return _again(simulator, chosen.names)
    seed = chosen.seed or secrets.token_hex(4)
    names = _chosen(
        simulator, seed, chosen.schedules, chosen.only.split(",") if chosen.only else []
    )
    print(f"{len(names)} schedules of seed {seed}, in {chosen.processes} processes", flush=True)
    return _run(simulator, names, chosen.processes, seed)


def _prepare_process() -> None:
    """Before anything of ours is imported: settings are read once."""
    from tests.environment import ENVIRONMENT

    os.environ.update(
        ENVIRONMENT,
        SLUICE_CHUNK_WORK_SECONDS="0.001",  # small films in several chunks
        POWERTOOLS_TRACE_DISABLED="true",
        POWERTOOLS_LOG_LEVEL="CRITICAL",
    )
    for name in ("AWS_PROFILE", *(name for name in os.environ if "AWS_ENDPOINT_URL" in name)):
        os.environ.pop(name, None)
    sys.path.insert(0, str(unpacked("ffmpeg", ROOT / ".local" / "layers") / "python"))


def _simulator(*, moto: bool = False) -> Simulator:
    from testing.chaos.boundary import boundary
    from testing.chaos.campaigns import Simulator
    from testing.chaos.cloud import Cloud, Fast, Moto
    from testing.chaos.simulated import quicken_clients
    from tests.cloud import make_cloud

    quicken_clients()
    stand = Moto() if moto else Fast()
    boundary.cloud = Cloud(stand)
    make_cloud()
    simulator = Simulator(stand)
    simulator.prepare()
    return simulator


def _chosen(simulator: Simulator, seed: str, count: int, only: list[str]) -> list[str]:
    """Names of about so many schedules: all single faults where there is room, races, pairs, and chance."""
    from testing.chaos import campaigns, races

    names: list[str] = []
    singles = list(campaigns.each(simulator))
    if count >= 3 * len(singles) or only:
        names += singles
    else:
        import random

        names += random.Random(f"singles {seed}").sample(singles, count // 3)
    names += campaigns.all_races(seed, max(1, count // 10 // len(races.RACES)))
    names += campaigns.pairs(simulator, seed, count // 6)
    names += campaigns.by_chance(seed, max(0, count - len(names)))
    if only:
        more = campaigns.by_chance(seed, 100 * count)
        wanted = [
            n
            for n in itertools.chain(names, more)
            if n.partition(":")[0] in only or ":".join(n.split(":")[:2]) in only
        ]
        names = list(dict.fromkeys(wanted))[:count]
    return names


_running: list[Simulator] = []


def _outcome(name: str) -> tuple[Outcome, float]:
    begun = time.perf_counter()
    (simulator,) = _running
    try:
        outcome = simulator.run(name)
    except Exception as error:
        import traceback

        from testing.chaos.campaigns import Outcome

        told = traceback.format_exc()[-1500:]
        outcome = Outcome(
            name, [("the simulation itself failed", f"{error!r} {told}")], [], 0, 0, 0, []
        )
    return outcome._replace(log=[]), time.perf_counter() - begun


def _run(simulator: Simulator, names: list[str], processes: int, seed: str) -> int:
    _running[:] = [simulator]
    gc.freeze()
    begun = told_at = time.perf_counter()
    kinds: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    longest: dict[str, float] = defaultdict(float)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    _REPORT.unlink(missing_ok=True)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for number, (outcome, took) in enumerate(pool.imap_unordered(_outcome, names, 8), 1):
            kind = outcome.name.partition(":")[0]
            kinds[kind] += 1
            seconds[kind] += took  # type: ignore[assignment]
            longest[kind] = max(longest[kind], outcome.longest)
            for violation, seen in outcome.violations:
                found[kind, violation].append(outcome.name)
                line = f"VIOLATION {outcome.name} {violation}: {seen} | had: {outcome.had}"
                with _REPORT.open("a") as report:
                    report.write(line + "\n")
                if len(found[kind, violation]) <= _SHOWN:
                    print(f"{line[:600]}\n    again: make chaos NAME={outcome.name}", flush=True)
            if time.perf_counter() - told_at > 15:
                told_at = time.perf_counter()
                bad = sum(map(len, found.values()))
                print(
                    f"{number} of {len(names)} in {told_at - begun:.0f} s; violations: {bad}",
                    flush=True,
                )
    print(f"\n{'':10}{'schedules':>10}{'ms each':>10}{'longest life of a job':>24}")
    for kind, count in sorted(kinds.items()):
        print(f"{kind:10}{count:10}{1000 * seconds[kind] / count:10.0f}{longest[kind]:22.0f} s")
    print(f"{'all':10}{kinds.total():10}   in {time.perf_counter() - begun:.0f} s")
    for (kind, violation), where in sorted(found.items()):
        print(f"VIOLATED in {len(set(where))} of {kind}: {violation}; as in {where[0]}")
    print(f"Violations: {sum(map(len, found.values()))}. All of it again: make chaos SEED={seed}")
    return 1 if found else 0


def _again(simulator: Simulator, names: list[str]) -> int:
    failed = False
    for name in names:
        outcome = simulator.run(name, trace=True)
        print(f"{name}: {outcome.requests} requests, longest life {outcome.longest:.0f} s")
        for violation, seen in outcome.violations:
            failed = True
            print(f"VIOLATION {violation}: {seen}")
    return int(failed)


def _compare(names: list[str]) -> int:
    """The same schedules on both clouds, each in a process of its own: their logs must be equal."""
    import subprocess

    logs = []
    for flags in ((), ("--moto",)):
        command = [sys.executable, "-m", "testing.chaos", *flags, *names]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        logs.append(done.stderr.splitlines())
    here, there = logs
    for number, (ours, theirs) in enumerate(itertools.zip_longest(here, there)):
        if ours != theirs:
            print(f"line {number}\n  in memory: {ours}\n  moto:      {theirs}")
            return 1
    print(f"{len(names)} schedules, {len(here)} lines: both clouds say the same")
    return 0 if here else 1


if __name__ == "__main__":
    sys.exit(main())
