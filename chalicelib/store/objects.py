"""Objects in the two buckets: with `listings` and `upload_urls` the only module that talks to S3."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from chalicelib.errors import JobError, Transient
from chalicelib.model.filenames import disposition
from chalicelib.model.mark import WATERMARKS, Mark
from chalicelib.model.work import Source
from chalicelib.settings import settings
from chalicelib.store.clients import s3
from chalicelib.store.signing import signed_address

CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".png": "image/png",
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".m4s": "video/mp4",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".vtt": "text/vtt",
    ".json": "application/json",
}
# Outputs that name files beside them: they are answered as they are, never by a redirect.
TEXTS = (".m3u8", ".mpd", ".vtt", ".json")
# An output never changes. `private`: whoever may read it has a signed address.
_UNCHANGING = "private, max-age=31536000, immutable"
PART_BYTES = 8 * 1024**2  # of a multipart upload, at least
READERS = 8  # how many objects are read at once
TRANSFER = TransferConfig(multipart_threshold=64 * 1024**2, multipart_chunksize=32 * 1024**2)


class Original(NamedTuple):
    """An object that is not ours, as it is now. `size` in bytes, `metadata` with names in lower case."""

    etag: str
    size: int
    metadata: dict[str, str]


def find_original(key: str) -> Original | None:
    """The object that a client uploaded or dropped; None where it is not there, or may not be read."""
    return _find(settings().upload_bucket, key)


def _find(bucket: str, key: str) -> Original | None:
    try:
        head = s3().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _is_absent(error):
            return None
        raise
    return Original(head["ETag"].strip('"'), head["ContentLength"], head["Metadata"])


def has_original(key: str) -> bool:
    """Whether an original is there; needs the right to list the bucket, not to read its objects."""
    found = s3().list_objects_v2(Bucket=settings().upload_bucket, Prefix=key, MaxKeys=1)
    # Of all keys with this prefix, the key itself is the first.
    return any(item["Key"] == key for item in found.get("Contents", ()))


def open_original(key: str, length: int) -> tuple[Original, bytes] | None:
    """`find_original` plus the first `length` bytes, in one GET.

    None, too, where it may not be read: encrypted, archived, or not ours.
    """
    return _open_start(settings().upload_bucket, key, length)


def open_watermark(name: str, length: int) -> tuple[Original, bytes] | None:
    """An operator's watermark as it is now, with its first `length` bytes; None where it cannot be read."""
    return _open_start(settings().output_bucket, WATERMARKS + name, length)


def _open_start(bucket: str, key: str, length: int) -> tuple[Original, bytes] | None:
    try:
        answer = s3().get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{length - 1}")
    except ClientError as error:
        if _is_absent(error):
            return None
        if _status(error) != 416:
            raise
        empty = _find(bucket, key)  # it has no first byte
        return (empty, b"") if empty else None
    size = int(answer["ContentRange"].rpartition("/")[2])
    return Original(answer["ETag"].strip('"'), size, answer["Metadata"]), answer["Body"].read()


def read(source: Source, start: int, length: int) -> bytes:
    """`length` bytes from `start`, fewer at the end. Raises JobError where the ETag is another by now."""
    if length <= 0:
        return b""
    return _open(source, Range=f"bytes={start}-{start + length - 1}").read()


def fetch(source: Source, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Write the object to `target`; `check` is called on the way, and may raise.

    Raises JobError where it is not there, or its ETag is another by now.
    """
    body = _open(source)
    with target.open("wb") as file:
        while block := body.read(1024**2):
            file.write(block)
            check()


def fetch_watermark(mark: Mark, target: Path) -> None:
    """Write an operator's watermark to `target`. Raises JobError `watermark_changed`."""
    try:
        fetch(Source(WATERMARKS + mark.image, mark.etag, is_copy=True), target)
    except JobError as error:
        detail = (
            f"The watermark {mark.image} was changed or removed while the job ran. Start it again."
        )
        raise JobError("watermark_changed", detail) from error


def read_sidecar(sidecar: Source) -> bytes:
    """A file of captions. Raises JobError `captions_changed`."""
    try:
        return _open(sidecar).read()
    except JobError as error:
        detail = (
            f"The captions {sidecar.key} were changed or removed while the job ran. Start it again."
        )
        raise JobError("captions_changed", detail) from error


def fetch_parts(
    source: Source, target: Path, head: bytes, parts: Sequence[tuple[int, int]]
) -> None:
    """Write `head`, then the byte ranges `parts` of the object, in order, to `target`; in one GET.

    A part is (start, stop). Bytes between parts are read and dropped. Raises JobError as `fetch`, Transient
    where S3 sends too little.
    """
    at = parts[0][0]
    body = _open(source, Range=f"bytes={at}-{parts[-1][1] - 1}")
    with target.open("wb") as file:
        file.write(head)
        for begin, end in parts:
            for _ in _blocks(body, begin - at):
                pass
            file.writelines(_blocks(body, end - begin))
            at = end


def _blocks(body: StreamingBody, length: int) -> Iterator[bytes]:
    """The next `length` bytes of a body, in blocks. Raises Transient where there are fewer."""
    while length:
        block = body.read(min(length, 1024**2))
        if not block:
            raise Transient("short_read", "S3 has sent less than was asked for.")
        yield block
        length -= len(block)


def checksum_crc64nvme(original: Source) -> str:
    """CRC-64/NVME of all bytes of an original, in Base64; "" where S3 has none. Raises JobError as `fetch`.

    S3 computes it for each object whose sender chose no other checksum, also for one that came in parts.
    """
    with _pinned():
        head = s3().head_object(
            Bucket=settings().upload_bucket,
            Key=original.key,
            IfMatch=f'"{original.etag}"',
            ChecksumMode="ENABLED",
        )
    # A checksum of the parts' checksums is none of the file.
    return "" if head.get("ChecksumType") == "COMPOSITE" else head.get("ChecksumCRC64NVME", "")


def _open(source: Source, **options: Any) -> StreamingBody:
    bucket = settings().output_bucket if source.is_copy else settings().upload_bucket
    with _pinned():
        found = s3().get_object(Bucket=bucket, Key=source.key, IfMatch=source.etag, **options)
    return found["Body"]


@contextmanager
def _pinned() -> Iterator[None]:
    """Raises JobError where S3 says that an object has another ETag by now, or is not there."""
    try:
        yield
    except ClientError as error:
        if _status(error) == 412:
            detail = "The file was overwritten while it was being worked on."
            raise JobError("source_changed", detail) from error
        if _is_absent(error):
            raise missing() from error
        raise


def missing() -> JobError:
    return JobError("source_missing", "The file is not there any more, or may not be read.")


def put_original(key: str, body: bytes, content_type: str) -> None:
    s3().put_object(
        Bucket=settings().upload_bucket,
        Key=key,
        Body=body,
        ContentType=content_type,
    )


def publish(path: Path, key: str) -> int:
    """Store a file in the output bucket; returns its size in bytes."""
    s3().upload_file(
        str(path),
        settings().output_bucket,
        key,
        ExtraArgs={"ContentType": CONTENT_TYPES[path.suffix], "CacheControl": _UNCHANGING},
        Config=TRANSFER,
    )
    return path.stat().st_size


def publish_copy(path: Path, key: str) -> Source:
    """Store the copy of a film in the output bucket, pinned by the ETag that it got."""
    size = publish(path, key)
    head = s3().head_object(Bucket=settings().output_bucket, Key=key)
    return Source(key, head["ETag"].strip('"'), is_copy=True, size=size)


def put_output(key: str, body: bytes) -> int:
    """Store a small object in the output bucket; returns its size in bytes."""
    s3().put_object(
        Bucket=settings().output_bucket,
        Key=key,
        Body=body,
        ContentType=CONTENT_TYPES[Path(key).suffix],
        CacheControl=_UNCHANGING,
    )
    return len(body)


def copy_output(key: str, target: str) -> bool:
    """Copy an object within the output bucket, from S3 to S3; False where it is not there."""
    bucket = settings().output_bucket
    try:
        s3().copy(
            {"Bucket": bucket, "Key": key},
            bucket,
            target,
            ExtraArgs={
                "ContentType": CONTENT_TYPES[Path(target).suffix],
                "CacheControl": _UNCHANGING,
                "MetadataDirective": "REPLACE",
            },
            Config=TRANSFER,
        )
    except ClientError as error:
        if _is_absent(error):
            return False
        raise
    return True


@contextmanager
def multipart(key: str) -> Iterator[Callable[[int, bytes], None]]:
    """A multipart upload to the output bucket: yields what stores a part, by its number (from 1) and bytes.

    Parts may come in any order. Each but the last has at least PART_BYTES. On an exception nothing is left.
    """
    bucket = settings().output_bucket
    upload = s3().create_multipart_upload(
        Bucket=bucket,
        Key=key,
        ContentType=CONTENT_TYPES[Path(key).suffix],
        CacheControl=_UNCHANGING,
    )["UploadId"]
    etags: dict[int, str] = {}

    def put(number: int, body: bytes) -> None:
        etags[number] = s3().upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body
        )["ETag"]

    try:
        yield put
        s3().complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={
                "Parts": [{"PartNumber": n, "ETag": etag} for n, etag in sorted(etags.items())]
            },
        )
    except BaseException:
        s3().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise


def put_new_work(key: str, body: bytes) -> bool:
    """Store a small object in the output bucket, unless there is one; False where there is."""
    try:
        s3().put_object(Bucket=settings().output_bucket, Key=key, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if _status(error) not in (409, 412):  # another one is written at this moment, or was before
            raise
        return False
    return True


def read_object(key: str, part: tuple[int, int] | None = None) -> bytes | None:
    """An object of the output bucket, or the bytes (start, stop) of it; None where it is not there."""
    options: dict[str, Any] = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
    try:
        return s3().get_object(Bucket=settings().output_bucket, Key=key, **options)["Body"].read()
    except ClientError as error:
        if _is_absent(error):
            return None
        raise


def has_output(key: str) -> bool:
    """Whether there is such an object in the output bucket."""
    try:
        s3().head_object(Bucket=settings().output_bucket, Key=key)
    except ClientError as error:
        if not _is_absent(error):
            raise
        return False
    return True


class Link(NamedTuple):
    """An address that needs no credentials, and when it expires, in Unix seconds."""

    url: str
    expires_at: int


def original_link(key: str, name: str) -> Link:
    """A presigned GET of an original, which a browser saves under `name` and never renders."""
    query = {
        "response-content-disposition": disposition("attachment", name),
        "response-content-type": "application/octet-stream",
    }
    return _download_link(settings().upload_bucket, key, query)


def output_link(key: str, name: str | None = None, until: int | None = None) -> Link:
    """A presigned GET of an output, which a browser shows, and saves under `name`. It expires by `until`."""
    query = {} if name is None else {"response-content-disposition": disposition("inline", name)}
    return _download_link(settings().output_bucket, key, query, until)


def _download_link(
    bucket: str, key: str, query: Mapping[str, str], until: int | None = None
) -> Link:
    """Signed as of a moment that stays the same for half a lifetime, so that browsers cache by address."""
    lifetime = settings().download_url_seconds
    grid = lifetime // 2
    signed_at = int(time.time()) // grid * grid
    if until is not None:
        lifetime = min(lifetime, until - signed_at)
    address = signed_address(bucket, key, query, signed_at, lifetime)
    return Link(address, signed_at + lifetime)


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


# S3 says that an object is absent only to those who may list the bucket; to others it answers 403, as for
# objects that they may not read. HEAD has no code but the status.
_ABSENT = ("403", "404", "AccessDenied", "InvalidObjectState", "NoSuchKey", "NotFound")


def _is_absent(error: ClientError) -> bool:
    """Whether there is no such object, or we may not read it."""
    return error.response["Error"]["Code"] in _ABSENT
