"""AWS resources for the fast tests, under moto; the real ones come from infra/template.py."""

from __future__ import annotations

import os
from typing import Any

import boto3

from chalicelib import aws, queues
from chalicelib.settings import settings
from chalicelib.tokens import tokens


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
    indexes = {
        "by_status": ("status", "created"),
        "by_key": ("source_key", "created"),
        "by_due": ("due_shard", "due_at"),
    }
    names = {"pk", "sk", *(name for pair in indexes.values() for name in pair)}
    boto3.client("dynamodb").create_table(
        TableName=settings().jobs_table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "N" if name == "due_at" else "S"}
            for name in sorted(names)
        ],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _keys(*pair),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["row"]},
            }
            for index, pair in indexes.items()
        ],
    )


def _keys(partition: str, sort: str) -> Any:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
