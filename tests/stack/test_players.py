"""A film is watched in a browser while it is encoded: a slice of `make players`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.client import Client
from testing.players import film, trial

pytestmark = [pytest.mark.stack, pytest.mark.media, pytest.mark.chromium]
SECONDS = 14  # in three parts


def test_chromium_shows_the_film_while_it_is_encoded(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "numbered.mp4"
    film.make(source, SECONDS)
    found = trial.run(client, source, SECONDS, ("hls", "native"), tell=print)
    for player, verdict in found.items():
        # A busy machine drops frames, and not each is found again: `make players` counts them.
        assert [f for f in verdict.faults if not f.startswith("frames are nowhere")] == [], player
        assert verdict.shown > 0.8 * SECONDS * film.RATE
