"""A job is tried again: a new job makes what failed, and copies what is whole; nothing is encoded twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import boto3
import pytest
from chalice.test import Client

from app import app
from chalicelib.api import job_lists, retries, submissions
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import FromKeyRequest, RetryRequest
from chalicelib.api.views import JobView
from chalicelib.errors import Conflict, Gone, NotFound
from chalicelib.jobs import sweep
from chalicelib.model.result import Failed, Result
from chalicelib.model.step import CANCELED, FAILURE, STARTED, SUCCESS
from chalicelib.model.work import Chunk, Poster, Work
from chalicelib.settings import recipes, settings
from chalicelib.store import listings, objects
from chalicelib.tasks import kinds
from chalicelib.tasks.workbench import Workbench
from infra.tools.samples import film
from testing import rows
from testing.pump import deliver, drain, drop, take

pytestmark = [pytest.mark.usefixtures("cloud"), pytest.mark.media]
Sample = Callable[[str], Path]
BASE = "https://x/api"
FILM = "transcode_720p,hls_720p,thumbnail"


def retry(job_id: str, **asked: str) -> str:
    return retries.retry_job("-", job_id, RetryRequest(**asked)).job_id  # type: ignore[arg-type]


def job_of(job_id: str) -> JobView:
    return api_jobs.get_job("-", job_id, BASE)


def dropped(sample: Path, pipeline: str, key: str = "a.x") -> str:
    """The id of a dropped file's job, whose messages wait."""
    deliver("intake", drop(key, sample.read_bytes(), pipeline=pipeline))
    return job_lists.list_jobs("-", {"key": key}, BASE).jobs[0].id


def read(key: str) -> bytes:
    body = objects.read_object(key)
    assert body is not None
    return body


def files_of(job_id: str) -> dict[str, bytes]:
    """What a job has in the output bucket, by what follows its id."""
    prefix = f"outputs/{job_id.replace('-', '')}_"
    return {key.removeprefix(prefix): read(key) for key in listings.list_outputs(prefix)}


def times(film: bytes) -> list[int]:
    """When each frame of an MP4 is shown, by decoding it."""
    with av.open(io.BytesIO(film), "r") as container:
        return [frame.pts for frame in container.decode(video=0) if frame.pts is not None]


@pytest.fixture
def chunks(tmp_path: Path, short_chunks: None) -> Path:
    """A film of three chunks and one part of sound."""
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    return tmp_path / "a.mp4"


class Ran:
    """Counts the tasks whose work is carried out, and has those of some fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks: list[str] = []
        self.failing: Callable[[Work], bool] = lambda _: False
        kind_of = kinds.kind_of

        def counted(work: Work) -> kinds.Kind:
            def run(bench: Workbench) -> Result:
                self.tasks.append(bench.task.id)
                if self.failing(work):
                    return Failed("conversion_failed", "It was made to fail.")
                return kind_of(work).run(bench)

            return kinds.Kind(run, kind_of(work).predict)

        monkeypatch.setattr("chalicelib.jobs.runner.kind_of", counted)

    def again(self) -> None:
        self.tasks, self.failing = [], lambda _: False


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    return Ran(monkeypatch)


def test_only_the_poster_of_a_film_is_made_again(chunks: Path, ran: Ran) -> None:
    ran.failing = lambda work: isinstance(work, Poster)
    first = dropped(chunks, FILM)
    drain()
    before = job_of(first)
    assert before.status == FAILURE
    ran.again()
    second = retry(first)
    drain()
    job = job_of(second)
    assert (job.status, job.retry_of, job.progress) == (SUCCESS, first, 100)
    assert job.pipeline == before.pipeline
    # The playlists are written again; the MP4 is copied.
    assert sorted(ran.tasks) == ["hls_720p", "thumbnail"]
    old, new = files_of(first), files_of(second)
    assert {name: new[name] for name in old} == old
    assert [output.type for output in job.outputs] == FILM.split(",")
    # The old one is as it was.
    assert job_of(first).outputs == before.outputs


def test_a_film_goes_on_where_one_chunk_failed(chunks: Path, ran: Ran) -> None:
    ran.failing = lambda work: isinstance(work, Chunk) and work.first_segment > 0 and odd(work)
    first = dropped(chunks, "transcode_720p,hls_720p")
    drain()
    assert job_of(first).status == FAILURE
    encoded = set(ran.tasks)
    ran.again()
    second = retry(first)
    drain()
    assert job_of(second).status == SUCCESS
    assert "film.1" in ran.tasks
    assert not set(ran.tasks) & (encoded - {"film.1"})
    whole = dropped(chunks, "transcode_720p,hls_720p", "b/a.x")
    drain()
    # One encode is not byte for byte another: what was copied is.
    old, new, wanted = files_of(first), files_of(second), files_of(whole)
    assert new.keys() == wanted.keys()
    assert times(new["a_720p.mp4"]) == times(wanted["a_720p.mp4"])
    kept = {name for name in old if name.endswith(".m4s")}
    assert kept
    assert {name: new[name] for name in kept} == {name: old[name] for name in kept}


def odd(work: Chunk) -> bool:
    return work.first_segment == 1


def test_a_retry_of_a_retry_copies_too(chunks: Path, ran: Ran) -> None:
    ran.failing = lambda work: isinstance(work, Poster)
    first = dropped(chunks, "transcode_720p,thumbnail")
    drain()
    second = retry(first)
    drain()
    assert job_of(second).status == FAILURE
    ran.again()
    third = retry(second)
    drain()
    assert (job_of(third).status, job_of(third).retry_of) == (SUCCESS, second)
    assert ran.tasks == ["thumbnail"]
    assert read(job_of(third).outputs[0].s3_key) == read(job_of(first).outputs[0].s3_key)


def test_a_canceled_film_goes_on(chunks: Path, ran: Ran) -> None:
    first = dropped(chunks, "hls_720p")
    (message, *_) = take("encode")
    deliver("encode", message)
    api_jobs.cancel_job("-", first, BASE)
    assert job_of(first).status == CANCELED
    done = ran.tasks
    assert len(done) == 1
    ran.again()
    second = retry(first)
    drain()
    assert job_of(second).status == SUCCESS
    assert not set(ran.tasks) & set(done)


def test_all_is_made_anew_where_that_is_asked_for(sample: Sample, ran: Ran) -> None:
    first = dropped(sample("photo.jpg"), "thumbnail")
    drain()
    with pytest.raises(Conflict) as refusal:
        retry(first)
    assert refusal.value.code == "nothing_to_retry"
    ran.again()
    second = retry(first, steps="all")
    drain()
    assert (job_of(second).status, job_of(second).retry_of) == (SUCCESS, first)
    assert ran.tasks == ["thumbnail"]


def test_repeating_gives_the_same_job_until_that_fails(sample: Sample) -> None:
    first = dropped(sample("text.jpg"), "thumbnail")
    assert job_of(first).status == FAILURE
    second = retry(first)
    assert retry(first) == second
    drain()
    assert job_of(second).status == FAILURE
    third = retry(first)
    assert third not in (first, second)
    # It stands for the file and the steps, too.
    assert submissions.from_key("-", FromKeyRequest("a.x"), None).job_id == third


def test_the_latest_recipe(sample: Sample, monkeypatch: pytest.MonkeyPatch, ran: Ran) -> None:
    body = sample("photo.jpg").read_bytes()
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key="a.x", Body=body)
    first = submissions.from_key("-", FromKeyRequest("a.x", recipe="default"), None).job_id
    drain()
    assert job_of(first).status == SUCCESS
    with pytest.raises(Conflict, match="all"):
        retry(first, recipe="latest")
    steps = '"thumbnail", "watermark"'
    changed = recipes().replace(steps, steps + ', {"make" = "image", "name" = "small"}', 1)
    monkeypatch.setattr("chalicelib.api.recipes.recipes", lambda: changed)
    monkeypatch.setattr("chalicelib.jobs.intake.recipes", lambda: changed)
    second = retry(first, recipe="latest")
    drain()
    assert [output.type for output in job_of(second).outputs][:2] == ["thumbnail", "watermark"]
    assert "small" in {output.type for output in job_of(second).outputs}


def test_what_is_refused(sample: Sample) -> None:
    first = dropped(sample("photo.jpg"), "thumbnail")
    assert job_of(first).status == STARTED
    with pytest.raises(Conflict, match="wait for its end"):
        retry(first)
    drain()
    with pytest.raises(NotFound):
        retry("d7b8f4bf-5809-4c62-97a4-c008686e881d")
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key="a.x", Body=b"another")
    with pytest.raises(Conflict) as refusal:
        retry(first, steps="all")
    assert refusal.value.code == "source_replaced"
    api_jobs.delete_job("-", first, {})
    with pytest.raises(Gone):
        retry(first)


def test_files_of_a_failed_job_are_kept_for_its_retry(chunks: Path, ran: Ran) -> None:
    ran.failing = lambda work: isinstance(work, Chunk) and odd(work)
    first = dropped(chunks, "hls_720p")
    drain()
    assert job_of(first).status == FAILURE
    due = int(rows.job_item(first)["due_at"]["N"])
    rows.change_job(first, due_at=due - 80_000)
    ran.again()
    second = retry(first)
    assert int(rows.job_item(first)["due_at"]["N"]) >= due
    drain()
    assert job_of(second).status == SUCCESS
    rows.change_job(first, due_at=1)
    sweep.sweep(lambda: 60.0)
    assert files_of(first) == {}
    assert job_of(second).outputs


@pytest.mark.parametrize("pipeline", ["hls_720p,thumbnail", "transcode_720p,thumbnail"])
def test_what_is_deleted_while_it_is_to_be_copied(chunks: Path, ran: Ran, pipeline: str) -> None:
    ran.failing = lambda work: isinstance(work, Poster)
    first = dropped(chunks, pipeline)
    drain()
    ran.again()
    second = retry(first)
    deliver("intake", *take("intake"))
    assert job_of(second).status == STARTED
    api_jobs.delete_job("-", first, {})
    rows.change_job(first, due_at=1)
    sweep.sweep(lambda: 60.0)
    drain()
    job = job_of(second)
    if "hls" in pipeline:  # its parts are made again
        assert job.status == SUCCESS
        assert {"film.0", "film.1", "film.2"} <= set(ran.tasks)
    else:
        assert (job.status, job.steps[0].error_code) == (FAILURE, "reused_missing")
        third = retry(second)
        drain()
        assert job_of(third).status == SUCCESS


def test_the_route(sample: Sample) -> None:
    first = dropped(sample("text.jpg"), "thumbnail")
    with Client(app) as client:
        for body in (b"", b"{}", b'{"steps": "failed", "recipe": "latest"}'):
            answer = client.http.post(f"/jobs/{first}/retry", body=body)
            assert (answer.status_code, answer.json_body["job_id"] != first) == (202, True)
        answer = client.http.post(f"/jobs/{first}/retry", body=b'{"steps": "some"}')
        assert (answer.status_code, answer.json_body["code"]) == (400, "malformed_request")
