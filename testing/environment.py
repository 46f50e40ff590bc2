"""What the code expects around it in Lambda, where moto stands in for AWS; set before it is imported."""

from __future__ import annotations

import json

import msgspec

from infra.parts import functions
from infra.parts.names import FUNCTIONS
from infra.paths import ROOT

_configured = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
MEMORY = {f.name: _configured[f.config_name]["lambda_memory_size"] for f in FUNCTIONS}

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
    "SLUICE_FUNCTION_SIZES": msgspec.json.encode(functions.sizes(MEMORY, local=True)).decode(),
    "SLUICE_HLS_SECRET_ARN": "hls",
}
