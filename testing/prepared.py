"""Prepares this process for chalicelib: sets variables, finds the layer's FFmpeg. Import it first."""

from __future__ import annotations

import os
from pathlib import Path

from testing.environment import stand_in_for_lambda

stand_in_for_lambda(SLUICE_RETRY_SECONDS="1")
os.environ.setdefault("POWERTOOLS_TRACE_DISABLED", "true")
if _endpoint_url := os.environ.get("SLUICE_TEST_ENDPOINT_URL"):
    os.environ["AWS_ENDPOINT_URL"] = _endpoint_url

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
CORPUS = ROOT.parent / "shared" / "corpus"
HAS_CORPUS = CORPUS.exists() and "CI" not in os.environ
