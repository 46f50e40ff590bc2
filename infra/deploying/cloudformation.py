"""CloudFormation: finding a stack, waiting for it, why an operation failed, creating one around resources."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.deploying.errors import DeployError
from infra.stack.sizing import remedy

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

_ADOPTION = "adopt"


def stack_name(stage: str) -> str:
    return f"sluice-{stage}"


def find_stack(cloudformation: CloudFormationClient, name: str) -> StackTypeDef | None:
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def outputs_of(stack: StackTypeDef) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def wait_for_stack(cloudformation: CloudFormationClient, name: str) -> None:
    """Wait until the operation has ended; print progress. Raises DeployError where it failed."""
    pause, printed = 0.1, 0
    while True:
        stack = find_stack(cloudformation, name)
        status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
        if status.endswith(("_COMPLETE", "_FAILED")) and "_CLEANUP_" not in status:
            break
        time.sleep(pause)
        pause = min(3, pause * 1.5)
        done = sum(
            event["ResourceStatus"].endswith("_COMPLETE") for event in _events(cloudformation, name)
        )
        if stack and done != printed:
            printed = done
            print(f"  {stack['StackName']}: {status}, {done} steps done", flush=True)
    if status != "DELETE_COMPLETE":
        refuse_undone(cloudformation, name, status)


def refuse_undone(cloudformation: CloudFormationClient, name: str, status: str) -> None:
    """Raise DeployError where the stack's status or its events tell of a failure or a roll-back.

    LocalStack calls a stack UPDATE_COMPLETE after it has undone the update.
    """
    undone = any(
        "ROLLBACK" in event["ResourceStatus"]
        for event in _events(cloudformation, name)
        if event.get("PhysicalResourceId") == event["StackId"]
    )
    if undone or "ROLLBACK" in status or status.endswith("_FAILED"):
        raise DeployError(f"The stack {name} ended as {status}. {_reason(cloudformation, name)}")


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


def create_around(cloudformation: CloudFormationClient, request: dict[str, Any]) -> str | None:
    """Start to create a stack that adopts existing resources; returns CloudFormation's refusal, if any."""
    cloudformation.create_change_set(
        ChangeSetName=_ADOPTION,
        ChangeSetType="CREATE",
        ImportExistingResources=True,
        # It would report names that are taken, which is what is wanted here.
        DisableValidation=True,
        **request,
    )
    change = {"ChangeSetName": _ADOPTION, "StackName": request["StackName"]}
    while True:
        change_set = cloudformation.describe_change_set(**change)
        match change_set["Status"]:
            case "CREATE_COMPLETE":
                cloudformation.execute_change_set(**change)
                return None
            case "FAILED":
                return change_set.get("StatusReason", "CloudFormation gives no reason.")
        time.sleep(1)
