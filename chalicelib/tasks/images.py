"""Draw the outputs of an image's steps; the image is decoded once for all of them."""

from __future__ import annotations

from pathlib import Path

from chalicelib.engines.scratch import check_files
from chalicelib.errors import crashed
from chalicelib.invocation import Budget
from chalicelib.model.facts import ImageFacts
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Drawn, DrawnImage, Images, Thumbnail, Watermark
from chalicelib.tasks.prediction import DECODER_SECONDS, SMALL_JPEG_BYTES, Basis, Prediction
from chalicelib.tasks.stills import ended_step, in_child
from chalicelib.tasks.workbench import ASSETS, Workbench

# Seconds of one core for each megapixel of the source, as a JPEG.
_MEGAPIXEL_SECONDS = {Thumbnail: 0.004, Watermark: 0.015}
# Bytes of a JPEG output for each pixel.
_JPEG_BYTES = 0.3


def run(work: Images, bench: Workbench) -> StepsEnded:
    """Draw and store the output of each step. Raises JobError if none can be drawn, Transient."""
    with bench.folder() as folder:
        drawn = draw(work, folder, bench.budget)
        return StepsEnded(
            {step: ended_step(step, picture, folder, bench) for step, picture in drawn.items()}
        )


def draw(work: Images, folder: Path, budget: Budget) -> dict[str, Drawn]:
    """Draw each step's output of `folder`/source into `folder`/out. Returns results by name of step.

    Raises JobError if none can be drawn, or if the sandbox reports other files than planned; Transient.
    """
    drawn: dict[str, Drawn] = in_child(
        "draw", dict[str, Drawn], budget, folder / "source", work, ASSETS, folder / "out"
    )
    check_files(folder)
    outputs = {name: image.name for name, image in drawn.items() if isinstance(image, DrawnImage)}
    if drawn.keys() != work.made.keys() or any(
        work.made[step].output != outputs[step] for step in outputs
    ):
        raise crashed("image")
    return drawn


def predict(work: Images, basis: Basis) -> Prediction:
    assert isinstance(basis.facts, ImageFacts)
    pixels = basis.facts.width * basis.facts.height
    large = sum(isinstance(image, Watermark) for image in work.made.values())
    size = round(large * pixels * _JPEG_BYTES) + (len(work.made) - large) * SMALL_JPEG_BYTES
    core_seconds = (
        sum(_MEGAPIXEL_SECONDS[type(image)] for image in work.made.values()) * pixels / 1e6
    )
    gets, fetched = basis.reading_source()
    return Prediction(
        gets,
        len(work.made),
        fetched,
        size,
        seconds=(DECODER_SECONDS + core_seconds) / basis.one_core,
        output_bytes=size,
    )
