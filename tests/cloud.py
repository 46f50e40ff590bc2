"""AWS resources for the fast tests, under moto; the real ones come from infra/template.py."""

from __future__ import annotations

import os
from typing import Any

import boto3

from chalicelib import aws, queues
from chalicelib.settings import settings
from chalicelib.tokens import tokens
from infra.parts import storage


def make_cloud() -> None:
    """The table, both buckets, every queue and the secret."""
    for cached in (aws.s3, aws.sqs, tokens):
        cached.cache_clear()
    make_table()
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    for bucket in (settings().upload_bucket, settings().output_bucket):
        s3.create_bucket(Bucket=bucket)
    for queue in (*queues.QUEUES, queues.DEAD_LETTERS):
        made = sqs.create_queue(QueueName=f"sluice-{queue}".replace("_", "-"))
        os.environ[f"SLUICE_QUEUE_URL_{queue.upper()}"] = made["QueueUrl"]
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name=settings().hls_secret_arn, SecretString="first " * 8)


def make_table() -> None:
    resource: Any = storage.table(local=True)["JobsTable"]
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    boto3.client("dynamodb").create_table(
        TableName=settings().jobs_table, **{name: resource["Properties"][name] for name in names}
    )
