"""What a job may cost is asked before it starts: of one job, of its client, of its owner's day."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
import msgspec
import pytest
from moto.dynamodb.exceptions import TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from pynamodb.exceptions import TransactWriteError

from chalicelib.api import estimates, job_lists, submissions, uploads
from chalicelib.api.requests import FromKeyRequest, PresignRequest
from chalicelib.api.views import JobView
from chalicelib.errors import JobError, Unprocessable
from chalicelib.model.facts import AudioCut, Cut, FrameIndex, IndexedAudio, TrackSamples
from chalicelib.model.job import Charge
from chalicelib.model.step import PENDING, SUCCESS
from chalicelib.model.usage import Used
from chalicelib.operations import PRESETS
from chalicelib.planning.planner import make_plan
from chalicelib.probing.film_limits import check_film
from chalicelib.settings import Prices, Settings, settings
from chalicelib.store import jobs, starts
from chalicelib.store.queues import QUEUES
from chalicelib.tasks.estimates import estimate
from chalicelib.tasks.pricing import usage
from infra.paths import ROOT
from infra.stack import functions
from infra.stack.targets import AWS
from infra.tools.samples import film
from testing import environment
from testing.local import a_plan
from testing.planned import DEFAULTS, FILM
from testing.pump import deliver, drain, drop, take
from testing.rows import spent

pytestmark = pytest.mark.usefixtures("cloud")
Sample = Callable[[str], Path]


@contextmanager
def stage(**variables: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings.cache_clear()
        yield
    settings.cache_clear()


def only_job(key: str) -> JobView:
    (job,) = job_lists.list_jobs("-", {"key": key}, "https://x/api").jobs
    return job


def charged(job_id: str) -> float:
    row = jobs.get(job_id)
    assert row is not None
    return float(row.charged_usd)


def no_work() -> bool:
    return not any(take(queue) for queue in QUEUES)


def put(key: str, body: bytes) -> None:
    boto3.client("s3").put_object(Bucket=settings().upload_bucket, Key=key, Body=body)


# ── one job ─────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_would_cost_too_much_is_refused_before_any_work(sample: Sample) -> None:
    with stage(SLUICE_MAX_JOB_USD="0.00001"):
        deliver("intake", drop("a.jpg", sample("photo.jpg").read_bytes()))
        with pytest.raises(Unprocessable) as refused:
            estimates.estimate("-", FromKeyRequest("a.jpg"))
    job = only_job("a.jpg")
    assert (job.status, job.error_code) == ("FAILURE", "over_budget")
    for told in (job.error, refused.value.detail):
        assert re.search(
            r"cost about \$0\.000\d+, and one job may cost \$0.000010 \(SLUICE_MAX_JOB_USD", told
        )
    assert refused.value.code == "over_budget"
    assert no_work()
    assert spent() == {}


def test_a_client_says_what_its_job_may_cost(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    put("a.jpg", body)
    with pytest.raises(Unprocessable, match=re.escape("`max_usd` is $0.000001")):
        estimates.estimate("-", FromKeyRequest("a.jpg", None, 1e-6))
    upload = uploads.presign(
        "-", PresignRequest("b.jpg", "image/jpeg", ["thumbnail"], max_usd=1e-6)
    )
    deliver("intake", drop(upload.key, body))
    submissions.from_key("-", FromKeyRequest("a.jpg", None, 1e-6), None)
    head = '--b\r\nContent-Disposition: form-data; name="'
    form = f'{head}max_usd"\r\n\r\n0.000001\r\n{head}file"; filename="c.jpg"\r\n\r\n'.encode()
    form_job = uploads.upload(
        "-", "multipart/form-data; boundary=b", form + body + b"\r\n--b--\r\n"
    )
    row = jobs.get(form_job.job_id)
    assert row is not None
    deliver("intake", *take("intake"), drop(row.source_key, body))
    for key in ("a.jpg", upload.key, row.source_key):
        job = only_job(key)
        assert job.error_code == "over_budget"
        assert "its `max_usd` is $0.000001" in job.error
    assert no_work()
    # What it allows is enough: another job, for that one has failed.
    submissions.from_key("-", FromKeyRequest("a.jpg", None, 1), None)
    drain()
    assert job_lists.list_jobs("-", {"key": "a.jpg"}, "x").jobs[0].status == SUCCESS


@pytest.mark.media
@pytest.mark.usefixtures("short_chunks")
def test_a_film_is_charged_before_it_is_copied_and_once(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", size="160x96", rate="10", seconds=20, output=("-g", "20"))
    event = drop("a.mkv", (tmp_path / "a.mkv").read_bytes())
    with stage(SLUICE_MAX_JOB_USD="0.00001"):
        deliver("intake", drop("b.mkv", (tmp_path / "a.mkv").read_bytes()))
        assert only_job("b.mkv").error_code == "over_budget"
    assert no_work()
    deliver("intake", event)
    foreseen = spent()["drops"]
    assert only_job("a.mkv").status == PENDING
    assert foreseen == charged(only_job("a.mkv").id) > 0
    drain(times=2)
    job = only_job("a.mkv")
    assert (job.status, "from a copy" in job.encoding) == (SUCCESS, True)
    assert spent()["drops"] == pytest.approx(charged(job.id))
    assert foreseen <= charged(job.id) < 5 * foreseen


@pytest.mark.media
@pytest.mark.usefixtures("short_chunks")
def test_what_an_estimate_told_of_a_film_that_is_copied_is_enough(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", size="160x96", rate="10", seconds=20, output=("-g", "20"))
    drop("a.mkv", (tmp_path / "a.mkv").read_bytes())
    allowed = 1.1 * estimates.estimate("-", FromKeyRequest("a.mkv")).usage.cost_usd
    job_id = submissions.from_key("-", FromKeyRequest("a.mkv", None, allowed), None).job_id
    deliver("intake", *take("intake"))
    drain(times=2)
    assert only_job("a.mkv").status == SUCCESS
    assert charged(job_id) > allowed  # so that this one can fail


def test_what_comes_again_is_charged_once(
    sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes())
    expected = estimates.estimate("-", FromKeyRequest("a.jpg")).usage.cost_usd
    deliver("intake", event, event)
    deliver("intake", event)
    drain(times=3)
    job = only_job("a.jpg")
    assert job.status == SUCCESS
    assert spent() == {"drops": pytest.approx(charged(job.id))}
    assert charged(job.id) == pytest.approx(expected, rel=0.2)  # but for what it took to look
    # What the alarm adds up.
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    dollars = [each["EstimatedDollars"] for each in told if "EstimatedDollars" in each]
    assert dollars == [[pytest.approx(charged(job.id))]]


# ── an owner's day ──────────────────────────────────────────────────────────────────────────────


def test_an_owner_s_day_has_an_end_and_another_s_none(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    deliver("intake", drop("first.jpg", body))
    (cost,) = spent().values()
    with stage(SLUICE_MAX_OWNER_DAY_USD=str(2.5 * cost)):
        for key in ("second.jpg", "third.jpg"):
            deliver("intake", drop(key, body))
        upload = uploads.presign("-", PresignRequest("b.jpg", "image/jpeg", ["thumbnail"]))
        deliver("intake", drop(upload.key, body))
    assert only_job("second.jpg").error_code == ""
    refused = only_job("third.jpg")
    assert (refused.status, refused.error_code) == ("FAILURE", "over_budget")
    assert "SLUICE_MAX_OWNER_DAY_USD" in refused.error
    assert only_job(upload.key).error_code == ""
    assert spent()["drops"] == pytest.approx(2 * cost)
    assert spent().keys() == {"drops", "-"}


def pending() -> str:
    job_id = str(uuid.uuid4())
    jobs.create(job_id, "-", "a.png", ["thumbnail"])
    return job_id


def start(job_id: str, usd: float, before: float = 0.0) -> bool | str:
    row = jobs.get(job_id)
    assert row is not None
    try:
        return starts.start(
            row,
            duration=None,
            etag="e",
            pipeline=["thumbnail"],
            recipe="",
            plan=a_plan("thumbnail"),
            starter="m",
            charge=Charge("-", usd, before),
        )
    except JobError as error:
        return error.code


@pytest.mark.slow
def test_forty_jobs_at_once_do_not_pass_the_limit_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In DynamoDB a transaction is one moment; moto's is not, where threads share it.
    write, lock = DynamoDBBackend.transact_write_items, Lock()

    def at_once(self: Any, items: Any, *more: Any) -> Any:
        with lock:
            return write(self, items, *more)

    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", at_once)
    job_ids = [pending() for _ in range(40)]
    with stage(SLUICE_MAX_OWNER_DAY_USD="1"), ThreadPoolExecutor(16) as pool:
        # Each is asked for twice.
        came = list(pool.map(lambda job_id: start(job_id, 0.03), [*job_ids, *job_ids]))
    assert came.count(True) == 33
    assert came.count("over_budget") + came.count(False) == 47
    assert spent() == {"-": pytest.approx(0.99)}
    assert sum(map(charged, job_ids)) == pytest.approx(0.99)


def test_jobs_that_meet_at_one_row_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    write, conflicts = DynamoDBBackend.transact_write_items, [3]

    def busy(self: Any, items: Any, *more: Any) -> Any:
        if conflicts[0]:
            conflicts[0] -= 1
            reasons = [(None, None, None), ("TransactionConflict", "Transaction is ongoing", None)]
            raise TransactionCanceledException(reasons)
        return write(self, items, *more)

    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", busy)
    assert start(pending(), 0.5) is True
    assert spent() == {"-": 0.5}
    conflicts[0] = 100
    with pytest.raises(TransactWriteError):  # the message comes again
        start(pending(), 0.5)
    assert spent() == {"-": 0.5}


def test_a_job_that_has_started_is_not_charged_again_nor_refused() -> None:
    job_id = pending()
    assert start(job_id, 0.5) is True
    with stage(SLUICE_MAX_OWNER_DAY_USD="0.6"):
        assert start(job_id, 0.5) is False
    assert spent() == {"-": 0.5}


def test_who_read_a_job_before_another_charged_for_it_does_not_charge_again() -> None:
    """One begins a copy, while another, that has read the job earlier, has found the copy and starts it."""
    job_id = pending()
    row = jobs.get(job_id)
    assert row is not None
    assert starts.await_copy(row, "etag", Charge("-", 0.4, 0.0), ["thumbnail"], "") is True
    assert start(job_id, 0.5, 0.0) is False
    assert (spent(), charged(job_id)) == ({"-": 0.4}, 0.4)
    assert start(job_id, 0.5, 0.4) is True
    assert (spent(), charged(job_id)) == ({"-": 0.5}, 0.5)


def test_a_job_that_costs_more_than_a_day_may_is_refused_on_an_empty_day() -> None:
    with stage(SLUICE_MAX_OWNER_DAY_USD="0.4"):
        assert start(pending(), 0.5) == "over_budget"
    assert spent() == {}


def test_twelve_hours_of_4k_are_no_more_than_a_job_may_cost() -> None:
    seconds, rate = 12 * 3600, 30
    frames = seconds * rate
    cuts = tuple(
        Cut(
            n * 1000,
            n * rate,
            n * rate,
            n * 100_000,
            n * rate,
            n * 1000,
            n * 100_000,
            n * 100_000 + 9,
            9,
        )
        for n in range(0, seconds, 2)
    )
    index = FrameIndex(
        30_000, 0, 0, ((frames, 1000),), cuts, TrackSamples("<bHb", bytes(4 * frames), "", b"")
    )
    audio_cuts = tuple(AudioCut(n * 10**6, 0, 0, 0, 9) for n in range(0, seconds, 2))
    facts = msgspec.structs.replace(
        FILM,
        width=3840,
        height=2160,
        seconds=float(seconds),
        frames=frames,
        frame_rate=str(rate),
        timescale=30_000,
        index=msgspec.structs.replace(index, audio=(IndexedAudio(index.video, audio_cuts),)),
    )
    check_film(facts)
    plan = make_plan("job", "uploads/a.mp4", facts, PRESETS, DEFAULTS)
    size = 5 * 1024**3
    sizes = functions.sizes(environment.MEMORY, AWS)
    estimated = estimate(plan, facts, size, Used("intake"), sizes)
    for architecture in ("x86_64", "aarch64"):
        told = usage(estimated.used, estimated.bytes_stored, {}, Prices(), sizes, architecture)
        assert 9 < told.cost_usd < Settings().max_job_usd, architecture
    page = (ROOT / "docs" / "limits.md").read_text()
    for most in (Settings().max_job_usd, Settings().max_owner_day_usd):
        assert f"| ${most:g} | `over_budget` |" in page
