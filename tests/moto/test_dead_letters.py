"""An operator lists the dead letters that nobody could read, and sends them again."""

from __future__ import annotations

import json
import uuid

import boto3
import msgspec
import pytest

from chalicelib.model.step import PENDING
from chalicelib.settings import DROPS, settings
from chalicelib.store import jobs
from chalicelib.store.queues import TaskMessage
from infra.deploying.account import Account
from infra.deploying.dead_letters import DeadLetters
from infra.deploying.errors import DeployError
from testing import rows
from testing.pump import deliver

pytestmark = pytest.mark.usefixtures("cloud")
ACCOUNT = Account(region="us-east-1")


@pytest.fixture
def letters() -> DeadLetters:
    """Those of a stack that has the test's table and bucket."""
    values = {"JobsTable": settings().jobs_table, "OutputBucket": settings().output_bucket}
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in values.items()},
    }
    cloudformation = ACCOUNT.cloudformation()
    cloudformation.create_stack(StackName="sluice-prod", TemplateBody=json.dumps(template))
    boto3.client("sqs").create_queue(QueueName="sluice-prod-dead-letters")
    return DeadLetters("prod", ACCOUNT)


def sent_again() -> list[str]:
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="sluice-prod-dead-letters")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return sorted(message["Body"] for message in found)


def test_what_cannot_be_read_is_listed_and_sent_again(letters: DeadLetters) -> None:
    job_id = str(uuid.uuid4())
    jobs.create(job_id, DROPS, "a.x", ["thumbnail"])
    put_aside = ['{"job": "of a later version"}', "no message at all"]
    # What can be read is looked after, and put nowhere.
    ours = msgspec.json.encode(TaskMessage(job_id, "thumbnail")).decode()
    assert deliver("dead_letters", ours, *put_aside, receives=21) == []
    found = letters.listed()
    assert sorted(letter.message for letter in found) == sorted(put_aside)
    assert letters.redrive() == len(put_aside)
    assert sent_again() == sorted(put_aside)
    assert letters.listed() == []
    assert letters.redrive() == 0
    assert rows.job_item(job_id)["status"] == {"S": PENDING}


def test_a_redrive_that_is_killed_loses_nothing(
    letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("dead_letters", "one", "two", receives=21)

    def killed(**_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(letters._s3, "delete_object", killed)
        with pytest.raises(KeyboardInterrupt):
            letters.redrive()
    assert len(sent_again()) == 1
    assert letters.redrive() == 2
    assert sent_again() == ["one", "two"]


def test_a_stage_without_a_stack_is_refused() -> None:
    with pytest.raises(DeployError, match="no stack sluice-prod"):
        DeadLetters("prod", ACCOUNT)
