"""The step hls_720p: the 720p rendition as HTTP Live Streaming, in CMAF segments, audio and video apart."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Hls
from chalicelib.planning import audio, filters, video
from chalicelib.planning.operation import Packaging, PlanSettings, Step


def _of_video(facts: VideoFacts, _: PlanSettings) -> Packaging:
    rendition = video.rendition(facts, short_side=720)
    max_bits, language = video.max_bits_per_second(facts, rendition), None
    if facts.audio_stream is not None:
        max_bits, language = max_bits + audio.BITS_PER_SECOND, facts.audio_language
    work = Hls(
        rendition.name,
        rendition.width,
        rendition.height,
        facts.seconds,
        video.frames(facts, rendition),
        frame_rate=video.frame_rate(facts, rendition),
        max_bits=max_bits,
        language=language,
        warning=filters.warning(facts),
    )
    return Packaging(rendition, work)


hls_720p = Step("hls_720p", video=_of_video, folder="hls/")
