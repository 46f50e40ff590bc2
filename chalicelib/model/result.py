"""What a task ends with, as it stands in the task's row: one tagged union."""

from __future__ import annotations

import msgspec

from chalicelib.errors import SluiceError
from chalicelib.model.step import StepState
from chalicelib.model.work import Segment, Source


class EncodedTrack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a rendition, or of the audio."""

    segments: tuple[Segment, ...]
    seconds: float
    header: str  # digest of ftyp and moov; the parts of a track must agree on it
    # When each segment begins, and when the last one ends; ticks of the track, `timescale` a second.
    times: tuple[int, ...] = ()
    timescale: int = 0
    frames: int = 0
    faults: int = 0  # frames in which the decoder found errors
    codec: str = ""  # of the video, as playlists name it (RFC 6381)
    warning: str = ""  # a sentence for the client of whatever is made of it


class Encoded(msgspec.Struct, frozen=True, tag="encoded"):
    """A part of a film: of every rendition, by their names, or of the audio, by the name SOUND.

    Or the captions, by the name CAPTIONS: a file of each track.
    """

    tracks: dict[str, EncodedTrack]


class Copied(msgspec.Struct, frozen=True, tag="copied"):
    """A copy of the source, to be read instead of it."""

    copy: Source


class StepsEnded(msgspec.Struct, frozen=True, tag="steps_ended"):
    """The steps that the task ends, by their names: each came to SUCCESS or FAILURE."""

    steps: dict[str, StepState]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why nothing can be made of the task; every step that needs it fails with this."""

    code: str
    detail: str


Result = Encoded | Copied | StepsEnded | Failed


def failed(error: SluiceError) -> Failed:
    return Failed(error.code, error.detail)
