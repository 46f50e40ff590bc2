"""AWS resources for the fast tests, under moto; the real ones come from infra/template.py."""

from __future__ import annotations

import boto3

from chalicelib.settings import settings


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


def _keys(partition: str, sort: str) -> list:  # type: ignore[type-arg]
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
