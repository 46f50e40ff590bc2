"""What an update says: how many jobs it meets, and whether it was undone."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from chalicelib.settings import settings
from infra.deploying.account import Account
from infra.deploying.cloudformation import refuse_undone
from infra.deploying.deploy import jobs_at_work
from infra.deploying.errors import DeployError

STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/sluice-local/1"


@pytest.mark.usefixtures("cloud")
def test_jobs_are_counted_that_have_not_ended() -> None:
    for number, status in enumerate(("PENDING", "STARTED", "STARTED", "SUCCESS", "FAILURE")):
        boto3.client("dynamodb").put_item(
            TableName=settings().jobs_table,
            Item={
                "pk": {"S": f"job#{number}"},
                "sk": {"S": "job"},
                "status": {"S": status},
                "created": {"S": f"2026-01-0{number + 1}"},
            },
        )
    assert jobs_at_work(settings().jobs_table, Account(region="us-east-1")) == 3


class FakeCloudFormation:
    """The events of a stack, newest first."""

    def __init__(self, *events: tuple[str, str, str, str]) -> None:
        self.events = [
            {
                "StackId": STACK,
                "PhysicalResourceId": STACK if kind == "AWS::CloudFormation::Stack" else name,
                "LogicalResourceId": name,
                "ResourceType": kind,
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            }
            for name, kind, status, reason in events
        ]

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, StackName: str) -> Any:
        yield {"StackEvents": self.events}


def stack(status: str) -> tuple[str, str, str, str]:
    return ("sluice-local", "AWS::CloudFormation::Stack", status, "")


def test_an_update_that_was_undone_is_no_success_whatever_the_stack_is_called_after_it() -> None:
    # So LocalStack 4.14 does, and has taken the API away by then.
    undone: Any = FakeCloudFormation(
        stack("UPDATE_COMPLETE"),
        stack("ROLLBACK_COMPLETE"),
        stack("ROLLBACK_IN_PROGRESS"),
        stack("UPDATE_FAILED"),
        ("RestAPIapiStage", "AWS::ApiGateway::Stage", "UPDATE_FAILED", "Stage already exists"),
        stack("UPDATE_IN_PROGRESS"),
        stack("CREATE_COMPLETE"),
    )
    with pytest.raises(DeployError, match=r"RestAPIapiStage.*Stage already exists"):
        refuse_undone(undone, "sluice-local", "UPDATE_COMPLETE")
    done: Any = FakeCloudFormation(
        stack("UPDATE_COMPLETE"),
        stack("UPDATE_IN_PROGRESS"),
        stack("ROLLBACK_COMPLETE"),  # of an update before
    )
    refuse_undone(done, "sluice-local", "UPDATE_COMPLETE")


def test_more_memory_than_the_account_gives_is_explained() -> None:
    refused: Any = FakeCloudFormation(
        stack("ROLLBACK_COMPLETE"),
        (
            "Encode",
            "AWS::Lambda::Function",
            "CREATE_FAILED",
            "Resource handler returned message: \"'MemorySize' value failed to satisfy constraint: "
            'Member must have value less than or equal to 3008 (Service: Lambda, Status Code: 400)"',
        ),
        stack("CREATE_IN_PROGRESS"),
    )
    with pytest.raises(DeployError, match="SLUICE_ACCOUNT_MEMORY_MB to 3008"):
        refuse_undone(refused, "sluice-prod", "ROLLBACK_COMPLETE")
