"""Choose a film's poster: the first of several frames that is not blank."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from chalicelib.engines.scratch import check_files
from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import Interest
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import DrawnImage, Poster
from chalicelib.tasks.encoding import Fetch, run_ffmpeg
from chalicelib.tasks.prediction import SMALL_JPEG_BYTES, Basis, Prediction
from chalicelib.tasks.stills import ended_step, in_child
from chalicelib.tasks.workbench import Workbench

# Standard deviations of a frame's brightness, on a scale of 255. Below _DULL the frame is blank; between the
# two it may be half faded in.
_DULL, _VIVID = 12.0, 30.0
# Seconds that the search leaves for drawing the poster; drawing takes far less.
DRAWING_SECONDS = 2.0
# Seconds of one core to decode and judge one candidate.
_POSTER_SECONDS = 0.3


def run(work: Poster, bench: Workbench) -> StepsEnded:
    """Choose a frame and store its poster. Raises JobError, Transient."""
    step = bench.task.id
    with bench.folder() as folder:
        poster = choose(work, folder, bench.budget, partial(bench.fetch, folder))
        return StepsEnded({step: ended_step(step, poster, folder, bench)})


def choose(work: Poster, folder: Path, budget: Budget, fetch: Fetch) -> DrawnImage:
    """Choose a frame and draw the poster in `folder`/out.

    Candidates are read from `folder`/source, or each from the excerpt that `fetch` writes there. Raises
    JobError, Transient.
    """
    search_budget = Budget(lambda: budget.seconds() - DRAWING_SECONDS, budget.memory_bytes)
    best: tuple[Interest, Path] | None = None
    candidate_missing = any_not_blank = False
    for run in (*work.candidates, *work.otherwise):
        if run in work.otherwise[:-1] and not candidate_missing:
            continue
        args = run.args(work.command)
        candidate = folder / args[-1]
        try:
            run_ffmpeg(args, run.excerpt, folder, search_budget, fetch)
        except JobError as error:  # FFmpeg also fails on packets without their key frame
            # A candidate that takes too long or crashes does not discard an earlier one.
            if best is None and error.code != "conversion_failed":
                raise
        # A candidate's time may be behind the end of a short film, or no key frame may follow it.
        if not candidate.exists():
            candidate_missing = True
            continue
        interest = in_child("interest", Interest, budget, candidate)
        if best is None or interest > best[0]:
            best = interest, candidate
        if interest.spread > (_DULL if any_not_blank else _VIVID):
            break
        any_not_blank |= interest.spread > _DULL
    if best is None:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    target = folder / "out" / work.output
    poster: DrawnImage = in_child("poster", DrawnImage, budget, best[1], target)
    check_files(folder)
    return msgspec.structs.replace(poster, name=work.output, warning=work.warning)


def predict(_: Poster, basis: Basis) -> Prediction:
    gets, fetched = basis.reading_source()
    return Prediction(
        gets,
        1,
        fetched,
        SMALL_JPEG_BYTES,
        seconds=_POSTER_SECONDS / basis.one_core,
        output_bytes=SMALL_JPEG_BYTES,
    )
