"""`make players`: play a film in every player while it is encoded, and as DASH after, to its last frame."""

from __future__ import annotations

import argparse
import sys

from infra.local import cloud
from infra.paths import LOCAL
from sluice.client import Client
from testing.players import film, trial

_SECONDS = 18


def main() -> int:
    """Print the verdict on each player. Returns 1 if one of them has not shown the whole film."""
    parser = argparse.ArgumentParser(prog="python -m testing.players", description=__doc__)
    every = (*trial.PLAYERS, *trial.DASH_PLAYERS)
    parser.add_argument("players", nargs="*", metavar="PLAYER", help=", ".join(every))
    chosen = parser.parse_args().players or every
    folder = LOCAL / "players"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "numbered.mp4"
    film.make(source, _SECONDS)
    faults: list[str] = []
    with cloud.running("test") as stack, Client(stack) as client:
        for player in chosen:
            if player in trial.DASH_PLAYERS:
                found = trial.run_complete(client, source, _SECONDS, (player,), folder)
            else:
                found = trial.run(client, source, _SECONDS, (player,), folder, print)
            verdict = found[player]
            print(
                f"{player}: {verdict.shown} of {_SECONDS * film.RATE} frames shown, "
                f"{verdict.sought} more by seeking; tracks {1000 * verdict.seen.apart:.1f} ms apart; "
                f"rungs {' '.join(map(str, verdict.seen.heights))}; "
                f"{'; '.join(verdict.faults) or 'no fault'}",
                flush=True,
            )
            faults += verdict.faults
    print(f"Pictures of the pages are in {folder}.")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
