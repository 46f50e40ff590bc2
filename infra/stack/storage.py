"""Where things are kept: buckets, the table, the queues, the key of HLS links."""

from __future__ import annotations

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

_DAY = 86400

# What a worker may take beyond its function's timeout before SQS hands its message to another.
VISIBILITY_MARGIN_SECONDS = 30


def buckets(*, local: bool, original_days: int | None, output_days: int | None) -> Json:
    upload = _bucket(
        UPLOAD_BUCKET,
        local=local,
        cors={
            "AllowedMethods": ["PUT"],
            "AllowedOrigins": ["*"],
            "AllowedHeaders": ["*"],
            "ExposedHeaders": ["ETag"],
            "MaxAge": 3600,
        },
        rules=[_ABANDONED_UPLOADS, *_expiring("originals", "", original_days)],
    )
    upload["DependsOn"] = (
        "IntakeQueuePolicy"  # S3 tries the queue before it accepts the notification
    )
    upload["Properties"] |= {  # type: ignore[operator]
        "NotificationConfiguration": {
            "QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": _arn("IntakeQueue")}]
        }
    }
    output = _bucket(
        OUTPUT_BUCKET,
        local=local,
        cors={
            "AllowedMethods": ["GET", "HEAD"],
            "AllowedOrigins": ["*"],
            "AllowedHeaders": ["*"],
            "ExposedHeaders": ["Content-Length", "Content-Range", "ETag"],
            "MaxAge": 3600,
        },
        rules=[
            _ABANDONED_UPLOADS,
            *_expiring("work", "work/", 14),
            *_expiring("outputs", "outputs/", output_days),
        ],
    )
    resources: Json = {"UploadBucket": upload, "OutputBucket": output}
    if not local:
        resources |= {
            "UploadBucketPolicy": _kept(local) | _tls_only("UploadBucket", UPLOAD_BUCKET),
            "OutputBucketPolicy": _kept(local) | _tls_only("OutputBucket", OUTPUT_BUCKET),
        }
    return resources


_ABANDONED_UPLOADS: Json = {
    "Id": "abandoned-uploads",
    "Status": "Enabled",
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
}


def _expiring(name: str, prefix: str, days: int | None) -> list[Json]:
    if days is None:
        return []
    where = {"Prefix": prefix} if prefix else {}
    return [{"Id": name, "Status": "Enabled", **where, "ExpirationInDays": days}]


def _bucket(name: str, *, local: bool, cors: Json, rules: list[Json]) -> Json:
    return {
        "Type": "AWS::S3::Bucket",
        **_kept(local),
        "Properties": {
            # Named here, not by CloudFormation: roles and the queue's policy name it without a cycle.
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
            # By its name, as it is adopted; see infra.deploying.deploy.
            "Bucket": sub(name),
            "PolicyDocument": tls_only(_arn(bucket), sub(f"${{{bucket}.Arn}}/*")),
        },
    }


def tls_only(*resources: object) -> Json:
    """The policy of a bucket that nobody talks to in the clear: its ARN, and that of what is in it."""
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


def _kept(local: bool) -> Json:
    """What a user uploaded outlives the stack, except on a laptop; what a failed creation made does not."""
    return {
        "DeletionPolicy": "Delete" if local else "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Delete" if local else "Retain",
    }


class _Index(NamedTuple):
    """Its keys, and what else it tells of a row. PynamoDB tells the kinds of rows apart by `row`."""

    keys: tuple[str, str]
    more: tuple[str, ...] = ("row",)


# CloudFormation adds or deletes one of a table's indexes in an update, not two.
_INDEXES = {
    "by_status": _Index(("status", "created")),
    "by_owner": _Index(("owner", "created"), ("row", "status")),
    "by_key": _Index(("source_key", "created")),
    "by_due": _Index(("due_shard", "due_at")),
}
_NUMBERS = ("due_at",)


def table(*, local: bool) -> Json:
    attributes = sorted({"pk", "sk", *(name for index in _INDEXES.values() for name in index.keys)})
    return {
        "JobsTable": {
            "Type": "AWS::DynamoDB::Table",
            **_kept(local),
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
                            "NonKeyAttributes": list(index.more),
                        },
                    }
                    for name, index in _INDEXES.items()
                ],
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
                # Encrypted it is always: with a key of DynamoDB's own, which is free.
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": not local},
            },
        }
    }


def _key(partition: str, sort: str) -> list[Json]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def queues(timeouts: dict[str, int], max_receives: int) -> Json:
    """Each step's queue, and one for the dead letters of all; `timeouts` are those of the consumers."""
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
    return {
        "HlsSecret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {
                "Description": "Signs the links of HLS playlists; the secret before it still opens them",
                "GenerateSecretString": {"PasswordLength": 64, "ExcludePunctuation": True},
            },
        }
    }


def _arn(logical_id: str) -> Json:
    return {"Fn::GetAtt": [logical_id, "Arn"]}
