"""File names: as clients give them, in S3 keys, and in Content-Disposition headers."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

MOST_BYTES = 255  # the limit of file systems; it also keeps the row of a job small
_SERVERS_OWN = re.compile(r"^uploads/[0-9a-f]{32}_")


def base(path: str) -> str:
    """The last part of a path of POSIX or Windows; "file" if it is empty."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or "file"


def shortened(name: str) -> str:
    """The name, cut to at most MOST_BYTES of UTF-8; an extension of up to 16 bytes is kept."""
    encoded = name.encode()
    if len(encoded) <= MOST_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 16 else ""
    return encoded[: MOST_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def of_key(key: str) -> str:
    """The file name in a key, without the random prefix that the server puts before an upload's name."""
    return base(_SERVERS_OWN.sub("", key))


def plain(name: str) -> str:
    """The name in safe ASCII: `Übergröße привет.jpg` becomes `Ubergrosse_privet.jpg`."""
    if not name.isascii():
        from anyascii import anyascii

        name = anyascii(name)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._")


def stem(key: str) -> str:
    """The part of a client's file name that keys of outputs contain: safe ASCII, at most 60 characters."""
    name = re.sub(r"^[0-9a-f]{32}_", "", key.rsplit("/", 1)[-1])
    name = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return plain(unquote(name)).strip("._")[:60] or "file"


def of_output(key: str, job_id: str, source_key: str, name: str) -> str:
    """The name under which a client saves an output: the stem of the original's `name`, and the output's."""
    ours = f"outputs/{job_id.replace('-', '')}_{stem(source_key)}_"
    return f"{PurePosixPath(name).stem}_{base(key.removeprefix(ours))}"


def disposition(kind: str, name: str) -> str:
    """A Content-Disposition header (RFC 6266) with the name in UTF-8, and in ASCII for old clients."""
    return f"{kind}; filename=\"{plain(name) or 'file'}\"; filename*=UTF-8''{quote(name, safe='')}"
