"""Draw the outputs of an image's steps; the image is decoded once for all of them."""

from __future__ import annotations

from pathlib import Path

from chalicelib.errors import crashed
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts
from chalicelib.model.picture import Drawn, DrawnPicture
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Images
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction, encoding
from chalicelib.tasks.stills import check, ended_step, in_child
from chalicelib.tasks.workbench import Workbench

# Seconds of one core for each megapixel of a JPEG as it is decoded for a result of the same size, and for a
# small one.
_DECODING, _DECODING_SMALL = 0.006, 0.004
# A result whose longer side is at most this part of the source's is small.
_SMALL = 0.5
# So many files are encoded on one thread (engines/image_encoders).
_ONE_THREAD = 2


def run(work: Images, bench: Workbench) -> StepsEnded:
    """Draw and store the files of each step. Raises JobError if none can be drawn, Transient."""
    with bench.folder() as folder:
        drawn = draw(work, folder, bench.budget)
        return StepsEnded(
            {
                step: ended_step(step, work.made[step], picture, folder, bench)
                for step, picture in drawn.items()
            }
        )


def draw(work: Images, folder: Path, budget: Budget) -> dict[str, Drawn]:
    """Draw each step's files of `folder`/source into `folder`/out, with the marks there.

    Returns results by name of step.

    Raises JobError if none can be drawn, or if the sandbox reports other files than planned; Transient.
    """
    drawn: dict[str, Drawn] = in_child(
        "pillow:draw", dict[str, Drawn], budget, folder / "source", work, folder, folder / "out"
    )
    if drawn.keys() != work.made.keys():
        raise crashed("image")
    for step, picture in drawn.items():
        if isinstance(picture, DrawnPicture):
            check(picture, work.made[step], folder)
    return drawn


def predict(work: Images, basis: Basis) -> Prediction:
    assert isinstance(basis.facts, ImageFacts)
    width, height = basis.facts.width, basis.facts.height
    largest = max((picture.scale(width, height) for picture in work.made.values()), default=1.0)
    decoding = (_DECODING_SMALL if largest <= _SMALL else _DECODING) * width * height / 1e6
    variants = [variant for picture in work.made.values() for variant in picture.variants]
    encoders, size = encoding(variants)
    threads = basis.function.cores if len(variants) > _ONE_THREAD else basis.one_core
    gets, fetched = basis.reading_source()
    return Prediction(
        gets,
        len(variants),
        fetched,
        size,
        seconds=(DECODER_SECONDS + decoding) / basis.one_core + encoders / threads,
        output_bytes=size,
    )
