"""This process made ready for the code, and imported before it: its variables, the layer's FFmpeg."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from layers.build import unpacked
from testing.environment import ENVIRONMENT

# Before anything of ours is imported: the table's name is read when its model is.
os.environ.update(ENVIRONMENT, SLUICE_RETRY_SECONDS="1")

os.environ.setdefault("POWERTOOLS_TRACE_DISABLED", "true")
# Not that of a shell that works with a cloud: moto would not stand in for it.
for _variable in ("AWS_PROFILE", *(name for name in os.environ if "AWS_ENDPOINT_URL" in name)):
    os.environ.pop(_variable, None)
if _endpoint_url := os.environ.get("SLUICE_TEST_ENDPOINT_URL"):
    os.environ["AWS_ENDPOINT_URL"] = _endpoint_url

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
CORPUS = ROOT.parent / "shared" / "corpus"
HAS_CORPUS = CORPUS.exists() and "CI" not in os.environ


# The FFmpeg of the layer, as in Lambda.
sys.path.insert(0, str(unpacked("ffmpeg", LOCAL / "layers") / "python"))
