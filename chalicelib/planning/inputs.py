"""FFmpeg's options that open a source. Its file is always called `source`, in the folder of the task."""

from __future__ import annotations

from itertools import chain

from chalicelib.model.facts import VideoFacts
from chalicelib.model.work import Command
from chalicelib.planning.filters import keeps_one_graph
from chalicelib.planning.operation import PlanSettings

# FFmpeg's limit on pixels is for frames that probing has not looked at, and decoders round a frame's size up
# before they compare: twice the limit on what probing sees.
_ROUNDED_UP = 2
# FFmpeg's own decoders of these codecs drop the transparency that WebM stores beside the frames.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Demuxers that take a file to start when the streams in use start (AVFMT_TS_DISCONT).
_STARTS_WITH_USED_STREAMS = frozenset({"mpegts", "mpeg", "ogg"})


def open_source(facts: VideoFacts, settings: PlanSettings) -> Command:
    """Options that open the source as the format that it was sniffed to be, and let it open no other file."""
    decoder = _WITH_ALPHA.get(facts.video_codec) if facts.alpha else None
    return (
        *(("-c:v", decoder) if decoder else ()),
        "-max_pixels", str(_ROUNDED_UP * settings.max_video_pixels),
        *(("-reinit_filter:v", "0", "-noautorotate") if keeps_one_graph(facts) else ()),
        "-apply_cropping", "codec",  # not the container's clean aperture: probing measured the whole frame
        "-f", facts.demuxer,
        "-protocol_whitelist", "file",
        "-i", "source",
    )  # fmt: skip


def open_whole_source(facts: VideoFacts, settings: PlanSettings) -> Command:
    """As `open_source`, with times shifted so that no frame comes before zero."""
    offset = ("-itsoffset", f"{-facts.video_start:.6f}") if facts.video_start < 0 else ()
    return (*offset, *open_source(facts, settings))


def other_streams_to_null(facts: VideoFacts, stream: int) -> Command:
    """Also map the other streams, to the null muxer: these demuxers take the start from the streams in use.

    Video and tracks of audio are read by different runs, and must agree on when the film starts. () for other
    demuxers.
    """
    used = (facts.video_stream, *(track.stream for track in facts.audio))
    others = [each for each in used if each != stream]
    if facts.demuxer not in _STARTS_WITH_USED_STREAMS or not others:
        return ()
    maps = chain.from_iterable(("-map", f"0:{each}") for each in others)
    return (*maps, "-c", "copy", "-f", "null", "-")
