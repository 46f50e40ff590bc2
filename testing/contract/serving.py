"""The API on a port of this machine, with whatever stands in for AWS in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LocalDevServer

_CONFIG = Config.create(lambda_memory_size=1769, lambda_timeout=29)


class _Handler(ChaliceRequestHandler):
    # One call at a time, as a Lambda does; a connection that is kept open would hold up all others.
    protocol = "HTTP/1.0"
    protocol_version = "HTTP/1.0"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(app: Chalice) -> Iterator[str]:
    """The address of the API, for as long as the context lasts."""
    server = LocalDevServer(app, _CONFIG, "127.0.0.1", 0, _Handler, HTTPServer)
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server.server_close()
