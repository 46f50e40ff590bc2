"""Check the files of a step `poster` against the reference decode of the film."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from corpus import stills
from corpus.colour import Floats, Rgb, resized
from corpus.decode import Film
from corpus.failures import Failure
from corpus.files import File, check_files
from corpus.likeness import ssim
from corpus.outputs import Outputs
from corpus.pipelines import Poster

# A picture is of another moment if it is clearly more like a frame there: the mean difference, of 255, is
# below this part of the one to the frames of the right moment, and this much below it.
_CLEARLY, _BESIDES = 0.85, 0.3
_LEAST_SSIM = 0.9  # of two files of one frame


def check_poster(
    step: Poster, outputs: Outputs, files: list[File], film: Film, most: float
) -> Iterator[Failure]:
    """Every check of a step's files; `most`: the largest mean ΔE from the nearest frame."""
    yield from check_files(step, outputs, files, film.shown)
    moment = None if film.damaged else step.moment(film.end)
    for file in files:
        if step.at == "auto":
            yield from stills.check_not_blank(file.name, file.picture, film.small)
        yield from stills.check_shows_frame(file.name, file.picture, film.small, most)
        if moment is not None:
            yield from check_moment(file, film, moment)
    yield from check_alike(files)


def check_moment(file: File, film: Film, moment: float) -> Iterator[Failure]:
    """The picture shows what the film shows at that second, give or take a frame."""
    picture = resized(np.asarray(file.picture), *film.small.shape[2:0:-1])
    off = _differences(picture, film.small)
    starts = np.array(film.times)
    ends = np.append(starts[1:], film.end)
    near = (starts <= moment + film.frame) & (ends >= moment - film.frame)
    if not near.any() or off.min() < _CLEARLY * off[near].min() - _BESIDES:
        found = film.times[int(off.argmin())]
        yield Failure(
            "moment", f"{file.name}: it shows the film at {found:.3f} s, not at {moment:.3f} s"
        )


def _differences(picture: Rgb, frames: Rgb) -> Floats:
    """The mean difference of a picture from each frame, of 255."""
    return np.array([np.abs(frame.astype(np.int16) - picture).mean() for frame in frames])


def check_alike(files: list[File]) -> Iterator[Failure]:
    """The files of a step show the same frame."""
    largest = max(files, key=lambda file: file.picture.size, default=None)
    for file in files:
        assert largest is not None
        same = largest.picture.resize(file.picture.size)
        alike = ssim(np.asarray(file.picture), np.asarray(same))
        if alike < _LEAST_SSIM:
            yield Failure(
                "details", f"{file.name}: it is not like {largest.name}: SSIM {alike:.3f}"
            )
