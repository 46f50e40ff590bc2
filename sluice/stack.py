"""A deployed stack, as its clients see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stack:
    """Where a deployed stack is and how to reach it. Of a local cloud, stack.json holds these fields."""

    stage: str
    api_url: str
    aws_endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    upload_bucket: str
    output_bucket: str
    jobs_table: str
    intake_queue_url: str
    api_key: str | None  # None where the API asks for none
    pid: int | None  # of the emulator, where `make up` or a test started it
    build: str  # digest of the sources that it was built from
