"""Runs MiniStack with four additions. It is started in MiniStack's own environment, without our modules.

- The workers of functions share one unpacked copy of each zip, as they would of /opt and /var/task. MiniStack
  itself unpacks code and layers anew for each worker, which is most of a worker's start.
- What works on queues has less of the machine than what answers requests: a viewer waits for these.
- Functions get the id of a call's API key, as from API Gateway.
- Requests from foreign web pages are refused. MiniStack itself takes any Host, answers every preflight and
  asks root for no secret, so that any page in a browser of this machine could use the whole cloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ministack import app as ministack  # type: ignore[import-not-found]
from ministack.core import lambda_runtime  # type: ignore[import-not-found]
from ministack.services import apigateway_v1  # type: ignore[import-not-found]

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]

# Names under .localhost always resolve to this machine (RFC 6761 §6.3).
_HERE = r"(127\.0\.0\.1|\[::1\]|([a-z0-9-]+\.)*localhost)(:[0-9]+)?"
_HOST = re.compile(_HERE)
_ORIGIN = re.compile(rf"https?://{_HERE}")
# Paths that other sites may link to: files in buckets, and HLS.
_FILES = re.compile(r"/sluice-[^/]+/.|.*/hls/")

_unpacking = threading.Lock()
_NICER = 15
# Functions that somebody waits for; all others work on queues, or on a schedule.
_ANSWERING = ("api", "estimate")


class _SharedZip(zipfile.ZipFile):
    """A zip that is unpacked once; further folders of its content are links to the first."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        assert members is pwd is None
        content = repr([(item.filename, item.CRC, item.file_size) for item in self.infolist()])
        name = hashlib.sha256(content.encode()).hexdigest()
        shared = Path(tempfile.gettempdir()) / f"unpacked-{name}"
        with _unpacking:
            if not shared.exists():
                part = shared.with_suffix(".part")
                super().extractall(part)
                part.rename(shared)
        # MiniStack has written the zip, and has made the folder: both for this worker alone.
        Path(str(self.filename)).unlink()
        folder = Path(path)
        folder.rmdir()
        folder.symlink_to(shared, target_is_directory=True)


class _Worker(subprocess.Popen[str]):
    """The process of a function."""

    def __init__(self, command: list[str], *, env: dict[str, str], **options: Any) -> None:
        super().__init__(command, env=env, **options)
        if env["AWS_LAMBDA_FUNCTION_NAME"].rpartition("-")[2] not in _ANSWERING:
            niceness = os.getpriority(os.PRIO_PROCESS, self.pid) + _NICER
            os.setpriority(os.PRIO_PROCESS, self.pid, min(niceness, 19))


_build_event = apigateway_v1._build_lambda_event_v1
_serve = ministack.app


def _with_key(*arguments: Any, **options: Any) -> Any:
    event = _build_event(*arguments, **options)
    sent = apigateway_v1._api_key_from_request(event["headers"])
    key = apigateway_v1._resolve_api_key(sent)
    event["requestContext"]["identity"]["apiKeyId"] = key and key["id"]
    return event


def _refusal(scope: Scope) -> str:
    """Why a request is refused; "" where it is served."""
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _HOST.fullmatch(host.lower()):
        return f"The local cloud is at 127.0.0.1; the request is for the host {host!r}."
    if origin is not None and not _ORIGIN.fullmatch(origin.lower()):
        return (
            f"The local cloud serves pages of this machine; the request is of a page of {origin!r}. "
            "Serve the page from localhost or 127.0.0.1, on any port."
        )
    # Browsers send no Origin for links and embedded files, but Fetch Metadata tells where they come from.
    if origin is None and headers.get("sec-fetch-site") == "cross-site":
        reads = scope.get("method") in ("GET", "HEAD")
        if not (reads and _FILES.match(scope["path"])):
            return "The local cloud serves no links from other sites: open the address by itself."
    return ""


async def _guarded(scope: Scope, receive: Receive, send: Send) -> None:
    refusal = _refusal(scope) if scope["type"] in ("http", "websocket") else ""
    if not refusal:
        await _serve(scope, receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal[:100]})
    else:
        problem = {"title": "Forbidden", "status": 403, "code": "not_local", "detail": refusal}
        kind = [(b"content-type", b"application/problem+json")]
        await send({"type": "http.response.start", "status": 403, "headers": kind})
        await send({"type": "http.response.body", "body": json.dumps(problem).encode()})


apigateway_v1._build_lambda_event_v1 = _with_key
lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": _SharedZip})
lambda_runtime.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": _Worker})
ministack.app = _guarded
sys.exit(ministack.main())
