"""The environment variables that the code expects in Lambda, for tests under moto."""

from __future__ import annotations

import json
import os
import sys

import msgspec

from infra.paths import LOCAL, ROOT
from infra.stack import functions
from infra.stack.catalogue import FUNCTIONS
from infra.stack.targets import EMULATOR
from layers.build import unpacked

_configured = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
# Memory in megabytes and timeouts in seconds, by function.
MEMORY = {f.name: _configured[f.config_name]["lambda_memory_size"] for f in FUNCTIONS}
TIMEOUTS = {f.name: _configured[f.config_name]["lambda_timeout"] for f in FUNCTIONS}

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "POWERTOOLS_SERVICE_NAME": "tests",
    "POWERTOOLS_METRICS_NAMESPACE": "Sluice",
    "SLUICE_API_URL": "https://api.test/api",
    "SLUICE_AUTH": "none",
    "SLUICE_OPERATORS": "-",
    "SLUICE_REQUIRE_SIZE": "false",
    "SLUICE_FUNCTION_SIZES": msgspec.json.encode(functions.sizes(MEMORY, EMULATOR)).decode(),
    "SLUICE_HLS_SECRET_ARN": "hls",
    "SLUICE_WEBHOOK_SECRET_ARN": "webhooks",
}


def stand_in_for_lambda(**more: str) -> None:
    """Set ENVIRONMENT and `more`, and make the layer's FFmpeg importable.

    Call it before chalicelib is imported, which reads settings and the table's name once. Variables that
    point to a cloud are removed: with them, moto would not answer.
    """
    os.environ.update(ENVIRONMENT, **more)
    for name in ("AWS_PROFILE", *(name for name in os.environ if "AWS_ENDPOINT_URL" in name)):
        os.environ.pop(name, None)
    sys.path.insert(0, str(unpacked("ffmpeg", LOCAL / "layers") / "python"))
