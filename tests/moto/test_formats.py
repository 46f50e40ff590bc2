"""A deployment loses nothing: what another version of the code has begun, this one ends."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import av
import boto3
import msgspec
import pytest

from chalicelib.api import hls, job_lists, submissions, uploads
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.api.views import JobView
from chalicelib.errors import NotFound
from chalicelib.formats import mp4_excerpt
from chalicelib.jobs import sweep
from chalicelib.model.plan import ENCODER, FORMAT, GENERATION, Plan, work_folder
from chalicelib.model.result import Result
from chalicelib.model.step import STARTED, STATUSES, SUCCESS, Output, StepState
from chalicelib.settings import settings
from chalicelib.store import jobs, lists, plans, steps, tasks
from infra.tools.samples import film
from testing import rows
from testing.cloud import before_put
from testing.pump import deliver, drain, drop, take

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILMS_AT_WORK = sorted(path.name for path in FIXTURES.glob("film_at_work_*.json"))


def _undescribed(schema: Any) -> Any:
    """A JSON schema without docstrings, whose words are no shape."""
    if isinstance(schema, dict):
        return {
            key: _undescribed(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [_undescribed(each) for each in schema] if isinstance(schema, list) else schema


def test_what_tasks_hand_to_each_other_has_the_shapes_of_this_format() -> None:
    """If this fails, count plan.FORMAT up, and write the new digest here."""
    shapes = [_undescribed(msgspec.json.schema(shape)) for shape in (Plan, Result)]
    written = json.dumps([*shapes, mp4_excerpt.KINDS], sort_keys=True).encode()
    assert (FORMAT, hashlib.sha256(written).hexdigest()[:16]) == (6, "bffaeba8894f264f")


@pytest.mark.media
def test_the_layer_has_the_encoder_that_plans_are_made_for() -> None:
    import sluice_ffmpeg

    said = subprocess.run(
        [sluice_ffmpeg.path(), "-version"], capture_output=True, text=True, check=True
    )
    version = re.match(r"ffmpeg version n?([0-9.]+)", said.stdout)
    assert version
    assert f"ffmpeg-{version[1]}" == ENCODER


# ── a film at work ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def source(tmp_path: Path) -> bytes:
    """Eight seconds, 80 frames."""
    film(tmp_path / "a.mp4", size="160x96", rate="10", seconds=8, output=("-g", "20"))
    return (tmp_path / "a.mp4").read_bytes()


def restore(name: str, source: bytes) -> tuple[str, dict[str, list[str]]]:
    """A job as another version left it: its id, and the messages that wait, by queue."""
    event = json.loads(drop("formats.mp4", source))
    etag = event["Records"][0]["s3"]["object"]["eTag"]
    stored = json.loads((FIXTURES / name).read_text().replace("{etag}", etag))
    later = {"N": str(int(time.time()) + 300_000)}
    for item in stored["items"]:
        times = {at: later for at in ("due_at", "deadline_at", "expires_at") if at in item}
        boto3.client("dynamodb").put_item(TableName=settings().jobs_table, Item=item | times)
    for key, body in stored["objects"].items():
        boto3.client("s3").put_object(Bucket=settings().output_bucket, Key=key, Body=body)
    (job_id,) = {item["pk"]["S"][4:] for item in stored["items"] if item["sk"]["S"] == "job"}
    return job_id, stored["messages"]


def job_of(job_id: str) -> JobView:
    return api_jobs.get_job("-", job_id, "https://x/api")


def keys(prefix: str) -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=settings().output_bucket, Prefix=prefix)
    return {item["Key"] for item in listed.get("Contents", ())}


def body(key: str) -> bytes:
    stored = boto3.client("s3").get_object(Bucket=settings().output_bucket, Key=key)
    return stored["Body"].read()


def frames(job: JobView) -> int:
    (key,) = (output.s3_key for output in job.outputs if output.type == "transcode_720p")
    with av.open(io.BytesIO(body(key)), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def begun_by_another_version(job_id: str, generation: str, **more: Any) -> None:
    """Make a job of ours that of another version, whose plan nobody here can read."""
    rows.change_job(job_id, generation=generation, started_by=generation)
    rows.forget_tasks(job_id)
    s3, bucket = boto3.client("s3"), settings().output_bucket
    for key in keys(work_folder(job_id)):
        s3.delete_object(Bucket=bucket, Key=key)
        moved = key.replace(GENERATION, generation)
        s3.put_object(
            Bucket=bucket, Key=moved, Body=json.dumps({"shape": "of a later version"} | more)
        )


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
@pytest.mark.parametrize("created_by_the_new_api", [False, True])
@pytest.mark.parametrize("name", FILMS_AT_WORK)
def test_a_film_that_an_older_version_has_begun_is_ended(
    name: str, created_by_the_new_api: bool, source: bytes
) -> None:
    job_id, messages = restore(name, source)
    if created_by_the_new_api:  # before its intake was replaced, too
        rows.change_job(job_id, generation="", started_by="")
    before = job_of(job_id)
    poster = next(output for output in before.outputs if output.type == "thumbnail")
    old = keys("outputs/")
    # Many messages meet this version, and have intake told once; they come again later.
    for queue, waiting in messages.items():
        assert deliver(queue, *waiting) == waiting
    (start,) = take("intake")
    assert deliver("intake", start) == []
    assert job_of(job_id).error == ""
    drain()
    job = job_of(job_id)
    assert (job.status, job.error, job.warnings) == (SUCCESS, "", [])
    assert frames(job) == 80
    # What had ended stays; all else has keys of its own, and what was left is deleted in the end.
    assert (
        next(output.s3_key for output in job.outputs if output.type == "thumbnail") == poster.s3_key
    )
    made = keys("outputs/") - old
    assert all(GENERATION in key for key in made)
    for queue, waiting in messages.items():
        assert deliver(queue, *waiting) == []
    look_now(job_id)
    assert keys("outputs/") == made | {poster.s3_key}
    assert job_of(job_id).status == SUCCESS


def look_now(job_id: str) -> None:
    rows.change_job(job_id, due_at=int(time.time()) - 1)
    sweep.sweep(lambda: 20.0)


def started(source: bytes, pipeline: str) -> tuple[str, list[str]]:
    """A job of ours, and the messages of its parts."""
    deliver("intake", drop("formats.mp4", source, pipeline=pipeline))
    (job,) = job_lists.list_jobs("-", {"key": "formats.mp4"}, "https://x/api").jobs
    return job.id, take("encode", "audio")


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_film_that_a_later_version_has_begun_is_ended_after_a_roll_back(source: bytes) -> None:
    job_id, ours = started(source, "transcode_720p")
    begun_by_another_version(job_id, "99-ffmpeg-10.0")
    theirs = [
        json.dumps(json.loads(one) | {"generation": "99-ffmpeg-10.0", "and": "more"})
        for one in ours
    ]
    assert deliver("encode", *theirs) == theirs
    drain()  # intake plans, the parts are made
    job = job_of(job_id)
    assert (job.status, frames(job)) == (SUCCESS, 80)
    assert deliver("encode", *theirs, *ours) == []


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_while_a_deployment_is_under_way_messages_wait_for_the_version_that_planned(
    source: bytes,
) -> None:
    """Functions are replaced one after the other: an old worker meets what a new intake has planned."""
    job_id, ours = started(source, "transcode_720p")
    rows.change_job(job_id, generation="99-ffmpeg-10.0")
    for _ in range(3):
        assert deliver("encode", *ours) == ours
    assert len(take("intake")) == 1
    for task_id in ("film.0", "film.1", "sound.0"):
        assert tasks.get(job_id, task_id) is None  # no try was spent on it
    rows.change_job(job_id, generation=GENERATION)
    assert deliver("encode", *ours) == []
    drain()
    assert job_of(job_id).status == SUCCESS


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_after_a_roll_back_the_plan_that_was_left_is_followed_to_its_end(source: bytes) -> None:
    """And what it had made is not made again, nor looked for elsewhere."""
    job_id, (first, *others) = started(source, "transcode_720p,hls_720p")
    assert deliver("encode", first) == []
    rows.change_job(job_id, generation="99-ffmpeg-10.0", replanned=True)
    assert deliver("encode", *others) == others
    drain()
    job = job_of(job_id)
    assert (job.status, frames(job)) == (SUCCESS, 80)
    assert not any(GENERATION in key for key in keys("outputs/"))
    made = tasks.get(job_id, json.loads(first)["task_id"])
    assert made is not None
    assert made.attempts == 1


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_step_that_ends_while_its_job_is_planned_again_has_it_planned_anew(
    source: bytes,
) -> None:
    job_id, ours = started(source, "thumbnail,transcode_720p")
    begun_by_another_version(job_id, "99-ffmpeg-10.0")
    assert deliver("encode", *ours) == ours
    (start,) = take("intake")
    done = StepState(
        SUCCESS, outputs=(Output("thumbnail", "outputs/x.jpg", 1, "image/jpeg", 1, 1),)
    )

    def ends() -> None:
        row = jobs.get(job_id)
        assert row is not None
        assert steps.end(row, {"thumbnail": done}, generation="99-ffmpeg-10.0")

    before_put("plan-", ends)
    assert deliver("intake", start) == [start]
    assert deliver("intake", start) == []
    drain()
    assert (job_of(job_id).status, frames(job_of(job_id))) == (SUCCESS, 80)


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_list_that_grew_by_a_plan_that_was_left_is_not_there(source: bytes) -> None:
    job_id, ours = started(source, "hls_720p")
    for message in ours:
        if not [output for output in job_of(job_id).outputs if not output.complete]:
            assert deliver("encode", message) == []
    (output,) = job_of(job_id).outputs
    token = output.url.split("/hls/")[1].split("/")[0]
    assert hls.hls_file(job_id, token, "video.m3u8")
    rows.change_job(job_id, generation="99-ffmpeg-10.0", started_by="99-ffmpeg-10.0")
    with pytest.raises(NotFound):
        hls.hls_file(job_id, token, "video.m3u8")
    deliver("intake", json.dumps({"job_id": job_id}))
    with pytest.raises(NotFound):
        hls.hls_file(job_id, token, "video.m3u8")


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_source_that_changed_before_it_was_planned_again_ends_the_job(source: bytes) -> None:
    job_id, ours = started(source, "thumbnail,transcode_720p")
    begun_by_another_version(job_id, "99-ffmpeg-10.0")
    drop("formats.mp4", source + b"\0")
    assert deliver("encode", *ours) == ours
    drain()
    assert job_of(job_id).error_code == "source_changed"


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_film_that_is_copied_first_is_copied_again(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", size="160x96", rate="10", seconds=20, output=("-g", "20"))
    deliver("intake", drop("a.mkv", (tmp_path / "a.mkv").read_bytes(), pipeline="transcode_720p"))
    for queue in ("audio", "intake"):  # the copy, the plan
        assert deliver(queue, *take(queue)) == []
    (job,) = job_lists.list_jobs("-", {}, "https://x/api").jobs
    assert job.status == "STARTED"
    begun_by_another_version(job.id, "99-ffmpeg-10.0")
    waiting = take("encode", "audio")
    assert deliver("encode", *waiting) == waiting
    drain()
    job = job_of(job.id)
    assert (job.status, frames(job)) == (SUCCESS, 200)
    assert job.encoding.startswith("In 4 chunks at once, from a copy")


@pytest.mark.usefixtures("cloud")
def test_a_start_that_says_more_than_this_version_knows_is_a_start(source: bytes) -> None:
    drop("formats.mp4", source)
    job_id = submissions.from_key("-", FromKeyRequest("formats.mp4", ["thumbnail"]), None).job_id
    (start,) = take("intake")
    assert deliver("intake", json.dumps(json.loads(start) | {"and": "more"})) == []
    drain()
    assert job_of(job_id).status == SUCCESS


@pytest.mark.usefixtures("cloud")
def test_plans_of_one_generation_are_not_those_of_another(source: bytes) -> None:
    assert work_folder("j") == f"work/j/{GENERATION}/"
    plan = Plan((), {})
    uploads.presign("-", PresignRequest("formats.mp4", "video/mp4", ["thumbnail"]))
    (waiting,) = lists.newest(1, None, lists.Wanted(["-"], STATUSES)).jobs
    began = partial(msgspec.structs.replace, waiting, job_id="j", status=STARTED)
    ours, theirs = began(started_by=GENERATION), began(started_by="99-ffmpeg-10.0")
    for job in (ours, theirs):
        assert plans.store_plan(job, "e", plan) == plan
    assert keys("work/j/") == {f"work/j/{GENERATION}/{name}-e.json" for name in ("plan", "replan")}
