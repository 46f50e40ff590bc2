"""State transitions: every verb once, twice, and against a rival.

Under moto; tests/stack/test_cloud.py runs them all again on the DynamoDB of the local cloud.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.model.job import Claimed, Job
from chalicelib.model.pools import POOLS
from chalicelib.model.result import Encoded, EncodedTrack, Failed, StepsEnded
from chalicelib.model.step import FAILURE, PENDING, STARTED, STATUSES, SUCCESS, Output, StepState
from chalicelib.model.usage import Used, total
from chalicelib.model.work import KeyFrame, Segment
from chalicelib.operations.pipelines import MOST_BYTES
from chalicelib.settings import settings
from chalicelib.store import identities, jobs, lists, overdue, progress, starts, steps, tasks
from chalicelib.store.lists import Wanted
from chalicelib.store.meter import meter
from chalicelib.store.tasks import Claim
from testing import rows
from testing.cloud import make_table
from testing.local import FREE, a_plan
from testing.mocked import mocked

ON_A_CLOUD = "SLUICE_TEST_ENDPOINT_URL" in os.environ
OUTPUT = Output("thumbnail", "outputs/x_thumb.jpg", 10, "image/jpeg", 5, 4)
DONE = StepState(SUCCESS, outputs=(OUTPUT,))
ENDS = {"thumbnail": DONE}
BROKEN = StepState(FAILURE, error="It is damaged.", error_code="source_damaged")


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    if ON_A_CLOUD:
        make_table()
        yield
        boto3.client("dynamodb").delete_table(TableName=settings().jobs_table)
    else:
        with mocked():
            make_table()
            yield


def new_job(*pipeline: str, key: str = "uploads/a.png", start: bool = True) -> str:
    job_id = str(uuid.uuid4())
    jobs.create(job_id, "-", key, pipeline)
    if start:
        start_job(job_id, *pipeline)
    return job_id


def start_job(job_id: str, *pipeline: str) -> bool:
    plan = a_plan(*pipeline)
    started = starts.start(
        job(job_id),
        duration=None,
        etag="e",
        pipeline=[*plan.steps],
        recipe="",
        plan=plan,
        starter="m",
        charge=FREE,
    )
    progress.write(job_id, plan)
    return started


def job(job_id: str) -> Job:
    row = jobs.get(job_id)
    assert row is not None
    return row


def end_step(job_id: str, step: str, state: StepState, **more: Any) -> Job | None:
    """End a step as a worker does that has read the job just now."""
    return steps.end(job(job_id), {step: state}, **more)


def states(job_id: str) -> dict[str, StepState]:
    found = progress.of_job(job_id)
    assert found is not None
    return found[1].states


def test_a_job_goes_from_pending_to_success_when_its_last_step_ends() -> None:
    job_id = new_job("thumbnail", "watermark", start=False)
    assert job(job_id).status == PENDING
    start_job(job_id, "thumbnail", "watermark")
    first = end_step(job_id, "watermark", DONE)
    assert first is not None
    assert jobs.end(first) is None
    assert job(job_id).status == STARTED
    last = end_step(job_id, "thumbnail", DONE)
    assert last is not None
    assert jobs.end(last) == SUCCESS
    assert list(job(job_id).step_statuses) == ["thumbnail", "watermark"]
    assert states(job_id)["thumbnail"] == DONE


def test_a_job_with_one_failed_step_fails_after_the_others_and_keeps_their_outputs() -> None:
    job_id = new_job("thumbnail", "watermark")
    first = end_step(job_id, "thumbnail", BROKEN)
    assert first is not None
    assert jobs.end(first) is None
    last = end_step(job_id, "watermark", DONE)
    assert last is not None
    assert jobs.end(last) == FAILURE
    row = job(job_id)
    assert (row.error, row.error_code) == ("thumbnail: It is damaged.", "source_damaged")
    assert states(job_id)["watermark"] == DONE


def test_a_terminal_status_is_written_once_and_nothing_after_it() -> None:
    job_id = new_job("thumbnail")
    row = end_step(job_id, "thumbnail", DONE)
    assert row is not None
    assert jobs.end(row) == SUCCESS
    before = rows.job_item(job_id)
    assert jobs.end(row) is None
    assert end_step(job_id, "thumbnail", BROKEN) is None
    assert not jobs.fail_pending(row, "late", "Too late.")
    start_job(job_id, "watermark")
    assert rows.job_item(job_id) == before


def test_a_step_that_has_ended_stays_as_it_ended() -> None:
    job_id = new_job("thumbnail", "watermark")
    end_step(job_id, "thumbnail", DONE)
    again = end_step(job_id, "thumbnail", BROKEN)
    assert again is not None
    assert states(job_id)["thumbnail"] == DONE


def test_the_row_expires_only_once_it_is_terminal() -> None:
    job_id = new_job("thumbnail")
    assert "expires_at" not in rows.job_item(job_id)
    row = end_step(job_id, "thumbnail", DONE)
    assert row is not None
    jobs.end(row)
    assert float(rows.job_item(job_id)["expires_at"]["N"]) > time.time() + 86400
    assert job(job_id).due_at is None


def test_a_task_is_free_then_leased_then_ended() -> None:
    job_id = new_job("thumbnail")
    claim, row = tasks.claim(job_id, "thumbnail", "me", 60)
    assert (claim, row.attempts) == (Claim.FREE, 1)
    claim, row = tasks.claim(job_id, "thumbnail", "rival", 60)
    assert claim is Claim.LEASED
    assert row.lease_until is not None
    assert time.time() + 50 < row.lease_until < time.time() + 70
    assert tasks.end(job_id, "thumbnail", "rival", StepsEnded(ENDS)) is None
    ended = tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS))
    assert ended is not None
    claim, row = tasks.claim(job_id, "thumbnail", "rival", 60)
    assert claim is Claim.ENDED
    assert row.result == StepsEnded(ENDS)


def test_a_dead_workers_task_is_free_again_and_the_dead_cannot_end_it() -> None:
    job_id = new_job("thumbnail")
    tasks.claim(job_id, "thumbnail", "dead", -5)
    claim, row = tasks.claim(job_id, "thumbnail", "heir", 60)
    assert (claim, row.attempts) == (Claim.FREE, 2)
    assert tasks.end(job_id, "thumbnail", "dead", StepsEnded(ENDS)) is None
    assert tasks.end(job_id, "thumbnail", "heir", StepsEnded(ENDS)) is not None


def test_a_task_given_back_is_free_at_once_and_remembers_why() -> None:
    job_id = new_job("thumbnail")
    tasks.claim(job_id, "thumbnail", "me", 60)
    tasks.release(job_id, "thumbnail", "me", "No luck.", 0)
    claim, row = tasks.claim(job_id, "thumbnail", "me again", 60)
    assert (claim, row.last_error) == (Claim.FREE, "No luck.")


def test_a_task_given_back_is_not_tried_again_before_its_pause_is_over() -> None:
    job_id = new_job("thumbnail")
    tasks.claim(job_id, "thumbnail", "me", 60)
    tasks.release(job_id, "thumbnail", "me", "No luck.", 30)
    claim, row = tasks.claim(job_id, "thumbnail", "rival", 60)
    assert (claim, row.attempts) == (Claim.LEASED, 1)
    assert row.lease_until == pytest.approx(time.time() + 30, abs=5)


def test_what_a_worker_of_a_plan_that_was_left_comes_to_does_not_count() -> None:
    job_id = new_job("thumbnail")
    rows.change_job(job_id, generation="of another version")
    end_step(job_id, "thumbnail", BROKEN)
    assert job(job_id).step_statuses["thumbnail"] == PENDING


def test_fan_in_only_grows_and_repeats_harmlessly() -> None:
    assert tasks.add_ended("j", "encode-0") == {"encode-0"}
    assert tasks.add_ended("j", "encode-1") == {"encode-0", "encode-1"}
    assert tasks.add_ended("j", "encode-0") == {"encode-0", "encode-1"}


def test_progress_never_goes_back() -> None:
    job_id = new_job("thumbnail")
    for percent in (10, 60, 30):
        progress.advance(job_id, "thumbnail", percent)
    found = progress.of_job(job_id)
    assert found is not None
    row, so_far = found
    assert row.job_id == job_id
    assert so_far.progress is not None
    assert so_far.progress.percents == {"thumbnail": 60}
    assert so_far.progress.shares == {"thumbnail": {"thumbnail": 1.0}}


def test_an_identity_stands_for_the_job_that_claimed_it_first() -> None:
    first = identities.claim("idempotency a", "one", fingerprint="f")
    assert first == Claimed("one", "f")
    assert identities.claim("idempotency a", "two", fingerprint="g") == first
    other = Claimed("zero", "f")
    assert identities.claim("idempotency a", "two", instead_of=other) == first
    assert identities.claim("idempotency a", "two", instead_of=first) == Claimed("two")


def test_a_file_and_pipeline_are_one_job_unless_it_failed() -> None:
    first = identities.job_of_file("-", "a", "e", ["thumbnail"])
    assert identities.job_of_file("-", "a", "e", ["thumbnail"]) == first
    others = [("b", "e", ["thumbnail"]), ("a", "f", ["thumbnail"]), ("a", "e", ["watermark"])]
    assert len({first, *(identities.job_of_file("-", *other) for other in others)}) == 4
    jobs.create(first, "-", "a", ["thumbnail"])
    assert jobs.fail_pending(job(first), "source_damaged", "It is damaged.")
    second = identities.job_of_file("-", "a", "e", ["thumbnail"])
    assert second != first
    assert identities.job_of_file("-", "a", "e", ["thumbnail"]) == second


def test_an_event_of_a_later_upload_asks_for_a_job_of_its_own_and_a_repeated_one_for_none() -> None:
    file = ("a", "e", ["thumbnail"])
    asked = identities.job_of_file("-", *file)
    assert (
        identities.job_of_file("-", *file, sequencer="0055A") == asked
    )  # the request came before the event
    again = identities.job_of_file("-", *file, sequencer="0055B")
    assert again != asked
    for earlier in ("0055B", "0055A", "0055B000"):
        assert identities.job_of_file("-", *file, sequencer=earlier) == again
    assert identities.job_of_file("-", *file) == again
    jobs.create(again, "-", "a", ["thumbnail"])
    assert jobs.fail_pending(job(again), "source_damaged", "It is damaged.")
    assert identities.job_of_file("-", *file, sequencer="0055B") == again
    asked = identities.job_of_file("-", *file)
    assert asked != again
    assert identities.job_of_file("-", *file, sequencer="0055B") == asked
    assert identities.job_of_file("-", *file, sequencer="0055B0001") != asked


def test_a_job_that_waits_for_its_file_is_the_job_of_that_file() -> None:
    assert identities.job_of_file("-", "a", "e", [], candidate="waiting") == "waiting"
    assert identities.job_of_file("-", "a", "e", [], candidate="other") == "waiting"


def test_a_ticket_tells_an_upload_from_a_drop() -> None:
    identities.write_ticket("uploads/a", "one", None, int(time.time()))
    identities.write_ticket("uploads/b", "other", "job", int(time.time()))
    for key, told in (("uploads/a", ("one", None)), ("uploads/b", ("other", "job"))):
        ticket = identities.get_ticket(key)
        assert ticket is not None
        assert (ticket.owner, ticket.ticket_job_id) == told
    assert identities.get_ticket("uploads/c") is None


def test_jobs_are_listed_newest_first_page_by_page_and_by_status_and_key() -> None:
    ids = [new_job("thumbnail", key=f"uploads/{n % 2}", start=n % 3 == 0) for n in range(7)]
    newest = ids[::-1]
    every = Wanted(["-"], STATUSES)
    assert pages(3, every) == [newest[:3], newest[3:6], newest[6:]]
    started = every._replace(statuses=[STARTED])
    assert pages(10, started) == [[ids[6], ids[3], ids[0]]]
    odd = every._replace(source_key="uploads/1")
    assert pages(10, odd) == [[ids[5], ids[3], ids[1]]]
    assert pages(1, odd._replace(statuses=[STARTED]))[0] == [ids[3]]
    found = lists.newest(10, None, every).jobs
    assert all(a.created > b.created for a, b in pairwise(found))


def pages(limit: int, wanted: Wanted) -> list[list[str]]:
    """The ids of the jobs of each page, to the last."""
    page = lists.newest(limit, None, wanted)
    found = [page]
    while page.after:
        page = lists.newest(limit, page.after, wanted)
        found.append(page)
    return [[job.job_id for job in page.jobs] for page in found if page.jobs]


@pytest.mark.parametrize("by", ["owner", "key"])
def test_jobs_are_listed_by_when_they_were_created(by: str) -> None:
    ids = [new_job("thumbnail", key="uploads/1") for _ in range(5)]
    wanted = Wanted(["-"], STATUSES, "uploads/1" if by == "key" else None)
    created = [job.created_at for job in reversed(lists.newest(10, None, wanted).jobs)]
    within = wanted._replace(since=created[1], until=created[3])
    assert pages(1, within) == [[ids[2]], [ids[1]]]  # the end is not in it
    assert pages(10, wanted._replace(since=created[3])) == [[ids[4], ids[3]]]
    assert pages(10, wanted._replace(until=created[1])) == [[ids[0]]]
    assert pages(10, wanted._replace(since=created[3], until=created[1])) == []


def test_a_page_looks_at_a_bounded_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [new_job("thumbnail", key="uploads/1", start=n == 0) for n in range(9)]
    wanted = Wanted(["-"], [STARTED])
    monkeypatch.setattr(lists, "_MOST_ENTRIES", 4)
    first = lists.newest(2, None, wanted)
    assert first.jobs == []
    assert first.after
    assert pages(2, wanted) == [[ids[0]]]
    monkeypatch.setattr(lists, "_MOST_ENTRIES", 100)
    monkeypatch.setattr(lists, "_MOST_READ", 3)
    assert lists.newest(2, None, wanted._replace(recipe="web")).jobs == []
    assert pages(5, Wanted(["-"], STATUSES)) == [ids[8:5:-1], ids[5:2:-1], ids[2::-1]]


def found_by_sweep() -> set[str]:
    pages = (page for shard in overdue.SHARDS for page in overdue.pages(shard, time.time()))
    values = [item.value for page in pages for item in page]
    assert all(isinstance(value, Job) for value in values)
    return {value.job_id for value in values if isinstance(value, Job)}


def test_the_sweep_sees_jobs_whose_time_has_come_and_no_others() -> None:
    new_job("thumbnail")
    late = new_job("thumbnail")
    rows.change_job(late, due_at=int(time.time()) - 1)
    stale = job(late)
    assert found_by_sweep() == {late}
    assert overdue.postpone(job(late), looks=2, seen=7)
    assert not overdue.postpone(stale, looks=0, seen=0)
    assert found_by_sweep() == set()
    assert (job(late).looks, job(late).seen) == (2, 7)
    assert job(late).due_at == pytest.approx(time.time() + 2700, abs=20)


def test_a_look_is_not_put_off_beyond_the_deadline() -> None:
    job_id = new_job("thumbnail")
    deadline = int(time.time()) + 500
    rows.change_job(job_id, deadline_at=deadline)
    assert overdue.postpone(job(job_id), looks=5, seen=0)
    assert job(job_id).due_at == deadline


def test_a_look_can_only_be_hastened() -> None:
    job_id = new_job("thumbnail")
    assert jobs.look_soon(job_id, 60)
    assert not jobs.look_soon(job_id, 60)
    assert not jobs.look_soon(job_id, 200)
    assert (job(job_id).due_at or 0) <= time.time() + 60
    row = end_step(job_id, "thumbnail", DONE)
    assert row is not None
    assert jobs.end(row) == SUCCESS
    assert not jobs.look_soon(job_id, 0)


def test_a_job_follows_a_plan_of_another_version_only_once_and_keeps_what_has_ended() -> None:
    job_id = new_job("thumbnail", "hls_720p")
    end_step(job_id, "thumbnail", DONE)
    steps.list_growing(job_id, "hls_720p", OUTPUT)
    plan = a_plan("thumbnail", "hls_720p")
    stale = job(job_id)
    ours = stale.generation
    assert ours
    rows.change_job(job_id, generation="of another version")
    stale = job(job_id)
    assert starts.restart(job(job_id), plan, "m")
    assert not starts.restart(stale, plan, "m")
    row = job(job_id)
    assert (row.generation, row.replanned) == (ours, True)
    assert states(job_id) == {"thumbnail": DONE, "hls_720p": StepState()}


def test_a_job_is_not_planned_again_from_under_a_step_that_ends() -> None:
    job_id = new_job("thumbnail")
    rows.change_job(job_id, generation="of another version")
    stale = job(job_id)
    end_step(job_id, "thumbnail", DONE, generation="of another version")
    assert not starts.restart(stale, a_plan("thumbnail"), "m")
    assert states(job_id)["thumbnail"] == DONE


def test_an_end_by_the_deadline_holds_only_for_that_deadline() -> None:
    job_id = new_job("thumbnail")
    late = int(job(job_id).deadline_at)
    rows.change_job(job_id, deadline_at=late + 100)
    end_step(job_id, "thumbnail", BROKEN, deadline=late)
    assert job(job_id).step_statuses["thumbnail"] == PENDING
    waiting = new_job("thumbnail", start=False)
    stale = job(waiting)
    rows.change_job(waiting, deadline_at=late + 100)
    assert not jobs.fail_pending(stale, "deadline_exceeded", "Too late.", overdue=True)
    assert jobs.fail_pending(stale, "source_damaged", "It is damaged.")


STEPS = ("thumbnail", "watermark", "transcode_720p", "hls_720p")
# No sentence of ours is longer, for none repeats the key.
FAILED = StepState(FAILURE, error="x" * 200, error_code="attempts_exhausted")
LONG = Output("x" * 14, "o" * 140, 10**12, "application/vnd.apple.mpegurl", 9999, 9999, 43200.1)


@pytest.mark.parametrize(
    ("state", "status"), [(StepState(SUCCESS, outputs=(LONG,)), SUCCESS), (FAILED, FAILURE)]
)
def test_the_row_of_a_job_with_all_that_it_can_have_stays_under_4_kb(
    state: StepState, status: str
) -> None:
    job_id = str(uuid.uuid4())
    jobs.create(
        job_id,
        "drops",
        "k"
        * 1024,  # a dropped file has no other name; keys of uploads are short, and names have 255 bytes
        STEPS,
        metadata={f"{number:0>2}": "x" * 18 for number in range(50)} | {"00": "x" * 42},
        etag="e" * 40,
        max_usd=1.23456789,
    )
    plan = msgspec.structs.replace(a_plan(*STEPS), encoding="x" * 200)
    # As large as a pipeline can be, and of a recipe with a long name.
    pipeline = [{"make": "image", "name": "n" * (MOST_BYTES - 28)}]
    assert starts.start(
        job(job_id),
        duration=43200.123,
        etag="e" * 40,
        pipeline=pipeline,
        recipe=f"{'r' * 32}@123456",
        plan=plan,
        starter="m" * 36,
        charge=FREE,
    )
    rows.change_job(job_id, last_error="x" * 100, charged_usd=12.3456789)
    use_much(job_id)
    ended = steps.end(job(job_id), dict.fromkeys(STEPS, state))
    assert ended is not None
    assert jobs.end(ended, lambda _: dict.fromkeys(STEPS, 0.12345)) == status
    assert size_of(rows.job_item(job_id)) < 4096
    assert job(job_id).parts == dict.fromkeys(STEPS, 0.12345)


def test_the_result_of_a_long_film_in_one_chunk_fits_in_an_item() -> None:
    """Two hours in eight renditions: segments of six seconds with three key frames each."""
    job_id = "a"
    random = Random(1)

    def keys() -> tuple[KeyFrame, ...]:
        sizes = [random.randrange(10_000, 90_000) for _ in range(3)]
        return tuple(KeyFrame(9 * size, size, 1.96) for size in sizes)

    tracks = {
        f"{lines}p_2200kbps": EncodedTrack(
            tuple(
                Segment(f"{n:05d}.m4s", 5.88, random.randrange(300_000, 900_000), keys())
                for n in range(1200)
            ),
            7200.0,
            "0123456789abcdef",
            times=tuple(range(90_000, 648_100_000, 540_000)),
            timescale=90_000,
        )
        for lines in range(8)
    }
    result = Encoded(tracks)
    assert len(msgspec.json.encode(result)) > 400_000
    claimed, _ = tasks.claim(job_id, "film.0", "me", 60)
    assert claimed is Claim.FREE
    ended = tasks.end(job_id, "film.0", "me", result)
    assert ended is not None
    assert ended.result == result
    assert tasks.encoded_parts(job_id, ["film.0"]) == {"film.0": result}
    assert size_of(rows.task_item(job_id, "film.0")) < 300_000


@pytest.fixture
def invoked() -> Iterator[Callable[[str], None]]:
    """Begins an invocation of a function with a gibibyte."""
    yield lambda function: meter.begin(function, 1024**3)
    meter.end()


def used(job: Job) -> dict[str, Used]:
    return {each.function: each for each in total(job.used or ())}


def used_by_tasks(job_id: str) -> dict[str, Used]:
    return {each.function: each for each in total(used for _, used in tasks.used_by(job_id))}


def test_each_try_of_a_task_is_added_and_the_jobs_end_sums_them(
    invoked: Callable[[str], None],
) -> None:
    invoked("intake")
    job_id = new_job("thumbnail", "watermark")
    for _ in range(2):
        invoked("thumbnail")
        tasks.claim(job_id, "thumbnail", "me", 60)
        tasks.release(job_id, "thumbnail", "me", "No luck.", 0)
    invoked("thumbnail")
    tasks.claim(job_id, "thumbnail", "me", 60)
    tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS))
    thumbnail = used_by_tasks(job_id)["thumbnail"]
    # Of each: the claim, and the write that tells it.
    assert (thumbnail.invocations, thumbnail.dynamodb, thumbnail.sqs) == (3, 6, 6)
    assert thumbnail.gb_seconds == pytest.approx(thumbnail.seconds, abs=0.001)
    assert thumbnail.seconds > 0
    end_step(job_id, "thumbnail", DONE)
    invoked("watermark")
    tasks.claim(job_id, "watermark", "me", 60)
    tasks.end(job_id, "watermark", "me", Failed("source_damaged", "It is damaged."))
    row = end_step(job_id, "watermark", BROKEN)
    assert row is not None
    assert jobs.end(row) == FAILURE
    whole = used(job(job_id))
    assert whole.keys() == {"intake", "thumbnail", "watermark"}
    assert whole["thumbnail"] == thumbnail
    # The claim, the task's end, what the test reads, the step's end, the error, the query for what all tasks
    # used, the job's end.
    assert (whole["watermark"].invocations, whole["watermark"].dynamodb) == (1, 7)


def test_what_is_tried_again_and_what_comes_twice_is_not_told_twice(
    invoked: Callable[[str], None],
) -> None:
    invoked("intake")
    job_id = new_job("thumbnail", start=False)
    starts.note_failed_try(job_id, "No luck.")
    invoked("intake")
    assert start_job(job_id, "thumbnail")
    invoked("intake")
    assert not start_job(job_id, "thumbnail")
    assert used(job(job_id))["intake"].invocations == 2
    invoked("thumbnail")
    tasks.claim(job_id, "thumbnail", "me", 60)
    tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS))
    assert tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS)) is not None
    assert used_by_tasks(job_id)["thumbnail"].invocations == 1


def test_a_refused_job_tells_what_it_used_and_the_sweep_is_nobodys(
    invoked: Callable[[str], None],
) -> None:
    expired = new_job("thumbnail", start=False)
    assert jobs.fail_pending(job(expired), "upload_expired", "Too late.")
    assert used(job(expired)) == {}
    invoked("intake")
    refused = new_job("thumbnail", start=False)
    assert jobs.fail_pending(job(refused), "empty_file", "The file is empty.")
    assert used(job(refused))["intake"].invocations == 1


def use_much(job_id: str) -> None:
    """Let every function have used what only a very long film takes."""
    for number, queue in enumerate(("intake", *POOLS, "dead_letters")):
        much = Used(
            queue, 999, 9e3 + 0.1234, 9e4 + 0.1234, 9999, 9999.5, 9999.5, 9999, 9999, 9999, 10**11, 10**11
        )  # fmt: skip
        rows.add_task(job_id, str(number), used=[msgspec.json.encode(much).decode()])


def size_of(item: dict[str, object]) -> int:
    """Bytes, about as DynamoDB counts them: names and values, and three for each nested thing."""

    def size(value: object) -> int:
        match value:
            case {"S": str(text)} | {"N": str(text)}:
                return len(text.encode())
            case {"M": dict(inner)}:
                return 3 + sum(1 + len(name.encode()) + size(v) for name, v in inner.items())
            case {"SS": list(texts)}:
                return 3 + sum(len(text.encode()) for text in texts)
            case {"L": list(items)}:
                return 3 + sum(1 + size(item) for item in items)
            case _:
                return 1

    return sum(len(name) + size(value) for name, value in item.items())
