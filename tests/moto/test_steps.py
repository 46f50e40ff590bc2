"""What steps have come to: an item beside the job's row, written with it and read with it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import msgspec
import pytest
from moto.dynamodb.exceptions import DynamodbException, TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from pynamodb.exceptions import TransactWriteError, UpdateError

from chalicelib.api import job_lists
from chalicelib.api import jobs as api_jobs
from chalicelib.api.views import JobView
from chalicelib.jobs import sweep
from chalicelib.model.job import Item, Job
from chalicelib.model.step import FAILURE, STARTED, SUCCESS, Output, StepState
from chalicelib.settings import settings
from chalicelib.store import jobs, progress, starts, steps
from chalicelib.store.meter import meter
from testing import rows
from testing.local import FREE, a_plan
from tests.moto.test_store import size_of

pytestmark = pytest.mark.usefixtures("cloud")
BROKEN = StepState(FAILURE, error="It is damaged.", error_code="source_damaged")


def output(step: str, number: int = 0, **more: Any) -> Output:
    key = f"outputs/{uuid.uuid4().hex}_photo_{step}_{number}.avif"
    return Output(step, key, 123_456, "image/avif", 1280, 960, format="avif", **more)


def done(step: str, count: int = 1, **more: Any) -> StepState:
    return StepState(SUCCESS, outputs=tuple(output(step, n, **more) for n in range(count)))


def started(*names: str) -> Job:
    job_id = str(uuid.uuid4())
    jobs.create(job_id, "-", "uploads/a.png", names)
    plan = a_plan(*names)
    assert starts.start(
        row_of(job_id),
        duration=None,
        etag="e",
        pipeline=names,
        recipe="",
        plan=plan,
        starter="m",
        charge=FREE,
    )
    progress.write(job_id, plan)
    return row_of(job_id)


def row_of(job_id: str) -> Job:
    row = jobs.get(job_id)
    assert row is not None
    return row


def states(job: Job) -> dict[str, StepState]:
    found = progress.of_job(job.job_id)
    assert found is not None
    return found[1].states


def shown(job_id: str) -> JobView:
    return api_jobs.get_job("-", job_id, "https://x/api")


def end(job: Job, ended: dict[str, StepState]) -> None:
    current = steps.end(job, ended)
    assert current is not None
    assert jobs.end(current)


# ── written ─────────────────────────────────────────────────────────────────────────────────────


def test_steps_of_one_task_end_together_and_in_their_order() -> None:
    job = started("b", "self", "a")
    ended = {"a": done("a"), "b": BROKEN, "self": done("self", 2)}
    current = steps.end(job, ended)
    assert current is not None
    assert list(current.step_statuses.items()) == [
        ("b", FAILURE),
        ("self", SUCCESS),
        ("a", SUCCESS),
    ]
    assert row_of(job.job_id).step_statuses == current.step_statuses
    assert list(states(job).items()) == [(name, ended[name]) for name in ("b", "self", "a")]
    assert jobs.end(current) == FAILURE
    assert (shown(job.job_id).error, shown(job.job_id).error_code) == (
        "b: It is damaged.", "source_damaged",
    )  # fmt: skip


def test_two_steps_that_end_at_the_same_moment_both_count_and_one_of_them_ends_the_job() -> None:
    job = started("a", "b")
    first = steps.end(job, {"a": done("a")})
    last = steps.end(job, {"b": done("b")})  # its worker has read the job before that
    assert first is not None
    assert last is not None
    assert jobs.end(first) is None
    assert jobs.end(last) == SUCCESS
    assert [output.type for output in shown(job.job_id).outputs] == ["a", "b"]


def test_steps_that_are_open_end_where_others_have_ended() -> None:
    job = started("a", "b", "c")
    good = done("b")
    steps.end(job, {"b": good})
    current = steps.end(job, dict.fromkeys("abc", BROKEN))
    assert current is not None
    assert states(job) == {"a": BROKEN, "b": good, "c": BROKEN}
    again = steps.end(job, dict.fromkeys("abc", done("x")))
    assert again is not None
    assert states(job) == {"a": BROKEN, "b": good, "c": BROKEN}


@pytest.mark.parametrize("reads_first", [False, True])
def test_a_late_worker_of_another_generation_changes_nothing(reads_first: bool) -> None:
    job = started("hls_720p")
    rows.change_job(job.job_id, generation="of another version")
    before = rows.job_item(job.job_id)
    late = row_of(job.job_id) if reads_first else job
    assert steps.end(late, {"hls_720p": BROKEN}) is None
    steps.list_growing(job.job_id, "hls_720p", output("hls_720p", complete=False))
    assert rows.job_item(job.job_id) == before
    assert states(job) == {"hls_720p": StepState()}


def test_an_output_that_grows_is_listed_once_until_its_step_ends() -> None:
    job = started("hls_720p")
    growing = output("hls_720p", complete=False)
    for _ in range(2):
        steps.list_growing(job.job_id, "hls_720p", growing)
    assert states(job) == {"hls_720p": StepState(outputs=(growing,))}
    whole = done("hls_720p")
    end(job, {"hls_720p": whole})
    steps.list_growing(job.job_id, "hls_720p", growing)
    assert states(job) == {"hls_720p": whole}


def test_what_was_listed_while_a_plan_was_made_has_the_job_planned_anew() -> None:
    job = started("hls_720p")
    rows.change_job(job.job_id, generation="of another version")
    stale = row_of(job.job_id)
    rows.change_job(job.job_id, generation=job.generation)
    steps.list_growing(job.job_id, "hls_720p", output("hls_720p", complete=False))
    rows.change_job(job.job_id, generation="of another version")
    assert not starts.restart(stale, a_plan("hls_720p"), "m")
    assert starts.restart(row_of(job.job_id), a_plan("hls_720p"), "m")
    assert states(job) == {"hls_720p": StepState()}


def test_a_pipeline_of_steps_with_parameters_stays_as_it_was_asked_for() -> None:
    job_id = str(uuid.uuid4())
    asked: list[str | dict[str, Any]] = ["thumbnail", {"make": "image", "widths": [320, 640]}]
    jobs.create(job_id, "-", "uploads/a.png", asked)
    plan = a_plan("image", "thumbnail")
    assert starts.start(
        row_of(job_id),
        duration=None,
        etag="e",
        pipeline=asked,
        recipe="web@3f2a9c",
        plan=plan,
        starter="m",
        charge=FREE,
    )
    assert (row_of(job_id).pipeline, row_of(job_id).recipe) == (asked, "web@3f2a9c")
    assert list(row_of(job_id).step_statuses) == ["image", "thumbnail"]


def test_what_intake_adds_to_a_jobs_usage_after_a_task_has_read_it_is_not_lost() -> None:
    meter.begin("intake", 1024**3)
    job = started("a")
    meter.begin("intake", 1024**3)
    starts.note_failed_try(job.job_id, "A queue was full.")
    meter.end()
    end(job, {"a": done("a")})
    (used,) = row_of(job.job_id).used or []
    assert (used.function, used.invocations) == ("intake", 2)


# ── transactions that meet ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often a write of each kind still meets a transaction at its item."""
    left = {"update": 0, "transaction": 0}
    transact, update = DynamoDBBackend.transact_write_items, DynamoDBBackend.update_item

    def meets(kind: str) -> bool:
        left[kind] -= 1
        return left[kind] >= 0

    def transacts(self: Any, items: Any, *more: Any) -> Any:
        if meets("transaction"):
            raise TransactionCanceledException(
                [("TransactionConflict", "It is ongoing", None), (None, None, None)]
            )
        return transact(self, items, *more)

    def updates(self: Any, *given: Any, **named: Any) -> Any:
        if meets("update"):
            kind = "com.amazonaws.dynamodb.v20120810#TransactionConflictException"
            raise DynamodbException(kind, "Transaction is ongoing for the item")
        return update(self, *given, **named)

    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", transacts)
    monkeypatch.setattr(DynamoDBBackend, "update_item", updates)
    yield left


def test_writes_that_meet_a_transaction_are_sent_again(busy: dict[str, int]) -> None:
    job = started("a")
    busy["transaction"] = 3
    current = steps.end(job, {"a": done("a")})
    assert current is not None
    busy["update"] = 3
    assert jobs.end(current) == SUCCESS


def test_a_write_that_meets_too_many_is_raised_and_nothing_is_written(
    busy: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.store.writes._TRIES", 4)
    job = started("a")
    busy["transaction"] = 100
    with pytest.raises(TransactWriteError):  # the message comes again
        steps.end(job, {"a": BROKEN})
    assert row_of(job.job_id).status == STARTED
    assert states(job) == {"a": StepState()}
    busy["transaction"] = 0
    current = steps.end(job, {"a": done("a")})
    assert current is not None
    busy["update"] = 100
    with pytest.raises(UpdateError):
        jobs.end(current)
    busy["update"] = 0
    assert jobs.end(current) == SUCCESS


# ── read ────────────────────────────────────────────────────────────────────────────────────────


def requests(show: Callable[[], object]) -> float:
    """How often DynamoDB is asked for something to be shown."""
    meter.begin("api", 1024**3)
    show()
    (used,) = meter.lap()
    meter.end()
    return used.dynamodb


def test_a_job_with_a_hundred_outputs_has_a_small_row_and_is_shown_by_as_many_requests() -> None:
    names = [f"image_{number:02}" for number in range(20)]
    few, many = started("image_00", "image_01"), started(*names)
    more = {"placeholder": "1QcSHQRnh493V4dIh4eXh1h4kJUI", "color": "#7a6b52"}
    end(few, {name: done(name) for name in ("image_00", "image_01")})
    end(many, {name: done(name, 5, **more) for name in names})
    assert size_of(rows.job_item(many.job_id)) < 4096
    assert size_of(rows.item(f"job#{many.job_id}", "steps")) < 40_000
    view = shown(many.job_id)
    assert [each.name for each in view.outputs] == [name for name in names for _ in range(5)]
    assert len({each.s3_key for each in view.outputs}) == 100
    assert requests(lambda: shown(many.job_id)) == requests(lambda: shown(few.job_id)) == 1
    # A query for each owner that the caller sees, the jobs' rows, all other items.
    assert requests(lambda: job_lists.list_jobs("-", {}, "https://x/api")) == 4


def test_a_page_ends_where_its_jobs_have_many_outputs_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_lists, "MOST_OUTPUTS", 5)
    made = []
    for count in (2, 3, 9, 0, 3):
        job = started("a")
        end(job, {"a": done("a", count)})
        made.append(job.job_id)
    pages, asked = list[list[int]](), {"limit": "4"}
    while len(pages) < 9:
        page = job_lists.list_jobs("-", asked, "https://x/api")
        pages.append([len(view.outputs) for view in page.jobs])
        if page.next_cursor is None:
            break
        asked["cursor"] = page.next_cursor
    assert pages == [[3, 0], [9], [3, 2]]


def test_a_row_that_was_read_after_its_step_had_ended_is_not_shown_without_its_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request of several items reads each at a moment of its own."""
    job = started("a")
    read_many, early = vars(progress)["read_many"], list[Item]()

    def reads(keys: Any, **how: Any) -> list[Item]:
        found: list[Item] = read_many(keys, **how)
        if early:
            now = [item for item in found if item.key[1] != "steps"]
            return [*now, *(early.pop() for _ in list(early))]
        return found

    steps.list_growing(job.job_id, "a", output("a", complete=False))
    early += read_many([(f"job#{job.job_id}", "steps")])
    end(job, {"a": done("a")})
    monkeypatch.setattr(progress, "read_many", reads)
    assert [each.complete for each in shown(job.job_id).outputs] == [True]
    assert early == []


def test_outputs_are_told_with_what_they_have() -> None:
    job = started("a")
    plain, rich = output("a"), output("a", placeholder="1QcSHQ", color="#7a6b52")
    end(job, {"a": StepState(SUCCESS, outputs=(plain, rich))})
    first, second = json.loads(msgspec.json.encode(shown(job.job_id)))["outputs"]
    assert (first["name"], first["type"], first["format"], first["duration"]) == (
        "a", "a", "avif", None,
    )  # fmt: skip
    assert first.keys() == second.keys() - {"placeholder", "color"}
    assert (second["placeholder"], second["color"]) == ("1QcSHQ", "#7a6b52")


@pytest.mark.parametrize("spoilt", [{"SS": ["no JSON"]}, {"N": "7"}])
def test_an_item_that_cannot_be_read_keeps_nothing_else_from_being_shown_and_ended(
    spoilt: dict[str, Any],
) -> None:
    good, bad = started("a"), started("a")
    current = steps.end(bad, {"a": BROKEN})
    assert current is not None
    end(good, {"a": done("a")})
    spoil(bad, spoilt)
    assert jobs.end(current) == FAILURE
    assert shown(bad.job_id).outputs == []
    listed = job_lists.list_jobs("-", {}, "https://x/api").jobs
    assert {view.id: len(view.outputs) for view in listed} == {good.job_id: 1, bad.job_id: 0}


def spoil(job: Job, states: dict[str, Any]) -> None:
    item = rows.item(f"job#{job.job_id}", "steps") | {"states": states}
    boto3.client("dynamodb").put_item(TableName=settings().jobs_table, Item=item)


def test_nothing_is_deleted_of_a_job_that_lists_what_cannot_be_read() -> None:
    job = started("a", "b")
    made = done("a")
    end(job, {"a": made, "b": BROKEN})
    (key,) = (each.s3_key for each in made.outputs)
    key = key.replace("outputs/", f"outputs/{job.job_id.replace('-', '')}_")
    boto3.client("s3").put_object(Bucket=settings().output_bucket, Key=key, Body=b"x")
    item = rows.item(f"job#{job.job_id}", "steps")
    spoil(job, {"SS": ["no JSON"]})
    rows.change_job(job.job_id, due_at=int(time.time()) - 1)
    sweep.sweep(lambda: 20.0)
    assert is_there(key)
    assert rows.count_due() == 0  # it is left for an hour
    boto3.client("dynamodb").put_item(TableName=settings().jobs_table, Item=item)
    rows.change_job(job.job_id, due_at=int(time.time()) - 1)
    sweep.sweep(lambda: 20.0)
    assert not is_there(key)  # that it lists has another key


def is_there(key: str) -> bool:
    listed = boto3.client("s3").list_objects_v2(Bucket=settings().output_bucket, Prefix=key)
    return bool(listed["KeyCount"])


# ── rows of formats up to 5 ─────────────────────────────────────────────────────────────────────


def old_row(job: Job, status: str, **old_steps: dict[str, Any]) -> None:
    """Make a job's row one of before there was an item of its own for what steps have come to."""
    rows.change_job(job.job_id, status=status, steps=old_steps)
    boto3.client("dynamodb").update_item(
        TableName=settings().jobs_table,
        Key={"pk": {"S": f"job#{job.job_id}"}, "sk": {"S": "job"}},
        UpdateExpression="REMOVE step_names, metadata",
    )


POSTER = {
    "type": "thumbnail", "s3_key": "outputs/a_thumb.jpg", "size": 7016, "content_type": "image/jpeg",
    "width": 160, "height": 96, "warning": "It is small.",
}  # fmt: skip
FILM = {
    "type": "hls_720p", "s3_key": "outputs/a_hls/master.m3u8", "size": 0, "width": 160, "height": 96,
    "content_type": "application/vnd.apple.mpegurl", "duration": 8.5, "complete": False,
}  # fmt: skip


def test_a_job_that_has_ended_in_an_older_format_is_shown() -> None:
    job = started("hls_720p", "thumbnail")
    failed = {"status": FAILURE, "error": "It is damaged.", "error_code": "source_damaged"}
    old_row(job, FAILURE, thumbnail={"status": SUCCESS, "output": POSTER}, hls_720p=failed)
    view = shown(job.job_id)
    (poster,) = view.outputs
    assert (poster.name, poster.type, poster.format, poster.size) == (
        "thumbnail", "thumbnail", "jpeg", 7016,
    )  # fmt: skip
    assert [(step.name, step.status, step.error) for step in view.steps] == [
        ("hls_720p", FAILURE, "It is damaged."),
        ("thumbnail", SUCCESS, ""),
    ]
    assert (view.warnings, view.metadata) == (["thumbnail: It is small."], {})
    assert requests(lambda: shown(job.job_id)) == 1


def test_a_job_of_an_older_format_that_is_planned_again_keeps_what_has_ended() -> None:
    job = started("thumbnail", "hls_720p")
    old_row(
        job,
        STARTED,
        thumbnail={"status": SUCCESS, "output": POSTER},
        hls_720p={"status": "PENDING", "output": FILM},
    )
    assert [each.complete for each in shown(job.job_id).outputs] == [True, False]
    rows.change_job(job.job_id, generation="of an older version")
    assert starts.restart(row_of(job.job_id), a_plan("thumbnail", "hls_720p"), "m")
    assert [each.type for each in shown(job.job_id).outputs] == ["thumbnail"]
    end(row_of(job.job_id), {"hls_720p": done("hls_720p")})
    view = shown(job.job_id)
    assert [each.type for each in view.outputs] == ["thumbnail", "hls_720p"]
    assert view.warnings == ["thumbnail: It is small."]
