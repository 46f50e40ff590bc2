"""Requests that schemathesis generates from the API's description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).with_name("schemathesis.toml")


def try_out(description: Path, api_url: str, *, examples: int, seed: int | None = None) -> str:
    """Send `examples` requests to each operation; the report. Raises AssertionError for any finding."""
    chosen = ["--seed", str(seed)] if seed is not None else []
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIG),
            "run", str(description), "--url", api_url,
            "--checks", "all", "--max-examples", str(examples), *chosen,
            "--request-timeout", "60",  # seconds; calls take so long only on a busy machine
        ],
        cwd=CONFIG.parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
