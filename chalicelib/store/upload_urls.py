"""Presigned requests to S3 by which clients upload originals: by one PUT, or in parts.

Signing asks S3 nothing: who sends a request finds whether an upload in parts with this id is under way.
"""

from __future__ import annotations

from typing import Any

from chalicelib.settings import settings
from chalicelib.store.clients import s3


def put_url(key: str, size: int | None, seconds: int) -> str:
    """A PUT of the whole file. `size` in bytes is signed, where it is announced; the content type is not."""
    return _signed("put_object", key, seconds, **({} if size is None else {"ContentLength": size}))


def create_url(key: str, seconds: int) -> str:
    """A POST that begins an upload in parts. S3 adds a checksum of the whole by itself (CRC-64/NVME).

    No algorithm is named: it would be a signed header, which Uppy up to 6.1 does not send.
    """
    return _signed("create_multipart_upload", key, seconds)


def part_url(key: str, upload_id: str, number: int, seconds: int) -> str:
    """A PUT of the part `number`, from 1 on."""
    return _signed("upload_part", key, seconds, UploadId=upload_id, PartNumber=number)


def list_url(key: str, upload_id: str, seconds: int) -> str:
    """A GET of the list of the first 1,000 parts that have arrived."""
    return _signed("list_parts", key, seconds, UploadId=upload_id)


def complete_url(key: str, upload_id: str, seconds: int) -> str:
    """A POST of the parts' numbers and ETags, which makes an object of them."""
    return _signed("complete_multipart_upload", key, seconds, UploadId=upload_id)


def abort_url(key: str, upload_id: str, seconds: int) -> str:
    """A DELETE of an upload that has not been completed, with its parts."""
    return _signed("abort_multipart_upload", key, seconds, UploadId=upload_id)


def _signed(operation: str, key: str, seconds: int, **parameters: Any) -> str:
    return s3().generate_presigned_url(
        operation,
        Params={"Bucket": settings().upload_bucket, "Key": key, **parameters},
        ExpiresIn=seconds,
    )
