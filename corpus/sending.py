"""Send one file through the deployed stack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import av

from corpus.manifest import Entry
from corpus.pipelines import Item
from sluice.client import Client, Job

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Ran:
    """The run of one file through the stack."""

    job: Job | None = field(repr=False)  # None if it did not end in time
    seconds: float
    pipeline: Sequence[Item] = ()  # that was sent; (): the file was dropped


def send(client: Client, entry: Entry, path: Path, number: int, pipeline: Sequence[Item]) -> Ran:
    """Upload a file with a pipeline, or drop it, and wait for its job; a long film's may take longer."""
    limit = LIMIT_SECONDS + len(pipeline) * length(entry, path)
    started = time.monotonic()
    try:
        if pipeline:
            job = client.wait(client.upload(path, *pipeline), limit)
        else:
            key = f"corpus/{number}/{path.name}"
            client.drop(path, key)
            job = client.wait_for_drop(key, limit)
    except TimeoutError:
        return Ran(None, time.monotonic() - started, pipeline)
    return Ran(job, time.monotonic() - started, pipeline)


def digests(client: Client, job: Job) -> dict[str, str]:
    """SHA-256 of each output object of a job, by its key without the job's prefix."""
    s3, bucket = client.aws("s3"), client.stack.output_bucket
    prefix = f"outputs/{job['id'].replace('-', '')}_"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {
        key.removeprefix(prefix): sha256(
            s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        ).hexdigest()
        for key in sorted(keys)
    }


def length(entry: Entry, path: Path) -> float:
    """The duration of a film in seconds, by its container; 0 for other files."""
    if entry.kind != "video":
        return 0.0
    try:
        with av.open(str(path), "r") as container:
            return (container.duration or 0) / 1_000_000
    except av.error.FFmpegError:
        return 0.0
