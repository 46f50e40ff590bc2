"""Virtual time: the next event happens at once, and workers are greenlets that wait for their time."""

from __future__ import annotations

import heapq
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from chalicelib.store.meter import Meter, meter
from testing.chaos.faults import Fault, Faults
from testing.chaos.rights import Right
from testing.chaos.versions import version

EPOCH = 1_800_000_000.5
# A file system in memory, if the machine has one.
_FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


class Died(BaseException):
    """Raised in a worker that was killed, at whatever point it is."""


class Worker:
    """One invocation of a Lambda, with the state that its own process would have."""

    def __init__(
        self, world: World, name: str, function: str, run: Callable[[], Any], seconds: float
    ) -> None:
        self.name = name
        self.function = function
        self.deadline = world.now + seconds
        self.skew = world.random.uniform(-world.faults.skew, world.faults.skew)
        self.outlives = False
        self.dead = False
        self.ended = False
        self.result: Any = None
        self.error: Exception | None = None
        self.refused: tuple[str, int] | None = (
            None  # a request, and how many more times it is refused
        )
        self.knows_canceled: set[str] = set()  # ids of jobs that it has read as canceled
        self.on_end: Callable[[], None] = lambda: None
        self.version = world.version_of(function)
        self.meter = {**vars(Meter()), "_is_new": False}
        self.folder = world.folder / f"{world.number()}"
        self.folder.mkdir()
        self.greenlet = greenlet(lambda: self._run(run))

    def _run(self, run: Callable[[], Any]) -> None:
        try:
            self.result = run()
        except (Died, GreenletExit):
            self.dead = True
        except Exception as error:
            self.error = error
        self.ended = True


class World:
    """One schedule: equal seeds and faults give equal runs."""

    def __init__(self, seed: str, faults: Faults, *, trace: bool = False) -> None:
        self.random = Random(seed)
        self.ids = Random(f"ids of {seed}")
        self.faults = faults
        self.now = self.start = EPOCH
        self.current: Worker | None = None
        # The function with whose rights the observer reads, in no time.
        self.looks_as: str | None = None
        self.folder = Path(mkdtemp(prefix="chaos-", dir=_FOLDER))
        self.log: list[str] = []
        self.violations: list[tuple[str, str]] = []
        self.had: list[str] = []  # the faults that happened
        self.requests = 0
        self.sent: Counter[tuple[str, str]] = Counter()  # requests by function and service
        self.used: set[Right] = set()  # rights that functions have used
        self.invocations: Counter[str] = Counter()
        self.metrics: Counter[str] = Counter()
        self.between: list[Callable[[], None]] = []  # called now and then, while no worker runs
        # The fault that a schedule gives to a request by design, before random faults.
        self.design: Callable[[Worker, str, Any], Fault | None] = lambda *_: None
        # The version of the code that a function has now; None: this process's own.
        self.version_of: Callable[[str], str | None] = lambda _: None
        # Seconds after which the world ends though events go on; None: it ends with its last event.
        self.enough: float | None = None
        self.over = False
        self.traces = trace
        self._numbers = itertools.count(1)
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._gone: list[Worker] = []
        self._sweeps: Callable[[], float | None] = lambda: None
        self._sweep: Callable[[], None] = lambda: None
        self._swept = EPOCH + self.random.uniform(0, 60)

    # ── what everybody may ask ──

    def number(self) -> int:
        """A number that no call has returned before."""
        return next(self._numbers)

    @property
    def elapsed(self) -> float:
        return self.now - self.start

    def clock(self) -> float:
        """The time by the clock of the running worker."""
        return self.now + (self.current.skew if self.current else 0.0)

    def note(self, *words: object) -> None:
        who = f"[{self.current.name}] " if self.current else ""
        line = f"{self.elapsed:10.2f} {who}{' '.join(map(str, words))}"
        self.log.append(line)
        if self.traces:
            print(line, file=sys.__stderr__)

    def violate(self, kind: str, detail: str) -> None:
        self.violations.append((kind, detail))
        self.note("VIOLATION", kind, detail)

    # ── faults by chance ──

    def happens(self, rate: float, what: str) -> bool:
        """Whether a random fault of this rate happens now."""
        if not rate or not self.is_faulty or self.random.random() >= rate:
            return False
        self.had.append(what)
        self.note("FAULT", what)
        return True

    @property
    def is_faulty(self) -> bool:
        return self.elapsed < self.faults.end and len(self.had) < self.faults.budget

    # ── time ──

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` in `seconds` from now."""
        heapq.heappush(self._waiting, (self.now + max(0.0, seconds), self.number(), action))

    def pause(self, seconds: float) -> None:
        """Let the running worker wait while others run."""
        worker = self.current
        if worker is None:
            return  # an observer takes no time
        if self.over or worker.dead:
            raise Died
        self.at(seconds, lambda: self._resume(worker))
        getcurrent().parent.switch()
        if self.over or worker.dead:
            raise Died

    def die(self) -> None:
        """Kill the running worker. Its stack is frozen: none of its code runs again."""
        assert self.current is not None
        self.current.dead = True
        getcurrent().parent.switch()
        raise Died

    def spawn(
        self,
        name: str,
        function: str,
        run: Callable[[], Any],
        seconds: float,
        on_end: Callable[[Worker], None] = lambda _: None,
    ) -> None:
        """Start a worker with a time limit of `seconds`."""
        worker = Worker(self, name, function, run, seconds)

        def ended() -> None:
            if worker.dead:
                self._gone.append(worker)
            on_end(worker)

        def expire() -> None:
            if not (worker.ended or worker.dead or worker.outlives):
                worker.dead = True
                self.note("timed out:", name)
                ended()

        worker.on_end = ended
        self.at(0.0, lambda: self._resume(worker))
        self.at(seconds, expire)

    def _resume(self, worker: Worker) -> None:
        if worker.dead:
            return
        with self._as(worker):
            worker.greenlet.switch()
        if worker.ended or worker.dead:
            worker.on_end()

    @contextmanager
    def _as(self, worker: Worker) -> Iterator[None]:
        """Set the state that a Lambda process has for itself to this worker's."""
        outside, folder = meter.__dict__, tempfile.tempdir
        self.current = worker
        meter.__dict__, tempfile.tempdir = worker.meter, str(worker.folder)
        try:
            with version(worker.version):
                yield
        finally:
            worker.meter = meter.__dict__
            meter.__dict__, tempfile.tempdir = outside, folder
            self.current = None

    # ── the course of things ──

    def sweep_when(self, due: Callable[[], float | None], sweep: Callable[[], None]) -> None:
        """Sweep at every full minute at which something is due; other sweeps would change nothing."""
        self._sweeps, self._sweep = due, sweep

    def run(self, *, most_seconds: float, most_events: int) -> None:
        """Run until there are no more events."""
        for _ in range(most_events):
            if self.elapsed > most_seconds:
                self.violate("never ends", f"at work after {self.elapsed:.0f} s")
                break
            if self.enough is not None and self.elapsed > self.enough:
                break
            sweeps_at = self.next_sweep()
            waits_until = self._waiting[0][0] if self._waiting else None
            if sweeps_at is not None and (waits_until is None or sweeps_at <= waits_until):
                self.now = max(self.now, sweeps_at)
                self._swept = sweeps_at
                self._sweep()
            elif self._waiting:
                when, _, action = heapq.heappop(self._waiting)
                self.now = max(self.now, when)
                action()
            else:
                break
            for look in self.between:
                look()
        else:
            self.violate("never ends", f"{most_events} events in {self.elapsed:.0f} s")

    def next_sweep(self) -> float | None:
        """The next full minute at which something is due for the sweep."""
        due = self._sweeps()
        if due is None:
            return None
        minutes = max(1, -((self._swept - due - 1) // 60))
        return self._swept + 60 * minutes

    def end(self) -> None:
        """Unwind the stacks of killed workers, now that they can do no harm."""
        self.over = True
        for worker in self._gone:
            with self._as(worker):
                worker.greenlet.throw(GreenletExit)
        self._waiting.clear()
        shutil.rmtree(self.folder)
