"""A job is canceled at each moment of its life: it ends once, its work stops, nothing is written after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import botocore.handlers
import pytest
from chalice.test import Client

from app import app
from chalicelib.api import hls, job_lists, submissions, uploads
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.api.views import JobView
from chalicelib.errors import Conflict, Gone
from chalicelib.jobs import sweep
from chalicelib.model.step import CANCELED, FAILURE, PENDING, STARTED, SUCCESS
from chalicelib.settings import settings
from chalicelib.store import jobs, queues, tasks, watch
from infra.tools.samples import film
from testing import rows
from testing.pump import deliver, drain, drop, event_of, take

pytestmark = [pytest.mark.usefixtures("cloud"), pytest.mark.media]
Sample = Callable[[str], Path]
BASE = "https://x/api"


class Moment(NamedTuple):
    """A request, before which something is done, once."""

    event: str  # of botocore
    part: str  # of the request's address, or of its body
    act: Callable[[], object]


_moments: list[Moment] = []
_sent: list[tuple[str, str]] = []


def _look(event_name: str, request: Any, **_: Any) -> None:
    body = request.body if isinstance(request.body, bytes) else b""
    told = f"{request.url} {body.decode(errors='replace')}"
    _sent.append((event_name.removeprefix("before-send."), told))
    for moment in [each for each in _moments if each.event in event_name and each.part in told]:
        _moments.remove(moment)
        moment.act()


# PynamoDB keeps its session: so for all of them, and before the first.
botocore.handlers.BUILTIN_HANDLERS.append(("before-send", _look, botocore.handlers.REGISTER_FIRST))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers look each time that they can; every moment that a test waits for comes."""
    monkeypatch.setattr(watch, "_PAUSE_SECONDS", 0.0)
    yield
    missed = _moments.copy()
    _moments.clear()
    assert not missed


def before(event: str, part: str, act: Callable[[], object]) -> None:
    _moments.append(Moment(event, part, act))


def sent_by(act: Callable[[], object]) -> list[str]:
    """The operations of AWS that something calls, but for those of the pump's own queue."""
    _sent.clear()
    act()
    return [name for name, _ in _sent if not name.startswith("sqs.")]


def cancel(job_id: str) -> JobView:
    return api_jobs.cancel_job("-", job_id, BASE)


def job_of(job_id: str) -> JobView:
    return api_jobs.get_job("-", job_id, BASE)


def only_job() -> JobView:
    (job,) = job_lists.list_jobs("-", {}, BASE).jobs
    return job


def keys(prefix: str = "outputs/") -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=settings().output_bucket, Prefix=prefix)
    return {item["Key"] for item in listed.get("Contents", ())}


def started(sample: Path, pipeline: str, key: str = "a.x") -> str:
    """The id of a dropped file's job, whose first messages wait."""
    deliver("intake", drop(key, sample.read_bytes(), pipeline=pipeline))
    job = only_job()
    assert job.status == STARTED
    return job.id


def check_canceled(job_id: str) -> None:
    """The job has ended as a canceled one, and stays as it is, whatever comes."""
    job = job_of(job_id)
    assert (job.status, job.error, job.error_code) == (CANCELED, "", "")
    assert job.usage is not None
    row = rows.job_item(job_id)
    assert "expires_at" in row
    drain(times=2)
    assert job_of(job_id).updated_at == job.updated_at
    assert rows.job_item(job_id) == row


@pytest.fixture
def chunks(tmp_path: Path) -> Path:
    """A film of three chunks and one part of sound."""
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    return tmp_path / "a.mp4"


# ── before it starts ────────────────────────────────────────────────────────────────────────────


def presigned(*pipeline: str) -> tuple[str, str]:
    """A key and the job that waits for its upload."""
    request = PresignRequest("a.jpg", "image/jpeg", list(pipeline))
    answer = uploads.presign("-", request)
    assert answer.job_id
    return answer.key, answer.job_id


def uploaded(key: str, sample: Path) -> str:
    """S3's event of an upload."""
    body = sample.read_bytes()
    put = boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key=key, Body=body)
    return event_of(key, size=len(body), etag=put["ETag"].strip('"'))


def test_an_upload_that_comes_later_starts_nothing(sample: Sample) -> None:
    key, job_id = presigned("thumbnail")
    job = cancel(job_id)
    assert (job.status, job.progress, job.steps, job.outputs) == (CANCELED, 0, [], [])
    assert deliver("intake", uploaded(key, sample("photo.jpg"))) == []
    assert take(*queues.QUEUES) == []
    check_canceled(job_id)
    assert rows.count_due() == 0
    # Who asks for that file and pipeline gets another job.
    asked = submissions.from_key("-", FromKeyRequest(key, ["thumbnail"]), None)
    assert asked.job_id != job_id
    drain()
    assert job_of(asked.job_id).status == SUCCESS


def test_a_job_in_the_queue_is_never_looked_at(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    assert cancel(job_id).status == CANCELED
    (message,) = take("intake")
    assert sent_by(lambda: deliver("intake", message)) == ["dynamodb.GetItem"]
    check_canceled(job_id)
    assert rows.spent() == {}


def test_intake_that_looks_at_the_file_starts_nothing(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes())
    before("s3.PutObject", "/plan-", lambda: cancel(only_job().id))
    assert deliver("intake", event) == []
    assert take("pictures") == []
    check_canceled(only_job().id)
    assert rows.spent() == {}


def test_a_cancel_that_meets_the_start_ends_what_has_started(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    # Between the look of the cancel and its write, intake starts the job.
    before("dynamodb.UpdateItem", CANCELED, lambda: deliver("intake", *take("intake")))
    job = cancel(job_id)
    assert (job.status, [step.status for step in job.steps]) == (CANCELED, [CANCELED, CANCELED])
    assert take("pictures")
    check_canceled(job_id)
    # What was charged as it started stays.
    assert list(rows.spent()) == ["drops"]


def test_an_event_that_comes_again_starts_no_other_job(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    cancel(job_id)
    deliver("intake", event)
    deliver("intake", event)
    assert only_job().id == job_id
    check_canceled(job_id)


# ── while it works ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def copying(tmp_path: Path, short_chunks: None) -> tuple[JobView, str]:
    """A job that waits for a copy of its film, and the message of that."""
    path = tmp_path / "a.mkv"
    film(path, size="160x96", rate="10", seconds=20, output=("-g", "20"))
    deliver("intake", drop("a.mkv", path.read_bytes(), pipeline="transcode_720p"))
    (message,) = take("audio")
    assert json.loads(message)["task_id"] == "remux"
    job = only_job()
    assert job.status == PENDING
    return job, message


def test_a_copy_that_is_made_is_stopped(copying: tuple[JobView, str]) -> None:
    job, message = copying
    before("s3.GetObject", "a.mkv", lambda: cancel(job.id))
    assert deliver("audio", message) == []
    assert not [key for key in keys("work/") if "/copy-" in key]
    assert take(*queues.QUEUES) == []
    check_canceled(job.id)


def test_a_copy_that_was_just_made_is_followed_by_nothing(copying: tuple[JobView, str]) -> None:
    waiting, message = copying
    assert deliver("audio", message) == []
    job = cancel(waiting.id)
    assert job.usage is not None
    assert set(job.usage.functions) == {"audio", "intake"}
    check_canceled(job.id)
    assert keys() == set()


@pytest.mark.usefixtures("short_chunks")
def test_waiting_tasks_cost_a_read_and_those_at_work_stop(chunks: Path) -> None:
    job_id = started(chunks, "hls_720p")
    messages = {json.loads(body)["task_id"]: body for body in take("encode", "audio")}
    deliver("encode", messages["film.0"])
    deliver("audio", messages["sound.0"])
    growing = job_of(job_id)
    assert [output.complete for output in growing.outputs] == [False]
    # The third chunk is fetched when the cancel comes.
    before("s3.GetObject", "a.x", lambda: cancel(job_id))
    assert deliver("encode", messages["film.2"]) == []
    record = tasks.get(job_id, "film.2")
    assert record is not None
    assert record.result is None
    assert sent_by(lambda: deliver("encode", messages["film.1"])) == ["dynamodb.GetItem"]
    assert tasks.get(job_id, "film.1") is None
    job = job_of(job_id)
    assert [(step.status, step.error) for step in job.steps] == [(CANCELED, "")]
    assert (job.progress, job.outputs) == (growing.progress, [])
    assert job.progress > 0
    assert not [key for key in keys() if "video_00002" in key]
    assert job.usage is not None
    assert set(job.usage.functions) == {"audio", "encode", "intake"}
    assert take(*queues.QUEUES) == []
    check_canceled(job_id)
    assert job_lists.list_jobs("-", {"status": CANCELED}, BASE).jobs[0].id == job_id


@pytest.mark.usefixtures("short_chunks")
def test_a_player_of_a_canceled_film_is_told(chunks: Path) -> None:
    job_id = started(chunks, "hls_720p")
    messages = {json.loads(body)["task_id"]: body for body in take("encode", "audio")}
    deliver("encode", messages["film.0"])
    deliver("audio", messages["sound.0"])
    (output,) = job_of(job_id).outputs
    token = output.url.split("/")[-2]
    assert "#EXTINF" in hls.hls_file(job_id, token, "video.m3u8").playlist
    cancel(job_id)
    for name in ("master.m3u8", "video.m3u8", "audio.m3u8"):
        with pytest.raises(Gone) as refusal:
            hls.hls_file(job_id, token, name)
        assert refusal.value.code == "job_canceled"
    # Segments that a player has heard of are there for a while, then the sweep deletes them.
    assert hls.hls_file(job_id, token, "video_00000.m4s").address
    rows.change_job(job_id, due_at=1)
    sweep.sweep(lambda: 60.0)
    assert keys() == set()
    with pytest.raises(Gone):
        hls.hls_file(job_id, token, "video_00000.m4s")
    assert rows.count_due() == 0


def test_steps_that_have_ended_keep_their_outputs(sample: Sample) -> None:
    job_id = started(sample("small.mp4"), "thumbnail,transcode_720p")
    deliver("pictures", *take("pictures"))
    job = cancel(job_id)
    assert [(step.status, step.progress) for step in job.steps] == [(SUCCESS, 100), (CANCELED, 0)]
    (thumbnail,) = job.outputs
    assert thumbnail.type == "thumbnail"
    check_canceled(job_id)
    rows.change_job(job_id, due_at=1)
    sweep.sweep(lambda: 60.0)
    assert keys() == {thumbnail.s3_key}
    assert [output.s3_key for output in job_of(job_id).outputs] == [thumbnail.s3_key]


def test_a_picture_that_is_drawn_is_not_stored(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    before("s3.GetObject", "a.x", lambda: cancel(job_id))
    assert deliver("pictures", *take("pictures")) == []
    assert keys() == set()
    check_canceled(job_id)


def test_what_a_stopped_task_used_is_not_the_next_ones(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    for key in ("a.jpg", "b.jpg"):
        deliver("intake", drop(key, body, pipeline="thumbnail"))
    other, first = job_lists.list_jobs("-", {}, BASE).jobs
    assert first.key == "a.jpg"
    before("s3.GetObject", "a.jpg", lambda: cancel(first.id))
    deliver("pictures", *take("pictures"))
    usage = job_of(other.id).usage
    assert usage is not None
    assert usage.functions["pictures"].requests.s3 == 3  # its plan, its source, its thumbnail
    assert usage.functions["pictures"].invocations == 0
    assert job_of(first.id).status == CANCELED


def test_an_mp4_is_put_together_no_further(sample: Sample) -> None:
    job_id = started(sample("small.mp4"), "transcode_720p")
    deliver("encode", *take("encode"))
    deliver("audio", *take("audio"))
    before("s3.GetObject", "m4s", lambda: cancel(job_id))
    assert deliver("package", *take("package")) == []
    s3, bucket = boto3.client("s3"), settings().output_bucket
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert job_of(job_id).outputs == []
    assert keys() == set()
    check_canceled(job_id)


def test_a_broken_task_of_a_canceled_job_is_not_tried_again(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    (message,) = take("pictures")

    def breaks() -> None:
        cancel(job_id)
        raise OSError("The network is away.")

    before("s3.PutObject", "thumb", breaks)
    assert deliver("pictures", message) == [message]
    assert sent_by(lambda: deliver("pictures", message, receives=2)) == ["dynamodb.GetItem"]
    check_canceled(job_id)


# ── at its end ──────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_before_the_write_that_ends_the_last_step_wins(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    before("dynamodb.TransactWriteItems", SUCCESS, lambda: cancel(job_id))
    assert deliver("pictures", *take("pictures")) == []
    assert (job_of(job_id).status, job_of(job_id).outputs) == (CANCELED, [])
    check_canceled(job_id)


def test_a_cancel_after_the_last_step_keeps_its_outputs(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")

    def all_has_ended() -> None:  # what its tasks have used is read for the write that ends the job
        before("dynamodb.UpdateItem", SUCCESS, lambda: cancel(job_id))

    before("dynamodb.Query", "task#", all_has_ended)
    assert deliver("pictures", *take("pictures")) == []
    job = job_of(job_id)
    assert (job.status, [step.status for step in job.steps]) == (CANCELED, [SUCCESS])
    assert {output.s3_key for output in job.outputs} == keys()
    check_canceled(job_id)


def test_a_cancel_that_meets_the_end_is_refused(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    before("dynamodb.UpdateItem", CANCELED, drain)
    with pytest.raises(Conflict) as refusal:
        cancel(job_id)
    assert refusal.value.code == "job_ended"
    assert job_of(job_id).status == SUCCESS


def test_a_job_that_has_ended_is_not_canceled(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    drain()
    row = rows.job_item(job_id)
    with pytest.raises(Conflict, match="ended as SUCCESS"):
        cancel(job_id)
    failed = started_junk()
    with pytest.raises(Conflict, match="ended as FAILURE"):
        cancel(failed)
    assert rows.job_item(job_id) == row


def started_junk() -> str:
    drop("junk.jpg", b"no picture")
    job_id = submissions.from_key("-", FromKeyRequest("junk.jpg"), None).job_id
    drain()
    assert job_of(job_id).status == FAILURE
    return job_id


def test_canceling_again_changes_nothing_and_another_job_is_another_one(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.jpg"), "key").job_id
    first = cancel(job_id)
    row = rows.job_item(job_id)
    assert cancel(job_id).updated_at == first.updated_at
    assert rows.job_item(job_id) == row
    # An Idempotency-Key stands for its job for good; a file and pipeline for one that is not canceled.
    assert submissions.from_key("-", FromKeyRequest("a.jpg"), "key").job_id == job_id
    again = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    assert again == submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    cancel(again)
    third = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    assert len({job_id, again, third}) == 3


def test_the_answer_to_the_write_may_be_lost(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    # The same write comes twice: the first has done it.
    before("dynamodb.UpdateItem", CANCELED, lambda: cancel(job_id))
    assert cancel(job_id).status == CANCELED
    check_canceled(job_id)


def test_neither_the_sweep_nor_a_dead_letter_wakes_it(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    (message,) = take("pictures")
    cancel(job_id)
    row = rows.job_item(job_id)
    deliver("dead_letters", message)
    assert rows.job_item(job_id) == row
    rows.change_job(job_id, due_at=1, deadline_at=1)
    sweep.sweep(lambda: 60.0)
    assert take(*queues.QUEUES) == []
    assert job_of(job_id).status == CANCELED
    assert rows.count_due() == 0


def test_the_call_over_http(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    job_id = submissions.from_key("-", FromKeyRequest("a.jpg"), None).job_id
    with Client(app) as client:
        path = f"/jobs/{job_id}/cancel"
        for _ in range(2):
            answer = client.http.post(path)
            assert (answer.status_code, answer.json_body["status"]) == (202, CANCELED)
        assert client.http.get(path).status_code == 405
        other = client.http.post("/jobs/00000000-0000-4000-8000-000000000000/cancel")
        assert (other.status_code, other.json_body["code"]) == (404, "job_not_found")
        ended = client.http.post(f"/jobs/{started_junk()}/cancel")
        assert (ended.status_code, ended.json_body["code"]) == (409, "job_ended")


# ── what it costs ───────────────────────────────────────────────────────────────────────────────


def test_a_cancel_makes_four_requests(sample: Sample) -> None:
    job_id = started(sample("photo.jpg"), "thumbnail")
    requests = [
        "dynamodb.BatchGetItem",
        "dynamodb.Query",
        "dynamodb.UpdateItem",
        "dynamodb.BatchGetItem",
    ]
    assert sent_by(lambda: cancel(job_id)) == requests
    assert sent_by(lambda: cancel(job_id)) == requests[:1]


def test_a_worker_looks_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(watch, "_PAUSE_SECONDS", 2.0)
    monkeypatch.setattr("chalicelib.store.watch.time.monotonic", lambda: now[0])
    jobs.create("a" * 36, "-", "a.jpg", ["thumbnail"])
    look = watch.Watch("a" * 36)

    def minute() -> None:
        for _ in range(120):
            now[0] += 0.5
            look()

    assert sent_by(minute) == ["dynamodb.GetItem"] * 30
