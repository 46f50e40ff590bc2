"""Make a film's preview: raw frames of each place, one after the other, are encoded at once."""

from __future__ import annotations

import shutil
from functools import partial

from chalicelib.errors import JobError
from chalicelib.model.facts import VideoFacts, fps
from chalicelib.model.result import StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import PIECE, PIECES, Preview, Run
from chalicelib.planning.chunking import PIXELS_PER_SECOND
from chalicelib.store import objects
from chalicelib.tasks.encoding import run_ffmpeg
from chalicelib.tasks.prediction import COST_CORES, DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.workbench import Workbench

# Seconds of film that are decoded for a piece besides itself where no index tells, about.
_RUN_UP_SECONDS = 2.0
_PIXEL_BYTES = 0.02  # of a file, for each pixel of each frame


def run(work: Preview, bench: Workbench) -> StepsEnded:
    """Encode the preview and store its files. Raises JobError, Transient."""
    with bench.folder() as folder:
        pieces, piece = folder / PIECES, folder / PIECE
        fetch = partial(bench.fetch, folder)

        def add(run: Run) -> None:
            run_ffmpeg(run.args(work.command), run.excerpt, folder, bench.budget, fetch)
            # A film may end before its container says.
            if piece.exists():
                with piece.open("rb") as found, pieces.open("ab") as file:
                    shutil.copyfileobj(found, file)
                piece.unlink()

        pieces.touch()
        for number, each in enumerate(work.pieces, 1):
            add(each)
            bench.on_progress(0.9 * number / len(work.pieces))
        if work.otherwise and not pieces.stat().st_size:
            add(work.otherwise)
        frames = pieces.stat().st_size // (work.width * work.height * 3 // 2)
        if not frames:
            raise JobError("source_damaged", "No frame of the video can be decoded.")
        run_ffmpeg(work.encode, None, folder, bench.budget, fetch)
        outputs = []
        for name in work.outputs:
            path = folder / name
            outputs.append(
                Output(
                    type=bench.task.id,
                    s3_key=bench.task.destination + name,
                    size=bench.publish(path),
                    content_type=objects.CONTENT_TYPES[path.suffix],
                    width=work.width,
                    height=work.height,
                    duration=round(frames / work.rate, 3),
                    warning=work.warning,
                    format=format_of(name),
                )
            )
    return StepsEnded({bench.task.id: StepState(SUCCESS, outputs=tuple(outputs))})


def predict(work: Preview, basis: Basis) -> Prediction:
    assert isinstance(basis.facts, VideoFacts)
    gets, fetched = basis.reading_source()
    excerpts = basis.task.excerpts
    usual = (work.seconds + _RUN_UP_SECONDS * len(work.pieces)) * fps(basis.facts)
    frames = sum(stop - start for start, stop in (each.samples for each in excerpts)) or usual
    pixels = frames * basis.facts.width * basis.facts.height
    shown = work.seconds * work.rate * work.width * work.height * len(work.outputs)
    size = round(shown * _PIXEL_BYTES)
    return Prediction(
        gets,
        len(work.outputs),
        fetched,
        size,
        seconds=DECODER_SECONDS * (1 + len(work.pieces))
        + (pixels + 2 * shown) / PIXELS_PER_SECOND * COST_CORES / basis.function.cores,
        output_bytes=size,
    )
