"""The table of all kinds of work: how each is carried out, and how its use of resources is predicted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, assert_never

from chalicelib.model.result import Result
from chalicelib.model.work import (
    Animation,
    Audio,
    AudioFile,
    Captions,
    Chunk,
    Hls,
    Images,
    Join,
    Poster,
    Preview,
    Remux,
    Storyboard,
    Work,
)
from chalicelib.tasks.prediction import Basis, Prediction
from chalicelib.tasks.workbench import Workbench


class Kind(NamedTuple):
    """The two functions of one piece of work.

    `run` carries it out and stores its outputs; it raises JobError, Transient. `predict` is pure.
    """

    run: Callable[[Workbench], Result]
    predict: Callable[[Basis], Prediction]


def kind_of(work: Work) -> Kind:  # noqa: C901 - one case for each kind
    """The functions of a piece of work. Imports their module, so that a worker loads only what it runs."""
    match work:
        case Images():
            from chalicelib.tasks import images

            return Kind(partial(images.run, work), partial(images.predict, work))
        case Poster():
            from chalicelib.tasks import posters

            return Kind(partial(posters.run, work), partial(posters.predict, work))
        case Chunk():
            from chalicelib.tasks import chunks

            return Kind(partial(chunks.run, work), partial(chunks.predict, work))
        case Audio():
            from chalicelib.tasks import audio

            return Kind(partial(audio.run, work), partial(audio.predict, work))
        case AudioFile():
            from chalicelib.tasks import audio_files

            return Kind(partial(audio_files.run, work), partial(audio_files.predict, work))
        case Preview():
            from chalicelib.tasks import previews

            return Kind(partial(previews.run, work), partial(previews.predict, work))
        case Captions():
            from chalicelib.tasks import captions

            return Kind(partial(captions.run, work), partial(captions.predict, work))
        case Remux():
            from chalicelib.tasks import copying

            return Kind(partial(copying.run, work), partial(copying.predict, work))
        case Animation():
            from chalicelib.tasks import animations

            return Kind(partial(animations.run, work), partial(animations.predict, work))
        case Join():
            from chalicelib.tasks import mp4

            return Kind(partial(mp4.run, work), partial(mp4.predict, work))
        case Hls():
            from chalicelib.tasks import hls

            return Kind(partial(hls.run, work), partial(hls.predict, work))
        case Storyboard():
            from chalicelib.tasks import storyboards

            return Kind(partial(storyboards.run, work), partial(storyboards.predict, work))
        case _:
            assert_never(work)
