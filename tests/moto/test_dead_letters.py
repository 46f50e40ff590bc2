"""An operator's tools for dead letters, under moto."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.model.step import STARTED, SUCCESS
from chalicelib.settings import queue_url, settings
from chalicelib.store import jobs
from chalicelib.store.queues import (
    DEAD_LETTERS,
    QUEUES,
    DeliveryMessage,
    StartMessage,
    TaskMessage,
    TellMessage,
)
from infra.operating.dead_letters import DROPPED, LEFT, SENT, Stage, listing, redrive, sentence
from testing import rows
from testing.pump import deliver, take

pytestmark = pytest.mark.usefixtures("cloud")


@pytest.fixture
def stage() -> Stage:
    return Stage(
        "sluice",
        settings().jobs_table,
        settings().output_bucket,
        boto3.client("sqs"),
        boto3.client("dynamodb"),
        boto3.client("s3"),
    )


def _come_from(queue: str) -> Callable[..., None]:
    """moto moves dead letters, but does not say where from, as SQS and MiniStack do."""

    def tell(parsed: Any, **_: object) -> None:
        for message in parsed.get("Messages", ()):
            source = f"arn:aws:sqs:us-east-1:123456789012:sluice-{queue}"
            message["Attributes"]["DeadLetterQueueSourceArn"] = source

    return tell


def job(status: str) -> str:
    job_id = str(uuid.uuid4())
    jobs.create(job_id, "-", "a.png", ["thumbnail"])
    rows.change_job(job_id, status=status)
    return job_id


def body_of(message: msgspec.Struct) -> str:
    return msgspec.json.encode(message).decode()


def bury(message: msgspec.Struct | str) -> None:
    body = message if isinstance(message, str) else body_of(message)
    boto3.client("sqs").send_message(QueueUrl=queue_url(DEAD_LETTERS), MessageBody=body)


def s3_event(key: str) -> str:
    record = {"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key, "size": 1}}}
    return json.dumps({"Records": [record]})


def test_a_listing_tells_of_each_message_and_takes_none(stage: Stage) -> None:
    at_work = job(STARTED)
    bury(TaskMessage(at_work, "thumbnail"))
    bury(s3_event("in/a+b.png"))
    bury("no message of ours")
    for _ in range(2):
        by_job = {(letter.job_id, letter.key): letter for letter in listing(stage).letters}
        assert by_job.keys() == {(at_work, ""), ("", "in/a b.png"), ("", "")}
        letter = by_job[at_work, ""]
        assert (letter.task_id, letter.status, letter.queue) == ("thumbnail", STARTED, "")
        assert letter.age_seconds >= 0
        assert at_work in sentence(letter)
    assert letter.receives == 2


def test_a_listing_has_what_could_not_be_read(stage: Stage) -> None:
    assert deliver(DEAD_LETTERS, "no message of ours") == []
    (aside,) = listing(stage).aside
    assert (aside.key, aside.size) == ("work/dead_letters/0", len("no message of ours"))
    assert aside.key in sentence(aside)


def test_messages_of_jobs_at_work_go_back_and_those_of_ended_ones_are_dropped(stage: Stage) -> None:
    at_work, ended, gone = job(STARTED), job(SUCCESS), str(uuid.uuid4())
    for message in (
        StartMessage(at_work),
        TaskMessage(ended, "thumbnail"),
        TaskMessage(gone, "thumbnail"),
    ):
        bury(message)
    bury(s3_event("a.png"))
    bury("no message of ours")
    fates = {
        (each.letter.job_id or each.letter.key): (each.fate, each.to) for each in redrive(stage)
    }
    assert fates == {
        at_work: (SENT, "intake"),
        ended: (DROPPED, ""),
        gone: (DROPPED, ""),
        "a.png": (SENT, "intake"),
        "": (LEFT, ""),
    }
    assert sorted(take("intake")) == sorted([s3_event("a.png"), body_of(StartMessage(at_work))])
    assert take(DEAD_LETTERS) == ["no message of ours"]
    assert take(*QUEUES) == []


def test_where_the_queue_is_not_known_intake_sends_the_tasks_of_the_job(stage: Stage) -> None:
    at_work = job(STARTED)
    bury(TaskMessage(at_work, "thumbnail"))
    (told,) = redrive(stage)
    assert (told.fate, told.to) == (SENT, "intake")
    assert take("intake") == [body_of(StartMessage(at_work, resume=True))]


class Killed(Exception):
    pass


def _die(**_: object) -> None:
    raise Killed


def test_one_that_is_killed_between_send_and_delete_loses_nothing(stage: Stage) -> None:
    message = StartMessage(job(STARTED))
    bury(message)
    dying: Callable[..., None] = _die
    events = stage.sqs.meta.events
    events.register("before-call.sqs.DeleteMessage", dying)
    with pytest.raises(Killed):
        list(redrive(stage))
    events.unregister("before-call.sqs.DeleteMessage", dying)
    assert take("intake") == [body_of(message)]
    assert take(DEAD_LETTERS) == [body_of(message)]


def test_a_message_goes_back_to_the_queue_that_sqs_moved_it_from(stage: Stage) -> None:
    message = TaskMessage(job(STARTED), "thumbnail")
    bury(message)
    stage.sqs.meta.events.register("after-call.sqs.ReceiveMessage", _come_from("pictures"))
    (letter,) = listing(stage).letters
    assert letter.queue == "pictures"
    assert listing(stage, "encode").letters == []
    assert [each.fate for each in redrive(stage, "encode")] == [LEFT]
    assert [(each.fate, each.to) for each in redrive(stage, "pictures")] == [(SENT, "pictures")]
    assert take("pictures") == [body_of(message)]


def test_an_event_goes_back_also_where_its_job_has_ended(stage: Stage) -> None:
    messages = [TellMessage(job(SUCCESS)), DeliveryMessage("-", "an endpoint", job(SUCCESS))]
    for message in messages:
        bury(message)
    stage.sqs.meta.events.register("after-call.sqs.ReceiveMessage", _come_from("events"))
    assert [(each.fate, each.to) for each in redrive(stage)] == [(SENT, "events")] * 2
    assert sorted(take("events")) == sorted(map(body_of, messages))
