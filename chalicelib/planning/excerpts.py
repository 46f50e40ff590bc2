"""Which samples of a film are read to decode a span of it, and when things happen in such an excerpt.

An excerpt is read as a film of its own, whose time starts at its own first sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from chalicelib.formats.mp4_excerpt import count
from chalicelib.model.facts import AUDIO_CUT_SECONDS, FrameIndex, IndexedAudio, VideoFacts
from chalicelib.model.plan import FILM
from chalicelib.model.work import Excerpt
from chalicelib.planning.chunking import PIXELS_PER_SECOND, Span

# Longest run-up from the start of the film, in estimated seconds of work; and what it takes to fetch the
# bytes and to list the samples, besides the decoding.
_MAX_RUN_UP_SECONDS = 120.0
_BYTES_PER_SECOND = 50e6
_SECONDS_PER_SAMPLE = 0.0005

_EARLIEST, _BEGIN, _END = map(attrgetter, ("earliest", "begin", "end"))


def facts_of_excerpt(facts: VideoFacts) -> VideoFacts:
    """The facts of an excerpt of the video: it has no other stream."""
    return msgspec.structs.replace(facts, video_stream=0)


def video_excerpt(facts: VideoFacts, index: FrameIndex, span: Span) -> tuple[Excerpt, int]:
    """What is read to decode the frames of a span; and its time zero, in the film's ticks."""
    cuts = index.cuts[span.first : span.stop]
    earliest = min(map(_EARLIEST, cuts))
    begin, end = min(map(_BEGIN, cuts)), max(map(_END, cuts))
    stop = count(index.video)
    if span.stop < len(index.cuts):
        # Frames shown before the next cut may be coded after it. A deinterlacer needs the frame after them.
        following = index.cuts[span.stop]
        stop = max(following.leading_stop, following.sample + facts.interlaced)
        if stop > following.sample:
            earliest = min(earliest, following.earliest)
            begin, end = min(begin, following.begin), max(end, following.leading_bytes_stop)
    samples = cuts[0].sample, stop
    return Excerpt(samples, cuts[0].at, (begin, end), FILM), earliest - index.video.reorder_delay


def run_ups(facts: VideoFacts, index: FrameIndex, first: int) -> list[int]:
    """The cuts at which an excerpt that begins with cut `first` begins instead, if the chunk is not exact.

    One group earlier is enough where a key frame is none. From the start of the film, frames come out as they
    do when the whole film is decoded, with the same errors; long films are not decoded that far, as the work
    for a chunk is bounded.
    """
    if first < 2:
        return list(range(first))
    seconds = index.cuts[first].sample * (
        facts.width * facts.height / PIXELS_PER_SECOND + _SECONDS_PER_SAMPLE
    )
    if seconds < _MAX_RUN_UP_SECONDS:
        before = index.cuts[:first]
        seconds += (max(map(_END, before)) - min(map(_BEGIN, before))) / _BYTES_PER_SECOND
    return [first - 1, 0] if seconds < _MAX_RUN_UP_SECONDS else [first - 1]


def audio_excerpt(
    audio: IndexedAudio, track: str, begin: float, end: float | None
) -> tuple[Excerpt, float]:
    """What is read to decode a track of audio from `begin` to `end` seconds of the film, or to its end.

    And when `begin` is, in seconds of the excerpt: below zero where the audio begins later.
    """
    cuts = audio.cuts
    # One cut earlier, so that the decoder is warm; one later, where the last packet begins late. Of a track
    # that ends before others do, the end is read.
    number = min(max(0, int(begin / AUDIO_CUT_SECONDS) - 1), len(cuts) - 1)
    last = len(cuts) if end is None else int(end / AUDIO_CUT_SECONDS) + 2
    stop = cuts[last].sample if last < len(cuts) else count(audio.samples)
    with_packets = [cut for cut in cuts[number:last] if cut.end]
    if not with_packets:  # only silence: read the packet that ends it
        stop = cuts[number].sample + 1
        with_packets = [next(cut for cut in cuts[last:] if cut.end)]
    place = min(cut.begin for cut in with_packets), max(cut.end for cut in with_packets)
    first = cuts[number]
    return Excerpt((first.sample, stop), first.at, place, track), begin - first.us / 1e6


def trim_point(index: FrameIndex, times: Sequence[int], frame: int, zero: int) -> float:
    """Where to trim before `frame`, in seconds of the excerpt whose time starts at the tick `zero`.

    Half a gap early, rounded to a tick, as FFmpeg's trim rounds: the frame's own time where the gap is one.
    `times` are ticks, with the end of the last frame.
    """
    return max(0.0, (times[frame] - _gap(times, frame) // 2 - zero) / index.timescale)


def key_frame_times(
    index: FrameIndex, times: Sequence[int], frames: Sequence[int], zero: int
) -> list[float]:
    """When to force a key frame for each of `frames`, half a gap early; as for `trim_point`, not rounded."""
    scale = index.timescale
    return [max(0.0, (times[n] - _gap(times, n) / 2 - zero) / scale) for n in frames]


def _gap(times: Sequence[int], frame: int) -> int:
    """Ticks between a frame and the one before it."""
    return times[frame] - times[frame - 1] if frame else times[1] - times[0]


def microseconds(index: FrameIndex, ticks: int) -> int:
    """Ticks of the film in whole microseconds."""
    return round(ticks * 1_000_000 / index.timescale)
