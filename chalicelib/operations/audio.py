"""The operation `audio`: the sound of a film, or of a file of sound, as one file."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chalicelib.model.facts import AudioFacts, VideoFacts
from chalicelib.model.work import AudioFile
from chalicelib.planning.audio_files import AudioFormat, audio_file
from chalicelib.planning.operation import Operation, PlanSettings

Loudness = Annotated[
    Annotated[float, Meta(ge=-31, le=-9)] | None,
    Meta(
        description="In LUFS (EBU R 128): -23 of television, -16 and -14 of the web. The sound is measured, "
        "and made louder or quieter as a whole; less loud where its peaks would be above -1 dBTP.",
        examples=[-16],
    ),
]


class Audio(Operation, frozen=True, kw_only=True, tag="audio"):
    """Sound in one file: of a film, in stereo and as long; or of sound, with one or two channels."""

    kinds = ("video", "audio")

    format: Annotated[
        AudioFormat,
        Meta(
            description="AAC in M4A plays everywhere, and so does MP3; Opus needs the fewest bits.",
            examples=["mp3"],
        ),
    ] = "m4a"
    kbps: Annotated[
        Annotated[int, Meta(ge=16, le=320)] | None,
        Meta(
            description="Kilobits per second; else for each channel 64 of M4A, 96 of MP3, 48 of Opus.",
            examples=[192],
        ),
    ] = None
    loudness: Loudness = None

    def plan(self, stem: str, facts: VideoFacts | AudioFacts, settings: PlanSettings) -> AudioFile:
        return audio_file(facts, stem, self.format, self.kbps, settings, self.loudness)
