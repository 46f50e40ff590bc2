"""`make bench`: measure every figure and its baseline; print a table and store the results as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import (
    burst,
    chunks,
    films,
    first_frame,
    formats,
    images,
    imports,
    kinds,
    quality,
    renditions,
    requests,
    simulation,
    thumbnails,
    variants,
    workers,
)
from benchmarks.figures import Figure, table
from benchmarks.machine import describe

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "imports": imports.measure,
    "requests": requests.measure,
    "images": images.measure,
    "thumbnails": thumbnails.measure,
    "variants": variants.measure,
    "formats": formats.measure,
    "burst": burst.measure,
    "films": films.measure,
    "chunks": chunks.measure,
    "kinds": kinds.measure,
    "renditions": renditions.measure,
    "first_frame": first_frame.measure,
    "workers": workers.measure,
    "simulation": simulation.measure,
    "quality": quality.measure,
}
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, default=RESULTS, help="where they are kept, by name")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    results = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
    figures: list[Figure] = []
    for name in chosen.names or BENCHMARKS:
        print(f"Measuring {name}", file=sys.stderr, flush=True)
        measured = BENCHMARKS[name]()
        figures += measured
        results[name] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe(),
            "figures": msgspec.to_builtins(measured),
        }
        chosen.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(table(figures))


if __name__ == "__main__":
    main()
