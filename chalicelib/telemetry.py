"""What operators see: structured logs, metrics and traces, through Powertools for AWS Lambda."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(serialize_stacktrace=False)
metrics = Metrics()
# Patching every library that it knows would load them all.
tracer = Tracer(patch_modules=["botocore"])

__all__ = ["MetricUnit", "logger", "metrics", "tracer"]
