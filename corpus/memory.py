"""Measure each function's peak of memory by polling its processes."""

from __future__ import annotations

import json
import threading
from contextlib import suppress

import psutil

from infra.paths import ROOT

_EVERY_SECONDS = 0.2
_NAME = "AWS_LAMBDA_FUNCTION_NAME"


class Watch(threading.Thread):
    """Peaks in bytes of every function under one emulator while the `with` block runs."""

    def __init__(self, emulator: int, stage: str) -> None:
        super().__init__(daemon=True)
        self.peaks: dict[str, int] = {}
        self._emulator = psutil.Process(emulator)
        self._prefix = f"sluice-{stage}-"
        self._stop_asked = threading.Event()
        self._functions: dict[int, str] = {}

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join()

    def run(self) -> None:
        while not self._stop_asked.wait(_EVERY_SECONDS):
            with suppress(psutil.Error):
                for worker in self._emulator.children():
                    self._look(worker)

    def _look(self, worker: psutil.Process) -> None:
        """Count a worker's resident memory, and of its children only what they do not share with it."""
        with suppress(psutil.Error):
            if worker.pid not in self._functions:
                name = worker.environ().get(_NAME, worker.name())
                self._functions[worker.pid] = name.removeprefix(self._prefix).replace("-", "_")
            taken = worker.memory_info().rss
            for child in worker.children(recursive=True):
                with suppress(psutil.Error):
                    taken += child.memory_full_info().uss
            name = self._functions[worker.pid]
            self.peaks[name] = max(self.peaks.get(name, 0), taken)


def limits() -> dict[str, int]:
    """The memory size of each function, in bytes."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return {
        # Chalice's config adds `_handler` to the name of the API's function only.
        name.removesuffix("_handler"): function["lambda_memory_size"] * 1024**2
        for name, function in config["lambda_functions"].items()
    }
