"""Objects that are found by a listing, and deleted: the sweep's, and what a retry finds of another job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import batched

from chalicelib.errors import Transient
from chalicelib.model.work import Source
from chalicelib.settings import settings
from chalicelib.store.clients import s3


def list_outputs(prefix: str) -> Iterator[str]:
    """The keys in the output bucket with this prefix."""
    pages = s3().get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=settings().output_bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            yield item["Key"]


def delete_outputs(keys: Sequence[str]) -> None:
    """Delete objects of the output bucket, if they are there. Raises Transient where S3 kept one.

    The sweep alone calls it (`jobs/sweep.py`), for jobs that have ended or were deleted. Everything else goes
    by the buckets' lifecycle rules (`infra/stack/storage.py`).
    """
    for batch in batched(keys, 1000, strict=False):
        answer = s3().delete_objects(
            Bucket=settings().output_bucket,
            Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
        )
        if answer.get("Errors"):
            raise Transient("not_deleted", "S3 did not delete every object.")


def delete_original(source: Source) -> None:
    """Delete an original, if it is there and has this ETag. A stage may keep the right to that."""
    listed = s3().list_objects_v2(Bucket=settings().upload_bucket, Prefix=source.key, MaxKeys=1)
    for item in listed.get("Contents", ()):
        if item["Key"] == source.key and item["ETag"].strip('"') == source.etag:
            s3().delete_object(Bucket=settings().upload_bucket, Key=source.key)
