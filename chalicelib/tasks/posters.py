"""Choose a film's poster: the first of several frames that is not blank, or a frame that was asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import Interest
from chalicelib.model.picture import DrawnPicture
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Poster
from chalicelib.tasks.encoding import Fetch, run_ffmpeg
from chalicelib.tasks.prediction import Basis, Prediction, encoding
from chalicelib.tasks.stills import check, ended_step, in_child
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
        return StepsEnded({step: ended_step(step, work.picture, poster, folder, bench)})


def choose(work: Poster, folder: Path, budget: Budget, fetch: Fetch) -> DrawnPicture:
    """Choose a frame and draw the poster in `folder`/out.

    Candidates are read from `folder`/source, or each from the excerpt that `fetch` writes there. Raises
    JobError, Transient.
    """
    search_budget = replace(budget, seconds=lambda: budget.seconds() - DRAWING_SECONDS)
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
        interest = in_child("pillow:interest", Interest, budget, candidate, work.frame)
        if best is None or interest > best[0]:
            best = interest, candidate
        if work.is_chosen and run in work.candidates:
            break
        if interest.spread > (_DULL if any_not_blank else _VIVID):
            break
        any_not_blank |= interest.spread > _DULL
    if best is None:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    poster: DrawnPicture = in_child(
        "pillow:poster",
        DrawnPicture,
        budget,
        best[1],
        work.picture,
        work.frame,
        folder,
        folder / "out",
    )
    check(poster, work.picture, folder)
    return poster


def predict(work: Poster, basis: Basis) -> Prediction:
    gets, fetched = basis.reading_source()
    encoders, size = encoding(work.picture.variants)
    return Prediction(
        gets,
        len(work.picture.variants),
        fetched,
        size,
        seconds=(_POSTER_SECONDS + encoders) / basis.one_core,
        output_bytes=size,
    )
