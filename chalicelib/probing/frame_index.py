"""The index of a film's frames, read from its container without the media data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import msgspec
import numpy as np
from av.stream import Stream

from chalicelib.formats.mp4_tables import Column
from chalicelib.formats.preamble import MOST_BYTES, preamble
from chalicelib.model.facts import (
    AUDIO_CUT_SECONDS,
    FINEST_TIMESCALE,
    AudioCut,
    AudioTrack,
    Cut,
    FrameIndex,
    IndexedAudio,
    VideoFacts,
)
from chalicelib.probing.film import Film, to_fraction
from chalicelib.probing.packets import (
    CannotCut,
    IndexedTrack,
    NoIndex,
    Packets,
    audio_packets,
    check_shared,
    coded,
    video_packets,
)

_MOST_AUDIO_CUTS = 50_000
# FFmpeg takes larger offsets between times for damage (libavformat/mov.c).
_MOST_LAG = 2**28
# Tables of an excerpt have 31 bits for the step from one time to the next: a gap, and twice the lag.
_MOST_TICKS = 2**30
_MOST_SPAN = 2**62


def with_index(film: Film, facts: VideoFacts) -> VideoFacts:
    """The facts with the index of the film, or with the reason why it has none that can be relied on.

    After that nothing can be decoded of the film: its media data is hidden. Raises JobError, FFmpegError.
    """
    try:
        index, audio = _index(film, facts)
        left_out = facts.sounds_left_out + len(facts.audio) - len(audio)
        return msgspec.structs.replace(facts, index=index, audio=audio, sounds_left_out=left_out)
    except CannotCut as reason:
        copy_may_help = isinstance(reason, NoIndex)
        return msgspec.structs.replace(facts, whole_reason=str(reason), copy_may_help=copy_may_help)


def _index(film: Film, facts: VideoFacts) -> tuple[FrameIndex, tuple[AudioTrack, ...]]:
    """The index of a film, and its tracks of audio that are in that."""
    if film.demuxer != "mov":
        raise NoIndex("its container has no index of every frame")
    if film.layout is None:
        raise NoIndex("its container is in fragments")
    container = film.container
    film.hollow.hide(film.layout.media)
    video = container.streams[facts.video_stream]
    start_us = container.start_time or 0
    track = IndexedTrack(film, film.layout, video)
    packets = video_packets(film, track)
    timescale = _timescale(video)
    shown = _presentation_order(packets)
    durations = tuple(_durations(shown, packets.last))
    _check_dropped(packets.times[packets.dropped], shown, durations)
    latest = np.maximum.accumulate(packets.times)  # time up to each packet
    lag = int((latest - packets.times).max())
    if lag >= _MOST_LAG:
        raise CannotCut("its frames are coded hours before they are shown")
    pictures = coded(packets, track, lag)
    sounds, indexed = list[Packets](), dict[AudioTrack, IndexedAudio]()
    for number, each in enumerate(facts.audio):
        try:
            audio_track = IndexedTrack(film, film.layout, container.streams[each.stream])
            audio = audio_packets(film, audio_track)
            indexed[each] = _audio(audio_track, audio, start_us)
        except CannotCut:
            # The film is cut without a track that nobody needs to hear.
            if number == 0:
                raise
            continue
        sounds.append(audio)
        check_shared(film.size, packets, *sounds)
    index = FrameIndex(
        timescale=timescale,
        start=round(Fraction(start_us, av.time_base) * timescale),
        start_us=start_us,
        durations=durations,
        cuts=tuple(_cuts(packets, shown, latest, timescale)),
        video=msgspec.structs.replace(
            pictures,
            preamble=preamble(facts.video_codec, pictures.track, _first_sample(film, packets)),
        ),
        audio=tuple(indexed.values()),
    )
    return index, tuple(indexed)


def _timescale(video: Stream) -> int:
    timescale = 1 / (to_fraction(video.time_base) or Fraction(1))
    if timescale.denominator != 1 or timescale > FINEST_TIMESCALE:
        raise CannotCut("its clock is finer than a cut can be")
    return int(timescale)


def _presentation_order(packets: Packets) -> Column:
    """The times of the frames that are shown, sorted."""
    times = packets.times
    if int(times.max()) - int(times.min()) >= _MOST_SPAN:
        raise CannotCut("its times are years apart")
    shown = np.sort(np.delete(times, packets.dropped))
    if not len(shown):
        raise CannotCut("its index is empty")
    return shown


def _durations(shown: Column, last: int) -> Iterator[tuple[int, int]]:
    """Frame durations, run-length encoded: number of frames, and ticks of each."""
    gaps = np.diff(shown)
    if gaps.min(initial=1) <= 0:
        raise CannotCut("two of its frames have the same time")
    if gaps.max(initial=1) >= _MOST_TICKS:
        raise CannotCut("it shows a frame for hours")
    gaps = np.append(gaps, last or (gaps[-1] if len(gaps) else 1))
    firsts = np.flatnonzero(np.diff(gaps, prepend=-1))
    counts = np.diff(firsts, append=len(gaps))
    return zip(counts.tolist(), gaps[firsts].tolist(), strict=True)


def _check_dropped(times: Column, shown: Column, durations: Sequence[tuple[int, int]]) -> None:
    """Raises CannotCut where frames are left out in the middle: workers tell frames apart by time."""
    _, first_duration = durations[0]
    _, last_duration = durations[-1]
    ahead, after = shown[0] - times, times - shown[-1]
    inside = (2 * ahead <= first_duration) & (2 * after <= last_duration)
    if inside.any() or np.maximum(ahead, after).max(initial=0) >= _MOST_TICKS:
        raise CannotCut("it has more than one edit")


def _first_sample(film: Film, packets: Packets) -> bytes:
    """The first MOST_BYTES of the first frame. It has been decoded, so that they are fetched already."""
    film.source.seek(int(packets.offsets[0]))
    return film.source.read(min(int(packets.sizes[0]), MOST_BYTES))


def _cuts(packets: Packets, shown: Column, latest: Column, second: int) -> Iterator[Cut]:
    """Key frames, a second apart or more, after which nothing is shown that was coded before.

    Leading pictures (ITU-T H.264 and H.265), coded after a key frame and shown before it, need what was
    before it, and are decoded with that: `leading_stop` is the first sample after them.
    """
    times, keys = packets.times, packets.keys
    if keys[:1].tolist() != [0] or times[0] > shown[0]:
        raise CannotCut("it does not begin with a key frame")
    later = keys[1:]
    clean = later[times[later] > latest[later - 1]]
    samples = np.array([0, *_apart(clean, packets, shown, second)])
    starts = np.maximum(times[samples], shown[0])
    if starts[-1] > shown[-1]:
        raise CannotCut("it ends with a key frame that is not shown")
    numbers = np.arange(len(times))
    cut_of = np.repeat(np.arange(len(samples)), np.diff(samples, append=len(times)))
    leading_stop = samples.copy()
    leading = np.flatnonzero(times < starts[cut_of])
    np.maximum.at(leading_stop, cut_of[leading], leading + 1)
    # Ends of samples up to `leading_stop`, of the key frame at least.
    leading_ends = np.where(
        numbers < np.maximum(leading_stop, samples + 1)[cut_of], packets.ends, 0
    )
    columns = {
        "time": starts,
        "frame": np.searchsorted(shown, starts),
        "sample": samples,
        "at": packets.offsets[samples],
        "leading_stop": leading_stop,
        "earliest": np.minimum.reduceat(times, samples),
        "begin": np.minimum.reduceat(packets.offsets, samples),
        "end": np.maximum.reduceat(packets.ends, samples),
        "leading_bytes_stop": np.maximum.reduceat(leading_ends, samples),
    }
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield Cut(**dict(zip(columns, row, strict=True)))


def _apart(samples: Column, packets: Packets, shown: Column, second: int) -> Iterator[int]:
    """Those samples that are shown a second or more after the one before."""
    before = max(packets.times[0], shown[0])
    for sample, time in zip(samples.tolist(), packets.times[samples].tolist(), strict=True):
        if time >= before + second:
            before = time
            yield sample


def _audio(track: IndexedTrack, packets: Packets, start_us: int) -> IndexedAudio:
    """The packets of the audio, and where each AUDIO_CUT_SECONDS of it lie."""
    tick = to_fraction(track.stream.time_base) or Fraction(1)  # in seconds
    start = round(Fraction(start_us, av.time_base) / tick)
    duration = max(1, round(AUDIO_CUT_SECONDS / tick))
    times = packets.times
    if np.diff(times).max(initial=0) >= _MOST_TICKS:
        raise CannotCut("its sound is silent for hours")
    count = max(0, int(times[-1]) - start) // duration + 1
    if count > _MOST_AUDIO_CUTS:
        raise CannotCut("its sound lasts for days")
    later = np.searchsorted(times, start + duration * np.arange(1, count))
    samples = np.concatenate(([0], later))
    filled = np.diff(samples, append=len(times)) > 0
    begins, ends = np.zeros((2, count), dtype=np.int64)
    begins[filled] = np.minimum.reduceat(packets.offsets, samples[filled])
    ends[filled] = np.maximum.reduceat(packets.ends, samples[filled])
    first = np.minimum(samples, len(times) - 1)
    tick_us, second = 1_000_000 * tick.numerator, tick.denominator
    columns = {
        "us": [
            (time * tick_us + second // 2) // second - start_us for time in times[first].tolist()
        ],
        "sample": samples.tolist(),
        "at": packets.offsets[first].tolist(),
        "begin": begins.tolist(),
        "end": ends.tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    cuts = tuple(AudioCut(**dict(zip(columns, row, strict=True))) for row in rows)
    return IndexedAudio(coded(packets, track), cuts)
