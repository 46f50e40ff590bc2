"""Run thousands of schedules with faults, or those of the given names: python -m testing.chaos [NAME …]"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import subprocess
import sys

from infra.paths import ROOT
from testing.chaos.process import make_simulator, prepare_process


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testing.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these, and tell all of them")
    parser.add_argument("--schedules", type=int, default=10_000, help="about so many: %(default)s")
    parser.add_argument("--seed", default="", help="of an earlier run; a fresh one unless given")
    parser.add_argument("--only", default="", help="what their names begin with: few,race:watched")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--compare", action="store_true", help="run NAMEs on moto, too: all is equal"
    )
    parser.add_argument("--log", choices=("fast", "moto"), help="what --compare calls")
    chosen = parser.parse_args()
    prepare_process()
    if chosen.compare:
        return _compare(chosen.names)
    simulator = make_simulator(moto=chosen.log == "moto")
    if chosen.log:
        for name in chosen.names:
            simulator.run(name, trace=True, judged=False)
        return 0
    from testing.chaos import campaigns, pool

    simulator.prepare()
    if chosen.names:
        return pool.run_aloud(simulator, chosen.names)
    seed = chosen.seed or secrets.token_hex(4)
    only = tuple(chosen.only.split(",")) if chosen.only else ("",)
    names = campaigns.chosen(simulator, seed, chosen.schedules, only)
    return pool.run_all(simulator, names, chosen.processes, seed)


def _compare(names: list[str]) -> int:
    """Run schedules on both clouds, each in its own process, and compare the logs, which must be equal."""
    logs = []
    for cloud in ("fast", "moto"):
        command = [sys.executable, "-m", "testing.chaos", "--log", cloud, *names]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
        logs.append(done.stderr.splitlines())
        if done.returncode:
            print(done.stderr[-3000:])
            return 1
    for number, (ours, theirs) in enumerate(itertools.zip_longest(*logs), 1):
        if ours != theirs:
            print(f"line {number}\n  in memory: {ours}\n  moto:      {theirs}")
            return 1
    print(f"{len(names)} schedules, {len(logs[0])} lines: both clouds say the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
