"""The bucket of an account that holds what is deployed: code, layers and templates of all stages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from infra.deploying.account import Account
from infra.deploying.build import Build
from infra.deploying.bundling import bundle_layers, leaves_layers_out
from infra.deploying.errors import DeployError
from infra.deploying.kept import Kept
from infra.stack import storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Days that a superseded artefact stays; no roll-back needs it for longer.
_SUPERSEDED_DAYS = 30


def upload(build: Build, account: Account, kept: Kept, *, adopting: bool) -> str:
    """Upload a build and return the URL of its template, which names versions of the other objects.

    The template gets the literal names of what is kept. Where the cloud applies no layers, they are bundled
    into the functions. Raises DeployError and BundleError.
    """
    s3, bucket = account.s3(), _bucket_name(account)
    _make_private_bucket(s3, bucket, account.number())
    if not account.endpoint_url:  # emulators speak plain http
        require_tls(s3, bucket)
    _expire_superseded(s3, bucket)
    template = json.loads((build.folder / "sam.json").read_text())
    kept.name_in(template["Resources"], adopting=adopting)
    versions: dict[str, dict[str, str]] = {}
    with TemporaryDirectory() as scratch:
        if leaves_layers_out(account.endpoint_url):
            print("  this LocalStack does not apply layers: they go into the functions", flush=True)
            bundle_layers(build.folder, template, Path(scratch))
        for resource in template["Resources"].values():
            for uri in ("CodeUri", "ContentUri"):
                if uri in resource.get("Properties", {}):
                    path = build.folder / resource["Properties"][uri]
                    if path.name not in versions:
                        key = f"{build.stage}/{path.name}"
                        versions[path.name] = _put(s3, bucket, key, path.read_bytes())
                    resource["Properties"][uri] = versions[path.name]
    put = _put(s3, bucket, f"{build.stage}/template.json", json.dumps(template).encode())
    return f"{s3.meta.endpoint_url}/{bucket}/{put['Key']}"


def delete_artifacts(stage: str, account: Account) -> None:
    """Delete the objects of a stage. Raises DeployError where the bucket belongs to somebody else."""
    bucket = _bucket_name(account)
    if _exists(account.s3(), bucket, account.number()):
        empty_bucket(account.s3(), bucket, f"{stage}/")


def empty_bucket(s3: S3Client, bucket: str, prefix: str = "") -> None:
    """Delete the current version of every object below `prefix`."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        keys: Any = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})


def require_tls(s3: S3Client, bucket: str) -> None:
    """Have a bucket refuse plain http."""
    partition = boto3.Session().get_partition_for_region(s3.meta.region_name)
    arn = f"arn:{partition}:s3:::{bucket}"
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(storage.tls_only(arn, f"{arn}/*")))


def _bucket_name(account: Account) -> str:
    return f"sluice-artifacts-{account.number()}-{account.s3().meta.region_name}"


def _exists(s3: S3Client, bucket: str, owner: str) -> bool:
    """Whether the bucket is there and ours. Raises DeployError where somebody else has it."""
    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise DeployError(f"The bucket {bucket} cannot be used: {error}") from None
        return False
    return True


def _make_private_bucket(s3: S3Client, bucket: str, owner: str) -> None:
    if _exists(s3, bucket, owner):
        return
    if s3.meta.region_name == "us-east-1":
        s3.create_bucket(Bucket=bucket)
    else:
        location: Any = {"LocationConstraint": s3.meta.region_name}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=location)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    )


def _expire_superseded(s3: S3Client, bucket: str) -> None:
    """Keep current versions for ever, and superseded ones for a month."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule: Any = {
        "ID": "superseded",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": _SUPERSEDED_DAYS},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


def _put(s3: S3Client, bucket: str, key: str, content: bytes) -> dict[str, str]:
    """The version of an object that has this content; uploaded unless the current one has it."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        current = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        current = None
    if current and current["Metadata"].get("sha256") == digest:
        version = current["VersionId"]
    else:
        put = s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"sha256": digest})
        version = put["VersionId"]
    return {"Bucket": bucket, "Key": key, "Version": version}
