"""`make corpus`: send every file of a folder through the local stack, judge the outputs, write a report."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from corpus import memory, pipelines, report
from corpus.judging import judge
from corpus.manifest import Entry, NoFiles, entries
from corpus.pipelines import NotJudged, Pipelines
from corpus.report import Line, Taken
from corpus.sending import digests, length, send
from infra.local import cloud
from infra.paths import LOCAL
from sluice.client import Client

_IN_FLIGHT = 2
_LONG_SECONDS = 20
_MIB = 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m corpus", description=__doc__)
    parser.add_argument("folder", type=Path, help="with a MANIFEST.tsv, or just files")
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument(
        "--pipelines",
        type=Path,
        help="JSON: by kind of file, what is asked of it, instead of presets",
    )
    parser.add_argument("--report", type=Path, default=LOCAL / "corpus", help="where it goes")
    chosen = parser.parse_args()
    try:
        found = [e for e in entries(chosen.folder) if chosen.only in e.name]
        asked = pipelines.read(chosen.pipelines) if chosen.pipelines else pipelines.PRESETS
    except (NoFiles, NotJudged) as error:
        sys.exit(str(error))
    lines, taken = run(chosen.folder, found, asked)
    report.write(chosen.report, lines, taken)
    print(f"{report.summary(lines, taken)} {chosen.report / 'report.html'}")
    sys.exit(not (all(line.passed for line in lines) and all(t.passed for t in taken)))


def run(folder: Path, found: list[Entry], asked: Pipelines) -> tuple[list[Line], list[Taken]]:
    """Send every file through a local cloud started for this run, and watch its memory."""
    with cloud.running("corpus") as stack, Client(stack) as client:
        assert stack.pid is not None
        with memory.Watch(stack.pid, stack.stage) as watch:
            lines = _all(client, folder, found, asked)
    limits = memory.limits()
    taken = [
        Taken(name, peak / _MIB, limits[name] / _MIB if name in limits else None)
        for name, peak in sorted(watch.peaks.items())
    ]
    return lines, taken


def _all(client: Client, folder: Path, found: list[Entry], asked: Pipelines) -> list[Line]:
    """Send files, a few at a time; then long films one by one, as the emulator encodes one after another."""
    lines: dict[int, Line] = {}
    long = {n for n, e in enumerate(found) if length(e, folder / e.name) > _LONG_SECONDS}
    for numbers, in_flight in ((set(range(len(found))) - long, _IN_FLIGHT), (long, 1)):
        with ThreadPoolExecutor(in_flight) as pool:
            ended = pool.map(
                lambda n: (n, _one(client, folder, found[n], n, asked)), sorted(numbers)
            )
            for number, line in ended:
                lines[number] = _shown(line)
    return [lines[number] for number in range(len(found))]


def _one(client: Client, folder: Path, entry: Entry, number: int, asked: Pipelines) -> Line:
    path = folder / entry.name
    ran = send(client, entry, path, number, asked.get(entry.kind, ()))
    judged = judge(entry, path, ran, client.http)
    job = ran.job or {"status": "", "error": "", "error_code": "", "warnings": []}
    return Line(
        entry=entry,
        status=job["status"],
        error_code=job["error_code"],
        error=job["error"],
        warnings=tuple(job["warnings"]),
        seconds=ran.seconds,
        failures=judged.failures,
        pictures={name: report.data_uri(image) for name, image in judged.pictures.items()},
        digests=digests(client, ran.job) if ran.job else {},
    )


def _shown(line: Line) -> Line:
    wrong = "; ".join(f"[{failure.check}] {failure.says}" for failure in line.failures)
    print(
        f"{'PASS' if line.passed else 'FAIL'} {line.seconds:6.1f} s  {line.entry.name}  {wrong}",
        flush=True,
    )
    return line


if __name__ == "__main__":
    main()
