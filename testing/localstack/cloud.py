"""Starts a LocalStack, with MiniStack as its DynamoDB, and stops it; removes all of its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from infra.local import ministack
from infra.local.cloud import free_port
from infra.paths import LOCAL

_PYTHON = LOCAL / "localstack-venv" / "bin" / "python"
_SERVER = Path(__file__).with_name("server.py")
_START_SECONDS = 120


@contextmanager
def running() -> Iterator[str]:
    """Run a LocalStack while the context lasts. Yields its URL."""
    folder = LOCAL / "run" / "localstack"
    ministack.stop(folder)  # a killed trial may have left one running
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "owner").write_text(str(os.getpid()))
    dynamodb_port, port = free_port(), free_port()
    try:
        ministack.start(folder, dynamodb_port, auth=False)
        with (folder / "localstack.log").open("wb") as log:
            process = subprocess.Popen(
                [_PYTHON, _SERVER],
                cwd=folder,
                env=_environment(folder, port, f"http://127.0.0.1:{dynamodb_port}"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(process, url, folder)
            yield url
        except BaseException:
            shutil.copy(folder / "localstack.log", LOCAL / "localstack.log")
            print(f"LocalStack's log: {LOCAL / 'localstack.log'}", file=sys.stderr)
            raise
        finally:
            # Its process group: LocalStack, the functions' processes and what those started.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        ministack.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, port: int, dynamodb_url: str) -> dict[str, str]:
    temporary = folder / "localstack"
    temporary.mkdir()
    certificate = folder / "certificate.pem"
    certificate.write_text(_CERTIFICATE)
    return {
        "PATH": f"{_PYTHON.parent}{os.pathsep}{os.defpath}",
        "HOME": str(folder),
        "TMPDIR": str(temporary),
        "FILESYSTEM_ROOT": str(folder / "state"),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "DNS_ADDRESS": "0",  # no DNS server
        "DISABLE_EVENTS": "1",  # no telemetry
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "CUSTOM_SSL_CERT_PATH": str(certificate),
        "FUNCTION_PYTHON": sys._base_executable,  # type: ignore[attr-defined]  # without our packages
        "DYNAMODB_URL": dynamodb_url,
    }


# LocalStack parses a certificate before it listens, but nobody uses TLS here.
_CERTIFICATE = "".join(
    f"-----BEGIN {part}-----\n-----END {part}-----\n" for part in ("PRIVATE KEY", "CERTIFICATE")
)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError, json.JSONDecodeError):
            if "edition" in httpx.get(f"{url}/_localstack/health", timeout=5).json():
                return
        time.sleep(0.2)
    tail = (folder / "localstack.log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"LocalStack did not start:\n{tail}")
