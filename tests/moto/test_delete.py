"""A job is deleted: nothing of it is left but its tombstone, and nothing of another job is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from chalice.test import Client

from app import app
from chalicelib.api import hls, job_lists, submissions, uploads
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.errors import Conflict, Forbidden, Gone, Malformed, NotFound
from chalicelib.jobs import sweep
from chalicelib.model.step import DELETED, FAILURE, STARTED, SUCCESS
from chalicelib.settings import settings
from chalicelib.store import jobs, objects, overdue
from infra.tools.samples import film
from testing import rows
from testing.pump import deliver, drain, drop, event_of

pytestmark = [pytest.mark.usefixtures("cloud"), pytest.mark.media]
Sample = Callable[[str], Path]
BASE = "https://x/api"


def delete(job_id: str, **flags: str) -> None:
    api_jobs.delete_job("-", job_id, flags)


def swept(job_id: str) -> None:
    """Let the sweep come, which does not look at what is due in this very second."""
    rows.change_job(job_id, due_at=1)
    sweep.sweep(lambda: 60.0)


def when_no_worker_is_left(job_id: str) -> None:
    """Let the time come at which the sweep looks for the last time."""
    rows.change_job(job_id, deadline_at=1)
    swept(job_id)


def dropped(sample: Path, pipeline: str, key: str = "a.x") -> str:
    """The id of a dropped file's job, which has ended."""
    deliver("intake", drop(key, sample.read_bytes(), pipeline=pipeline))
    drain()
    return newest_job(key)


def newest_job(key: str) -> str:
    return job_lists.list_jobs("-", {"key": key}, BASE).jobs[0].id


def keys(bucket: str = "") -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket or settings().output_bucket)
    return {item["Key"] for item in listed.get("Contents", ())}


def check_deleted(job_id: str) -> None:
    """Nothing is left but the tombstone, which tells nothing, and nothing is due."""
    assert not {key for key in keys() if job_id in key or job_id.replace("-", "") in key}
    assert rows.items_of(job_id) == {"job"}
    tombstone = rows.job_item(job_id)
    assert tombstone["status"] == {"S": DELETED}
    assert not tombstone.keys() & {"due_at", "due_shard", "used", "step_names"}
    assert (tombstone["filename"], tombstone["pipeline"]) == ({"S": ""}, {"L": []})
    assert "expires_at" in tombstone
    with pytest.raises(Gone, match="deleted"):
        api_jobs.get_job("-", job_id, BASE)
    assert job_id not in [job.id for job in job_lists.list_jobs("-", {}, BASE).jobs]


@pytest.fixture
def chunks(tmp_path: Path, short_chunks: None) -> Path:
    """A film of three chunks and one part of sound."""
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    return tmp_path / "a.mp4"


@pytest.fixture
def deletes_originals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLUICE_DELETE_ORIGINALS", "true")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("pipeline", ["thumbnail", "transcode_720p,hls_720p"])
def test_a_job_leaves_nothing_but_its_tombstone(
    sample: Sample, chunks: Path, pipeline: str
) -> None:
    source = sample("photo.jpg") if pipeline == "thumbnail" else chunks
    job_id = dropped(source, pipeline)
    other = dropped(source, pipeline, "b.x")
    of_other = keys() - {key for key in keys() if job_id.replace("-", "") in key.replace("-", "")}
    assert api_jobs.get_job("-", job_id, BASE).status == SUCCESS
    delete(job_id)
    with pytest.raises(Gone):  # at once
        api_jobs.get_job("-", job_id, BASE)
    delete(job_id)  # once more
    swept(job_id)
    assert rows.items_of(job_id) == {"job"}
    when_no_worker_is_left(job_id)
    check_deleted(job_id)
    delete(job_id)
    check_deleted(job_id)
    assert keys() == of_other
    assert api_jobs.get_job("-", other, BASE).status == SUCCESS
    assert "a.x" in keys(settings().upload_bucket)


def test_what_a_late_worker_stores_goes_too(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    (output,) = api_jobs.get_job("-", job_id, BASE).outputs
    delete(job_id)
    swept(job_id)
    assert not keys()
    objects.put_output(output.s3_key, b"late")
    assert rows.job_item(job_id)["due_at"] == rows.job_item(job_id)["deadline_at"]
    when_no_worker_is_left(job_id)
    check_deleted(job_id)


def test_a_job_at_work_is_deleted_only_where_it_may_be_canceled(chunks: Path) -> None:
    deliver("intake", drop("a.x", chunks.read_bytes(), pipeline="hls_720p"))
    job_id = newest_job("a.x")
    assert api_jobs.get_job("-", job_id, BASE).status == STARTED
    with pytest.raises(Conflict, match="cancel=true"):
        delete(job_id)
    delete(job_id, cancel="true")
    drain()  # its messages find nothing to do
    swept(job_id)
    when_no_worker_is_left(job_id)
    check_deleted(job_id)


def test_an_upload_of_a_deleted_job_starts_nothing(sample: Sample) -> None:
    answer = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"]))
    assert answer.job_id
    delete(answer.job_id, cancel="true")
    swept(answer.job_id)
    body = sample("photo.jpg").read_bytes()
    put = boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key=answer.key, Body=body)
    deliver("intake", event_of(answer.key, size=len(body), etag=put["ETag"].strip('"')))
    drain()
    when_no_worker_is_left(answer.job_id)
    check_deleted(answer.job_id)
    # Whoever asks for a job then gets another one.
    again = submissions.from_key("-", FromKeyRequest(answer.key, ["thumbnail"]), None).job_id
    assert again != answer.job_id
    drain()
    assert api_jobs.get_job("-", again, BASE).status == SUCCESS


def test_whoever_asks_again_gets_a_new_job(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    delete(job_id)
    swept(job_id)
    again = submissions.from_key("-", FromKeyRequest("a.x", ["thumbnail"]), None).job_id
    assert again != job_id
    drain()
    assert api_jobs.get_job("-", again, BASE).status == SUCCESS
    when_no_worker_is_left(job_id)
    check_deleted(job_id)
    assert api_jobs.get_job("-", again, BASE).outputs


def test_a_player_of_a_deleted_film_is_told(chunks: Path) -> None:
    job_id = dropped(chunks, "hls_720p")
    (output,) = api_jobs.get_job("-", job_id, BASE).outputs
    token = output.url.split("/")[-2]
    assert hls.hls_file(job_id, token, "master.m3u8").playlist
    delete(job_id)
    swept(job_id)
    for name in ("master.m3u8", "720p.m3u8", "720p_00001.m4s"):
        with pytest.raises(Gone, match="deleted"):
            hls.hls_file(job_id, token, name)


def test_a_job_that_failed_is_deleted(sample: Sample) -> None:
    job_id = dropped(sample("text.jpg"), "thumbnail")
    assert api_jobs.get_job("-", job_id, BASE).status == FAILURE
    delete(job_id)
    when_no_worker_is_left(job_id)
    check_deleted(job_id)


@pytest.mark.usefixtures("deletes_originals")
def test_an_original_goes_where_the_stage_lets_it(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    delete(job_id, original="true")
    swept(job_id)
    assert "a.x" not in keys(settings().upload_bucket)
    when_no_worker_is_left(job_id)
    check_deleted(job_id)


@pytest.mark.usefixtures("deletes_originals")
def test_an_original_stays_that_another_job_works_on_or_that_was_replaced(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    other = submissions.from_key("-", FromKeyRequest("a.x", ["watermark"]), None).job_id
    with pytest.raises(Conflict, match="at work"):
        delete(job_id, original="true")
    drain()
    assert api_jobs.get_job("-", other, BASE).status == SUCCESS
    delete(job_id, original="true")
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key="a.x", Body=b"another")
    swept(job_id)
    assert "a.x" in keys(settings().upload_bucket)


def test_what_is_refused(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    with pytest.raises(Forbidden, match="SLUICE_DELETE_ORIGINALS"):
        delete(job_id, original="true")
    with pytest.raises(Malformed, match="`cancel` is `true` or `false`"):
        delete(job_id, cancel="yes")
    for unknown in ("4711", "d7b8f4bf-5809-4c62-97a4-c008686e881d"):
        with pytest.raises(NotFound):
            delete(unknown)
    assert api_jobs.get_job("-", job_id, BASE).status == SUCCESS


def test_the_route(sample: Sample) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    with Client(app) as client:
        answers = [client.http.delete(f"/jobs/{job_id}") for _ in range(2)]
        assert [(answer.status_code, answer.body) for answer in answers] == [(204, b"")] * 2
        told = client.http.get(f"/jobs/{job_id}")
    assert (told.status_code, told.json_body["code"]) == (410, "job_deleted")


def test_a_sweep_that_dies_on_its_way_goes_on(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = dropped(sample("photo.jpg"), "thumbnail")
    delete(job_id)

    def dies(_: str) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "forget_items", dies)
        with pytest.raises(ExceptionGroup):
            swept(job_id)
    assert len(rows.items_of(job_id)) > 1
    swept(job_id)
    when_no_worker_is_left(job_id)
    check_deleted(job_id)


def test_a_canceled_job_that_moved_is_not_deleted_by_an_old_look(sample: Sample) -> None:
    """The tombstone takes the place of the row that was read, of no other."""
    deliver("intake", drop("a.x", sample("photo.jpg").read_bytes(), pipeline="thumbnail"))
    job_id = newest_job("a.x")
    before = jobs.get(job_id)
    assert before
    assert not jobs.delete(before, takes_original=False)  # at work
    drain()
    assert not jobs.delete(before, takes_original=False)  # it has ended since
    after = jobs.get(job_id)
    assert after
    assert jobs.delete(after, takes_original=False)
    assert not jobs.delete(after, takes_original=False)
    assert not overdue.postpone(after, looks=0, seen=0)
