"""Names of files, as clients give them and as keys and headers can have them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

MOST_BYTES = 255  # as file systems have it; the row of a job stays small
_SERVERS_OWN = re.compile(r"^uploads/[0-9a-f]{32}_")


def base(path: str) -> str:
    """The last part of a path, of whichever system."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or "file"


def shortened(name: str) -> str:
    """The name in at most MOST_BYTES of UTF-8; its extension stays."""
    encoded = name.encode()
    if len(encoded) <= MOST_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 16 else ""
    return encoded[: MOST_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def of_key(key: str) -> str:
    """The name of an object that nobody gave another: without what the server put before an upload's."""
    return base(_SERVERS_OWN.sub("", key))


def plain(name: str) -> str:
    """The name in harmless ASCII: of `Übergröße привет.jpg`, `Ubergrosse_privet.jpg`."""
    if not name.isascii():
        from anyascii import anyascii

        name = anyascii(name)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._")


def stem(key: str) -> str:
    """What is left of a client's file name in the keys of outputs: harmless, and at most 60 characters."""
    name = re.sub(r"^[0-9a-f]{32}_", "", key.rsplit("/", 1)[-1])
    name = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return plain(unquote(name)).strip("._")[:60] or "file"


def of_output(key: str, job_id: str, source_key: str, name: str) -> str:
    """What an output is saved as: the original's own name, and which of its outputs it is."""
    ours = f"outputs/{job_id.replace('-', '')}_{stem(source_key)}_"
    return f"{PurePosixPath(name).stem}_{base(key.removeprefix(ours))}"


def disposition(kind: str, name: str) -> str:
    """A Content-Disposition (RFC 6266): with the name itself, and for old clients in ASCII."""
    return f"{kind}; filename=\"{plain(name) or 'file'}\"; filename*=UTF-8''{quote(name, safe='')}"
