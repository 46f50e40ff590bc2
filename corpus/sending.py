"""One file through the deployed stack."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import av

from corpus.manifest import Entry
from sluice.client import Client, Job

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Ran:
    """What became of a file; `job` is None where it did not end."""

    job: Job | None = field(repr=False)
    seconds: float


def send(client: Client, entry: Entry, path: Path, number: int) -> Ran:
    """Upload or drop a file and wait for its job."""
    limit = LIMIT_SECONDS + 2 * length(entry, path)
    started = time.monotonic()
    try:
        if entry.pipeline:
            job = client.wait(client.upload(path, *entry.pipeline), limit)
        else:
            key = f"corpus/{number}/{path.name}"
            client.drop(path, key)
            job = client.wait_for_drop(key, limit)
    except TimeoutError:
        return Ran(None, time.monotonic() - started)
    return Ran(job, time.monotonic() - started)


def digests(client: Client, job: Job) -> dict[str, str]:
    """SHA-256 of each object that a job has made, by what its key has behind the job's own part."""
    s3, bucket = client.aws("s3"), client.stack.output_bucket
    prefix = f"outputs/{job['id'].replace('-', '')}_"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {
        key.removeprefix(prefix): sha256(
            s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        ).hexdigest()
        for key in sorted(keys)
    }


def length(entry: Entry, path: Path) -> float:
    """Seconds that a film says it lasts: to encode a long one takes this machine long."""
    if entry.kind != "video":
        return 0.0
    try:
        with av.open(str(path), "r") as container:
            return (container.duration or 0) / 1_000_000
    except av.error.FFmpegError:
        return 0.0
