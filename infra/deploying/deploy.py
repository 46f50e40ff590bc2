"""Creates, updates and deletes the stack of a stage by CloudFormation, on AWS and on emulators alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.deploying.account import Account
from infra.deploying.artifacts import delete_artifacts, empty_bucket, upload
from infra.deploying.build import Build
from infra.deploying.cloudformation import (
    create_around,
    find_stack,
    outputs_of,
    stack_name,
    wait_for_stack,
)
from infra.deploying.errors import DeployError
from infra.deploying.guards import refuse_local
from infra.deploying.kept import Kept
from infra.stack.targets import target_of

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def api_url(stage: str, account: Account) -> str:
    """The API's address on an emulator; "" on AWS, where each request tells it."""
    api_id = target_of(stage).api_id
    return f"{account.endpoint_url}/_aws/execute-api/{api_id}/api" if api_id else ""


def deploy(build: Build, account: Account) -> dict[str, str]:
    """Create or update the stack and return its outputs. Raises DeployError and BundleError."""
    name = stack_name(build.stage)
    print(f"Deploying {name}: artefacts", flush=True)
    cloudformation = account.cloudformation()
    stack = find_stack(cloudformation, name)
    # A stack whose creation failed can only be deleted.
    if stack and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"):
        delete(build.stage, account)
        stack = None
    if stack:
        _print_jobs(stack, account)
    kept = Kept(name, account, outputs_of(stack) if stack else {})
    existing = [] if stack else kept.existing()
    request: dict[str, Any] = {
        "StackName": name,
        "TemplateURL": upload(build, account, kept, adopting=bool(existing)),
        "Parameters": [{"ParameterKey": "ApiUrl", "ParameterValue": api_url(build.stage, account)}],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    try:
        if stack:
            cloudformation.update_stack(**request)
        elif existing:
            print(f"Deploying {name}: around what is there: {', '.join(existing)}", flush=True)
            refusal = create_around(cloudformation, request)
            if refusal:
                raise DeployError(f"The stack {name} cannot adopt {', '.join(existing)}: {refusal}")
        else:
            cloudformation.create_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise DeployError(f"The stack {name} was refused: {error}") from None
        print(f"Deploying {name}: nothing has changed")
    else:
        wait_for_stack(cloudformation, name)
    if target_of(build.stage).retains:
        cloudformation.update_termination_protection(
            StackName=name, EnableTerminationProtection=True
        )
    stack = find_stack(cloudformation, name)
    assert stack
    return outputs_of(stack)


def _print_jobs(stack: StackTypeDef, account: Account) -> None:
    """Print how many jobs are at work while their stack is updated."""
    try:
        jobs = jobs_at_work(outputs_of(stack)["JobsTable"], account)
    except (ClientError, KeyError) as error:
        print(f"  how many jobs are at work cannot be told: {error}")
        return
    print(f"  {jobs:,} jobs are at work" + (": they go on, and lose nothing" if jobs else ""))


def jobs_at_work(table: str, account: Account) -> int:
    """The number of jobs that have not ended, including those that wait for their upload."""
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
    """Delete the stack and print what is kept; False if there was none. Raises DeployError.

    Buckets and table are kept, except on emulators.
    """
    refuse_local(stage, account)
    name = stack_name(stage)
    cloudformation = account.cloudformation()
    stack = find_stack(cloudformation, name)
    if not stack:
        return False
    if stack.get("EnableTerminationProtection"):
        cloudformation.update_termination_protection(
            StackName=name, EnableTerminationProtection=False
        )
    outputs = outputs_of(stack)
    if not target_of(stage).retains:
        for bucket in ("UploadBucket", "OutputBucket"):
            if bucket in outputs:
                empty_bucket(account.s3(), outputs[bucket])
    print(f"Deleting {name}", flush=True)
    cloudformation.delete_stack(StackName=stack["StackId"])
    wait_for_stack(cloudformation, stack["StackId"])
    delete_artifacts(stage, account)
    kept = Kept(name, account, outputs)
    existing = kept.existing()
    if existing:
        print(f"Kept, with all that is in them: {', '.join(existing)}.")
        print(f"`make deploy STAGE={stage}` makes a stack around them. To be rid of them:")
        for bucket in kept.buckets:
            print(f"  aws s3 rb --force s3://{bucket}")
        print(f"  aws dynamodb delete-table --table-name {kept.table}")
    return True
