"""What a task needs to be carried out: its plan, its source, its limits, and the way to its files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chalicelib.engines.scratch import scratch_folder
from chalicelib.formats import mp4_excerpt
from chalicelib.invocation import Budget
from chalicelib.model.plan import Plan, Task
from chalicelib.model.result import Encoded
from chalicelib.model.work import Excerpt, Source, Work, marks_of
from chalicelib.store import objects, plans

# Files that are deployed with the code: the default watermark.
ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Workbench:
    """One task with all that its work may use.

    `results` reads the results of tasks by their ids. `on_progress` takes the part that is done, 0 to 1.
    """

    plan: Plan
    task: Task
    source: Source
    budget: Budget
    results: Callable[[Sequence[str]], Mapping[str, Encoded]]
    on_progress: Callable[[float], None]

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A scratch folder with the file `source`, those of marks, and an empty folder `out` for outputs.

        A task that reads excerpts, or no source, finds none; it calls `fetch` for each excerpt.
        """
        with scratch_folder() as folder:
            (folder / "out").mkdir()
            lay_out_marks(self.task.work, folder)
            if self.task.reads_source:
                objects.fetch(self.source, folder / "source", self.budget.check)
            yield folder

    def fetch(self, folder: Path, excerpt: Excerpt) -> None:
        """Write an excerpt of the source to `folder`/source, over the last. Raises JobError, Transient."""
        samples = self.plan.samples[excerpt.track]
        cut = mp4_excerpt.make(samples, excerpt, plans.load_samples(samples, excerpt))
        objects.fetch_parts(self.source, folder / "source", cut.head, cut.parts)

    def publish(self, path: Path) -> int:
        """Store a file under the task's key prefix. Returns its size in bytes."""
        return objects.publish(path, self.task.destination + path.name)


def lay_out_marks(work: Work, folder: Path) -> None:
    """Put the files of the marks that a task lays into a folder. Raises JobError, Transient."""
    for mark in marks_of(work):
        if mark.etag:
            objects.fetch_watermark(mark, folder / mark.file)
        else:
            shutil.copyfile(ASSETS / mark.image, folder / mark.file)
