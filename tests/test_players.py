"""A film is watched in a browser while it is encoded: a slice of `make players`."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import cloud
from infra.client import Client
from testing.players import film, trial

pytestmark = [pytest.mark.stack, pytest.mark.media, pytest.mark.chromium]


def test_chromium_shows_every_frame_while_the_film_is_encoded(tmp_path: Path) -> None:
    source = tmp_path / "numbered.mp4"
    film.make(source, 18)
    with cloud.running("test") as stack, Client(stack) as client:
        found = trial.run(client, source, 18, ("hls", "native"), tell=print)
    assert {player: verdict.faults for player, verdict in found.items()} == {
        "hls": [],
        "native": [],
    }
