"""What the code expects around it in Lambda, where moto stands in for AWS; set before it is imported."""

from __future__ import annotations

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "POWERTOOLS_SERVICE_NAME": "tests",
    "POWERTOOLS_METRICS_NAMESPACE": "Sluice",
    "SLUICE_API_URL": "https://api.test/api",
    "SLUICE_AUTH": "none",
    "SLUICE_HLS_SECRET_ARN": "hls",
}
