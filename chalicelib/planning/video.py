"""Renditions, and FFmpeg's arguments for a film's video: CMAF fragments, in chunks or as a whole.

`rendition_720p` chooses a height. A step of `operations/` packages what it names. One run decodes a chunk and
encodes all renditions that a job wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain

from chalicelib.formats import cmaf
from chalicelib.model.facts import FrameIndex, VideoFacts, fit_short_side, fps
from chalicelib.model.mark import Mark
from chalicelib.model.plan import FILM
from chalicelib.model.work import Chunk, Command, Exact, Run, RunUp, file_of
from chalicelib.planning import chunking, excerpts, filters
from chalicelib.planning.inputs import open_source, open_whole_source, other_stream_to_null
from chalicelib.planning.operation import Encode, Part, PlanSettings, Rendition

# Fragments with the film's own times, after a header that is the same for every chunk.
_FRAGMENTS = (
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof+frag_discont+skip_trailer+cmaf",
    "-use_editlist", "0",
)  # fmt: skip

# x264 gives key frames more bits than the frames around them, by its ipratio of 1.4, but not the first of all
# (rate_estimate_qscale, with macroblock trees): every chunk would begin 3 steps of the quantiser worse.
_FIRST_AS_OTHERS = "zones=0,0,b=1.4"


def max_bits_per_second(facts: VideoFacts, rendition: Rendition) -> int:
    """The encoder's ceiling: what 4:2:0 film needs at CRF 23 in its busiest seconds."""
    return max(
        300_000,
        round(0.18 * rendition.width * rendition.height * min(fps(facts), 60.0)),
    )


def rendition_720p(facts: VideoFacts) -> Rendition:
    """720 lines on the short side, or as many as the source has."""
    return Rendition("720p", *fit_short_side(facts.width, facts.height, 720))


def rendition(
    facts: VideoFacts,
    *,
    short_side: int | None,
    codec: str = "h264",
    max_fps: int | None = None,
    max_kbps: int | None = None,
    mark: Mark | None = None,
) -> Rendition:
    width, height = fit_short_side(facts.width, facts.height, short_side or 10**6)
    return Rendition("watermark" if mark else f"{short_side}p", width, height, mark)


def encode(facts: VideoFacts, renditions: Sequence[Rendition], settings: PlanSettings) -> Encode:
    """Renditions in chunks, or in one part where the source cannot be cut.

    Raises JobError where no filter can read the colours.
    """
    index = facts.index
    if index is None:
        return _as_a_whole(facts, renditions, settings)
    seconds = chunking.chunk_seconds(facts, renditions, settings)
    spans = chunking.spans(index, seconds, max(settings.least_chunk_seconds, seconds / 3))
    film = _Film(
        facts,
        index,
        renditions,
        times=index.times(),
        run_stops=list(accumulate(count for count, _ in index.durations)),
    )
    parts = [_chunk(film, number, span) for number, span in enumerate(spans)]
    return Encode(parts, {FILM: _chunk_command(film, settings)})


@dataclass(frozen=True)
class _Film:
    """What the chunks of a film share."""

    facts: VideoFacts
    index: FrameIndex
    renditions: Sequence[Rendition]
    times: Sequence[int]  # ticks when each frame is shown, and when the last one ends
    run_stops: Sequence[int]  # as chunking.durations takes them


def _as_a_whole(
    facts: VideoFacts, renditions: Sequence[Rendition], settings: PlanSettings
) -> Encode:
    command = _command(
        facts,
        renditions,
        open_whole_source(facts, settings),
        trim="",
        key_frames=_key_frame_expression(facts),
        offset=f"{cmaf.START_SECONDS}s",
        x264=_FIRST_AS_OTHERS,
    )
    work = Chunk(
        FILM,
        Run(),
        _names(renditions),
        prefix="00000_",
        seconds=facts.seconds,
        asset_files=_extra_files(renditions),
    )
    part = Part(work, max(1.0, chunking.work_seconds(facts, renditions)))
    return Encode([part], {FILM: command})


def _chunk_command(film: _Film, settings: PlanSettings) -> Command:
    """Arguments with placeholders: `start` and `end` of the chunk in its excerpt, in seconds; `key_frames`,
    seconds with commas; `offset`, to be added to the excerpt's times."""
    times = film.times
    # From the frame rate x264 derives the level, which stands in the header that all chunks share.
    rate = Fraction((len(times) - 1) * film.index.timescale, times[-1] - times[0])
    return _command(
        excerpts.facts_of_excerpt(film.facts),
        film.renditions,
        ("-copyts", *open_source(film.facts, settings)),
        trim="trim=start={start}:end={end}",
        key_frames="{key_frames}",
        offset="{offset}",
        x264=f"{_FIRST_AS_OTHERS}:fps={rate.limit_denominator(1_000_000)}",
    )


def _chunk(film: _Film, number: int, span: chunking.Span) -> Part:
    facts, index, times = film.facts, film.index, film.times
    first = index.cuts[span.first].frame
    stop = len(times) - 1 if span.stop == len(index.cuts) else index.cuts[span.stop].frame
    group_starts = chunking.groups(times, first, stop, index.timescale)
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
        prefix=f"{number:05d}_",
        seconds=(times[stop] - times[first]) / index.timescale,
        exact=_exact(film, first, stop, group_starts),
        again=tuple(again),
        asset_files=_extra_files(film.renditions),
    )
    pixels = (stop - first) * chunking.frame_pixels(facts, film.renditions)
    return Part(work, max(0.1, pixels / chunking.PIXELS_PER_SECOND))


def _exact(film: _Film, first: int, stop: int, group_starts: Sequence[int]) -> Exact:
    """What a chunk of the frames from `first` to before `stop` must come out as, in ticks of the output."""
    facts, index, times = film.facts, film.index, film.times
    ticks_per_tick = facts.timescale // index.timescale  # of the output, for one of the index
    timeline_offset = cmaf.START_SECONDS * facts.timescale - index.start * ticks_per_tick
    segments = chunking.segments(times, group_starts, stop, index.timescale)
    return Exact(
        first=times[first] * ticks_per_tick + timeline_offset,
        durations=tuple(
            (count, ticks * ticks_per_tick)
            for count, ticks in chunking.durations(index, film.run_stops, first, stop)
        ),
        starts=tuple(times[start] * ticks_per_tick + timeline_offset for start, _ in segments),
        end=times[stop] * ticks_per_tick + timeline_offset,
        timescale=facts.timescale,
    )


def _names(renditions: Sequence[Rendition]) -> tuple[str, ...]:
    return tuple(rendition.name for rendition in renditions)


def _extra_files(renditions: Sequence[Rendition]) -> tuple[str, ...]:
    """Names of files, besides the source, that the run reads."""
    return tuple(dict.fromkeys(each.mark.image for each in renditions if each.mark))


def _command(
    facts: VideoFacts,
    renditions: Sequence[Rendition],
    source: Sequence[str],
    *,
    trim: str,
    key_frames: str,
    offset: str,
    x264: str,
) -> Command:
    """Arguments that encode what the filter `trim` lets through; `offset` is added to the outputs' times."""
    outputs = (
        _output(facts, rendition, key_frames=key_frames, offset=offset, x264=x264)
        for rendition in renditions
    )
    return (
        *source,
        "-filter_complex", _graph(facts, renditions, trim),
        *other_stream_to_null(facts, facts.audio_stream),
        *chain.from_iterable(outputs),
    )  # fmt: skip


def _graph(facts: VideoFacts, renditions: Sequence[Rendition], trim: str) -> str:
    """The filters from a decoded frame to `[name]` of each rendition. What is alike is filtered once."""
    sizes = _grouped(renditions, lambda each: (each.width, each.height))
    frames = [f"frames{number}" for number in range(len(sizes))]
    chains = [f"[0:{facts.video_stream}]{_split(filters.in_common(facts, trim), frames)}"]
    for label, ((width, height), sized) in zip(frames, sizes.items(), strict=True):
        marks = _grouped(sized, lambda each: each.mark)
        bases = [f"{label}_{number}" for number in range(len(marks))]
        shaped = filters.to_size(facts, width, height, trim, filled=True)
        chains.append(f"[{label}]{_split(shaped, bases)}")
        for base, (mark, marked) in zip(bases, marks.items(), strict=True):
            before = f"{filters.overlay(mark, width, height, base)}," if mark else f"[{base}]"
            chains.append(before + _split("format=yuv420p", _names(marked)))
    return ";".join(chains)


def _grouped[K](
    renditions: Sequence[Rendition], key: Callable[[Rendition], K]
) -> dict[K, list[Rendition]]:
    groups: dict[K, list[Rendition]] = {}
    for rendition in renditions:
        groups.setdefault(key(rendition), []).append(rendition)
    return groups


def _split(before: str, labels: Sequence[str]) -> str:
    """The filters `before`, whose frames go to each of `labels`."""
    split = f"split={len(labels)}{''.join(f'[{label}]' for label in labels)}"
    return f"{before},{split}" if before else split


def _output(
    facts: VideoFacts, rendition: Rendition, *, key_frames: str, offset: str, x264: str
) -> Command:
    """Arguments that encode the frames of a rendition into a file of fragments."""
    ceiling = max_bits_per_second(facts, rendition)
    return (
        "-map", f"[{rendition.name}]",
        "-c:v", "libx264",
        "-preset", "veryfast",
        "-crf", "23",
        "-maxrate", str(ceiling),
        "-bufsize", str(2 * ceiling),
        "-profile:v", "high",
        "-g", "100000",
        "-force_key_frames", key_frames,
        "-sc_threshold", "0",
        "-x264-params", x264,
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


def _key_frame_expression(facts: VideoFacts) -> str:
    """For FFmpeg: closed groups of pictures of at most two seconds, or one frame where that lasts longer."""
    if facts.steady:
        # By number; by time where a frame is missing.
        group = max(1, int(cmaf.GROUP_SECONDS * Fraction(facts.frame_rate)))
        latest = cmaf.GROUP_SECONDS - 0.5 / fps(facts)
        due = f"gte(n,prev_forced_n+{group})+gte(t,prev_forced_t+{latest:.6f})"
    else:
        # How long the next frame lasts is not known: half a second is left for it.
        due = f"gte(t,prev_forced_t+{cmaf.GROUP_SECONDS - 0.5})"
    return f"expr:if(isnan(prev_forced_t),1,{due})"
