"""`make players`: a film in every player, from its first listing to its last frame, while it is encoded."""

from __future__ import annotations

import sys

from infra import cloud
from infra.client import Client
from infra.paths import LOCAL
from testing.players import film, trial

_SECONDS = 18


def main() -> int:
    """Print what came of each player; 1 where one of them has not shown all of the film."""
    folder = LOCAL / "players"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "numbered.mp4"
    film.make(source, _SECONDS)
    found: dict[str, trial.Verdict] = {}
    with cloud.running("test") as stack, Client(stack) as client:
        for player in trial.PLAYERS:
            print(f"── {player}", flush=True)
            found |= trial.run(client, source, _SECONDS, (player,), folder, print)
    for player, verdict in found.items():
        seen = verdict.seen
        first = seen.frames[0][2] if seen.frames else float("nan")
        print(
            f"{player:8} {verdict.shown} of {_SECONDS * film.RATE} frames shown, "
            f"{verdict.sought} by seeking; "
            f"the first after {first:.1f} s; tracks {1000 * seen.apart:.1f} ms apart; "
            f"{'; '.join(verdict.faults) or 'no fault'}"
        )
    print(f"Pictures of the pages are in {folder}.")
    return int(any(verdict.faults for verdict in found.values()))


if __name__ == "__main__":
    sys.exit(main())
