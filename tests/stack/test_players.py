"""A film is watched in a browser while it is encoded, and as DASH after: a slice of `make players`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.client import Client
from testing.players import film, trial

pytestmark = [pytest.mark.stack, pytest.mark.media, pytest.mark.chromium]
SECONDS = 14  # in three parts


def test_chromium_shows_the_film_while_it_is_encoded(client: Client, numbered: Path) -> None:
    found = trial.run(client, numbered, SECONDS, ("hls", "native"), tell=print)
    for player, verdict in found.items():
        check(player, verdict)


def test_dash_js_shows_the_film_once_it_is_complete(client: Client, numbered: Path) -> None:
    found = trial.run_complete(client, numbered, SECONDS, ("dashjs",))
    check("dashjs", found["dashjs"])


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("players") / "numbered.mp4"
    film.make(path, SECONDS)
    return path


def check(player: str, verdict: trial.Verdict) -> None:
    # A busy machine drops frames, and not each is found again: `make players` counts them.
    assert [f for f in verdict.faults if not f.startswith("frames are nowhere")] == [], player
    assert verdict.shown + verdict.sought > 0.8 * SECONDS * film.RATE
