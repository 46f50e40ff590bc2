"""The Lambdas together, in this process, under moto: once, twice, late, and in the wrong order."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import msgspec
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from chalice.test import Client
from hishel import CacheOptions, SqliteStorage
from hishel.httpx import CacheTransport
from PIL import Image

from app import app
from chalicelib.api import hls, job_lists, submissions, uploads
from chalicelib.api import jobs as api_jobs
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.api.views import JobView
from chalicelib.errors import COMPUTING_MODULES, COMPUTING_PACKAGES, JobError, TimedOut, defect
from chalicelib.formats import mp4_movie
from chalicelib.invocation import Invocation
from chalicelib.jobs import consumer, films, intake, lifecycle, s3_events
from chalicelib.jobs import sweep as sweeping
from chalicelib.model.job import Item, Job
from chalicelib.model.plan import GENERATION, Plan, Task, work_folder
from chalicelib.model.result import Copied, Failed, StepsEnded
from chalicelib.model.step import FAILURE, STARTED, STATUSES, SUCCESS, Output, StepState
from chalicelib.model.work import Audio, Chunk, Run, Source
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import chunking, planner
from chalicelib.probing import inspect
from chalicelib.settings import DROPS, queue_url, settings
from chalicelib.store import (
    clients,
    jobs,
    lists,
    objects,
    plans,
    progress,
    queues,
    starts,
    steps,
    tasks,
)
from chalicelib.store.queues import StartMessage
from chalicelib.store.tasks import Claim
from chalicelib.telemetry import logger
from infra.tools.samples import film, run_ffmpeg
from testing import rows
from testing.cloud import before_put
from testing.local import FREE, a_plan, facts_of
from testing.planned import DEFAULTS
from testing.pump import Context, deliver, drain, drop, event_of, record_of, take

pytestmark = [pytest.mark.usefixtures("cloud"), pytest.mark.media]
Sample = Callable[[str], Path]


def only_job(key: str | None = None) -> JobView:
    """The one job there is, as the API shows it."""
    parameters = {"key": key} if key else {}
    (job,) = job_lists.list_jobs("-", parameters, "https://x/api").jobs
    return job


def outputs() -> dict[str, bytes]:
    """Every object under outputs/."""
    s3 = boto3.client("s3")
    listed = s3.list_objects_v2(Bucket=settings().output_bucket, Prefix="outputs/")
    return {
        item["Key"]: s3.get_object(Bucket=settings().output_bucket, Key=item["Key"])["Body"].read()
        for item in listed.get("Contents", [])
    }


# ── triggers ────────────────────────────────────────────────────────────────────────────────────


def test_a_dropped_picture_gets_the_default_steps(sample: Sample) -> None:
    deliver("intake", drop("in box/a+b %41 ü.jpg", sample("photo.jpg").read_bytes()))
    assert only_job().status == STARTED
    drain()
    job = only_job("in box/a+b %41 ü.jpg")
    assert (job.status, job.pipeline) == (SUCCESS, ["thumbnail", "watermark"])
    assert [output.type for output in job.outputs] == ["thumbnail", "watermark"]
    assert {output.s3_key for output in job.outputs} == outputs().keys()
    assert [len(outputs()[output.s3_key]) for output in job.outputs] == [
        output.size for output in job.outputs
    ]


def test_a_dropped_film_gets_the_default_steps_and_is_encoded_once(sample: Sample) -> None:
    deliver("intake", drop("small.mp4", sample("small.mp4").read_bytes()))
    drain()
    job = only_job()
    assert (job.status, job.pipeline) == (SUCCESS, ["thumbnail", "transcode_720p", "hls_720p"])
    assert job.outputs[1].duration == pytest.approx(2.0)
    task = tasks.get(job.id, "film.0")
    assert task is not None
    assert task.attempts == 1


PLAYLISTS = ("master.m3u8", "video.m3u8", "audio.m3u8")


def chunks_for_hls(folder: Path) -> dict[str, str]:
    """Drop a film that is encoded in three chunks and one of sound; the message of each, by its task."""
    film(folder / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    deliver("intake", drop("a.mp4", (folder / "a.mp4").read_bytes(), pipeline="hls_720p"))
    return {json.loads(body)["task_id"]: body for body in take("encode", "audio")}


@pytest.mark.usefixtures("short_chunks")
def test_hls_plays_and_grows_before_it_is_complete(tmp_path: Path) -> None:
    messages = chunks_for_hls(tmp_path)
    assert set(messages) == {"film.0", "film.1", "film.2", "sound.0"}
    assert only_job().encoding == "In 3 chunks at once."
    deliver("encode", messages["film.0"])
    assert only_job().outputs == []
    deliver("encode", messages["sound.0"])
    job = only_job()
    (output,) = job.outputs
    assert (job.status, output.complete, output.duration) == ("STARTED", False, 16.0)
    assert 0 < job.progress < 99
    _, _, job_id, _, token, name = urlsplit(output.url).path.rsplit("/", 5)

    def read(file: str) -> str:
        found = hls.hls_file(job_id, token, file)
        return found.playlist or found.address

    def kept(file: str) -> int:
        return hls.hls_file(job_id, token, file).max_age

    provisional = read(name)
    assert 'CODECS="avc1.' in provisional
    # Nothing that will be another is stored, and nobody may keep it.
    assert not [key for key in outputs() if key.endswith(".m3u8")]
    assert [kept(file) for file in PLAYLISTS] == [0, 0, 0]
    assert 0 < kept("video_00000.m4s") <= 300
    early = read("video.m3u8").splitlines()
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in early
    assert [line for line in early if line.endswith(".m4s")] == ["video_00000.m4s"]
    assert "#EXT-X-ENDLIST" not in read("audio.m3u8")
    assert read("video_00000.m4s").startswith("https://")
    for number in (2, 1, 2):  # out of order, and one of them twice
        deliver("encode", messages[f"film.{number}"])
    drain()
    job = only_job()
    assert (job.status, job.outputs[0].complete) == (SUCCESS, True)
    whole = read("video.m3u8").splitlines()
    is_listed = early.index("#EXT-X-INDEPENDENT-SEGMENTS")
    assert whole[is_listed : len(early)] == early[is_listed:]
    assert whole[-1] == "#EXT-X-ENDLIST"
    assert "AVERAGE-BANDWIDTH" in read(name)
    assert "AVERAGE-BANDWIDTH" not in provisional
    assert all(kept(file) > 3600 for file in PLAYLISTS)


@pytest.mark.usefixtures("short_chunks")
def test_a_client_that_caches_by_the_rules_sees_a_film_grow(tmp_path: Path) -> None:
    """A private cache after RFC 9111, as browsers have one."""
    messages = chunks_for_hls(tmp_path)
    served: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        served.append(request.url.path)
        path = request.url.path.removeprefix("/api")
        with Client(app) as gateway:
            answer = gateway.http.request("GET", path)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.body)

    storage = SqliteStorage(database_path=tmp_path / "cache.db")
    cache = CacheTransport(httpx.MockTransport(serve), storage, rfc=CacheOptions(shared=False))
    with httpx.Client(transport=cache) as browser:

        def listed() -> list[int]:
            """How many segments each playlist names, and how often we were asked for the three."""
            before = len(served)
            folder = only_job().outputs[0].url.rpartition("/")[0]
            texts = [browser.get(f"{folder}/{name}").raise_for_status().text for name in PLAYLISTS]
            return [*(text.count(".m4s") for text in texts[1:]), len(served) - before]

        for first in ("film.0", "sound.0"):
            deliver("encode", messages.pop(first))
        early = listed()
        deliver("encode", messages.pop("film.1"))
        later = listed()
        deliver("encode", messages.pop("film.2"))
        drain()
        assert only_job().status == SUCCESS
        ended, again = listed(), listed()
    assert early[0] < later[0] < ended[0]
    assert [times[-1] for times in (early, later, ended, again)] == [3, 3, 3, 0]
    assert again[:2] == ended[:2]


@pytest.mark.usefixtures("short_chunks")
def test_a_playlist_is_there_at_the_moment_when_its_job_ends(tmp_path: Path) -> None:
    messages = chunks_for_hls(tmp_path)
    for first in ("film.0", "sound.0"):
        deliver("encode", messages.pop(first))
    _, _, job_id, _, token, _ = urlsplit(only_job().outputs[0].url).path.rsplit("/", 5)
    events = clients.s3().meta.events

    def ends(**_: object) -> None:
        """Right after it was looked for in vain."""
        events.unregister("after-call.s3.GetObject", ends)
        for message in messages.values():
            deliver("encode", message)
        drain()

    events.register("after-call.s3.GetObject", ends)
    playlist = hls.hls_file(job_id, token, "video.m3u8").playlist
    assert only_job().status == SUCCESS
    assert playlist.endswith("#EXT-X-ENDLIST\n")


def test_metadata_of_a_drop_chooses_the_pipeline(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    deliver("intake", drop("a.jpg", body, pipeline="watermark , thumbnail"))
    deliver("intake", drop("b.jpg", body, pipeline="sepia"))
    drain()
    assert only_job("a.jpg").pipeline == ["watermark", "thumbnail"]
    failed = only_job("b.jpg")
    assert (failed.status, failed.error_code) == (FAILURE, "unknown_step")
    assert "sepia" in failed.error


def test_an_upload_without_a_pipeline_waits_for_from_key(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg"))
    deliver("intake", drop(upload.key, sample("photo.jpg").read_bytes()))
    assert job_lists.list_jobs("-", {}, "https://x/api").jobs == []
    submissions.from_key("-", FromKeyRequest(upload.key, ["thumbnail"]), None)
    drain()
    assert only_job().status == SUCCESS


def test_an_upload_with_a_pipeline_starts_by_itself(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"]))
    deliver("intake", drop(upload.key, sample("photo.jpg").read_bytes()))
    drain()
    job = only_job()
    assert (job.id, job.status) == (upload.job_id, SUCCESS)


def test_what_is_no_upload_makes_no_job() -> None:
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})
    marker = drop("folder/", b"")
    removed = event_of("gone.jpg", size=0, etag="", name="ObjectRemoved:Delete")
    assert deliver("intake", test_event, marker, removed) == []
    assert job_lists.list_jobs("-", {}, "https://x/api").jobs == []


@pytest.mark.parametrize(
    "name",
    ["ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload", "ObjectCreated:Post"],
)
def test_every_way_of_creating_an_object_counts(sample: Sample, name: str) -> None:
    body = sample("tiny.png").read_bytes()
    drop("a.png", body)
    etag = objects.find_original("a.png").etag  # type: ignore[union-attr]
    deliver("intake", event_of("a.png", size=len(body), etag=etag, name=name))
    drain()
    assert only_job().status == SUCCESS


# ── everything arrives twice ────────────────────────────────────────────────────────────────────


def test_an_event_delivered_five_times_is_one_job(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes())
    for _ in range(5):
        assert deliver("intake", event) == []
    drain()
    assert only_job().status == SUCCESS


@pytest.mark.parametrize("change", ["deleted", "overwritten", "told anew"])
def test_an_event_is_one_job_whatever_became_of_its_object(sample: Sample, change: str) -> None:
    body = sample("tiny.png").read_bytes()
    event = drop("a.png", body)
    deliver("intake", event)
    drain()
    (first,) = job_lists.list_jobs("-", {}, "https://x/api").jobs
    if change == "deleted":
        boto3.client("s3").delete_object(Bucket=settings().upload_bucket, Key="a.png")
    elif change == "overwritten":
        drop("a.png", sample("photo.jpg").read_bytes())
    else:
        drop("a.png", body, pipeline="thumbnail")
    assert deliver("intake", event) == []
    assert deliver("dead_letters", event) == []
    drain()
    assert [job.id for job in job_lists.list_jobs("-", {}, "https://x/api").jobs] == [first.id]


def test_a_drop_that_may_not_be_read_is_a_job_that_says_so(sample: Sample) -> None:
    event = drop("a.png", sample("tiny.png").read_bytes())

    def refuse(**_: object) -> AWSResponse:
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        raw = type("Raw", (io.BytesIO,), {"stream": lambda self, **_: iter([self.read()])})(body)
        return AWSResponse("https://a", 403, HTTPHeaders(), raw)

    events: Any = clients.s3().meta.events  # its stub knows no handler that answers
    events.register_first("before-send.s3.GetObject", refuse)
    assert deliver("intake", event) == []
    assert only_job().error_code == "source_missing"
    assert only_job().error.endswith("or may not be read.")


def test_a_step_of_a_later_version_waits_for_that(sample: Sample) -> None:
    job_id = str(uuid.uuid4())
    drop("photo.jpg", sample("photo.jpg").read_bytes())
    jobs.create(job_id, "-", "photo.jpg", ["thumbnail", "storyboard"])
    start = json.dumps({"job_id": job_id})
    for receives in range(1, 9):
        assert deliver("intake", start, receives=receives) == [start]
    assert only_job().status == "PENDING"


def test_messages_delivered_five_times_give_one_set_of_outputs(sample: Sample) -> None:
    event = drop("small.mp4", sample("small.mp4").read_bytes())
    deliver("intake", event)
    drain(times=5)
    job = only_job()
    before = outputs()
    row = rows.job_item(job.id)
    deliver("intake", event)
    drain(times=2)
    assert rows.job_item(job.id) == row
    assert outputs() == before
    for task in ("thumbnail", "film.0", "sound.0", "transcode_720p", "hls_720p"):
        assert tasks.get(job.id, task).attempts == 1  # type: ignore[union-attr]


def test_the_same_key_dropped_again_is_another_job(sample: Sample) -> None:
    body = sample("tiny.png").read_bytes()
    for _ in range(2):
        deliver("intake", drop("a.png", body))
        drain()
    found = job_lists.list_jobs("-", {"key": "a.png"}, "https://x/api").jobs
    assert [job.status for job in found] == [SUCCESS, SUCCESS]
    assert len(outputs()) == 4


def test_an_upload_starts_its_job_once_however_often_its_bytes_are_put(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.png", "image/png", ["thumbnail"]))
    body = sample("tiny.png").read_bytes()
    events = [drop(upload.key, body) for _ in range(3)]
    sent = []
    for number, event in enumerate(events):
        assert deliver("intake", event, first=number) == []
        sent.append(len(take("pictures")))
    assert sent == [1, 0, 0]
    # The message that started it comes again: whoever brought it may have died before it was sent for.
    assert deliver("intake", events[0], receives=2) == []
    assert len(take("pictures")) == 1


def test_what_is_put_where_something_was_put_before_starts_nothing(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.png", "image/png", ["thumbnail"]))
    first = drop(upload.key, sample("photo.jpg").read_bytes())
    body = sample("tiny.png").read_bytes()
    second = drop(upload.key, body)
    assert s3_events.arrivals(s3_events.decode(first)) == [(upload.job_id, None)]
    assert s3_events.arrivals(s3_events.decode(second)) == []
    # Its first event is what starts it, with whatever is there by then.
    assert deliver("intake", first) == []
    assert jobs.get(upload.job_id or "").etag == objects.find_original(upload.key).etag  # type: ignore[union-attr]


def test_of_many_calls_for_a_job_one_sends_its_messages(sample: Sample) -> None:
    drop("a.png", sample("tiny.png").read_bytes())
    for _ in range(4):
        job_id = submissions.from_key("-", FromKeyRequest("a.png", ["thumbnail"]), None).job_id
    sent = []
    for number, start in enumerate(take("intake")):
        assert deliver("intake", start, first=number) == []
        sent.append(len(take("pictures")))
    assert sent == [1, 0, 0, 0]
    # The sweep asks for what is due, whoever has started the job.
    queues.send_start(job_id, resume=True)
    (resume,) = take("intake")
    assert deliver("intake", resume, first=9) == []
    assert len(take("pictures")) == 1


ENDS = {
    "thumbnail": StepState(
        SUCCESS, outputs=(Output("thumbnail", "outputs/x", 1, "image/jpeg", 1, 1),)
    )
}


def started(sample: Sample, *pipeline: str, name: str = "photo.jpg") -> str:
    """A job whose first messages are sent, and taken off their queues."""
    deliver("intake", drop(name, sample(name).read_bytes(), pipeline=",".join(pipeline)))
    take("pictures")
    return only_job(name).id


def message(job_id: str, task_id: str) -> str:
    return json.dumps({"job_id": job_id, "task_id": task_id, "generation": GENERATION})


def overdue(job_id: str, **changes: int) -> Job:
    """Have the next sweep look at a job; `changes` name what else is in the past."""
    past = int(time.time()) - 1
    rows.change_job(job_id, due_at=past, **dict.fromkeys(changes, past))
    job = jobs.get(job_id)
    assert job is not None
    return job


def item_of(job: Job) -> Item:
    """As a sweep has read it."""
    return Item((f"job#{job.job_id}", "job"), job.due_at, job)


def sweep() -> None:
    sweeping.sweep(lambda: 20.0)


def test_a_message_whose_task_somebody_has_comes_again_when_the_lease_ends(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    tasks.claim(job_id, "thumbnail", "somebody", 60)
    body = message(job_id, "thumbnail")
    assert deliver("pictures", body) == [body]
    assert take("pictures") == []
    assert only_job().status == STARTED


@pytest.mark.parametrize("seconds", [0.1, 0.6])
def test_a_message_is_hidden_for_as_long_as_it_was_told_or_longer(seconds: float) -> None:
    """Were it shorter, a message that meets a lease would come, and be told so, again and again."""
    url = queue_url("pictures")
    hidden = record_of("pictures", 0, "{}", 1)["receiptHandle"]
    before = time.monotonic()
    queues.hide(url, hidden, seconds)
    sqs = boto3.client("sqs")
    while not sqs.receive_message(QueueUrl=url).get("Messages"):
        time.sleep(0.01)
    assert time.monotonic() - before >= 0.95


def test_a_worker_that_died_before_its_fan_in_is_finished_by_the_next(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    claim, _ = tasks.claim(job_id, "thumbnail", "dead", 60)
    assert claim is Claim.FREE
    tasks.end(job_id, "thumbnail", "dead", StepsEnded(ENDS))
    assert only_job().status == STARTED
    assert deliver("pictures", message(job_id, "thumbnail")) == []
    assert only_job().status == SUCCESS


def test_a_worker_that_died_between_a_steps_end_and_the_jobs_is_finished_by_the_next(
    sample: Sample,
) -> None:
    job_id = started(sample, "thumbnail")
    deliver("pictures", message(job_id, "thumbnail"))
    rows.change_job(job_id, status=STARTED)
    deliver("pictures", message(job_id, "thumbnail"))
    assert only_job().status == SUCCESS


def test_an_intake_that_died_before_sending_is_finished_by_the_next(sample: Sample) -> None:
    event = drop("photo.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    deliver("intake", event)
    assert len(take("pictures")) == 1
    deliver("intake", event)
    assert len(take("pictures")) == 1


def test_an_intake_that_was_overtaken_leaves_what_is_sent_to_the_other_and_to_the_sweep(
    sample: Sample,
) -> None:
    event = drop("photo.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    facts = facts_of(sample("photo.jpg"))

    def overtake() -> None:
        (job,) = lists.newest(1, None, lists.Wanted([DROPS], STATUSES)).jobs
        watermark = find_steps(["watermark"], JobError)
        plan = planner.make_plan(job.job_id, "photo.jpg", facts, watermark, DEFAULTS)
        plans.store_plan(job, "other", plan)
        assert starts.start(
            job,
            duration=None,
            etag="other",
            pipeline=["watermark"],
            recipe="",
            plan=plan,
            starter="m",
            charge=FREE,
        )

    before_put("/plan-", overtake)
    deliver("intake", event)
    assert take("pictures") == []
    queues.send_start(only_job().id, resume=True)
    deliver("intake", *take("intake"))
    (body,) = take("pictures")
    assert json.loads(body)["task_id"] == "watermark"


@pytest.mark.media
@pytest.mark.parametrize("name", ["voice.webm", "voice.ogg", "voice.mp4", "voice.mp3"])
def test_a_file_that_turns_out_to_be_sound_gets_the_recipe_for_sound(
    tmp_path: Path, name: str
) -> None:
    """Its first bytes may be those of a film: then a recipe is chosen for that before intake looks."""
    run_ffmpeg("-f", "lavfi", "-i", "sine=440:d=1", str(tmp_path / name))
    drop(name, (tmp_path / name).read_bytes())
    (first, again) = (
        submissions.from_key("-", FromKeyRequest(name, None, recipe="web"), None).job_id
        for _ in range(2)
    )
    assert first == again
    drain()
    job = api_jobs.get_job("-", first, "https://x/api")
    assert (job.status, job.recipe.partition("@")[0]) == (SUCCESS, "web")
    assert [output.format for output in job.outputs] == ["m4a", "opus"]


def test_a_pipeline_that_a_client_chose_is_kept_for_sound(sample: Sample) -> None:
    drop("a.m4a", sample("sound_only.m4a").read_bytes())
    pipeline = [{"make": "audio"}, "hls_720p"]
    job_id = submissions.from_key("-", FromKeyRequest("a.m4a", pipeline), None).job_id
    drain()
    job = api_jobs.get_job("-", job_id, "https://x/api")
    assert (job.status, job.error_code, job.pipeline) == (FAILURE, "no_video_stream", pipeline)
    assert job.error == "The step hls_720p needs a video, but the file is sound only."


# ── every job ends ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "pipeline", "code"),
    [
        ("text.jpg", "", "unsupported_media"),
        ("empty.png", "", "empty_file"),
        ("sound_only.m4a", "thumbnail", "no_video_stream"),
        ("photo.jpg", "thumbnail,transcode_720p", "step_needs_video"),
    ],
)
def test_what_cannot_be_planned_fails_with_its_sentence(
    sample: Sample, name: str, pipeline: str, code: str
) -> None:
    metadata = {"pipeline": pipeline} if pipeline else {}
    deliver("intake", drop(name, sample(name).read_bytes(), **metadata))
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, code)
    assert job.error.endswith(".")


def test_a_damaged_picture_fails_each_step_and_a_good_step_stays_listed(sample: Sample) -> None:
    deliver("intake", drop("t.jpg", sample("truncated.jpg").read_bytes()))
    drain()
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "source_damaged")
    assert [step.status for step in job.steps] == [FAILURE, FAILURE]


def test_a_picture_that_lacks_its_end_is_listed_with_a_warning(sample: Sample) -> None:
    deliver("intake", drop("photo.jpg", sample("photo.jpg").read_bytes()[:-2]))
    drain()
    job = only_job()
    assert (job.status, job.error) == (SUCCESS, "")
    lacks = "The file lacks its end: 100.0% of the picture could be decoded."
    assert job.warnings == [f"thumbnail: {lacks}", f"watermark: {lacks}"]


def test_of_two_pictures_of_one_task_each_ends_as_it_can(tmp_path: Path) -> None:
    Image.new("L", (65_501, 2)).save(tmp_path / "long.png")
    deliver("intake", drop("long.png", (tmp_path / "long.png").read_bytes()))
    drain()
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "side_too_long")
    assert [step.status for step in job.steps] == [SUCCESS, FAILURE]
    assert [(o.type, o.width, o.height) for o in job.outputs] == [("thumbnail", 512, 1)]


def test_a_rendition_that_fails_ends_every_step_that_needs_it(sample: Sample) -> None:
    deliver("intake", drop("t.mp4", sample("truncated.mp4").read_bytes()))
    drain()
    job = only_job()
    assert job.status == FAILURE
    assert [step.status for step in job.steps] == [SUCCESS, FAILURE, FAILURE]
    assert [output.type for output in job.outputs] == ["thumbnail"]
    assert "Only 49%" in job.error


def test_a_source_that_is_overwritten_is_never_swapped_under_a_job(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    drop("photo.jpg", sample("orientation_6.jpg").read_bytes())
    deliver("pictures", message(job_id, "thumbnail"))
    assert only_job().error_code == "source_changed"
    assert outputs() == {}


def test_a_source_that_is_deleted_is_said_to_be(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    boto3.client("s3").delete_object(Bucket=settings().upload_bucket, Key="photo.jpg")
    deliver("pictures", message(job_id, "thumbnail"))
    assert only_job().error_code == "source_missing"


def pause_for(seconds: int, job_id: str, task_id: str) -> None:
    """Before a task is tried again."""
    rows.change_task(job_id, task_id, lease_until=int(time.time()) + seconds)


def hide_plan(job_id: str) -> tuple[str, bytes]:
    """Take a job's plan away; its key and content."""
    s3, bucket = boto3.client("s3"), settings().output_bucket
    (found,) = s3.list_objects_v2(Bucket=bucket, Prefix=f"{work_folder(job_id)}plan")["Contents"]
    body = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    s3.delete_object(Bucket=bucket, Key=found["Key"])
    return found["Key"], body


def put_back(plan: tuple[str, bytes]) -> None:
    key, body = plan
    boto3.client("s3").put_object(Bucket=settings().output_bucket, Key=key, Body=body)


def test_a_broken_world_is_retried_and_then_given_up_with_its_reason(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    body = message(job_id, "thumbnail")
    plan = hide_plan(job_id)
    for _ in range(4):
        assert deliver("pictures", body) == [body]
        pause_for(-1, job_id, "thumbnail")
    put_back(plan)
    claim, _ = tasks.claim(job_id, "thumbnail", "unlucky", 60)
    assert claim is Claim.FREE
    tasks.release(job_id, "thumbnail", "unlucky", "AWS answered SlowDown to PutObject.", 0)
    assert deliver("pictures", body) == []
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "attempts_exhausted")
    assert "was tried 5 times. AWS answered SlowDown" in job.error


def test_a_bug_that_a_file_meets_each_time_ends_its_step_at_once(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("intake", drop("a.mp4", sample("small.mp4").read_bytes(), pipeline="transcode_720p"))
    monkeypatch.setattr(mp4_movie, "MAX_MOVIE_TIMESCALE", -1)  # what no field has room for
    drain()
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "defect")
    assert "nobody foresaw (error). It is a fault of ours." in job.error
    task = tasks.get(job.id, "transcode_720p")
    assert task is not None
    assert task.attempts == 1


def test_a_bug_of_planning_ends_the_job_at_once(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "PIXELS_PER_SECOND", 0)
    assert deliver("intake", drop("a.mp4", sample("small.mp4").read_bytes())) == []
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "defect")
    assert "(ZeroDivisionError)" in job.error


def test_what_fails_while_the_world_is_asked_is_no_bug_of_ours() -> None:
    def raised(module: str, error: Exception) -> JobError | None:
        names: dict[str, Any] = {"__name__": module}
        exec("def fail(error):\n    raise error", names)
        try:
            names["fail"](error)
        except Exception as caught:
            return defect(caught)
        raise AssertionError

    assert raised("chalicelib.formats.mp4_movie", ValueError()) is not None
    assert raised("chalicelib.store.objects", ValueError()) is None
    assert raised("chalicelib.formats.mp4_movie", OSError()) is None
    assert raised("chalicelib.formats.mp4_movie", MemoryError()) is None
    assert raised("chalicelib.tasks.encoding", RuntimeError("can't start new thread")) is None
    assert raised("botocore.client", KeyError("Body")) is None


def test_what_computes_is_named_as_the_modules_are() -> None:
    packages = {f"chalicelib.{name}" for name in COMPUTING_PACKAGES}
    assert [name for name in packages | COMPUTING_MODULES if find_spec(name) is None] == []


def test_a_limit_by_the_clock_is_tried_once_more(sample: Sample) -> None:
    deliver("intake", drop("a.mp4", sample("small.mp4").read_bytes(), pipeline="transcode_720p"))
    job_id = only_job().id
    body = message(job_id, "film.0")
    take("encode", "audio")
    assert deliver("encode", body, receives=20, seconds=0.01) == [body]
    assert only_job().status == STARTED
    pause_for(-1, job_id, "film.0")
    assert deliver("encode", body, receives=20, seconds=0.01) == []
    assert only_job().error_code == "step_timeout"


def test_a_limit_by_the_clock_is_tried_once_more_after_a_failure_of_another_kind(
    sample: Sample,
) -> None:
    deliver("intake", drop("a.mp4", sample("small.mp4").read_bytes(), pipeline="transcode_720p"))
    job_id = only_job().id
    body = message(job_id, "film.0")
    take("encode", "audio")
    tasks.claim(job_id, "film.0", "unlucky", 60)
    tasks.release(job_id, "film.0", "unlucky", "AWS answered SlowDown to PutObject.", 0)
    for _ in range(2):
        assert only_job().status == STARTED
        deliver("encode", body, receives=20, seconds=0.01)
        pause_for(-1, job_id, "film.0")
    assert only_job().error_code == "step_timeout"


@pytest.mark.parametrize(("slow", "status"), [(1, SUCCESS), (2, FAILURE)])
def test_a_look_that_takes_too_long_is_taken_once_more(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, slow: int, status: str
) -> None:
    looks = iter([True] * slow + [False])
    look = inspect.inspect_source

    def inspect_source(*args: Any) -> Any:
        if next(looks):
            raise TimedOut("decoder_timeout", "Reading the file took longer than the 15 s.")
        return look(*args)

    monkeypatch.setattr(intake, "inspect_source", inspect_source)
    event = drop("a.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    assert deliver("intake", event) == [event]
    assert deliver("intake", event, receives=2) == []
    drain()
    job = only_job()
    assert (job.status, job.error_code) == (status, "decoder_timeout" if slow == 2 else "")


@pytest.mark.parametrize("instead", [None, b'{"tasks": [{"id": "of another shape"}]}'])
def test_a_job_whose_plan_is_lost_still_ends_and_says_so(
    sample: Sample, instead: bytes | None
) -> None:
    job_id = started(sample, "thumbnail", "watermark")
    key, _ = hide_plan(job_id)
    if instead:
        put_back((key, instead))
    body = message(job_id, "thumbnail+watermark")
    for _ in range(4):
        assert deliver("pictures", body) == [body]
        pause_for(60, job_id, "thumbnail+watermark")
        assert deliver("pictures", body) == [body]  # too early: not a try
        pause_for(-1, job_id, "thumbnail+watermark")
    assert deliver("pictures", body) == []
    job = only_job()
    assert [step.error_code for step in job.steps] == ["attempts_exhausted"] * 2
    assert ("plan is not there" if instead is None else "plan cannot be read") in job.error


def test_a_job_that_was_started_but_whose_messages_never_went_out_is_taken_up_again(
    sample: Sample,
) -> None:
    event = drop("photo.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    deliver("intake", event)
    take("pictures")  # as if it had never been sent
    assert deliver("dead_letters", event) == []
    before = jobs.get(only_job().id)
    assert before is not None
    assert (before.due_at or 0) > time.time() + 200
    overdue(before.job_id)
    sweep()
    drain()
    assert only_job().status == SUCCESS


def test_a_job_whose_intake_always_fails_says_why(sample: Sample) -> None:
    event = drop("photo.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    output = settings().output_bucket
    s3 = boto3.client("s3")
    s3.delete_bucket(Bucket=output)
    for receives in range(1, 7):  # the first is not counted
        assert deliver("intake", event, receives=receives) == [event]
    s3.create_bucket(Bucket=output)
    assert deliver("intake", event, receives=7) == []
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "intake_failed")
    assert "NoSuchBucket" in job.error


def test_a_worker_whose_write_was_made_but_not_answered_still_does_what_follows(
    sample: Sample,
) -> None:
    job_id = started(sample, "thumbnail")
    claim, _ = tasks.claim(job_id, "thumbnail", "me", 60)
    assert (claim, tasks.claim(job_id, "thumbnail", "me", 60)[0]) == (
        Claim.FREE,
        Claim.FREE,
    )
    first = tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS))
    stored = rows.task_item(job_id, "thumbnail")
    again = tasks.end(job_id, "thumbnail", "me", StepsEnded(ENDS))
    assert first is not None
    assert again == first
    assert rows.task_item(job_id, "thumbnail") == stored
    assert tasks.end(job_id, "watermark", "another", StepsEnded(ENDS)) is None


def test_of_two_plans_for_one_source_the_first_counts_and_another_source_has_its_own(
    sample: Sample,
) -> None:
    job_id = started(sample, "thumbnail")
    row = jobs.get(job_id)
    assert row is not None
    kept = plans.load_plan(row)
    other = Plan((), {})
    assert plans.store_plan(row, row.etag, other) == kept
    assert plans.store_plan(row, "another", other) == other
    assert plans.load_plan(row) == kept


def test_the_row_has_the_steps_of_the_plan_that_counts(sample: Sample) -> None:
    event = drop("photo.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    ((job_id, _),) = s3_events.arrivals(s3_events.decode(event))
    etag = objects.find_original("photo.jpg").etag  # type: ignore[union-attr]
    facts = facts_of(sample("photo.jpg"))
    steps = find_steps(["watermark"], JobError)
    stored = planner.make_plan(job_id, "photo.jpg", facts, steps, DEFAULTS)
    row = jobs.get(job_id)
    assert row is not None
    plans.store_plan(row, etag, stored)  # by an intake that died before it could start it
    deliver("intake", event)
    drain()
    assert (only_job().status, only_job().pipeline) == (SUCCESS, ["watermark"])


def test_a_dead_letter_fails_nothing_and_has_its_job_looked_at_soon(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    tasks.claim(job_id, "thumbnail", "alive", 60)
    rows.change_job(job_id, due_at=int(time.time()) + 50_000)
    for _ in range(2):
        assert deliver("dead_letters", message(job_id, "thumbnail"), receives=21) == []
    assert (jobs.get(job_id).due_at or 0) < time.time() + 1000  # type: ignore[union-attr]
    assert only_job().status == STARTED


def test_a_dead_letter_that_cannot_be_read_is_put_aside_once() -> None:
    assert deliver("dead_letters", "no message of ours") == []
    for other in ('["nor", "this"]', "{}", '{"job": 1}'):
        assert deliver("dead_letters", other) == []
    bucket = settings().output_bucket
    stored = boto3.client("s3").get_object(Bucket=bucket, Key="work/dead_letters/0")
    assert stored["Body"].read() == b"no message of ours"


def test_a_dead_letter_whose_job_cannot_be_reached_pauses_longer_and_longer() -> None:
    boto3.client("dynamodb").delete_table(TableName=settings().jobs_table)
    body = message("00000000-0000-4000-8000-000000000000", "thumbnail")
    assert deliver("dead_letters", body, receives=21) == [body]
    assert [queues.backoff(tries) for tries in (1, 2, 7, 100)] == [1, 3, 729, 900]
    assert take("dead_letters") == []


def test_pictures_that_met_their_death_with_another_are_not_given_up(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    body = message(job_id, "thumbnail")
    # Its batch was received over and over, and died before its turn came.
    assert deliver("pictures", body, receives=19) == []
    assert only_job().status == SUCCESS


def test_what_comes_for_the_first_time_goes_before_what_came_before() -> None:
    seen: list[str] = []

    def handle(record: SQSRecord, _: Invocation) -> None:
        seen.append(record.message_id)

    records = [
        record_of("pictures", number, "{}", receives)
        for number, receives in enumerate((3, 1, 2, 1))
    ]
    consumer.consume({"Records": records}, Context(), "thumbnail", handle)
    assert seen == ["1", "3", "2", "0"]


def test_of_a_batch_only_what_failed_comes_again(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    events = [drop(f"{number}.jpg", body, pipeline="thumbnail") for number in range(3)]
    assert deliver("intake", *events) == []
    bodies = take("pictures")
    job_id = json.loads(bodies[1])["job_id"]
    tasks.claim(job_id, "thumbnail", "somebody", 60)
    assert deliver("pictures", *bodies) == [bodies[1]]
    statuses = {job.id: job.status for job in job_lists.list_jobs("-", {}, "https://x/api").jobs}
    assert statuses.pop(job_id) == STARTED
    assert list(statuses.values()) == [SUCCESS] * 2


@pytest.mark.parametrize(("receives", "begun"), [(1, 2), (20, 3)])
def test_who_comes_late_in_a_batch_has_half_of_the_time_or_another_turn(
    receives: int, begun: int
) -> None:
    context = Context(60)
    seen: list[str] = []

    def handle(record: SQSRecord, _: Invocation) -> None:
        seen.append(record.message_id)
        context.pass_time(20)

    records = [record_of("pictures", number, "{}", receives) for number in range(3)]
    answer = consumer.consume({"Records": records}, context, "thumbnail", handle)
    assert seen == ["0", "1", "2"][:begun]
    late = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    assert late == ["0", "1", "2"][begun:]


def test_a_sixth_try_is_not_made(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    for number in range(5):
        tasks.claim(job_id, "thumbnail", f"dead {number}", -5)
    assert deliver("pictures", message(job_id, "thumbnail")) == []
    assert only_job().error_code == "attempts_exhausted"


def test_an_event_that_intake_never_survived_is_a_job_that_failed() -> None:
    event = drop("poison.bin", b"x")
    ((job_id, _),) = s3_events.arrivals(s3_events.decode(event))
    row = jobs.get(job_id)
    assert row is not None
    for _ in range(5):  # what five workers wrote before they died
        starts.count_try(row)
    assert deliver("intake", event, receives=6) == []
    job = only_job("poison.bin")
    assert (job.status, job.error_code) == (FAILURE, "intake_failed")
    assert "looked at 5 times in vain. No worker that tried it could say why." in job.error


def test_an_upload_that_never_comes_expires() -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"]))
    overdue(str(upload.job_id))
    sweep()
    assert only_job().status == "PENDING"
    overdue(str(upload.job_id), deadline_at=1)
    sweep()
    assert (only_job().status, only_job().error_code) == (FAILURE, "upload_expired")


def test_an_upload_whose_event_is_lost_is_found(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"]))
    drop(upload.key, sample("photo.jpg").read_bytes())
    overdue(str(upload.job_id))
    sweep()
    drain()
    assert only_job().status == SUCCESS


def test_an_upload_that_came_and_waits_for_intake_has_not_expired(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"]))
    drop(upload.key, sample("photo.jpg").read_bytes())  # its event is far back in the queue
    stale = overdue(str(upload.job_id), deadline_at=1)
    sweep()
    assert only_job().status == "PENDING"
    sweep()
    assert len(take("intake")) == 1
    # Another sweep, which read the row before this one gave it more time.
    lifecycle.fail(stale, JobError("upload_expired", "Too late."), overdue=True)
    sweeping.look_at(time.monotonic() + 20, item_of(stale))
    assert only_job().status == "PENDING"
    deliver("intake", json.dumps({"job_id": upload.job_id}))
    drain()
    assert only_job().status == SUCCESS


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({"source_key": None}, True),
        ({"pipeline": {"N": "7"}}, True),  # it cannot be read
        ({"row": {"S": "a kind of another version"}}, False),
    ],
)
def test_one_row_that_cannot_be_looked_after_does_not_keep_the_sweep_from_others(
    changed: dict[str, Any], fails: bool
) -> None:
    presigned = [
        uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail"])) for _ in range(3)
    ]
    odd, *others = sorted(str(upload.job_id) for upload in presigned)
    for job_id in (odd, *others):
        overdue(job_id, deadline_at=1)
    item = rows.job_item(odd)
    boto3.client("dynamodb").put_item(
        TableName=settings().jobs_table,
        Item={name: value for name, value in {**item, **changed}.items() if value},
    )
    if fails:
        with pytest.raises(ExceptionGroup) as raised:
            sweep()
        assert len(raised.value.exceptions) == 1
    else:
        sweep()
    for job_id in others:
        assert jobs.get(job_id).status == FAILURE  # type: ignore[union-attr]
    if "source_key" not in changed:
        assert rows.count_due() == 0  # it is left for an hour


def test_a_job_past_its_deadline_ends_and_keeps_what_is_good(sample: Sample) -> None:
    job_id = started(sample, "thumbnail", "transcode_720p", name="small.mp4")
    deliver("pictures", message(job_id, "thumbnail"))
    overdue(job_id, deadline_at=1)
    sweep()
    job = only_job()
    assert (job.status, job.error_code) == (FAILURE, "deadline_exceeded")
    assert [output.type for output in job.outputs] == ["thumbnail"]


def test_a_job_that_was_given_more_time_is_not_ended_by_a_sweep_that_read_it_before(
    sample: Sample,
) -> None:
    job_id = started(sample, "thumbnail")
    stale = overdue(job_id, deadline_at=1)
    overdue(job_id)
    rows.change_job(job_id, deadline_at=int(time.time()) + 1000)
    sweeping.look_at(time.monotonic() + 20, item_of(stale))
    assert only_job().status == STARTED


def test_of_a_job_that_does_not_move_what_is_due_is_sent_again_after_ever_longer_pauses(
    sample: Sample,
) -> None:
    job_id = started(sample, "thumbnail")
    pauses = []
    for _ in range(7):
        overdue(job_id)
        sweep()
        pauses.append((jobs.get(job_id).due_at or 0) - time.time())  # type: ignore[union-attr]
        drop_duplicates = take("intake")
        assert len(drop_duplicates) == 1
    assert (
        pauses
        == [pytest.approx(seconds, abs=20) for seconds in (900, 2700, 8100, 24300)]
        + [pytest.approx(57600, abs=20)] * 3
    )
    deliver("intake", *drop_duplicates)
    assert [json.loads(body)["task_id"] for body in take("pictures")] == ["thumbnail"]
    # A living worker is left alone, a dead one is not.
    tasks.claim(job_id, "thumbnail", "alive", 60)
    deliver("intake", *drop_duplicates)
    assert take("pictures") == []
    tasks.release(job_id, "thumbnail", "alive", "No luck.", 30)
    deliver("intake", *drop_duplicates)
    assert take("pictures") == []  # its next try has to wait, whoever sends for it
    pause_for(-1, job_id, "thumbnail")
    tasks.claim(job_id, "thumbnail", "dead", -5)
    deliver("intake", *drop_duplicates)
    assert deliver("pictures", *take("pictures")) == []
    assert only_job().status == SUCCESS


def test_a_job_that_moves_is_sent_nothing(sample: Sample, short_chunks: None) -> None:
    job_id = started(sample, "transcode_720p", name="small.mp4")
    first, *others = take("encode", "audio")
    deliver("encode", first)
    overdue(job_id)
    sweep()
    assert take("intake") == []
    overdue(job_id)
    sweep()  # it stands still since
    deliver("intake", *take("intake"))
    assert sorted(take("encode", "audio")) == sorted(others)


@pytest.mark.parametrize("at", ["part", "step"])
def test_what_follows_a_task_is_done_by_the_sweep_where_its_worker_and_message_are_gone(
    sample: Sample, at: str
) -> None:
    if at == "step":
        job_id = started(sample, "thumbnail")
        tasks.claim(job_id, "thumbnail", "dead", 60)
        tasks.end(job_id, "thumbnail", "dead", StepsEnded(ENDS))
    else:
        job_id = started(sample, "transcode_720p", name="small.mp4")
        take("encode", "audio")
        tasks.claim(job_id, "film.0", "dead", 60)
        tasks.end(job_id, "film.0", "dead", Failed("source_damaged", "It is damaged."))
    overdue(job_id)
    sweep()
    drain()
    job = only_job()
    assert job.status == (SUCCESS if at == "step" else FAILURE)


def test_a_job_that_nobody_ended_is_ended(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    row = jobs.get(job_id)
    assert row is not None
    assert steps.end(row, ENDS) is not None
    overdue(job_id)
    rows.change_job(job_id, seen=1)
    sweep()
    drain()
    assert only_job().status == SUCCESS


@pytest.mark.parametrize("count", [400, pytest.param(3000, marks=pytest.mark.variants)])
def test_overdue_rows_are_worked_off_sweep_by_sweep(count: int) -> None:
    rows.add_overdue_jobs(count)
    assert rows.count_due() == count
    for seconds in (1.0, 2.0, 4.0, 8.0, 16.0):  # it stops in time
        sweeping.sweep(partial(float, seconds))
        if rows.count_due() < count:
            break
    assert 0 < rows.count_due() < count
    while rows.count_due():
        sweeping.sweep(lambda: 30.0)
    assert rows.statuses() == {FAILURE}


def test_what_a_failed_job_has_published_and_does_not_list_is_deleted(sample: Sample) -> None:
    job_id = started(sample, "thumbnail", "hls_720p", name="small.mp4")
    deliver("pictures", message(job_id, "thumbnail"))
    deliver("encode", message(job_id, "film.0"))
    assert len(outputs()) > 2
    tasks.claim(job_id, "sound.0", "me", 60)
    tasks.end(job_id, "sound.0", "me", Failed("source_damaged", "It is damaged."))
    deliver("encode", message(job_id, "sound.0"))
    job = only_job()
    assert job.status == FAILURE
    assert (jobs.get(job_id).due_at or 0) > time.time() + 900  # type: ignore[union-attr]
    overdue(job_id)
    sweep()
    assert list(outputs()) == [job.outputs[0].s3_key]
    assert jobs.get(job_id).due_at is None  # type: ignore[union-attr]
    assert [step.status for step in only_job().steps] == [SUCCESS, FAILURE]


@pytest.mark.parametrize("change", ["SET pipeline = :odd", "SET steps.thumbnail = :odd"])
def test_a_row_that_cannot_be_shown_does_not_keep_a_page_from_the_others(
    sample: Sample, change: str
) -> None:
    bad, good = started(sample, "thumbnail"), started(sample, "watermark", name="tiny.png")
    boto3.client("dynamodb").update_item(
        TableName=settings().jobs_table,
        Key={"pk": {"S": f"job#{bad}"}, "sk": {"S": "job"}},
        UpdateExpression=change,
        ExpressionAttributeValues={":odd": {"N": "7"}},
    )
    assert [job.id for job in job_lists.list_jobs("-", {}, "https://x/api").jobs] == [good]


def test_progress_that_cannot_be_read_hides_no_job(sample: Sample) -> None:
    """Of neither job anything has ended: the rows that say so are not there, beside one that is bad."""
    bad, good = started(sample, "thumbnail"), started(sample, "watermark", name="tiny.png")
    boto3.client("dynamodb").update_item(
        TableName=settings().jobs_table,
        Key={"pk": {"S": f"job#{bad}"}, "sk": {"S": "progress"}},
        UpdateExpression="SET shares = :odd",
        ExpressionAttributeValues={":odd": {"S": "no JSON"}},
    )
    assert {job.id for job in job_lists.list_jobs("-", {}, "https://x/api").jobs} == {bad, good}
    assert api_jobs.get_job("-", bad, "https://x/api").progress == 0


def test_the_progress_of_another_plan_is_not_shown(sample: Sample) -> None:
    job_id = started(sample, "thumbnail")
    progress.write(job_id, a_plan("transcode_720p"))  # too late: the job has its own
    progress.advance(job_id, "film.0", 50)
    assert api_jobs.get_job("-", job_id, "https://x/api").progress == 0
    assert only_job().progress == 0


# ── one file, one job ───────────────────────────────────────────────────────────────────────────


def test_a_drop_and_requests_for_it_are_one_job_however_its_steps_are_told(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes())
    default = FromKeyRequest("a.jpg")
    spelt_out = FromKeyRequest("a.jpg", ["thumbnail", "watermark"])
    first = submissions.from_key("-", spelt_out, None).job_id
    deliver("intake", event)
    drain()
    for request in (default, spelt_out):
        assert submissions.from_key("-", request, None).job_id == first
    assert deliver("intake", event) == []
    assert only_job().id == first
    other = submissions.from_key("-", FromKeyRequest("a.jpg", ["thumbnail"]), None).job_id
    assert other != first


def test_an_upload_that_starts_by_itself_and_a_request_for_it_are_one_job(sample: Sample) -> None:
    upload = uploads.presign("-", PresignRequest("a.jpg", "image/jpeg", ["thumbnail", "watermark"]))
    event = drop(upload.key, sample("photo.jpg").read_bytes())
    assert submissions.from_key("-", FromKeyRequest(upload.key), None).job_id == upload.job_id
    deliver("intake", event)
    drain()
    assert submissions.from_key("-", FromKeyRequest(upload.key), None).job_id == upload.job_id
    assert only_job().status == SUCCESS
    other = submissions.from_key("-", FromKeyRequest(upload.key, ["thumbnail"]), None).job_id
    assert other != upload.job_id


def test_a_repeated_request_whose_first_died_before_it_was_sent_is_sent(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    request = FromKeyRequest("a.jpg", ["thumbnail"])
    job_id = submissions.from_key("-", request, "once").job_id
    take("intake")  # as if it had never been sent
    assert submissions.from_key("-", request, "once").job_id == job_id
    drain()
    assert only_job().status == SUCCESS
    assert submissions.from_key("-", request, "once").job_id == job_id
    assert take("intake") == []


def test_a_new_idempotency_key_asks_for_a_new_job(sample: Sample) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    request = FromKeyRequest("a.jpg", ["thumbnail"])
    ids = {
        submissions.from_key("-", request, key).job_id
        for key in (None, "one", "two", None, "one", "two")
    }
    assert len(ids) == 3


# ── what is told ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions log; Powertools holds on to the stream that was there when it was made."""
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def test_a_line_names_a_job_once_it_is_sure_that_it_is_the_callers(log: io.StringIO) -> None:
    upload = uploads.presign("-", PresignRequest("a.png", "image/png", ["thumbnail"]))
    assert upload.job_id
    with Client(app) as client:
        client.http.get(f"/jobs/{uuid.uuid4()}")
        client.http.get(f"/jobs/{upload.job_id}/hls/forged/a.m3u8")
        assert "job_id" not in log.getvalue()
        assert upload.job_id not in log.getvalue()
        client.http.get(f"/jobs/{upload.job_id}")
    assert json.loads(log.getvalue().splitlines()[-1])["job_id"] == upload.job_id


def test_every_line_of_a_jobs_log_names_it(sample: Sample, log: io.StringIO) -> None:
    job_id = started(sample, "thumbnail", name="truncated.jpg")
    deliver("pictures", message(job_id, "thumbnail"))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["message"] for line in lines} == {
        "Planned",
        "The task cannot be done",
        "Job ended",
    }
    assert all(line["job_id"] == job_id for line in lines)


def test_metrics_are_embedded_in_log_lines(
    sample: Sample, capfd: pytest.CaptureFixture[str]
) -> None:
    deliver("intake", drop("a.jpg", sample("photo.jpg").read_bytes()))
    drain()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    embedded = [line for line in lines if "_aws" in line]
    names = {
        metric["Name"]
        for line in embedded
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert names >= {"QueueWait", "TaskSeconds", "JobsSuccess"}


def test_a_message_of_intake_is_ours_or_s3s() -> None:
    assert s3_events.decode('{"job_id": "a"}') == StartMessage("a")
    event: Any = s3_events.decode(event_of("ü+ .jpg", size=1, etag="e"))
    assert [created.key for created in event.created()] == ["ü+ .jpg"]


def test_the_functions_are_traced_where_lambda_traces_them() -> None:
    """As on AWS, for the sampled ones: in a process of its own, for a tracer is set up once."""
    tests = (
        "test_a_dropped_picture_gets_the_default_steps",
        "test_a_dropped_film_gets_the_default_steps_and_is_encoded_once",
    )
    sampled = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(f"{__file__}::{test}" for test in tests)],
        env=os.environ
        | {
            "POWERTOOLS_TRACE_DISABLED": "false",
            "LAMBDA_TASK_ROOT": "/var/task",
            "_X_AMZN_TRACE_ID": sampled,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout


# ── films without an index ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def mkv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[bytes]:
    """A film without an index that is worth a copy."""
    monkeypatch.setenv("SLUICE_CHUNK_WORK_SECONDS", "0.01")
    settings.cache_clear()
    film(tmp_path / "a.mkv", size="160x96", rate="10", seconds=20, output=("-g", "20"))
    yield (tmp_path / "a.mkv").read_bytes()
    monkeypatch.undo()
    settings.cache_clear()


def copying(mkv: bytes) -> tuple[str, str, str]:
    """A job whose copy was sent for: its id, the event that started it, the message of the copy."""
    event = drop("a.mkv", mkv, pipeline="transcode_720p")
    assert deliver("intake", event) == []
    (body,) = take("encode", "audio")
    job = only_job()
    assert json.loads(body) == {"job_id": job.id, "task_id": "remux", "generation": GENERATION}
    assert (job.status, job.progress, job.steps) == ("PENDING", 0, [])
    return job.id, event, body


WITHOUT_INDEX = "its container has no index of every frame"


def as_a_whole_because(job: JobView, why: str) -> bool:
    return job.status == SUCCESS and job.encoding == f"As a whole: {WITHOUT_INDEX}, and {why}."


def test_a_film_without_an_index_is_encoded_in_chunks_of_a_copy(mkv: bytes) -> None:
    copying(mkv)
    deliver("intake", json.dumps({"job_id": only_job().id}))  # sends for the copy again
    drain()
    job = only_job()
    assert (job.status, job.encoding) == (
        SUCCESS,
        f"In 4 chunks at once, from a copy: {WITHOUT_INDEX}.",
    )
    assert job.outputs[0].duration == pytest.approx(20.0)


def test_everything_about_a_copy_arrives_twice(mkv: bytes) -> None:
    job_id, event, body = copying(mkv)
    deliver("intake", event)
    assert take("encode", "audio") == [body]
    for _ in range(2):
        assert deliver("encode", body) == []
    (start, again) = take("intake")
    assert start == again
    for _ in range(2):
        deliver("intake", start)
    drain()
    assert only_job().status == SUCCESS
    before, row = outputs(), rows.job_item(job_id)
    assert deliver("encode", body) == []
    assert deliver("dead_letters", body) == []
    deliver("intake", event)
    assert take("intake") == take("encode", "audio") == []
    assert rows.job_item(job_id) == row
    assert outputs() == before
    for task in ("remux", "film.0", "film.3", "sound.0", "transcode_720p"):
        assert tasks.get(job_id, task).attempts == 1  # type: ignore[union-attr]


def test_a_film_that_cannot_be_copied_is_encoded_as_a_whole(mkv: bytes) -> None:
    job_id, _, body = copying(mkv)
    tasks.claim(job_id, "remux", "me", 60)
    failed = Failed("copy_not_exact", "FFmpeg has doubts about its times.")
    tasks.end(job_id, "remux", "me", failed)
    assert deliver("encode", body) == []
    drain()
    assert as_a_whole_because(only_job(), "copying it failed: FFmpeg has doubts about its times")


def test_a_copy_that_is_another_film_is_not_used(mkv: bytes, tmp_path: Path) -> None:
    job_id, _, body = copying(mkv)
    film(
        tmp_path / "b.mp4",
        size="160x96",
        rate="10",
        seconds=19,
        output=("-g", "20", "-video_track_timescale", "16000"),
    )
    copy = objects.publish_copy(tmp_path / "b.mp4", f"work/{job_id}/copy.mp4")
    tasks.claim(job_id, "remux", "me", 60)
    tasks.end(job_id, "remux", "me", Copied(copy))
    assert deliver("encode", body) == []
    drain()
    assert as_a_whole_because(only_job(), "its copy has 190 frames of 200")


def test_a_copy_that_cannot_be_read_is_not_used(mkv: bytes, tmp_path: Path) -> None:
    job_id, _, body = copying(mkv)
    (tmp_path / "b.mp4").write_bytes(b"no film")
    copy = objects.publish_copy(tmp_path / "b.mp4", f"work/{job_id}/copy.mp4")
    tasks.claim(job_id, "remux", "me", 60)
    tasks.end(job_id, "remux", "me", Copied(copy))
    deliver("encode", body)
    drain()
    assert only_job().status == SUCCESS
    assert "its copy cannot be read" in only_job().encoding


@pytest.mark.parametrize("slow", [1, 2])
def test_a_look_at_a_copy_that_takes_too_long_is_taken_once_more(
    mkv: bytes, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    _, _, body = copying(mkv)
    assert deliver("encode", body) == []
    (again,) = take("intake")
    took = iter([15, 12.5][:slow])
    look = inspect.inspect_source

    def inspect_source(source: Source, *args: Any) -> Any:
        if source.is_copy and (seconds := next(took, None)):
            raise TimedOut("decoder_timeout", f"Reading the file took longer than {seconds} s.")
        return look(source, *args)

    monkeypatch.setattr(films, "inspect_source", inspect_source)
    assert deliver("intake", again) == [again]
    assert deliver("intake", again, receives=2) == []
    drain()
    job = only_job()
    assert job.status == SUCCESS
    assert ("its copy cannot be read" in job.encoding) == (slow == 2)


def test_a_copy_whose_worker_died_is_sent_for_again_by_the_sweep(mkv: bytes) -> None:
    job_id, _, body = copying(mkv)
    tasks.claim(job_id, "remux", "dead", -3600)
    overdue(job_id)
    sweep()
    deliver("intake", *take("intake"))
    assert take("encode", "audio") == [body]
    assert deliver("encode", body) == []
    drain()
    assert only_job().encoding.startswith("In 4 chunks")


def test_a_copy_whose_workers_all_died_leaves_the_whole_to_be_encoded(mkv: bytes) -> None:
    job_id, _, body = copying(mkv)
    for number in range(5):
        tasks.claim(job_id, "remux", f"dead {number}", -5)
    assert deliver("encode", body) == []
    drain()
    job = only_job()
    assert job.status == SUCCESS
    assert "copying it failed: remux was tried 5 times" in job.encoding


def test_the_copy_of_a_job_that_fails_before_it_starts_is_told(mkv: bytes) -> None:
    _, _, body = copying(mkv)
    assert deliver("encode", body) == []
    drop("a.mkv", mkv + b"\0")
    drain()
    usage = only_job().usage
    assert usage is not None
    assert only_job().error_code == "source_changed"
    assert usage.functions["encode"].invocations == 1
    assert usage.functions["intake"].invocations == 2


def test_a_source_that_is_overwritten_while_it_is_copied_ends_the_job(mkv: bytes) -> None:
    job_id, _, body = copying(mkv)
    drop("a.mkv", mkv + b"\0")
    assert deliver("encode", body) == []
    (start,) = take("intake")
    assert json.loads(start) == {"job_id": job_id}
    deliver("intake", start)
    assert only_job().error_code == "source_changed"


def test_a_job_whose_copy_never_comes_ends_at_its_deadline(mkv: bytes) -> None:
    job_id, _, body = copying(mkv)
    overdue(job_id, deadline_at=1)
    sweep()
    assert only_job().error_code == "deadline_exceeded"
    assert deliver("encode", body) == []
    assert deliver("dead_letters", body) == []
    assert take("intake") == []


def test_a_job_that_is_sent_for_its_copy_again_does_not_get_more_time(mkv: bytes) -> None:
    job_id, event, _ = copying(mkv)
    deadline = int(time.time()) + 9
    rows.change_job(job_id, deadline_at=deadline)
    deliver("intake", event)
    assert jobs.get(job_id).deadline_at == deadline  # type: ignore[union-attr]


def test_the_first_chunk_and_the_first_audio_are_sent_ahead_of_all_others() -> None:
    asked: list[tuple[str, int]] = []
    clients.sqs().meta.events.register(
        "provide-client-params.sqs.SendMessageBatch",
        lambda params, **_: asked.append(
            (params["QueueUrl"].rpartition("-")[2], len(params["Entries"]))
        ),
    )
    chunk = Chunk("film", Run(), ("720p",), 0, 2.0)
    audio = Audio({"sound": Run()}, 0, first=0, skip=0, packets=None, seconds=2.0)
    chunks = [Task(f"film.{number}", chunk, "work/") for number in range(25)]
    sounds = [Task(f"sound.{number}", audio, "work/") for number in range(2)]
    plan = msgspec.structs.replace(a_plan("hls_720p"), tasks=(*chunks, *sounds))
    lifecycle.send_first("job", plan)
    assert asked == [
        *(("encode", 1), ("audio", 1)),
        *(("encode", 10), ("audio", 1), ("encode", 10), ("encode", 4)),
    ]
    sent = [json.loads(body)["task_id"] for pool in ("audio", "encode") for body in take(pool)]
    assert sorted(sent) == sorted(task.id for task in plan.tasks)
