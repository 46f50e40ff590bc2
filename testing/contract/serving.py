"""Serve the API on a port of this machine, with moto as AWS, in its own process as in Lambda.

`python -m testing.contract.serving FILE`: FILE is stored under the key of the examples.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path

from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LocalDevServer

_CONFIG = Config.create(lambda_memory_size=1769, lambda_timeout=29)


class _Handler(ChaliceRequestHandler):
    # One call at a time, as in a Lambda; an open keep-alive connection would block all others.
    protocol = "HTTP/1.0"
    protocol_version = "HTTP/1.0"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(example: Path) -> Iterator[str]:
    """Serve the API while the context lasts. Yields its URL."""
    # Its logs would fill a pipe that nobody reads.
    with subprocess.Popen(
        [sys.executable, "-m", "testing.contract.serving", str(example)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            address = server.stderr.readline().strip()
            assert address.startswith("http://"), address
            yield address
        finally:
            server.kill()


def main(example: Path) -> None:
    from moto import mock_aws

    with mock_aws():
        import boto3

        from app import app
        from chalicelib.api.descriptions import EXAMPLE_KEY
        from chalicelib.settings import settings
        from testing.cloud import make_cloud

        make_cloud()
        boto3.client("s3").upload_file(str(example), settings().upload_bucket, EXAMPLE_KEY)
        server = LocalDevServer(app, _CONFIG, "127.0.0.1", 0, _Handler, HTTPServer)
        print(f"http://127.0.0.1:{server.server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
