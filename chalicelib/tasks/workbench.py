"""What carrying out a task starts from: its place in the plan, its source, its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chalicelib.engines.scratch import scratch_folder
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget
from chalicelib.model.plan import Plan, Task
from chalicelib.model.result import Encoded
from chalicelib.model.work import Excerpt, Source
from chalicelib.store import objects, plans

# Files that are shipped beside the code.
ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Workbench:
    """One task, and all that carrying it out may use.

    `results` reads what tasks with these ids have ended with; `on_progress` takes the part that is done, from
    0 to 1.
    """

    plan: Plan
    task: Task
    source: Source
    budget: Budget
    results: Callable[[Sequence[str]], Mapping[str, Encoded]]
    on_progress: Callable[[float], None]

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder with the source in it, and `out/` for what is made.

        A task that reads excerpts calls `fetch` for them instead: its source is not there.
        """
        with scratch_folder() as folder:
            (folder / "out").mkdir()
            if self.task.excerpt is None:
                objects.fetch(self.source, folder / "source")
            yield folder

    def fetch(self, folder: Path, excerpt: Excerpt) -> None:
        """Write an excerpt of the source as `source`, in place of what was there."""
        samples = self.plan.samples(self.task)
        made = mp4_excerpt.make(samples, excerpt, plans.load_samples(samples, excerpt))
        objects.fetch_parts(self.source, folder / "source", made.head, made.parts)

    def publish(self, path: Path) -> int:
        """Store a file under the task's key prefix; its size in bytes."""
        return objects.publish(path, self.task.destination + path.name)
