"""What jobs use and cost: metered, estimated, and counted by somebody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import botocore.handlers
import msgspec
import pytest

from chalicelib.api import estimates, job_lists, jobs, submissions
from chalicelib.api.requests import FromKeyRequest
from chalicelib.api.views import JobView
from chalicelib.model.picture import Picture, Variant
from chalicelib.model.plan import Plan, Task, Track
from chalicelib.model.step import FAILURE, SUCCESS
from chalicelib.model.streams import Rung
from chalicelib.model.usage import Usage, Used, total
from chalicelib.model.work import Audio, Chunk, Hls, Images, Join, Poster, Run
from chalicelib.settings import FunctionSize, Prices, load
from chalicelib.store.meter import Meter
from chalicelib.store.queues import QUEUES
from chalicelib.tasks import pricing
from chalicelib.tasks.sharing import parts_by_step
from infra.tools.samples import film
from testing.pump import deliver, drain, drop, take

Sample = Callable[[str], Path]
Counted = Counter[tuple[str, str]]

_sent: Counter[str] = Counter()


def count(event_name: str, request: Any, **_: Any) -> None:
    is_progress = (
        b'"sk": {"S": "progress"}' in request.body if "UpdateItem" in event_name else False
    )
    # So are the looks of a task that takes more than two seconds: neither is estimated.
    is_look = event_name.endswith(".GetItem") and b"ProjectionExpression" in request.body
    _sent["progress" if is_progress or is_look else event_name.split(".")[1]] += 1


# PynamoDB keeps its session: so for all of them, and before the first.
botocore.handlers.BUILTIN_HANDLERS.append(("before-send", count, botocore.handlers.REGISTER_FIRST))


def run(key: str, *pipeline: Any) -> tuple[JobView, Counted]:
    """A job for what is there, each of its messages delivered once; its requests by function and service."""
    job_id = submissions.from_key("-", FromKeyRequest(key, list(pipeline) or None), None).job_id
    counted: Counted = Counter()
    while waiting := [(queue, body) for queue in QUEUES for body in take(queue)]:
        for queue, body in waiting:
            before = _sent.copy()
            # The pump sends and receives a message, as often as Lambda's poller receives and deletes it.
            assert deliver(queue, body) == []
            counted.update({(queue, service): n for service, n in (_sent - before).items()})
    return jobs.get_job("-", job_id, "https://x/api"), counted


def requests_of(told: Usage | None) -> Counted:
    assert told is not None
    return Counter(
        {
            (function, service): number
            for function, used in told.functions.items()
            for service, number in (
                ("dynamodb", used.requests.dynamodb),
                ("s3", used.requests.s3),
                ("sqs", used.requests.sqs),
            )
        }
    )


@pytest.fixture
def long_film(tmp_path: Path) -> bytes:
    film(tmp_path / "a.mp4", size="160x96", seconds=16, output=("-g", "50"))
    return (tmp_path / "a.mp4").read_bytes()


# ── counted ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("pipeline", [(), ("thumbnail",)])
def test_an_image_job_makes_the_requests_that_were_estimated(
    sample: Sample, pipeline: tuple[str, ...]
) -> None:
    drop("a.jpg", sample("photo.jpg").read_bytes())
    estimated = estimates.estimate("-", FromKeyRequest("a.jpg", list(pipeline) or None))
    job, counted = run("a.jpg", *pipeline)
    assert (job.status, estimated.tasks) == (SUCCESS, 1)
    assert requests_of(estimated.usage) == counted
    # What follows the start of the job and a task's end is not in it, but for the last: progress, a message.
    missing = counted - requests_of(job.usage)
    assert missing == {("intake", "dynamodb"): 1, ("intake", "sqs"): 1}


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
@pytest.mark.parametrize(
    "pipeline",
    [
        (),
        ("hls_720p",),
        ("thumbnail", "transcode_720p"),
        ("watermark", "hls_720p"),
        ({"make": "hls", "ladder": [144], "dash": True},),
    ],
)
def test_a_film_in_chunks_makes_the_requests_that_were_estimated(
    long_film: bytes, pipeline: tuple[Any, ...]
) -> None:
    drop("a.mp4", long_film)
    estimated = estimates.estimate("-", FromKeyRequest("a.mp4", list(pipeline) or None))
    job, counted = run("a.mp4", *pipeline)
    assert (job.status, job.encoding) == (SUCCESS, "In 3 chunks at once.")
    assert estimated.encoding == job.encoding
    # Progress is written as often as this machine is slow.
    progress = {
        function: counted.pop((function, service))
        for function, service in list(counted)
        if service == "progress"
    }
    assert _by_parts(requests_of(estimated.usage)) == _by_parts(counted)
    for function, number in progress.items():
        counted[function, "dynamodb"] += number
    # The progress, of each part the set of what has ended, of HLS the first listing, each step's end but one.
    parts = 4
    missing: Counter[str] = Counter()
    for (_, service), number in (counted - requests_of(job.usage)).items():
        missing[service] += number
    assert missing == {
        "dynamodb": 1
        + parts
        + any(each.name in ("hls", "hls_720p") for each in job.steps)
        + len(job.steps)
        - 1,
        # To each pool, to encode twice, and what the last part sends.
        "sqs": 2 + ("thumbnail" in job.pipeline) + 1 + 1,
    }


@pytest.mark.media
@pytest.mark.usefixtures("cloud")
def test_sound_makes_the_requests_that_were_estimated(sample: Sample) -> None:
    drop("a.m4a", sample("sound_only.m4a").read_bytes())
    estimated = estimates.estimate("-", FromKeyRequest("a.m4a"))
    job, counted = run("a.m4a")
    assert (job.status, job.pipeline, estimated.kind) == (SUCCESS, [{"make": "audio"}], "audio")
    counted.pop(("audio", "progress"), None)
    assert requests_of(estimated.usage) == counted


@pytest.mark.media
@pytest.mark.usefixtures("cloud")
def test_the_sound_of_a_film_makes_the_requests_that_were_estimated(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", size="160x96")
    drop("a.mp4", (tmp_path / "a.mp4").read_bytes())
    asked = FromKeyRequest("a.mp4", [{"make": "audio"}])
    estimated = estimates.estimate("-", asked)
    job, counted = run("a.mp4", {"make": "audio"})
    assert (job.status, estimated.kind) == (SUCCESS, "video")
    counted.pop(("audio", "progress"), None)
    assert requests_of(estimated.usage) == counted


@pytest.mark.media
@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_preview_makes_the_requests_that_were_estimated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    film(path, size="160x96", seconds=12, output=("-g", "25"))
    drop(path.name, path.read_bytes())
    step = {"make": "preview", "seconds": 4, "formats": ["mp4", "webp"]}
    estimated = estimates.estimate("-", FromKeyRequest(path.name, [step]))
    job, counted = run(path.name, step)
    assert (job.status, len(job.outputs)) == (SUCCESS, 2)
    counted.pop(("encode", "progress"), None)
    assert requests_of(estimated.usage) == counted


def _by_parts(requests: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """With audio's as encode's: whose part ends last, and so sends the packages, depends on the day."""
    summed: Counter[tuple[str, str]] = Counter()
    for (function, service), number in requests.items():
        summed["encode" if function == "audio" else function, service] += number
    return summed


@pytest.mark.media
@pytest.mark.usefixtures("cloud")
def test_of_a_film_that_gets_a_poster_only_no_samples_of_sound_are_kept(long_film: bytes) -> None:
    drop("a.mp4", long_film)
    estimated = estimates.estimate("-", FromKeyRequest("a.mp4", ["thumbnail"]))
    job, counted = run("a.mp4", "thumbnail")
    assert job.status == SUCCESS
    assert requests_of(estimated.usage) == counted
    # Head and index, samples of pictures, the plan, the checksum.
    assert counted["intake", "s3"] == 4


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_an_estimate_foresees_a_copy(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", size="160x96", seconds=20, output=("-g", "50"))
    drop("a.mkv", (tmp_path / "a.mkv").read_bytes())
    estimated = estimates.estimate("-", FromKeyRequest("a.mkv", ["transcode_720p"]))
    assert estimated.encoding.startswith("In chunks at once, from a copy: its container has no")
    invocations = {name: used.invocations for name, used in estimated.usage.functions.items()}
    # Of audio: the copy, and the sound.
    assert invocations == {"intake": 1, "encode": 1, "audio": 2, "package": 1}


# ── metered ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("cloud")
def test_a_job_tells_what_it_used_once_it_has_ended(sample: Sample) -> None:
    body = sample("photo.jpg").read_bytes()
    deliver("intake", drop("a.jpg", body))
    assert only_job().usage is None
    drain()
    told = only_job().usage
    assert told is not None
    assert told.functions.keys() == {"intake", "pictures"}
    assert [used.invocations for used in told.functions.values()] == [1, 1]
    assert all(used.gb_seconds > 0 for used in told.functions.values())
    # intake reads its first megabyte, and the task all of it and the plan.
    assert 2 * len(body) < told.bytes_read < 2 * len(body) + 20_000
    assert told.bytes_stored == sum(output.size for output in only_job().outputs)
    assert told.bytes_stored < told.bytes_written < told.bytes_stored + 5_000
    assert 0 < told.cost_usd < 0.001
    assert told.prices_of == Prices().of


@pytest.mark.usefixtures("cloud")
def test_what_comes_twice_changes_nothing_of_what_a_job_has_used(sample: Sample) -> None:
    event = drop("a.jpg", sample("photo.jpg").read_bytes(), pipeline="thumbnail")
    deliver("intake", event)
    (body,) = take("pictures")
    deliver("pictures", body)
    before = only_job().usage
    deliver("intake", event)
    deliver("pictures", body)
    assert only_job().usage == before


@pytest.mark.usefixtures("cloud")
def test_jobs_that_fail_tell_too(sample: Sample) -> None:
    deliver("intake", drop("damaged.jpg", sample("truncated.jpg").read_bytes()))
    deliver("intake", drop("text.jpg", sample("text.jpg").read_bytes()))
    drain()
    damaged, refused = only_job("damaged.jpg"), only_job("text.jpg")
    assert (damaged.status, refused.status) == (FAILURE, FAILURE)
    assert damaged.usage is not None
    assert damaged.usage.functions.keys() == {"intake", "pictures"}
    assert damaged.usage.bytes_stored == 0
    assert refused.usage is not None
    assert refused.usage.functions.keys() == {"intake"}


@pytest.mark.usefixtures("cloud")
def test_an_invocation_for_several_messages_is_one(sample: Sample) -> None:
    body = sample("text.jpg").read_bytes()
    deliver("intake", *(drop(key, body) for key in ("a.jpg", "b.jpg")))
    told = [only_job(key).usage for key in ("a.jpg", "b.jpg")]
    assert [usage.functions["intake"].invocations for usage in told if usage] == [1, 0]


def only_job(key: str = "a.jpg") -> JobView:
    (job,) = job_lists.list_jobs("-", {"key": key}, "https://x/api").jobs
    return job


def test_the_first_invocation_of_a_process_has_its_start_in_it() -> None:
    meter = Meter()
    assert meter.lap() == []
    meter.begin("encode", 2 * 1024**3)
    (cold,) = meter.lap()
    assert (cold.function, cold.invocations) == ("encode", 1)
    assert 0.1 < cold.seconds < 11
    assert cold.gb_seconds == pytest.approx(2 * cold.seconds, abs=0.01)
    meter.begin("encode", 2 * 1024**3)
    (warm,) = meter.lap()
    assert warm.seconds < cold.seconds / 2
    meter.end()
    assert meter.lap() == []


# ── priced ──────────────────────────────────────────────────────────────────────────────────────

ENCODES = Used("encode", 10, 100.0, 1000.0, 70, 40.0, 80.0, 500, 300, 20, 10**9, 10**8)
SIZES = {"encode": FunctionSize(10240, 10240, 4.34)}


def test_what_was_used_is_priced_by_service() -> None:
    told = pricing.usage([ENCODES], 2 * 1024**3, {}, Prices(), SIZES, "x86_64")
    assert told.cost_usd_by_service.lambda_ == pytest.approx(
        1000 * 0.0000166667 + 100 * 9.5 * 0.0000000309 + 10 * 0.0000002, abs=1e-8
    )
    assert told.cost_usd_by_service.dynamodb == pytest.approx(40 * 0.125e-6 + 80 * 0.625e-6)
    assert told.cost_usd_by_service.s3 == pytest.approx(500 * 0.4e-6 + 300 * 5e-6)
    assert told.cost_usd_by_service.sqs == pytest.approx(20 * 0.4e-6)
    by_service = msgspec.structs.astuple(told.cost_usd_by_service)
    assert told.cost_usd == pytest.approx(sum(by_service), abs=1e-8)
    assert told.storage_usd_a_month == pytest.approx(2 * 0.023)
    arm = pricing.usage([ENCODES], 0, {}, Prices(), SIZES, "aarch64")
    assert arm.cost_usd < told.cost_usd


def test_prices_are_settings_with_a_date() -> None:
    chosen = load({"SLUICE_PRICES_OF": "2027-01-31", "SLUICE_PRICE_S3_GB_MONTH": "1"}, Prices)
    told = pricing.usage([ENCODES], 1024**3, {}, chosen, SIZES, "x86_64")
    assert (told.prices_of, told.storage_usd_a_month) == (date(2027, 1, 31), 1.0)


def test_the_cost_is_divided_among_the_steps() -> None:
    told = pricing.usage([ENCODES], 0, {"a": 0.25, "b": 0.75}, Prices(), SIZES, "x86_64")
    assert told.cost_usd_by_step == {
        "a": pytest.approx(told.cost_usd / 4, abs=1e-8),
        "b": pytest.approx(told.cost_usd * 3 / 4, abs=1e-8),
    }


def used(task_id: str, gb_seconds: float) -> tuple[str, Used]:
    return task_id, Used("encode", gb_seconds=gb_seconds)


def film_plan() -> Plan:
    """Two MP4s, one of three times the pixels, the small one also as HLS, and a poster."""
    chunk = Chunk("film", Run(), ("large", "small"), 0, 6.0)
    sound = Audio({"sound": Run()}, 0, 0, 1, None, 6.0)
    poster = Poster((), (Run(),), Picture(()), (16, 16))
    parts = ("film.0", "film.1", "sound.0")
    large = Join("large", "a.mp4", 640, 360, 12.0, None)
    small = Join("small", "b.mp4", 320, 180, 12.0, None)
    stream = Hls((Rung("small", "video", 320, 180, None, 25.0, 10**6),), 12.0)
    return Plan(
        (
            *(Task(f"film.{number}", chunk) for number in range(2)),
            Task("sound.0", sound),
            Task("poster", poster),
            *(
                Task(step, work, needs=parts)
                for step, work in (("large", large), ("small", small), ("stream", stream))
            ),
        ),
        {step: step for step in ("large", "small", "stream", "poster")},
        tracks={
            "large": Track("l_", 9.0, 300.0),
            "small": Track("s_", 3.0, 100.0),
            "sound": Track("a_", 1.0),
        },
    )


def test_what_a_film_used_is_divided_by_what_was_encoded_for_each_step() -> None:
    parts = parts_by_step(film_plan(), [used("film.0", 30), used("film.1", 10), used("film.1", 40)])
    # Three quarters are the large rendition's. Two steps share the small one.
    assert parts == {"large": 0.75, "small": 0.125, "stream": 0.125, "poster": 0.0}


def test_what_is_for_all_steps_follows_what_each_has_of_its_own() -> None:
    of_tasks = [used("film.0", 40), used("sound.0", 6), used("poster", 10), used("large", 4)]
    before = parts_by_step(film_plan(), of_tasks)
    assert before == pytest.approx(
        {"large": (30 + 2 + 4) / 60, "small": 7 / 60, "stream": 7 / 60, "poster": 10 / 60}, abs=1e-5
    )
    assert parts_by_step(film_plan(), [*of_tasks, used("remux", 20)]) == before
    assert parts_by_step(film_plan(), []) == {}


def test_an_image_is_divided_by_what_each_step_encodes() -> None:
    def picture(*sizes: tuple[int, int]) -> Picture:
        return Picture(tuple(Variant("a.jpg", *size, "jpeg", 85) for size in sizes))

    made = {"small": picture((100, 100)), "two": picture((100, 200), (100, 100))}
    plan = Plan((Task("small+two", Images("JPEG", made)),), dict.fromkeys(made, "small+two"))
    assert parts_by_step(plan, [used("small+two", 8)]) == {"small": 0.25, "two": 0.75}


@pytest.mark.media
@pytest.mark.usefixtures("cloud", "short_chunks")
def test_a_job_and_its_estimate_price_each_step(long_film: bytes) -> None:
    drop("a.mp4", long_film)
    pipeline = ["watermark", "thumbnail", "hls_720p"]
    estimated = estimates.estimate("-", FromKeyRequest("a.mp4", list(pipeline))).usage
    job, _ = run("a.mp4", *pipeline)
    assert job.usage
    for told in (estimated, job.usage):
        assert list(told.cost_usd_by_step) == pipeline
        assert all(usd > 0 for usd in told.cost_usd_by_step.values())
        assert sum(told.cost_usd_by_step.values()) == pytest.approx(told.cost_usd, rel=1e-4)


def test_parts_are_added_up_by_function() -> None:
    other = Used("intake", 1, 0.5, 0.8, 6)
    assert total([ENCODES, other, ENCODES]) == [
        Used("encode", 20, 200.0, 2000.0, 140, 80.0, 160.0, 1000, 600, 40, 2 * 10**9, 2 * 10**8),
        other,
    ]
