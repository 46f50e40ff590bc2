"""How much memory each function takes at most, by looking at its processes again and again."""

from __future__ import annotations

import json
import threading
from contextlib import suppress

import psutil

from infra.paths import ROOT

_EVERY_SECONDS = 0.2
_NAME = "AWS_LAMBDA_FUNCTION_NAME"


class Watch(threading.Thread):
    """Peaks in bytes of every function under one emulator, from `with` to its end."""

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
        """A worker with its children, of which only what they do not share with it."""
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
        # The only one that Chalice calls otherwise there.
        name.removesuffix("_handler"): said["lambda_memory_size"] * 1024**2
        for name, said in config["lambda_functions"].items()
    }
