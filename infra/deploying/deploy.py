"""From a build to a running stack, by CloudFormation: the same path for AWS and for an emulator."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from infra.deploying.build import Build, chosen_auth
from infra.deploying.bundling import bundle_layers, leaves_layers_out
from infra.deploying.kept import Kept, create_around
from infra.stack import storage
from infra.stack.sizing import AccountLimits, limits_as_told, remedy
from infra.stack.targets import EMULATOR, LOCAL_STAGES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_s3 import S3Client

AUTHS = ("none", "api_key", "iam")

# How long an artefact stays after another one has taken its place: no roll-back needs it for longer.
_SUPERSEDED_DAYS = 30


class DeployError(Exception):
    """The stack is not what it should be; the message says what and why."""


@dataclass(frozen=True)
class Account:
    """Where to deploy to and as whom; what is None comes from the AWS configuration of the caller."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def cloudformation(self) -> CloudFormationClient:
        return self.session().client("cloudformation", endpoint_url=self.endpoint_url)

    def number(self) -> str:
        """The twelve digits."""
        identity: Any = self.session().client("sts", endpoint_url=self.endpoint_url)
        number: str = identity.get_caller_identity()["Account"]
        return number

    def s3(self) -> S3Client:
        return self.session().client("s3", endpoint_url=self.endpoint_url)


def stack_name(stage: str) -> str:
    return f"sluice-{stage}"


def located(account: Account) -> Account:
    """The account with the region that will be spoken to; raises DeployError where nothing says which."""
    region = account.session().region_name
    if region is None:
        raise DeployError(
            "Nothing says which region of AWS is meant: set AWS_DEFAULT_REGION, as in "
            "`export AWS_DEFAULT_REGION=eu-central-1`, or `aws configure set region eu-central-1`."
        )
    return replace(account, region=region)


def refuse_unconfirmed(stage: str, typed: str | None, account: Account) -> None:
    """Nothing of AWS is deleted unless somebody typed the stage's name; raises DeployError."""
    refuse_local(stage, account)
    if account.endpoint_url:
        return
    if typed is None and sys.stdin.isatty():
        typed = input(f"This deletes the stack {stack_name(stage)}. Type {stage} to go on: ")
    if typed != stage:
        raise DeployError(
            f"Nothing was deleted. To delete the stack {stack_name(stage)}, type the stage's name when "
            f"asked, or say `make delete STAGE={stage} CONFIRM={stage}`."
        )


def refuse_unchosen(stage: str, auth: str | None, account: Account) -> None:
    """Nothing goes to AWS before somebody has said who may call it; raises DeployError."""
    refuse_local(stage, account)
    if account.endpoint_url or auth or chosen_auth(stage):
        return
    raise DeployError(
        f"Nobody has chosen who may call the API of stage {stage}: none (everybody), api_key (API Gateway "
        f"keys, with throttling) or iam (requests signed with AWS credentials). Choose with AUTH=, as in "
        f"`make deploy STAGE={stage} AUTH=api_key`, or for good with SLUICE_AUTH in the stage's "
        f"environment_variables in .chalice/config.json."
    )


def refuse_local(stage: str, account: Account) -> None:
    """What is open to all, and deleted with all that is in it, stays off AWS; raises DeployError."""
    if stage in LOCAL_STAGES and not account.endpoint_url:
        raise DeployError(
            f"The stage {stage} is made for an emulator, and AWS_ENDPOINT_URL is not set. "
            "For AWS, choose another one, as in STAGE=prod."
        )


def account_limits(stage: str, account: Account) -> AccountLimits | None:
    """What the account allows, as Lambda tells; None for a local cloud, where the machine is the limit."""
    if stage in LOCAL_STAGES:
        return None
    functions = account.session().client("lambda", endpoint_url=account.endpoint_url)
    told = functions.get_account_settings()["AccountLimit"]
    return limits_as_told(told["ConcurrentExecutions"], told["UnreservedConcurrentExecutions"])


def local_api_url(stage: str, account: Account) -> str:
    """The API's address on an emulator; "" on AWS, where requests tell it."""
    if stage not in LOCAL_STAGES:
        return ""
    return f"{account.endpoint_url}/_aws/execute-api/{EMULATOR.api_id}/api"


def deploy(build: Build, account: Account) -> dict[str, str]:
    """Create or update the stack; its outputs. Raises DeployError."""
    name = stack_name(build.stage)
    print(f"Deploying {name}: artefacts", flush=True)
    cloudformation = account.cloudformation()
    stack = _find(cloudformation, name)
    # What failed to be created can only be deleted.
    if stack and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"):
        delete(build.stage, account)
        stack = None
    if stack:
        _tell_of_jobs(stack, account)
    kept = Kept(name, account, stack.get("Outputs", ()) if stack else ())
    left = [] if stack else kept.there()
    template_url = _upload(build, account, kept, adopting=bool(left))
    request: dict[str, Any] = {
        "StackName": name,
        "TemplateURL": template_url,
        "Parameters": [
            {
                "ParameterKey": "ApiUrl",
                "ParameterValue": local_api_url(build.stage, account),
            }
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    try:
        if stack:
            cloudformation.update_stack(**request)
        elif left:
            print(f"Deploying {name}: around what is there: {', '.join(left)}", flush=True)
            refused = create_around(cloudformation, request)
            if refused:
                raise DeployError(f"The stack {name} cannot adopt {', '.join(left)}: {refused}")
        else:
            cloudformation.create_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise DeployError(f"The stack {name} was refused: {error}") from None
        print(f"Deploying {name}: nothing has changed")
    else:
        _wait(cloudformation, name)
    if build.stage not in LOCAL_STAGES:
        cloudformation.update_termination_protection(
            StackName=name, EnableTerminationProtection=True
        )
    stack = _find(cloudformation, name)
    assert stack
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _tell_of_jobs(stack: StackTypeDef, account: Account) -> None:
    """How many jobs the update meets."""
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    try:
        jobs = jobs_at_work(outputs["JobsTable"], account)
    except (ClientError, KeyError) as error:
        print(f"  how many jobs are at work cannot be told: {error}")
        return
    print(f"  {jobs:,} jobs are at work" + (": they go on, and lose nothing" if jobs else ""))


def jobs_at_work(table: str, account: Account) -> int:
    """Jobs that have not ended; those that wait for their upload among them."""
    client = account.session().client("dynamodb", endpoint_url=account.endpoint_url)
    pages = client.get_paginator("query")
    return sum(
        page["Count"]
        for status in ("PENDING", "STARTED")
        for page in pages.paginate(
            TableName=table,
            IndexName="by_status",
            Select="COUNT",
            KeyConditionExpression="#status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": {"S": status}},
        )
    )


def delete(stage: str, account: Account) -> bool:
    """Delete the stack and tell what stays; False if there was none.

    Buckets and table stay, but for stages of a local cloud.
    """
    refuse_local(stage, account)
    name = stack_name(stage)
    cloudformation = account.cloudformation()
    stack = _find(cloudformation, name)
    if not stack:
        return False
    if stack.get("EnableTerminationProtection"):
        cloudformation.update_termination_protection(
            StackName=name, EnableTerminationProtection=False
        )
    if stage in LOCAL_STAGES:
        for output in stack.get("Outputs", []):
            if output["OutputKey"] in ("UploadBucket", "OutputBucket"):
                _empty(account.s3(), output["OutputValue"])
    print(f"Deleting {name}", flush=True)
    cloudformation.delete_stack(StackName=stack["StackId"])
    _wait(cloudformation, stack["StackId"])
    bucket = _artefacts(account)
    if _exists(account.s3(), bucket, account.number()):
        _empty(account.s3(), bucket, f"{stage}/")
    kept = Kept(name, account, stack.get("Outputs", ()))
    left = kept.there()
    if left:
        print(f"Kept, with all that is in them: {', '.join(left)}.")
        print(f"`make deploy STAGE={stage}` makes a stack around them. To be rid of them:")
        for bucket in kept.buckets:
            print(f"  aws s3 rb --force s3://{bucket}")
        print(f"  aws dynamodb delete-table --table-name {kept.table}")
    return True


def _upload(build: Build, account: Account, kept: Kept, *, adopting: bool) -> str:
    """The artefacts, as versions of objects of the stage; the address of the template that names them."""
    s3, bucket = account.s3(), _artefacts(account)
    _make_private_bucket(s3, bucket, account.number())
    if not account.endpoint_url:  # an emulator speaks in the clear
        _require_tls(s3, bucket)
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


def _artefacts(account: Account) -> str:
    """The bucket for what is deployed, of all stages."""
    return f"sluice-artifacts-{account.number()}-{account.s3().meta.region_name}"


def _exists(s3: S3Client, bucket: str, owner: str) -> bool:
    """Whether we have this bucket; raises DeployError where somebody else does."""
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
        where: Any = {"LocationConstraint": s3.meta.region_name}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    )


def _require_tls(s3: S3Client, bucket: str) -> None:
    partition = boto3.Session().get_partition_for_region(s3.meta.region_name)
    arn = f"arn:{partition}:s3:::{bucket}"
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(storage.tls_only(arn, f"{arn}/*")))


def _expire_superseded(s3: S3Client, bucket: str) -> None:
    """Let what is deployed stay as long as it is, and go a month after it was replaced."""
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
    """The version of an object that has this content: the newest one, where it does already."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        there = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        there = None
    if there and there["Metadata"].get("sha256") == digest:
        version = there["VersionId"]
    else:
        put = s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"sha256": digest})
        version = put["VersionId"]
    return {"Bucket": bucket, "Key": key, "Version": version}


def _empty(s3: S3Client, bucket: str, prefix: str = "") -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        found: Any = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if found:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": found})


def _find(cloudformation: CloudFormationClient, name: str) -> StackTypeDef | None:
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _wait(cloudformation: CloudFormationClient, name: str) -> None:
    """Until the stack has come to rest, with a line whenever more of it is done."""
    pause, told = 0.1, 0
    while True:
        stack = _find(cloudformation, name)
        status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
        if status.endswith(("_COMPLETE", "_FAILED")) and "_CLEANUP_" not in status:
            break
        time.sleep(pause)
        pause = min(3, pause * 1.5)
        done = sum(
            event["ResourceStatus"].endswith("_COMPLETE") for event in _events(cloudformation, name)
        )
        if stack and done != told:
            told = done
            print(f"  {stack['StackName']}: {status}, {done} steps done", flush=True)
    if status != "DELETE_COMPLETE":
        refuse_undone(cloudformation, name, status)


def _events(cloudformation: CloudFormationClient, name: str) -> Iterator[Any]:
    """The events of the last operation on a stack, newest first."""
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:
            yield event
            if event.get("PhysicalResourceId") == event["StackId"] and event["ResourceStatus"] in (
                "CREATE_IN_PROGRESS",
                "UPDATE_IN_PROGRESS",
                "DELETE_IN_PROGRESS",
            ):
                return


def refuse_undone(cloudformation: CloudFormationClient, name: str, status: str) -> None:
    """What did not end well is an error: by its status, or its events; raises DeployError.

    LocalStack calls a stack UPDATE_COMPLETE after it has undone the update.
    """
    undone = any(
        "ROLLBACK" in event["ResourceStatus"]
        for event in _events(cloudformation, name)
        if event.get("PhysicalResourceId") == event["StackId"]
    )
    if undone or "ROLLBACK" in status or status.endswith("_FAILED"):
        raise DeployError(f"The stack {name} ended as {status}. {_reason(cloudformation, name)}")


def _reason(cloudformation: CloudFormationClient, name: str) -> str:
    failed = [
        event
        for event in _events(cloudformation, name)
        if event["ResourceStatus"].endswith("_FAILED")
        and "cancelled" not in event.get("ResourceStatusReason", "")
    ]
    if not failed:
        return "CloudFormation gives no reason."
    first = failed[-1]
    why = first.get("ResourceStatusReason", "")
    return f"{first['LogicalResourceId']} ({first['ResourceType']}): {why}{remedy(why)}"
