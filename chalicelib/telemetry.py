"""Structured logs, metrics and traces for operators, through Powertools for AWS Lambda."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(serialize_stacktrace=False)
metrics = Metrics()
# By default the tracer patches every library that it knows, and so imports them all.
tracer = Tracer(patch_modules=["botocore"])

__all__ = ["MetricUnit", "logger", "metrics", "tracer"]
