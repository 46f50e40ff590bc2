"""FFmpeg arguments, purely from facts: how a rendition, its sound and a poster are made.

Names of files are local to the task's folder: the original is `source`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from operator import attrgetter

import msgspec

from chalicelib import chunks
from chalicelib.excerpt import count
from chalicelib.media import SOUND_SECONDS, Coded, Index, VideoFacts, fit_box, fit_short_side, fps
from chalicelib.plan import (
    FIRST_PACKET,
    Chunk,
    Command,
    Encode,
    Exact,
    Excerpt,
    Hls,
    Join,
    Mark,
    Part,
    Poster,
    Rendition,
    Run,
    RunUp,
    Sound,
)
from chalicelib.settings import settings

POSTER_BOX = 512
_POSTER_FRAMES = 12  # of which each candidate is chosen
# No chunk is shorter than a segment.
_LEAST_CHUNK_SECONDS = float(chunks.SEGMENT_SECONDS)
_FIRST_SOUND_SECONDS = 12
_SOUND_SECONDS = 60
_SOUND_PARTS = 400  # about so many of a long film
# Bits a second.
SOUND_BITS = 128_000
# Pixels decoded and encoded in a second, by two cores.
_PIXELS_A_SECOND = 250e6
_SOUND_SPEED = 50
# Sound that begins late, and gaps in it, are silence: packets follow each other without a time of their own.
_ON_TIME = "aresample=48000:async=1:min_hard_comp=0.03:first_pts=0"
# Of a track without any there is a moment of silence, which is made as long as the film then.
_AT_LEAST_ONE = "apad=whole_len=1"
# Of more channels FFmpeg makes two; of one, too, but quieter. Both may come in turn.
_STEREO = "aformat=sample_fmts=fltp:channel_layouts=mono|stereo|downmix,pan=stereo|FL=FL+FC+DL|FR=FR+FC+DR"

# Where to look for a poster, as parts of the length. The start comes last: films begin black.
POSTER_AT = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)

_COORDINATES = {
    "top_left": ("{m}", "{m}"),
    "top_right": ("main_w-overlay_w-{m}", "{m}"),
    "center": ("(main_w-overlay_w)/2", "(main_h-overlay_h)/2"),
    "bottom_left": ("{m}", "main_h-overlay_h-{m}"),
    "bottom_right": ("main_w-overlay_w-{m}", "main_h-overlay_h-{m}"),
}


def open_source(facts: VideoFacts) -> tuple[str, ...]:
    """Input options that let the file open nothing but itself, as what it was sniffed to be."""
    return (
        "-apply_cropping", "codec",  # the container's would be news to the facts
        "-f", facts.demuxer,
        "-protocol_whitelist", "file",
        "-i", "source",
    )  # fmt: skip


def _open_whole(facts: VideoFacts) -> tuple[str, ...]:
    """The same, so that the first picture comes no earlier than at zero."""
    offset = ("-itsoffset", f"{-facts.late:.6f}") if facts.late < 0 else ()
    return (*offset, *open_source(facts))


# Containers that FFmpeg takes to start when the streams do that are used (AVFMT_TS_DISCONT).
_RESTARTING = frozenset({"mpegts", "mpeg", "ogg"})


def _beside(facts: VideoFacts, stream: int | None) -> tuple[str, ...]:
    """An output that goes nowhere, so that pictures and sound, each read alone, start at the same moment."""
    if facts.demuxer not in _RESTARTING or stream is None:
        return ()
    return ("-map", f"0:{stream}", "-c", "copy", "-f", "null", "-")


def _shape(facts: VideoFacts, width: int, height: int, trim: str = "") -> str:
    """Filters from a decoded frame, which FFmpeg has turned upright already, to square pixels."""
    # The whole frame at the field rate's half: the default would double the frames.
    deinterlace = "bwdif=mode=send_frame," if facts.interlaced else ""
    return f"{deinterlace}{trim}{_scale(facts, width, height)},setsar=1,{_BT709}"


# As every player expects it, and takes it for where nothing is said (ITU-R BT.709).
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


def _scale(facts: VideoFacts, width: int, height: int) -> str:
    """To the size, and to the colours of BT.709."""
    size = f"scale={width}:{height}:flags=bicubic"
    if facts.transfer:
        # Scaled first: the rest works on 32-bit samples.
        return (
            f"{size},zscale=pin=bt2020:tin={facts.transfer}:min=bt2020nc:t=linear:npl={_HDR_WHITE},"
            "format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
            "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        )
    matrix = f"in_color_matrix={facts.matrix}:" if facts.matrix else ""
    return f"{size}:{matrix}out_color_matrix=bt709:out_range=tv,format=yuv420p"


# Nits that become the white of SDR.
_HDR_WHITE = 100


def _overlay(mark: Mark, width: int, height: int) -> str:
    margin = margin_of(width, height)
    x, y = (part.format(m=margin) for part in _COORDINATES[mark.position])
    across, high = mark_box(mark, width, height)
    return (
        f"[1:v]scale=w='max(1,min({across},{high}*a))':h='max(1,min({high},ow/a))',format=rgba,"
        f"colorchannelmixer=aa={mark.opacity:g}[mark];[base][mark]overlay=x={x}:y={y}"
    )


def mark_box(mark: Mark, width: int, height: int) -> tuple[int, int]:
    """What a mark must fit in: a part of the picture's width, but never more than lies within the margins."""
    around = 2 * margin_of(width, height)
    across = min(round(width * mark.scale), width - around)
    return max(1, across), max(1, height - around)


def margin_of(width: int, height: int) -> int:
    """Pixels between a mark and the edges of a picture: of a long one, as its short side allows."""
    return round(min(width * 0.025, height * 0.1))


def max_bits_per_second(facts: VideoFacts, rendition: Rendition) -> int:
    """The ceiling for the encoder: what 4:2:0 film needs at CRF 23 in its busiest seconds, and no more."""
    return max(
        300_000,
        round(0.18 * rendition.width * rendition.height * min(fps(facts), 60.0)),
    )


def rendition_720p(facts: VideoFacts) -> Rendition:
    """720 lines on the short side, or as many as there are."""
    return Rendition("720p", *fit_short_side(facts.width, facts.height, 720))


def pictures(facts: VideoFacts, rendition: Rendition) -> Encode:
    """A rendition as chunks, or as one where the source cannot be cut: H.264 as fragments (CMAF)."""
    index = facts.index
    if index is None:
        return _whole(facts, rendition)
    wanted = chunk_seconds(facts, rendition)
    spans = chunks.spans(index, wanted, max(_LEAST_CHUNK_SECONDS, wanted / 3))
    times = index.times()
    ends = list(accumulate(count for count, _ in index.steps))
    delay = _delay(facts, max(ticks for _, ticks in index.steps) / index.timescale)
    # By it x264 chooses the level, which stands in the header that all chunks share.
    rate = Fraction((len(times) - 1) * index.timescale, times[-1] - times[0])
    command = _encode(
        _alone(facts),
        rendition,
        ("-copyts", *open_source(facts)),
        "trim=start={0}:end={1},",
        "{2}",
        "{3}",
        f"{_FIRST_AS_OTHERS}:fps={rate.limit_denominator(1_000_000)}",
    )
    parts = [
        _chunk(facts, index, times, ends, rendition, number, span, delay)
        for number, span in enumerate(spans)
    ]
    return Encode(parts, {rendition.name: command})


def chunk_seconds(facts: VideoFacts, rendition: Rendition) -> float:
    """How long a chunk of this film should be."""
    # Seconds of film in a second of work.
    speed = _PIXELS_A_SECOND / (fps(facts) * _pixels(facts, rendition))
    return max(_LEAST_CHUNK_SECONDS, settings().chunk_work_seconds * speed)


def work_seconds(facts: VideoFacts, rendition: Rendition) -> float:
    """How long two cores take for the whole film, about."""
    return facts.seconds * fps(facts) * _pixels(facts, rendition) / _PIXELS_A_SECOND


def _delay(facts: VideoFacts, longest: float) -> int:
    """How much earlier than shown frames are decoded, in ticks: x264's B-frames are out of order by two."""
    return round(min(2 * longest, chunks.START_SECONDS) * facts.timescale)


def _pixels(facts: VideoFacts, rendition: Rendition) -> int:
    """Work for a frame: what is decoded, and what is encoded."""
    return facts.width * facts.height + 2 * rendition.width * rendition.height


def _whole(facts: VideoFacts, rendition: Rendition) -> Encode:
    command = _encode(
        facts, rendition, _open_whole(facts), "", _keyframes(facts), f"{chunks.START_SECONDS}s"
    )
    work = Chunk(
        rendition.name,
        Run(),
        prefix="video_00000_",
        delay=_delay(facts, 1 / fps(facts) if facts.steady else float("inf")),
        seconds=facts.seconds,
        extra=(rendition.mark.image,) if rendition.mark else (),
    )
    part = Part(work, max(1.0, work_seconds(facts, rendition)))
    return Encode([part], {rendition.name: command})


_PICTURES = "pictures.mp4"
_PACKETS = "packets.mp4"
# Fragments that carry the film's own times, behind a header that is the same for every chunk.
_FRAGMENTS = (
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof+frag_discont+skip_trailer+cmaf",
    "-use_editlist", "0",
)  # fmt: skip

# x264 gives key frames more bits than the frames around them, by its ipratio of 1.4, but not the first of all
# (rate_estimate_qscale, with macroblock trees): every chunk would begin 3 steps of the quantiser worse.
_FIRST_AS_OTHERS = "zones=0,0,b=1.4"


def _encode(
    facts: VideoFacts,
    rendition: Rendition,
    source: Sequence[str],
    trim: str,
    keyframes: str,
    offset: str,
    x264: str = _FIRST_AS_OTHERS,
) -> Command:
    graph = f"[0:{facts.video_stream}]{_shape(facts, rendition.width, rendition.height, trim)}"
    if rendition.mark:
        graph += f"[base];{_overlay(rendition.mark, rendition.width, rendition.height)}"
    graph += ",format=yuv420p[video]"
    mark = ("-f", "png_pipe", "-i", rendition.mark.image) if rendition.mark else ()
    ceiling = max_bits_per_second(facts, rendition)
    return (
        *source,
        *mark,
        "-filter_complex", graph,
        *_beside(facts, facts.audio_stream),
        "-map", "[video]",
        "-c:v", "libx264",
        "-preset", "veryfast",
        "-crf", "23",
        "-maxrate", str(ceiling),
        "-bufsize", str(2 * ceiling),
        "-profile:v", "high",
        "-g", "100000",
        "-force_key_frames", keyframes,
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
        _PICTURES,
    )  # fmt: skip


def _chunk(
    facts: VideoFacts,
    index: Index,
    times: Sequence[int],
    ends: Sequence[int],
    rendition: Rendition,
    number: int,
    span: chunks.Span,
    delay: int,
) -> Part:
    first = index.cuts[span.first].frame
    is_last = span.behind == len(index.cuts)
    behind = len(times) - 1 if is_last else index.cuts[span.behind].frame
    starts = chunks.groups(times, first, behind, index.timescale)
    finer = facts.timescale // index.timescale

    later = chunks.START_SECONDS * facts.timescale - index.start * finer
    parts = chunks.segments(times, starts, behind, index.timescale)
    can_run_up = span.first > 0
    # A deinterlacer looks at the frames before and after.
    run_up = int(can_run_up and facts.interlaced)
    excerpt, origin = _excerpt(facts, index, chunks.Span(span.first - run_up, span.behind))
    own = (
        f"{_begins(index, times, first, origin):.6f}",
        f"{_begins(index, times, behind, origin):.6f}",
        ",".join([f"{seconds:.6f}" for seconds in _before(index, times, starts, origin)]),
        f"{_us(index, origin - index.start) + chunks.START_SECONDS * 1_000_000}us",
    )
    again = None
    if can_run_up and not run_up:
        longer, earlier = _excerpt(facts, index, chunks.Span(span.first - 1, span.behind))
        again = RunUp(longer, _us(index, origin - earlier))
    work = Chunk(
        rendition.name,
        Run(own, excerpt),
        prefix=f"video_{number:05d}_",
        delay=delay,
        seconds=(times[behind] - times[first]) / index.timescale,
        exact=Exact(
            first=times[first] * finer + later,
            steps=tuple(
                (n, ticks * finer) for n, ticks in chunks.steps(index, ends, first, behind)
            ),
            starts=tuple(times[begin] * finer + later for begin, _ in parts),
            end=times[behind] * finer + later,
            timescale=facts.timescale,
            again=again,
        ),
        extra=(rendition.mark.image,) if rendition.mark else (),
    )
    cost = max(0.1, (behind - first) * _pixels(facts, rendition) / _PIXELS_A_SECOND)
    return Part(work, cost)


def _us(index: Index, ticks: int) -> int:
    return round(ticks * 1_000_000 / index.timescale)


def _alone(facts: VideoFacts) -> VideoFacts:
    """The facts of an excerpt of the pictures: it has no other stream."""
    return msgspec.structs.replace(facts, video_stream=0)


_EARLIEST, _BEGIN, _END = map(attrgetter, ("earliest", "begin", "end"))


def _excerpt(facts: VideoFacts, index: Index, span: chunks.Span) -> tuple[Excerpt, int]:
    """What it takes to decode the frames of a span, and the film's time when it starts, in ticks."""
    inside = index.cuts[span.first : span.behind]
    earliest = min(map(_EARLIEST, inside))
    begin, end = min(map(_BEGIN, inside)), max(map(_END, inside))
    behind = count(index.pictures)
    if span.behind < len(index.cuts):
        # What is shown before the next cut and coded after; the frame after that, too, for a deinterlacer.
        following = index.cuts[span.behind]
        behind = max(following.led, following.sample + facts.interlaced)
        if behind > following.sample:
            earliest = min(earliest, following.earliest)
            begin, end = min(begin, following.begin), max(end, following.tail)
    samples = inside[0].sample, behind
    return Excerpt(samples, inside[0].at, (begin, end)), earliest - index.pictures.lag


def _before(index: Index, times: Sequence[int], frames: Sequence[int], origin: int) -> list[float]:
    """Seconds of an excerpt that starts at `origin`, half way between each frame and the one before."""
    scale = index.timescale
    return [max(0.0, (times[n] - _gap(times, n) / 2 - origin) / scale) for n in frames]


def _begins(index: Index, times: Sequence[int], frame: int, origin: int) -> float:
    """The same in whole ticks, to which FFmpeg's trim rounds; the frame's own where one is the gap."""
    return max(0.0, (times[frame] - _gap(times, frame) // 2 - origin) / index.timescale)


def _gap(times: Sequence[int], frame: int) -> int:
    return times[frame] - times[frame - 1] if frame else times[1] - times[0]


def sound(facts: VideoFacts) -> Encode:
    """The sound as AAC, in parts where it is long; nothing where there is none."""
    if facts.audio_stream is None:
        return Encode([], {})
    index = facts.index
    # Only what has an index is cut.
    seconds = facts.sound_end or 0.0 if index else 0.0
    # Where it ends earlier than the pictures, silence follows: players wait for what is not there.
    film_end = min(facts.end, settings().max_video_seconds)
    second = chunks.SAMPLE_RATE / chunks.PACKET_SAMPLES
    part_seconds = max(_SOUND_SECONDS, seconds / _SOUND_PARTS)
    works = []
    for number, piece in enumerate(
        chunks.pieces(seconds, facts.audio_rate, _FIRST_SOUND_SECONDS, part_seconds)
    ):
        begin, end = piece.start / second, (piece.behind or 0) / second
        lasts = (end or max(film_end, facts.sound_end or 0.0)) - begin
        packets = piece.behind - piece.first if piece.behind else None
        own: tuple[str, ...] = (f"{max(0.0, (end or film_end) - begin):.6f}",)
        excerpt = None
        if index is not None and index.sound is not None:
            excerpt, start = _heard(index, index.sound, begin, end)
            own = *own, f"{max(0.0, start):.6f}", f"{start:.6f}"
        work = Sound(
            "sound" if piece.behind else "sound_to_the_end",
            Run(own, excerpt),
            prefix=f"audio_{number:03d}_",
            first=piece.first,
            skip=piece.first - piece.start,
            packets=packets,
            seconds=lasts,
            most_seconds=lasts if facts.sound_end is not None else None,
        )
        works.append(work)
    to_the_end = {work.command: work.packets is None for work in works}
    commands = {name: _encode_sound(facts, to_the_end=end) for name, end in to_the_end.items()}
    return Encode([Part(work, max(0.1, work.seconds / _SOUND_SPEED)) for work in works], commands)


def steady_sound(facts: VideoFacts, name: str) -> Command:
    """An output that goes nowhere, and is decoded: what can be mapped as `[name]` is stereo, and in time.

    Where the source changes its channels or its rate on the way, FFmpeg begins the filters anew, and what was
    heard until then would be silence once more; behind the samples nothing ever changes.
    """
    return _round(f"0:{facts.audio_stream}", _stereo(facts), f"{_ON_TIME}[{name}]")


def _round(stream: str, first: str, then: str, *beside: str) -> Command:
    """Samples that go round by a decoder of their own: between two sets of filters."""
    return (
        "-map", stream,
        "-af", f"{first},aresample={chunks.SAMPLE_RATE},{_AT_LEAST_ONE}",
        "-c:a", "pcm_f32le",
        "-f", "null", "-",
        *beside,
        "-dec", "0:0",
        "-filter_complex", f"[dec:0]{then}",
    )  # fmt: skip


def _encode_sound(facts: VideoFacts, *, to_the_end: bool) -> Command:
    stream = f"0:{facts.audio_stream}"
    source = _open_whole(facts)
    beside: Command = (
        *_beside(facts, facts.video_stream),
        "-map", stream, "-c", "copy", "-frames:a", "1", "-f", "data", FIRST_PACKET,
    )  # fmt: skip
    trim = ""
    if facts.index is not None:
        stream, source, beside = "0:0", ("-copyts", *open_source(facts)), ()
        trim = "atrim=start={1},asetpts=round(PTS-({2})/TB),"
    # A packet more than is wanted: the last one of a run is cut short.
    pad, limit = ("apad=whole_dur={0}s", ()) if to_the_end else ("apad", ("-t", "{0}"))
    return (
        *source,
        *_round(stream, f"{trim}{_stereo(facts)}", f"{_ON_TIME},{pad}[sound]", *beside),
        "-map", "[sound]",
        "-c:a", "aac",
        "-b:a", str(SOUND_BITS),
        "-ac", "2",
        "-ar", str(chunks.SAMPLE_RATE),
        *limit,
        "-map_metadata", "-1",
        "-map_chapters", "-1",
        "-movflags", "+frag_every_frame+empty_moov+default_base_moof+skip_trailer",
        "-use_editlist", "0",
        "-f", "mp4",
        _PACKETS,
    )  # fmt: skip


def _stereo(facts: VideoFacts) -> str:
    """Filters to two channels."""
    field = facts.audio_ambisonic
    if not field:
        return _STEREO
    # As two microphones hear it that look to the sides, cardioids: W + Y and W - Y (AmbiX: ACN, SN3D).
    left, right = "0.5*c0+0.5*c1", "0.5*c0-0.5*c1"
    if (
        facts.audio_channels == field + 2
    ):  # what is not turned with the head, in stereo (RFC 8486, 3.1)
        left, right = f"{left}+c{field}", f"{right}+c{field + 1}"
    return f"aformat=sample_fmts=fltp,pan=stereo|c0={left}|c1={right}"


def _heard(index: Index, sound: Coded, begin: float, end: float) -> tuple[Excerpt, float]:
    """What holds the sound from `begin` to `end` seconds, or to its end; and when, in that, it begins."""
    cuts = index.sound_cuts
    # One before, for the decoder's sake; the one behind, where the last packet begins late.
    number = max(0, int(begin / SOUND_SECONDS) - 1)
    last = int(end / SOUND_SECONDS) + 2 if end else len(cuts)
    behind = cuts[last].sample if last < len(cuts) else count(sound)
    told = [cut for cut in cuts[number:last] if cut.end]
    if not told:  # silence, which what follows it ends
        behind, told = cuts[number].sample + 1, [next(cut for cut in cuts[last:] if cut.end)]
    place = (min(cut.begin for cut in told), max(cut.end for cut in told))
    first = cuts[number]
    return Excerpt((first.sample, behind), first.at, place), begin - first.us / 1e6


def _keyframes(facts: VideoFacts) -> str:
    """Closed groups of pictures of at most two seconds, or one frame where that lasts longer."""
    if facts.steady:
        # By number; by time where one is missing.
        group = max(1, int(chunks.GROUP_SECONDS * Fraction(facts.frame_rate)))
        latest = chunks.GROUP_SECONDS - 0.5 / fps(facts)
        due = f"gte(n,prev_forced_n+{group})+gte(t,prev_forced_t+{latest:.6f})"
    else:
        # Nobody knows how long the next frame lasts: room for half a second.
        due = f"gte(t,prev_forced_t+{chunks.GROUP_SECONDS - 0.5})"
    return f"expr:if(isnan(prev_forced_t),1,{due})"


def mp4(facts: VideoFacts, rendition: Rendition, output: str) -> Join:
    """An MP4 that plays while it downloads."""
    return Join(output, rendition.width, rendition.height, facts.seconds, facts.frames)


def hls(facts: VideoFacts, rendition: Rendition) -> Hls:
    """The same bytes as segments, pictures and sound apart."""
    has_sound = facts.audio_stream is not None
    return Hls(
        rendition.width,
        rendition.height,
        facts.seconds,
        facts.frames,
        frame_rate=fps(facts),
        most_bits=max_bits_per_second(facts, rendition) + SOUND_BITS * has_sound,
        language=facts.audio_language if has_sound else None,
    )


def poster(facts: VideoFacts, output: str) -> Poster:
    """Frames to choose a poster from, scaled before they are compared: 4K frames fill a memory otherwise."""
    if facts.index is None:
        command = _encode_poster(facts, ("-ss", "{1}us", *open_source(facts)), "")
        candidates = [
            Run((str(number), str(round(facts.seconds * part * 1_000_000))))
            for number, part in enumerate(POSTER_AT)
        ]
    else:
        source = ("-copyts", *open_source(facts))
        command = _encode_poster(_alone(facts), source, "trim=start={1},")
        times = facts.index.times()
        candidates = [
            _candidate(facts, facts.index, times, number, part)
            for number, part in enumerate(POSTER_AT)
        ]
    return Poster(command, tuple(candidates), output)


def _candidate(
    facts: VideoFacts, index: Index, times: Sequence[int], number: int, part: float
) -> Run:
    time = index.start + facts.seconds * part * index.timescale
    frame = min(bisect_left(times, time), len(times) - 2)
    span = chunks.Span(
        bisect_right(index.cuts, frame, key=lambda cut: cut.frame) - 1,
        bisect_left(index.cuts, frame + _POSTER_FRAMES, key=lambda cut: cut.frame),
    )
    excerpt, origin = _excerpt(facts, index, span)
    return Run((str(number), f"{_begins(index, times, frame, origin):.6f}"), excerpt)


def _encode_poster(facts: VideoFacts, source: Sequence[str], trim: str) -> Command:
    width, height = fit_box(facts.width, facts.height, POSTER_BOX)
    return (
        *source,
        "-map", f"0:{facts.video_stream}",
        "-vf", f"{_shape(facts, width, height, trim)},thumbnail={_POSTER_FRAMES}",
        "-fps_mode", "passthrough",
        "-frames:v", "1",
        "-f", "image2",
        "-c:v", "png",
        "-update", "1",
        "candidate_{0}.png",
    )  # fmt: skip
