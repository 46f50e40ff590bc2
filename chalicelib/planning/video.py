"""Renditions, and FFmpeg's arguments for a film's video: CMAF fragments, in chunks or as a whole.

`rendition` says what a step asks for; a step of `operations/` packages it. One run decodes a chunk and
encodes all renditions that a job wants.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, groupby, pairwise
from math import ceil, lcm

import msgspec

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, playlists
from chalicelib.model.facts import FrameIndex, VideoFacts, fit_short_side, fps
from chalicelib.model.mark import Mark
from chalicelib.model.plan import FILM
from chalicelib.model.work import Chunk, Command, Exact, Run, RunUp, file_of
from chalicelib.planning import chunking, encoders, excerpts, filter_graph, frame_rates
from chalicelib.planning.encoders import ENCODERS, LEAST_SIDE
from chalicelib.planning.inputs import open_source, open_whole_source, other_streams_to_null
from chalicelib.planning.operation import Codec, Encode, Part, PlanSettings, Rendition

# Fragments with the film's own times, after a header that is the same for every chunk.
_FRAGMENTS = (
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof+frag_discont+skip_trailer+cmaf",
    "-use_editlist", "0",
)  # fmt: skip


def rendition(
    facts: VideoFacts,
    *,
    short_side: int | None,
    codec: Codec = "h264",
    max_fps: int | None = None,
    max_kbps: int | None = None,
    mark: Mark | None = None,
) -> Rendition:
    """A rendition with `short_side` lines on the short side, or as many as the source has: None for all.

    Renditions of a film that come out the same are equal, whatever they were asked by. Raises JobError where
    the codec does not go so small.
    """
    width, height = fit_short_side(
        facts.width, facts.height, short_side or min(facts.width, facts.height)
    )
    if codec != "h264" and min(width, height) < LEAST_SIDE:
        detail = f"A video of {width} × {height} pixels is too small for {codec}: ask for h264."
        raise JobError("too_small_for_codec", detail)
    wanted = Rendition("", width, height, codec, max_fps, max_kbps, mark)
    if frame_rates.step_of(facts, max_fps) == 1:
        wanted = msgspec.structs.replace(wanted, max_fps=None)
    if max_kbps and 1000 * max_kbps >= _most_bits_per_second(facts, wanted):
        wanted = msgspec.structs.replace(wanted, max_kbps=None)
    return msgspec.structs.replace(wanted, name=_name(facts, wanted))


def _name(facts: VideoFacts, rendition: Rendition) -> str:
    size, lines = (rendition.width, rendition.height), min(rendition.width, rendition.height)
    # Sizes are even: two that differ by a column may have as many lines.
    is_usual = size == fit_short_side(facts.width, facts.height, lines)
    parts = [f"{lines}p" if is_usual else "{}x{}".format(*size)]
    if rendition.codec != "h264":
        parts.append(rendition.codec)
    if rendition.max_fps:
        parts.append(f"{rendition.max_fps}fps")
    if rendition.max_kbps:
        parts.append(f"{rendition.max_kbps}kbps")
    if rendition.mark:
        digest = hashlib.sha256(msgspec.json.encode(rendition.mark)).hexdigest()
        parts.append(f"marked_{digest[:8]}")
    return "_".join(parts)


def frame_rate(facts: VideoFacts, rendition: Rendition) -> float:
    """Frames a second of a rendition."""
    return fps(facts) / frame_rates.step_of(facts, rendition.max_fps)


def frames(facts: VideoFacts, rendition: Rendition) -> int | None:
    """The number of a rendition's frames; None where only decoding would count them."""
    step = frame_rates.step_of(facts, rendition.max_fps)
    if step == 1:
        return facts.frames
    if facts.index is not None:
        return len(frame_rates.kept(facts, facts.index, facts.index.times(), step))
    return ceil(facts.frames / step) if facts.frames and facts.steady else None


def max_bits_per_second(facts: VideoFacts, rendition: Rendition) -> int:
    """The encoder's ceiling: what film needs in its busiest seconds, or less where that is asked for."""
    ceiling = _most_bits_per_second(facts, rendition)
    return min(ceiling, 1000 * rendition.max_kbps) if rendition.max_kbps else ceiling


def _most_bits_per_second(facts: VideoFacts, rendition: Rendition) -> int:
    bits = ENCODERS[rendition.codec].most_bits
    rate = min(frame_rate(facts, rendition), 60.0)
    return max(300_000, round(bits * rendition.width * rendition.height * rate))


def bits_per_second(facts: VideoFacts, rendition: Rendition) -> float:
    """What a rendition has on average: an estimate."""
    pixels = rendition.width * rendition.height * frame_rate(facts, rendition)
    bits = ENCODERS[rendition.codec].bits * pixels
    return min(bits, 1000.0 * rendition.max_kbps) if rendition.max_kbps else bits


def encode(facts: VideoFacts, renditions: Sequence[Rendition], settings: PlanSettings) -> Encode:
    """Renditions in chunks, or in one part where the source cannot be cut.

    Raises JobError where no filter can read the colours, and where one function has no memory for all.
    """
    _check_size(renditions)
    index = facts.index
    if index is None:
        return _as_a_whole(facts, renditions, settings)
    film = _film(facts, index, renditions)
    seconds = chunking.chunk_seconds(facts, renditions, settings)
    first_seconds = max(settings.least_chunk_seconds, seconds / 3)
    spans = chunking.spans(
        index,
        seconds,
        first_seconds,
        film.common if isinstance(film.common, range) else frozenset(film.common),
    )
    return Encode(list(_chunks(film, spans)), {FILM: _chunk_command(film, settings)})


# Pixels of the frames that are encoded at once: those of HEVC and AV1 take twice the memory. The largest film
# that a stage takes, and one of 720 lines beside it, are fewer.
_MOST_PIXELS = 40_000_000


def _check_size(renditions: Sequence[Rendition]) -> None:
    """Raises JobError where one function has no memory for all encoders."""
    pixels = sum(
        each.width * each.height * (1 if each.codec == "h264" else 2) for each in renditions
    )
    if pixels > _MOST_PIXELS:
        raise JobError(
            "too_many_renditions",
            f"The film would be encoded in {len(renditions)} ways at once, of {pixels / 1e6:.0f} megapixels "
            f"together (HEVC and AV1 count twice); at most {_MOST_PIXELS / 1e6:.0f} are. Ask for fewer or "
            "smaller ones in one job.",
        )


@dataclass(frozen=True)
class _Film:
    """What the chunks of a film share."""

    facts: VideoFacts
    index: FrameIndex
    renditions: Sequence[Rendition]
    times: Sequence[int]  # ticks when each frame is shown, and when the last one ends
    run_stops: Sequence[int]  # as chunking.durations takes them
    kept: Mapping[int, Sequence[int]]  # where every n-th frame is kept, their numbers
    common: Sequence[int]  # the frames that all renditions keep, with which groups may begin
    anchors: Sequence[int]  # the frames from which those that are kept are counted


def _film(facts: VideoFacts, index: FrameIndex, renditions: Sequence[Rendition]) -> _Film:
    times = index.times()
    steps = {frame_rates.step_of(facts, each.max_fps) for each in renditions}
    kept = {step: frame_rates.kept(facts, index, times, step) for step in steps}
    fewer = [set(frames) for step, frames in kept.items() if step > 1]
    common = sorted(set.intersection(*fewer)) if fewer else range(len(times) - 1)
    run_stops = list(accumulate(count for count, _ in index.durations))
    anchors = frame_rates.anchors(index) if fewer else ()
    return _Film(facts, index, renditions, times, run_stops, kept, common, anchors)


def _as_a_whole(
    facts: VideoFacts, renditions: Sequence[Rendition], settings: PlanSettings
) -> Encode:
    command = _command(
        facts,
        renditions,
        open_whole_source(facts, settings),
        trim="",
        key_frames=None,
        offset=f"{cmaf.START_SECONDS}s",
        rate=Fraction(facts.frame_rate),
    )
    work = Chunk(
        FILM,
        Run(),
        _names(renditions),
        first_segment=0,
        seconds=facts.seconds,
        marks=_marks(renditions),
    )
    part = Part(work, max(1.0, chunking.work_seconds(facts, renditions)))
    return Encode([part], {FILM: command})


def _chunk_command(film: _Film, settings: PlanSettings) -> Command:
    """Arguments with placeholders: `start` and `end` of the chunk in its excerpt, in seconds; `key_frames`,
    seconds with commas; `offset`, to be added to the excerpt's times; `counted_from`, where renditions have
    fewer frames, as `frame_rates.selection` takes it."""
    times = film.times
    rate = Fraction((len(times) - 1) * film.index.timescale, times[-1] - times[0])
    return _command(
        excerpts.facts_of_excerpt(film.facts),
        film.renditions,
        ("-copyts", *open_source(film.facts, settings)),
        trim="trim=start={start}:end={end}",
        key_frames="{key_frames}",
        offset="{offset}",
        rate=rate,
    )


def _chunks(film: _Film, spans: Iterable[chunking.Span]) -> Iterator[Part]:
    segments = 0
    for span in spans:
        part = _chunk(film, segments, span)
        segments += len(playlists.planned(part.work))
        yield part


def _chunk(film: _Film, first_segment: int, span: chunking.Span) -> Part:
    facts, index, times = film.facts, film.index, film.times
    first = index.cuts[span.first].frame
    stop = len(times) - 1 if span.stop == len(index.cuts) else index.cuts[span.stop].frame
    group_starts = _group_starts(film, first, stop)
    # A deinterlacer looks at the frames before and after: the excerpt begins one cut earlier.
    begin = span.first - int(span.first > 0 and facts.interlaced)
    excerpt, zero = excerpts.video_excerpt(facts, index, chunking.Span(begin, span.stop))
    key_frames = excerpts.key_frame_times(index, times, group_starts, zero)
    zero_us = excerpts.microseconds(index, zero - index.start)
    values = {
        "start": f"{excerpts.trim_point(index, times, first, zero):.6f}",
        "end": f"{excerpts.trim_point(index, times, stop, zero):.6f}",
        "key_frames": ",".join(f"{seconds:.6f}" for seconds in key_frames),
        "offset": f"{zero_us + cmaf.START_SECONDS * 1_000_000}us",
    }
    if any(step > 1 for step in film.kept):
        values["counted_from"] = _counted_from(film, first, stop, zero)
    again = []
    for earlier in excerpts.run_ups(facts, index, begin):
        longer, earlier_zero = excerpts.video_excerpt(
            facts, index, chunking.Span(earlier, span.stop)
        )
        again.append(RunUp(longer, excerpts.microseconds(index, zero - earlier_zero)))
    work = Chunk(
        FILM,
        Run(values, excerpt),
        _names(film.renditions),
        first_segment=first_segment,
        seconds=(times[stop] - times[first]) / index.timescale,
        exact=_exact(film, first, stop, group_starts, 1),
        fewer={
            each.name: _exact(film, first, stop, group_starts, step)
            for each in film.renditions
            if (step := frame_rates.step_of(facts, each.max_fps)) > 1
        },
        again=tuple(again),
        marks=_marks(film.renditions),
    )
    pixels = (stop - first) * chunking.frame_pixels(facts, film.renditions)
    return Part(work, max(0.1, pixels / chunking.PIXELS_PER_SECOND))


def _group_starts(film: _Film, first: int, stop: int) -> list[int]:
    """The frames that begin a group, among those that all renditions keep."""
    common = film.common
    if isinstance(common, range):
        return chunking.groups(film.times, first, stop, film.index.timescale)
    times = [*(film.times[frame] for frame in common), film.times[-1]]
    begin, end = bisect_left(common, first), bisect_left(common, stop)
    return [common[place] for place in chunking.groups(times, begin, end, film.index.timescale)]


def _counted_from(film: _Film, first: int, stop: int, zero: int) -> str:
    """Where frames are counted anew inside a chunk, whose excerpt's time starts at the tick `zero`."""
    inside = [frame for frame in film.anchors if first < frame < stop]
    seconds = excerpts.key_frame_times(film.index, film.times, inside, zero)
    return "+".join(map(frame_rates.start_of, seconds)) or "0"


def _exact(film: _Film, first: int, stop: int, group_starts: Sequence[int], step: int) -> Exact:
    """What a chunk of the frames from `first` to before `stop` must come out as, in ticks of the output.

    Of the frames, a rendition keeps every `step`-th.
    """
    facts, index, times = film.facts, film.index, film.times
    ticks_per_tick = facts.timescale // index.timescale  # of the output, for one of the index
    timeline_offset = cmaf.START_SECONDS * facts.timescale - index.start * ticks_per_tick
    segments = chunking.segments(times, group_starts, stop, index.timescale)
    if step == 1:
        durations = chunking.durations(index, film.run_stops, first, stop)
    else:
        kept = film.kept[step]
        frames = kept[bisect_left(kept, first) : bisect_left(kept, stop)]
        shown = [times[frame] for frame in (*frames, stop)]
        gaps = (later - earlier for earlier, later in pairwise(shown))
        durations = ((sum(1 for _ in run), ticks) for ticks, run in groupby(gaps))
    return Exact(
        first=times[first] * ticks_per_tick + timeline_offset,
        durations=tuple((count, ticks * ticks_per_tick) for count, ticks in durations),
        starts=tuple(times[start] * ticks_per_tick + timeline_offset for start, _ in segments),
        end=times[stop] * ticks_per_tick + timeline_offset,
        timescale=facts.timescale,
    )


def _names(renditions: Sequence[Rendition]) -> tuple[str, ...]:
    return tuple(rendition.name for rendition in renditions)


def _marks(renditions: Sequence[Rendition]) -> tuple[Mark, ...]:
    """Those whose files the run reads besides the source."""
    return tuple(dict.fromkeys(each.mark for each in renditions if each.mark))


def _command(
    facts: VideoFacts,
    renditions: Sequence[Rendition],
    source: Sequence[str],
    *,
    trim: str,
    key_frames: str | None,
    offset: str,
    rate: Fraction,
) -> Command:
    """Arguments that encode what the filter `trim` lets through; `offset` is added to the outputs' times.

    `key_frames` are times, None where the film is a whole and frames have to tell; `rate` is the film's.
    """
    steps = [frame_rates.step_of(facts, each.max_fps) for each in renditions]
    outputs = (
        _output(
            facts,
            each,
            encoders.arguments(
                each,
                max_bits_per_second(facts, each),
                key_frames or _key_frame_expression(facts, step, lcm(*steps)),
                (rate / step).limit_denominator(1_000_000),
                in_chunks=key_frames is not None,
            ),
            offset,
        )
        for each, step in zip(renditions, steps, strict=True)
    )
    return (
        *source,
        "-filter_complex", filter_graph.graph(facts, renditions, trim),
        *other_streams_to_null(facts, facts.video_stream),
        *chain.from_iterable(outputs),
    )  # fmt: skip


def _output(facts: VideoFacts, rendition: Rendition, encoder: Command, offset: str) -> Command:
    """Arguments that encode the frames of a rendition into a file of fragments."""
    return (
        "-map", f"[{rendition.name}]",
        *encoder,
        "-fps_mode", "passthrough",  # a variable frame rate keeps its timestamps
        "-enc_time_base", f"1/{facts.timescale}",
        "-video_track_timescale", str(facts.timescale),
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-output_ts_offset", offset,
        *_FRAGMENTS,
        "-f", "mp4",
        file_of(rendition.name),
    )  # fmt: skip


def _key_frame_expression(facts: VideoFacts, step: int, common: int) -> str:
    """For FFmpeg: closed groups of pictures of at most two seconds, or one frame where that lasts longer.

    Of a rendition that keeps every `step`-th frame. All renditions keep every `common`-th frame of a steady
    film, with which groups begin.
    """
    if facts.steady:
        # By number; by time where a frame is missing.
        group = max(1, int(cmaf.GROUP_SECONDS * Fraction(facts.frame_rate)) // common) * common
        latest = cmaf.GROUP_SECONDS - 0.5 / fps(facts)
        due = f"gte(n,prev_forced_n+{group // step})+gte(t,prev_forced_t+{latest:.6f})"
    else:
        # How long the next frame lasts is not known: half a second is left for it.
        due = f"gte(t,prev_forced_t+{cmaf.GROUP_SECONDS - 0.5})"
    return f"expr:if(isnan(prev_forced_t),1,{due})"
