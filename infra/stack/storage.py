"""The buckets, the table, the queues, and the secret that signs HLS links."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from chalicelib.store.queues import DEAD_LETTERS
from infra.stack.catalogue import (
    JOBS_TABLE,
    OUTPUT_BUCKET,
    SOURCE_QUEUES,
    UPLOAD_BUCKET,
    Json,
    dashed,
    queue_id,
    sub,
)
from infra.stack.targets import Target

_DAY = 86400

# Time beyond its function's timeout after which SQS gives a worker's message to another one.
VISIBILITY_MARGIN_SECONDS = 30


def buckets(
    target: Target, *, original_days: int | None, output_days: int | None, upload_seconds: int
) -> Json:
    """The buckets with their policies; originals and outputs expire after so many days, None for never.

    An upload in parts may take `upload_seconds`.
    """
    upload = _bucket(
        UPLOAD_BUCKET,
        target,
        cors={
            "AllowedMethods": [
                "PUT",
                "POST",
                "GET",
                "DELETE",
            ],  # of signed requests, also for parts
            "AllowedOrigins": ["*"],
            "AllowedHeaders": ["*"],
            "ExposedHeaders": ["ETag"],
            "MaxAge": 3600,
        },
        rules=[
            _abandoned_uploads(ceil(upload_seconds / _DAY)),
            *_expiring("originals", "", original_days),
        ],
    )
    # S3 tries to send to the queue before it accepts the notification.
    upload["DependsOn"] = "IntakeQueuePolicy"
    upload["Properties"] |= {  # type: ignore[operator]
        "NotificationConfiguration": {
            "QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": _arn("IntakeQueue")}]
        }
    }
    output = _bucket(
        OUTPUT_BUCKET,
        target,
        cors={
            "AllowedMethods": ["GET", "HEAD"],
            "AllowedOrigins": ["*"],
            "AllowedHeaders": ["*"],
            "ExposedHeaders": ["Content-Length", "Content-Range", "ETag"],
            "MaxAge": 3600,
        },
        rules=[
            _abandoned_uploads(1),
            *_expiring("work", "work/", 14),
            *_expiring("outputs", "outputs/", output_days),
        ],
    )
    resources: Json = {"UploadBucket": upload, "OutputBucket": output}
    if target.requires_tls:
        resources |= {
            "UploadBucketPolicy": _retention(target) | _tls_only("UploadBucket", UPLOAD_BUCKET),
            "OutputBucketPolicy": _retention(target) | _tls_only("OutputBucket", OUTPUT_BUCKET),
        }
    return resources


def _abandoned_uploads(days: int) -> Json:
    return {
        "Id": "abandoned-uploads",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }


def _expiring(name: str, prefix: str, days: int | None) -> list[Json]:
    if days is None:
        return []
    where = {"Prefix": prefix} if prefix else {}
    return [{"Id": name, "Status": "Enabled", **where, "ExpirationInDays": days}]


def _bucket(name: str, target: Target, *, cors: Json, rules: list[Json]) -> Json:
    return {
        "Type": "AWS::S3::Bucket",
        **_retention(target),
        "Properties": {
            # A name of ours, not CloudFormation's: roles and the queue's policy use it without a cycle.
            "BucketName": sub(name),
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                ]
            },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "CorsConfiguration": {"CorsRules": [cors]},
            "LifecycleConfiguration": {"Rules": rules},
        },
    }


def _tls_only(bucket: str, name: str) -> Json:
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {
            # By its name, which CloudFormation needs to adopt the policy; see infra/deploying/kept.py.
            "Bucket": sub(name),
            "PolicyDocument": tls_only(_arn(bucket), sub(f"${{{bucket}.Arn}}/*")),
        },
    }


def tls_only(*resources: object) -> Json:
    """A bucket policy that denies plain http; `resources` are the ARNs of the bucket and of its objects."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": list(resources),
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _retention(target: Target) -> Json:
    """Retain what users stored when the stack is deleted; not what a failed creation leaves."""
    return {
        "DeletionPolicy": "RetainExceptOnCreate" if target.retains else "Delete",
        "UpdateReplacePolicy": "Retain" if target.retains else "Delete",
    }


class _Index(NamedTuple):
    """An index's keys, and the other attributes that it projects. PynamoDB's discriminator is `row`."""

    keys: tuple[str, str]
    attributes: tuple[str, ...] = ("row",)


# CloudFormation adds or deletes at most one index of a table in an update.
_INDEXES = {
    "by_status": _Index(("status", "created")),
    "by_owner": _Index(("owner", "created"), ("row", "status")),
    "by_key": _Index(("source_key", "created")),
    "by_due": _Index(("due_shard", "due_at")),
}
_NUMBERS = ("due_at",)


def table(target: Target) -> Json:
    """The table of jobs, with its indexes."""
    attributes = sorted({"pk", "sk", *(name for index in _INDEXES.values() for name in index.keys)})
    return {
        "JobsTable": {
            "Type": "AWS::DynamoDB::Table",
            **_retention(target),
            "Properties": {
                "TableName": sub(JOBS_TABLE),
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": "N" if name in _NUMBERS else "S"}
                    for name in attributes
                ],
                "KeySchema": _key("pk", "sk"),
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": name,
                        "KeySchema": _key(*index.keys),
                        "Projection": {
                            "ProjectionType": "INCLUDE",
                            "NonKeyAttributes": list(index.attributes),
                        },
                    }
                    for name, index in _INDEXES.items()
                ],
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
                # DynamoDB always encrypts. Without SSESpecification it uses a key of its own, which is free.
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": target.retains},
            },
        }
    }


def _key(partition: str, sort: str) -> list[Json]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def queues(timeouts: dict[str, int], max_receives: int) -> Json:
    """Every queue, and one for the dead letters of all; `timeouts` are the consumers', in seconds."""
    redrive = {"deadLetterTargetArn": _arn(queue_id(DEAD_LETTERS)), "maxReceiveCount": max_receives}
    resources: Json = {
        queue.logical_id: _queue(queue.name, timeouts, days=4, RedrivePolicy=redrive)
        for queue in SOURCE_QUEUES
    }
    resources[queue_id(DEAD_LETTERS)] = _queue(DEAD_LETTERS, timeouts, days=14)
    resources["IntakeQueuePolicy"] = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [{"Ref": "IntakeQueue"}],
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "ObjectCreated",
                        "Effect": "Allow",
                        "Principal": {"Service": "s3.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": _arn("IntakeQueue"),
                        "Condition": {
                            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
                            "ArnEquals": {
                                "aws:SourceArn": sub(
                                    f"arn:${{AWS::Partition}}:s3:::{UPLOAD_BUCKET}"
                                )
                            },
                        },
                    }
                ],
            },
        },
    }
    return resources


def _queue(name: str, timeouts: dict[str, int], *, days: int, **more: object) -> Json:
    return {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "QueueName": sub(f"${{AWS::StackName}}-{dashed(name)}"),
            "VisibilityTimeout": timeouts[name] + VISIBILITY_MARGIN_SECONDS,
            "MessageRetentionPeriod": days * _DAY,
            "SqsManagedSseEnabled": True,
            **more,
        },
    }


def secret() -> Json:
    """The secrets that sign HLS links, and from which those of webhooks are derived."""
    return {
        "HlsSecret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {
                "Description": "Signs the links of HLS playlists; the secret before it still opens them",
                "GenerateSecretString": {"PasswordLength": 64, "ExcludePunctuation": True},
            },
        },
        "WebhookSecret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {
                "Description": "The secrets of webhooks are derived from it: never replace it",
                "GenerateSecretString": {"PasswordLength": 64, "ExcludePunctuation": True},
            },
        },
    }


def _arn(logical_id: str) -> Json:
    return {"Fn::GetAtt": [logical_id, "Arn"]}
