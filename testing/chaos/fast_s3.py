"""S3 in memory, with the operations that Sluice uses. Any other request raises an error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


class Stored(NamedTuple):
    """An object."""

    body: bytes
    etag: str
    metadata: dict[str, str]
    tags: str = ""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Call(NamedTuple):
    """The relevant parts of a request."""

    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class _Upload(NamedTuple):
    bucket: str
    key: str
    metadata: dict[str, str]
    tags: str
    parts: dict[int, tuple[bytes, str]]


_METADATA = "x-amz-meta-"
_KEY = re.compile("<Key>(.*?)</Key>", re.DOTALL)
_XML = {"content-type": "application/xml"}


class S3:
    """Answers requests to S3."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Stored] = {}
        self.uploads: dict[str, _Upload] = {}
        self._begun = 0

    def clear(self) -> None:
        self.objects.clear()
        self.uploads.clear()

    def answer(self, operation: str, request: Any) -> Answer:
        """S3's answer."""
        call = _call_of(request)
        match operation:
            case "CreateBucket":
                return Answer(200)
            case "GetObject" | "HeadObject":
                found = self._get(call)
                return found if operation == "GetObject" else found._replace(body=b"")
            case "PutObject":
                return self._put(call)
            case "CopyObject":
                return self._copy(call)
            case "DeleteObject":
                self.objects.pop((call.bucket, call.key), None)
                return Answer(204)
            case "DeleteObjects":
                return self._delete(call)
            case "ListObjectsV2":
                return self._list(call)
            case "CreateMultipartUpload":
                return self._begin(call)
            case "UploadPart":
                return self._part(call)
            case "CompleteMultipartUpload":
                return self._complete(call)
            case "AbortMultipartUpload":
                gone = self.uploads.pop(call.query["uploadId"], None) is None
                return _error(404, "NoSuchUpload") if gone else Answer(204)
        raise NotImplementedError(operation)

    def _get(self, call: Call) -> Answer:
        stored = self.objects.get((call.bucket, call.key))
        if stored is None:
            return _error(404, "NoSuchKey")
        wanted = call.headers.get("if-match")
        if wanted is not None and wanted.strip('"') != stored.etag:
            return _error(412, "PreconditionFailed")
        headers = {"ETag": f'"{stored.etag}"'}
        headers |= {_METADATA + name: value for name, value in stored.metadata.items()}
        status, body = 200, stored.body
        if "range" in call.headers:
            first, last = map(int, call.headers["range"].removeprefix("bytes=").split("-"))
            if first >= len(body):
                return _error(416, "InvalidRange")
            body = body[first : last + 1]
            end = first + len(body) - 1
            headers["Content-Range"] = f"bytes {first}-{end}/{len(stored.body)}"
            status = 206
        return Answer(status, {**headers, "Content-Length": str(len(body))}, body)

    def _put(self, call: Call) -> Answer:
        if call.headers.get("if-none-match") == "*" and (call.bucket, call.key) in self.objects:
            return _error(412, "PreconditionFailed")
        etag = hashlib.md5(call.body, usedforsecurity=False).hexdigest()
        tags = call.headers.get("x-amz-tagging", "")
        stored = Stored(call.body, etag, _metadata(call), tags)
        self.objects[call.bucket, call.key] = stored
        return Answer(200, {"ETag": f'"{etag}"'})

    def _copy(self, call: Call) -> Answer:
        bucket, _, key = unquote(call.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        stored = self.objects.get((bucket, key))
        if stored is None:
            return _error(404, "NoSuchKey")
        self.objects[call.bucket, call.key] = stored._replace(metadata=_metadata(call), tags="")
        return _xml(f'<CopyObjectResult><ETag>"{stored.etag}"</ETag></CopyObjectResult>')

    def _delete(self, call: Call) -> Answer:
        for key in _KEY.findall(call.body.decode()):
            self.objects.pop((call.bucket, unescape(key)), None)
        return _xml("<DeleteResult></DeleteResult>")

    def _list(self, call: Call) -> Answer:
        found = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.body)}</Size></Contents>"
            for (bucket, key), stored in sorted(self.objects.items())
            if bucket == call.bucket and key.startswith(call.query.get("prefix", ""))
        ]
        assert len(found) <= 1000, "a second page is not known here"
        truncated = "<IsTruncated>false</IsTruncated>"
        return _xml(f"<ListBucketResult>{truncated}{''.join(found)}</ListBucketResult>")

    def _begin(self, call: Call) -> Answer:
        self._begun += 1
        upload = f"upload-{self._begun}"
        tags = call.headers.get("x-amz-tagging", "")
        self.uploads[upload] = _Upload(call.bucket, call.key, _metadata(call), tags, {})
        result = f"<Bucket>{call.bucket}</Bucket><Key>{escape(call.key)}</Key>"
        return _xml(
            f"<InitiateMultipartUploadResult>{result}<UploadId>{upload}</UploadId>"
            "</InitiateMultipartUploadResult>"
        )

    def _part(self, call: Call) -> Answer:
        upload = self.uploads.get(call.query["uploadId"])
        if upload is None:
            return _error(404, "NoSuchUpload")
        etag = hashlib.md5(call.body, usedforsecurity=False).hexdigest()
        upload.parts[int(call.query["partNumber"])] = call.body, etag
        return Answer(200, {"ETag": f'"{etag}"'})

    def _complete(self, call: Call) -> Answer:
        upload = self.uploads.pop(call.query["uploadId"], None)
        if upload is None:
            return _error(404, "NoSuchUpload")
        parts = [part for _, part in sorted(upload.parts.items())]
        digests = b"".join(bytes.fromhex(etag) for _, etag in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        body = b"".join(part for part, _ in parts)
        stored = Stored(body, etag, upload.metadata, upload.tags)
        self.objects[upload.bucket, upload.key] = stored
        return _xml(
            f"<CompleteMultipartUploadResult><Key>{escape(upload.key)}</Key>"
            f'<ETag>"{etag}"</ETag></CompleteMultipartUploadResult>'
        )


def _call_of(request: Any) -> Call:
    address = urlsplit(request.url)
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    query = {
        name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()
    }
    bucket = address.netloc.split(".s3")[0]
    return Call(bucket, unquote(address.path).lstrip("/"), query, headers, _body(request.body))


def _body(sent: Any) -> bytes:
    if hasattr(sent, "read"):
        sent = sent.read()  # a client rewinds it before a retry
    return sent.encode() if isinstance(sent, str) else bytes(sent or b"")


def _metadata(call: Call) -> dict[str, str]:
    return {
        name.removeprefix(_METADATA): value
        for name, value in call.headers.items()
        if name.startswith(_METADATA)
    }


def _xml(content: str, status: int = 200, headers: Mapping[str, str] = _XML) -> Answer:
    return Answer(status, dict(headers), f"<?xml version='1.0'?>{content}".encode())


def _error(status: int, code: str) -> Answer:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)
