"""A burst of dropped images through the whole local stack; baseline: a bare loop of Pillow on all cores."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure
from benchmarks.images import bare_pillow, picture
from benchmarks.machine import cpu_of, cpu_of_tree
from infra.local import cloud
from sluice.client import Client, Job

FILES = 500
RUNS = 2
_MEGAPIXELS = (4000, 3000)
_CORES = 2


def measure() -> list[Figure]:
    source = picture(*_MEGAPIXELS)
    stack_rates, bare_rates, cpus, emulators = [], [], [], []
    for run in range(RUNS):
        with cloud.running("local") as stack, Client(stack) as client:
            drop(client, source, [f"warm-up/{number}.jpg" for number in range(8)])
            assert stack.pid is not None
            before, emulator = cpu_of_tree(stack.pid), cpu_of(stack.pid)
            rate = drop(client, source, [f"burst/{run}/{number}.jpg" for number in range(FILES)])
            cpu = cpu_of_tree(stack.pid) - before
            stack_rates.append(rate)
            cpus.append(cpu / FILES)
            emulators.append((cpu_of(stack.pid) - emulator) / FILES)
        bare_rates.append(_bare(source))
    name = f"burst of {FILES} dropped pictures, 12 megapixels, thumbnail + watermark"
    bare = f"bare Pillow on {_CORES} cores"
    return [
        Figure(name, "pictures/s", stack_rates, bare, bare_rates),
        Figure(f"{name}, the emulator's part of the CPU", "s", emulators, "all of it", cpus),
    ]


def drop(client: Client, source: Path, keys: list[str]) -> float:
    """Drop an image under each key. Returns images per second, from the first PUT to the last SUCCESS.

    Raises RuntimeError if a job is missing, failed, or exists twice.
    """
    body, s3 = source.read_bytes(), client.aws("s3")
    started = time.time()
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda key: s3.put_object(Bucket=client.stack.upload_bucket, Key=key, Body=body),
                keys,
            )
        )
    ended = _ended(client, keys, time.monotonic() + 2 * len(keys) + 60)
    return len(keys) / (max(ended) - started)


def _ended(client: Client, keys: list[str], deadline: float) -> list[float]:
    """The time at which each job ended, in Unix seconds."""
    wanted = set(keys)
    while _open_jobs(client) and time.monotonic() < deadline:
        time.sleep(1)
    jobs = [job for job in _all_jobs(client) if job["key"] in wanted]
    times = Counter(job["key"] for job in jobs)
    wrong = [job for job in jobs if job["status"] != "SUCCESS"]
    if wrong or set(times) != wanted or set(times.values()) != {1}:
        raise RuntimeError(
            f"{len(wanted - set(times))} pictures are lost, {len(wrong)} have not ended well, "
            f"{sum(times.values()) - len(times)} are there twice"
        )
    return [datetime.fromisoformat(job["updated_at"]).timestamp() for job in jobs]


def _open_jobs(client: Client) -> bool:
    """Whether jobs are left to do; read from AWS directly, as the API would use CPU that is measured."""
    table, sqs = client.aws("dynamodb"), client.aws("sqs")
    waiting = sqs.get_queue_attributes(
        QueueUrl=client.stack.intake_queue_url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return any(int(number) for number in waiting.values()) or any(
        table.query(
            TableName=client.stack.jobs_table,
            IndexName="by_status",
            KeyConditionExpression="#status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": {"S": status}},
            Select="COUNT",
        )["Count"]
        for status in ("PENDING", "STARTED")
    )


def _all_jobs(client: Client) -> list[Job]:
    jobs: list[Job] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/jobs/", limit="100", **cursor).raise_for_status().json()
        jobs += page["jobs"]
        if page["next_cursor"] is None:
            return jobs
        cursor = {"cursor": page["next_cursor"]}


def _bare(source: Path) -> float:
    """Images per second of bare Pillow."""
    with TemporaryDirectory() as scratch, ProcessPoolExecutor(_CORES) as pool:
        folders = [Path(scratch) / str(number) for number in range(_CORES)]
        for folder in folders:
            folder.mkdir()
        list(pool.map(bare_pillow, [source] * _CORES, folders))  # starts the processes
        count = FILES // 5
        started = time.monotonic()
        list(pool.map(bare_pillow, [source] * count, [folders[n % _CORES] for n in range(count)]))
        return count / (time.monotonic() - started)
