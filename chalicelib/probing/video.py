"""Facts of a film, found by looking inside with PyAV. Runs in a child."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from operator import attrgetter, not_
from typing import NamedTuple

import av
import msgspec
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from chalicelib.errors import JobError
from chalicelib.model.facts import MOST_AUDIO, AudioTrack, VideoFacts, rhythm
from chalicelib.probing.film import (
    Film,
    HollowFile,
    damaged,
    overstated,
    start_seconds,
    to_fraction,
)
from chalicelib.probing.frames import (
    CHANGE_BY_FRAME,
    ChangeWatcher,
    FrameFacts,
    FrameInspector,
    describe,
    sample_frames,
)
from chalicelib.probing.streams import (
    LEAST_AUDIO_SECONDS,
    PROGRAMMES,
    check_dolby_vision,
    choose_audio,
    choose_video,
    track_of,
    unsupported_colours,
)
from chalicelib.probing.subtitles import subtitles_of

# Files without an index of samples are read whole to count frames, if they are no larger than this.
COUNT_BYTES = 256 * 1024**2
# Demuxers of streams in no container, where nothing else says how long they are: larger ones are refused.
_UNTIMED = frozenset({"mpegvideo"})
# No codec shows a frame after more than so many that are coded later.
_REORDERED = 32
# Codecs with the longest groups that are out of order, at few frames a second.
_MOST_EARLY_SECONDS = 60.0
_LEFT_OUT = attrgetter("is_discard")
# Matrices of ITU-T H.273 that nothing here can turn into RGB.
_UNKNOWN_MATRICES = {11: "YDzDx", 15: "IPT-PQ-c2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_HD_LINES = 720
_DEFAULT_TICK = Fraction(1, 90_000)
# MP4 has 31 bits for how long a frame lasts. Raw MPEG video counts as finely as this; of anything finer,
# microseconds are finer than anybody sees.
_FINEST_TIMESCALE = 1_200_000
_MICROSECONDS = 1_000_000


def facts_of(film: Film, max_pixels: int) -> VideoFacts:
    """Facts of a film. Raises JobError where it is too large for us; FFmpegError."""
    if film.demuxer in _UNTIMED and film.size > COUNT_BYTES:
        raise JobError(
            "source_too_large",
            f"The video is in no container, and has {film.size} bytes; at most {COUNT_BYTES} of such are "
            "taken. Put it into one, such as MP4 or MPEG-TS.",
        )
    video = choose_video(film)
    _check_pixels(video.width, video.height, max_pixels)
    inspector = FrameInspector(video)
    facts, first = _read_header(film, inspector)
    if facts.frames is None and film.size <= COUNT_BYTES:
        facts = _read_packets(film, facts, first)
    elif _can_change(film, facts):
        facts = _as_seen(facts, [first, *sample_frames(film, inspector)])
    else:
        facts = _as_seen(facts, [first])
    _check_pixels(facts.width, facts.height, max_pixels)  # as shown: pixels may be wide
    return facts


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise JobError(
            "too_many_pixels",
            f"The video is {width} × {height}; at most {most} pixels are taken.",
        )


def _can_change(film: Film, facts: VideoFacts) -> bool:
    """Whether a film that is not read whole should be looked at here and there, which costs little."""
    if film.layout is None:
        return film.demuxer in PROGRAMMES
    return film.descriptions > 1 or facts.video_codec in CHANGE_BY_FRAME


def _as_seen(facts: VideoFacts, frames: Sequence[FrameFacts]) -> VideoFacts:
    """The facts of a film of which these frames were inspected. Raises JobError.

    The film is as large as its largest frame: recordings of calls begin small.
    """
    for frame in frames:
        if unknown := _UNKNOWN_MATRICES.get(frame.colours.matrix):
            raise unsupported_colours(f"coded as {unknown}")
    width, height = max((frame.size for frame in frames), key=lambda size: size[0] * size[1])
    codings = tuple(dict.fromkeys(frame.coding for frame in frames))
    return msgspec.structs.replace(
        facts,
        width=width,
        height=height,
        changes=codings if len(codings) > 1 else (),
        interlaced=any(frame.interlaced for frame in frames),
        alpha=any(frame.alpha for frame in frames),
        colours=tuple(dict.fromkeys(frame.colours for frame in frames)),
    )


# ── by its header, and its first frame ──────────────────────────────────────────────────────────


def _read_header(film: Film, inspector: FrameInspector) -> tuple[VideoFacts, FrameFacts]:
    """What is known of a film without its packets, and how the first frame is coded."""
    container, video = film.container, inspector.video
    if len(video.index_entries) > film.size:
        raise overstated()
    check_dolby_vision(video)
    frame = next(container.decode(video), None)
    if frame is None:
        raise damaged()
    first = inspector.inspect(frame)
    sounds = choose_audio(film)
    rate = _frame_rate(video)
    frames = (_count_entries(video, film.edits) or video.frames) if video.frames else None
    seconds = _header_seconds(container, video) or (frames or 1) / float(rate)
    facts = VideoFacts(
        demuxer=film.demuxer,
        width=first.coding.width,
        height=first.coding.height,
        seconds=seconds,
        frames=frames,
        frame_rate=str(rate),
        timescale=_timescale(to_fraction(video.time_base) or _DEFAULT_TICK),
        video_stream=video.index,
        audio=tuple(map(track_of, sounds[:MOST_AUDIO])),
        sounds_left_out=len(sounds[MOST_AUDIO:]),
        video_start=_late_seconds(container, frame),
        disordered=film.demuxer == "mxf" and _is_disordered(frame, container.decode(video)),
        steady=video.average_rate == video.base_rate
        and (frames is None or abs(seconds * rate - frames) < 2),
        # Where a film does not say, players take HD for BT.709 and the rest for BT.601.
        matrix="bt709" if min(frame.width, frame.height) >= _HD_LINES else "smpte170m",
        video_codec=video.codec_context.codec.canonical_name,
        looks=describe(frame, video.sample_aspect_ratio or Fraction(1)),
        subtitles=subtitles_of(film),
        subtitles_demuxer=film.demuxer,
    )
    return facts, first


def _frame_rate(video: VideoStream) -> Fraction:
    # Where frames do not say how long they last FFmpeg takes a tick; at the base rate all have a time.
    rates = [rate for rate in map(to_fraction, (video.average_rate, video.base_rate)) if rate]
    return min(rates, default=Fraction(25))


def _count_entries(video: VideoStream, edits: int) -> int:
    """How many frames the index shows. The header's count includes frames that edits leave out."""
    entries = video.index_entries
    # One edit leaves frames out at its ends, where frames are not in presentation order.
    ends = (*entries[:_REORDERED], *entries[-_REORDERED:])
    if edits <= 1 and not any(map(_LEFT_OUT, ends)):
        return len(entries)
    return sum(map(not_, map(_LEFT_OUT, entries)))


def _header_seconds(container: InputContainer, video: VideoStream) -> float:
    """0 where the container does not say how long the film is."""
    if video.duration and video.time_base:
        return max(0.0, float(video.duration * video.time_base))
    return max(0.0, container.duration / av.time_base) if container.duration else 0.0


def _timescale(time_base: Fraction) -> int:
    """Ticks a second that are fine enough for any frame rate; whole in `time_base`, if they can be."""
    ticks = Fraction(1) / time_base
    scale = ticks.numerator
    while scale < 10_000:
        scale *= 2
    return scale if scale <= _FINEST_TIMESCALE else _MICROSECONDS


def _late_seconds(container: InputContainer, first: VideoFrame) -> float:
    """From the start of the film to its first picture."""
    if first.pts is None:
        return 0.0
    shown_at = first.pts * (to_fraction(first.time_base) or 0)
    late = float(shown_at - start_seconds(container))
    return late if late >= -_MOST_EARLY_SECONDS else 0.0


def _is_disordered(first: VideoFrame, following: Iterator[VideoFrame]) -> bool:
    """Whether times go back as frames are shown: an MXF need not tell how they are to be reordered."""
    frames = (first, *islice(following, _REORDERED))
    times = [frame.pts for frame in frames if frame.pts is not None]
    return any(later < earlier for earlier, later in pairwise(times))


# ── by all its packets, where the container has no index of samples ─────────────────────────────


class _Packets(NamedTuple):
    """Times of the packets of a film, in ticks of their streams."""

    times: list[int]  # of video packets, sorted
    audio: dict[int, list[tuple[int | None, int]]]  # times and durations of packets, by the stream
    taken: int  # bytes in all of them


def _read_packets(film: Film, facts: VideoFacts, first: FrameFacts) -> VideoFacts:
    """The facts, corrected by all packets of the film. Raises JobError."""
    # A second demuxer: the read position of the first must not move.
    hollow = HollowFile(film.source, film.size)
    with av.open(hollow, format=film.demuxer, mode="r") as container:
        video = next(s for s in container.streams.video if s.index == facts.video_stream)
        watcher = ChangeWatcher(video, film.size)
        packets = _packets_of(container, facts, watcher)
        # Fragments whose samples share bytes could be a film of any length. (Other demuxers may unpack.)
        if film.demuxer == "mov" and packets.taken > film.size:
            raise overstated()
        facts = _with_audio_ends(container, facts, packets.audio)
        tick = to_fraction(video.time_base) or _DEFAULT_TICK
    return _counted(_as_seen(facts, [first, *watcher.frames]), packets.times, tick)


def _packets_of(container: InputContainer, facts: VideoFacts, watcher: ChangeWatcher) -> _Packets:
    audio: dict[int, list[tuple[int | None, int]]] = {each.stream: [] for each in facts.audio}
    used = [facts.video_stream, *audio]
    times, taken = list[int](), 0
    for packet in container.demux([container.streams[n] for n in used]):
        taken += packet.size
        if packet.stream_index != facts.video_stream:
            if packet.size:
                audio[packet.stream_index].append((packet.pts, packet.duration or 0))
        elif packet.pts is not None:
            times.append(packet.pts)
            watcher.see(packet)
    return _Packets(sorted(times), audio, taken)


def _counted(facts: VideoFacts, times: Sequence[int], time_base: Fraction) -> VideoFacts:
    """The facts with what the times of all video packets say."""
    if not times:
        raise damaged()
    seconds = (times[-1] - times[0]) * time_base + 1 / Fraction(facts.frame_rate)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Of other codecs a packet can be half a frame, or one that is never shown.
    exact = facts.video_codec in ("h264", "hevc", "vp9", "av1") and not facts.interlaced
    ticks_per_tick = time_base * facts.timescale
    return msgspec.structs.replace(
        facts,
        seconds=float(seconds),
        frames=len(times) if exact else None,
        # Containers that count in milliseconds round.
        steady=facts.steady and max(gaps, default=0) < 2 * min(gaps, default=1),
        rhythm=rhythm(int(time * ticks_per_tick) for time in times),
    )


def _with_audio_ends(
    container: InputContainer,
    facts: VideoFacts,
    packets: Mapping[int, Sequence[tuple[int | None, int]]],
) -> VideoFacts:
    """The facts with the end of each track of audio, by its packets; without the tracks that have none."""
    ended = (_with_end(container, each, packets[each.stream]) for each in facts.audio)
    return msgspec.structs.replace(facts, audio=tuple(each for each in ended if each))


def _with_end(
    container: InputContainer, track: AudioTrack, packets: Sequence[tuple[int | None, int]]
) -> AudioTrack | None:
    """A track with its end, by times and durations of its packets; None where it has hardly any."""
    tick = to_fraction(container.streams[track.stream].time_base) or Fraction(1)
    spans = [(time, time + duration) for time, duration in packets if time is not None]
    start, end = min(spans, default=(0, 0))[0], max((end for _, end in spans), default=0)
    if not packets or (spans and (end - start) * tick < LEAST_AUDIO_SECONDS):
        return None
    # Where a clock starts anew, as in films that were joined byte by byte, no packet says when it all ends.
    restarts = any((one - other) * tick > 1 for (one, _), (other, _) in pairwise(spans))
    seconds = float(end * tick - start_seconds(container)) if spans and not restarts else None
    return msgspec.structs.replace(track, seconds=seconds)
