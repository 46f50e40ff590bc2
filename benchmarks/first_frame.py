"""Time until a film can be watched: the first frame through the HLS URL; baselines: the times of two chunks.

The first chunk, timed while the audio was encoded at the same time; and the second, timed alone, which is as
long as most.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import av

from benchmarks.figures import Figure
from benchmarks.machine import stand_in_for_lambda
from benchmarks.workers import Planned, film, films
from infra.local import cloud
from infra.paths import LOCAL
from infra.tools import samples
from sluice.client import Client, Job, until

RUNS = 3


def measure() -> list[Figure]:
    stand_in_for_lambda()
    # A little shorter than the longest film; as 1080p25 it would have 22 GB.
    longest = film("twelve_hours_360p", "640x360", "150k", 358)
    return [figure for path in (*films(), longest) for figure in _figures(path)]


def _figures(film: Path) -> list[Figure]:
    planned = Planned(film)
    firsts, first_chunks, others = [], [], []
    for _ in range(RUNS):
        first, chunk = _run(film)
        firsts.append(first)
        first_chunks.append(chunk)
        others.append(planned.worker("film.1")[-1])
    name = f"first frame through the HLS URL, {film.stem}, from the PUT's end"
    return [
        Figure(name, "s", firsts, "its first chunk", first_chunks),
        Figure(name, "s", firsts, "its second chunk, alone", others),
    ]


def _run(film: Path) -> tuple[float, float]:
    # The rest of a long film is not waited for: it ends with its cloud.
    with cloud.running("local") as stack, Client(stack) as client:
        client.wait(client.upload(samples.sample("small.mp4", LOCAL / "samples"), "hls_720p"))
        return _watch(client, film)


def _watch(client: Client, film: Path) -> tuple[float, float]:
    """(seconds until the first frame is decoded, seconds of the first chunk's task)."""
    client.drop(film, film.name, pipeline="hls_720p")
    started = time.monotonic()
    (job,) = until(lambda: client.jobs_of(film.name), 120)
    with av.open(until(lambda: _url(client.job(job["id"])), 120)) as container:
        next(container.decode(video=0))
    first = time.monotonic() - started
    return first, until(lambda: _seconds_of_first_chunk(client), 10)


def _url(job: Job) -> str:
    if job["error"]:
        raise RuntimeError(f"The job failed: {job['error']}")
    return next((str(output["url"]) for output in job["outputs"]), "")


def _seconds_of_first_chunk(client: Client) -> float:
    """From the worker's log, of the last job; 0.0 while it is not logged."""
    events = client.aws("logs").filter_log_events(
        logGroupName="/aws/lambda/sluice-local-encode", filterPattern='"film.0"'
    )["events"]
    lines = [json.loads(event["message"]) for event in events if "seconds" in event["message"]]
    done = [line["seconds"] for line in lines if line.get("task_id") == "film.0"]
    return float(done[-1]) if len(done) == 2 else 0.0
