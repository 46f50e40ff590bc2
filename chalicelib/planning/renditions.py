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

from chalicelib.errors import JobError
from chalicelib.formats import cmaf
from chalicelib.formats.mp4_excerpt import count
from chalicelib.model.colours import HLG, PQ, WHITE_NITS
from chalicelib.model.facts import (
    SOUND_SECONDS,
    Coded,
    Colours,
    Index,
    VideoFacts,
    even,
    fit_box,
    fit_short_side,
    fps,
)
from chalicelib.model.mark import Mark, margin_of, mark_box
from chalicelib.model.work import (
    FIRST_PACKET,
    POSTER_BOX,
    Chunk,
    Command,
    Exact,
    Excerpt,
    Hls,
    Join,
    Poster,
    Run,
    RunUp,
    Sound,
)
from chalicelib.planning import chunking
from chalicelib.planning.operation import Encode, Part, Rendition
from chalicelib.settings import settings

_POSTER_FRAMES = 12  # of which each candidate is chosen
# No chunk is shorter than a segment.
_LEAST_CHUNK_SECONDS = float(cmaf.SEGMENT_SECONDS)
_FIRST_SOUND_SECONDS = 12
_SOUND_SECONDS = 60
_SOUND_PARTS = 400  # about so many of a long film
# Bits a second.
SOUND_BITS = 128_000
# Pixels decoded and encoded in a second, by two cores.
_PIXELS_A_SECOND = 250e6
_SOUND_SPEED = 50
# What it may take, about, to decode a chunk that is not exact from the film's start: to fetch that, to list
# its samples, to decode it.
_MOST_RUN_UP_SECONDS = 120.0
_BYTES_A_SECOND = 50e6
_SAMPLE_SECONDS = 0.0005
# Sound that begins late, and gaps in it, are silence: packets follow each other without a time of their own.
_ON_TIME = "aresample=48000:async=1:min_hard_comp=0.03:first_pts=0"
# Of a track without any there is a moment of silence, which is made as long as the film then.
_AT_LEAST_ONE = "apad=whole_len=1"
# Of more channels FFmpeg makes two; of one, too, but quieter. Both may come in turn.
_STEREO = "aformat=sample_fmts=fltp:channel_layouts=mono|stereo|downmix,pan=stereo|FL=FL+FC+DL|FR=FR+FC+DR"

# Where to look for a poster, as parts of the length. The start comes last: films begin black.
POSTER_AT = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
# The same where seeking finds nothing to decode, and all that comes before is decoded, too.
_POSTER_FROM_START = (0.5, 0.9)

_COORDINATES = {
    "top_left": ("{m}", "{m}"),
    "top_right": ("main_w-overlay_w-{m}", "{m}"),
    "center": ("(main_w-overlay_w)/2", "(main_h-overlay_h)/2"),
    "bottom_left": ("{m}", "main_h-overlay_h-{m}"),
    "bottom_right": ("main_w-overlay_w-{m}", "main_h-overlay_h-{m}"),
}


def open_source(facts: VideoFacts) -> tuple[str, ...]:
    """Input options that let the file open nothing but itself, as what it was sniffed to be."""
    decoder = _WITH_ALPHA.get(facts.video_codec) if facts.alpha else None
    return (
        *(("-c:v", decoder) if decoder else ()),
        "-max_pixels", str(_ROUNDED_UP * settings().max_video_pixels),
        *(("-reinit_filter:v", "0", "-noautorotate") if _has_one_graph(facts) else ()),
        "-apply_cropping", "codec",  # the container's would be news to the facts
        "-f", facts.demuxer,
        "-protocol_whitelist", "file",
        "-i", "source",
    )  # fmt: skip


# What a later frame may have, which nobody has looked at: decoders round sizes up before they compare.
_ROUNDED_UP = 2
# FFmpeg's own decoders of these leave out the transparency that WebM has beside the pictures.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


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


def _shape(facts: VideoFacts, width: int, height: int, trim: str, *, filled: bool) -> str:
    """Filters from a decoded frame, which FFmpeg has turned upright already, to square pixels.

    Frames of another shape than the film fit in the size; where it is `filled`, bars are beside them.
    """
    # Decoders give frames in the order in which they are shown, and in MXF all last equally long.
    in_order = f"setpts={facts.late}/TB+N/({facts.frame_rate}*TB)" if facts.disordered else ""
    # The whole frame at the field rate's half: the default would double the frames.
    deinterlace = "bwdif=mode=send_frame:deint=interlaced" if facts.interlaced else ""
    # Where the range changes alone, decoders of H.264 go on with a format that the scaler takes for full.
    full = any(each.format.startswith("yuvj") for each in facts.changes)
    both = full and not all(each.full for each in facts.changes)
    in_range = "zscale=r=tv,format=yuv420p|yuv422p|yuv444p" if both else ""
    # On black. Scaled before, edges would take on what is hidden beside them.
    visible = "premultiply=inplace=1" if facts.alpha else ""
    scaled = _to_bt709(facts, f"scale={_fitting(facts, width, height)}:flags=bicubic")
    bars = f"pad={width}:{height}:-1:-1:eval=frame" if filled else ""
    ready = in_range, visible, scaled, "setsar=1", _BT709, bars
    filters = (*ready, deinterlace, trim) if _has_one_graph(facts) else (deinterlace, trim, *ready)
    return ",".join(filter(None, (in_order, *filters)))


def _has_one_graph(facts: VideoFacts) -> bool:
    """Whether the filters stay when the film changes: where they are made anew, bwdif loses a frame.

    Then the scaler comes first, for others do not expect another size; it scales each field by itself.
    """
    return facts.interlaced and bool(facts.changes)


def _fitting(facts: VideoFacts, width: int, height: int) -> str:
    """The size of a frame in a size: that, for all frames that are shaped as the film is."""
    shape = "dar"  # as the container tells it, of whatever size a frame is
    for each in facts.changes:
        of_this = f"eq(iw,{each.across})*eq(ih,{each.down})"
        shape = f"if({of_this},{each.width}/{each.height},{shape})"
    other = f"({shape}*{facts.height}/{facts.width})"  # how much wider than the film a frame is
    # Sizes are whole pixels.
    alike = f"lt(abs({other}-1),{max(0.02, 2 / min(width, height)):.4f})"
    across = f"if({alike},{width},max(2,min({width},2*round({width / 2}*{other}))))"
    high = f"if({alike},{height},max(2,min({height},2*round({height / 2}/{other}))))"
    one_graph = ":eval=frame:interl=-1" if _has_one_graph(facts) else ""
    return f"w='{across}':h='{high}'{one_graph}"


# As every player expects it, and takes it for where nothing is said (ITU-R BT.709).
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"

# Numbers of ITU-T H.273. Primaries and curves of SDR television are taken alike, as players do.
_UNTOLD, _BT2020 = 2, 9
_HDR_CURVES = frozenset({PQ, HLG})
_CONSTANT_LUMINANCE, _ICTCP = 10, 14
_OTHER_SDR_CURVES = frozenset({4, 5, 13})
_WIDE_PRIMARIES = frozenset({4, 8, 9, 11, 12})
_PRIMARIES = frozenset({1, 5, 6, 7, 22}) | _WIDE_PRIMARIES
# What FFmpeg's scaler refuses: numbers without a meaning, and logarithms.
_RESERVED = 3
_UNKNOWN_CURVES = frozenset({_RESERVED, 9, 10})
# Matrices that FFmpeg's scaler knows, and those that zscale knows besides. 0: the colours are RGB.
_BY_SCALE = frozenset({0, 1, 4, 5, 6, 7, 9})
_BY_ZSCALE = frozenset({8, _CONSTANT_LUMINANCE, 12, 13, _ICTCP})
_NUMBERS = {"bt709": 1, "smpte170m": 6}


def _to_bt709(facts: VideoFacts, scale: str) -> str:
    """Filters that scale, and bring colours to those of BT.709. Raises JobError where none do."""
    kinds = dict.fromkeys(colours if _is_special(colours) else None for colours in facts.colours)
    special = next(iter(kinds))
    if len(kinds) > 1:
        return _each_by_itself(facts, scale)
    if special is None:
        # The scaler refuses curves that it does not know, though it leaves them as they are.
        return f"{_tagged(Colours(1, 1, 0))},{scale}:in_color_matrix={matrix_of(facts)}:{_SDR}"
    meant = _meant(special, facts)
    # What the scaler is not told of, it leaves as it is; the rest works on 32-bit samples.
    scaled = f"{_tagged(Colours(1, 1, min(1, meant.matrix)))},{scale},{_tagged(meant)}"
    if meant.transfer in _HDR_CURVES:
        return (
            f"{scaled},zscale=t=linear:npl={WHITE_NITS},"
            "format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
            "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        )
    return f"{scaled},zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"


def _each_by_itself(facts: VideoFacts, scale: str) -> str:
    """The same by what each frame says. Raises JobError where the scaler does not know what one does."""
    is_hdr = any(told.transfer in _HDR_CURVES for told in facts.colours)
    for told in facts.colours:
        if (
            told.primaries == _RESERVED
            or told.matrix not in _BY_SCALE | {_UNTOLD}
            or (is_hdr and told.transfer in _UNKNOWN_CURVES)
        ):
            raise JobError(
                "unsupported_colours",
                "The video's colours are coded in several ways, of which one cannot be read beside others "
                f"(by ITU-T H.273: primaries {told.primaries}, transfer {told.transfer}, "
                f"matrix {told.matrix}). Export it as HDR10, HLG or SDR throughout.",
            )
    alike = "" if is_hdr else "setparams=color_trc=bt709,"
    return f"{alike}{scale}:{_MANAGED}"


_SDR = "out_color_matrix=bt709:out_range=tv,format=yuv420p"
# By a table that takes seconds to make.
_MANAGED = f"out_primaries=bt709:out_transfer=bt709:{_SDR}"


def matrix_of(facts: VideoFacts) -> str:
    """FFmpeg's name of the matrix of an SDR film: "auto" where its frames tell it."""
    return "auto" if any(told.matrix in _BY_SCALE for told in facts.colours) else facts.matrix


def _is_special(told: Colours) -> bool:
    """Whether colours are not those of SDR television, which differ in their matrix alone."""
    return (
        told.transfer in _HDR_CURVES
        or told.primaries in _WIDE_PRIMARIES
        or told.matrix in _BY_ZSCALE
    )


def _meant(told: Colours, facts: VideoFacts) -> Colours:
    """Special colours, with what is usual where nothing is told."""
    primaries, transfer, matrix = told.primaries, told.transfer, told.matrix
    if matrix == _ICTCP and transfer == _UNTOLD:
        transfer = PQ
    is_hdr = transfer in _HDR_CURVES
    if not is_hdr and (transfer not in _OTHER_SDR_CURVES or matrix == _CONSTANT_LUMINANCE):
        transfer = 1
    if matrix in (_CONSTANT_LUMINANCE, _ICTCP):  # of BT.2020 and BT.2100
        primaries = _BT2020
    if primaries not in _PRIMARIES:
        primaries = _BT2020 if is_hdr else 1
    if _is_undefined(told):
        matrix = _BT2020
    if matrix not in _BY_SCALE | _BY_ZSCALE:
        is_bt2020 = is_hdr or primaries == _BT2020
        matrix = _BT2020 if is_bt2020 else _NUMBERS[facts.matrix]
    return Colours(primaries, transfer, matrix)


def _is_undefined(told: Colours) -> bool:
    """ICtCp is defined for PQ and HLG alone (ITU-R BT.2100), constant luminance for SDR (BT.2020)."""
    if told.matrix == _ICTCP:
        return told.transfer not in (_UNTOLD, *_HDR_CURVES)
    return told.matrix == _CONSTANT_LUMINANCE and told.transfer in _HDR_CURVES


def _warning(facts: VideoFacts) -> str:
    """What a viewer should know of how a film was understood; "" where that is plain."""
    shown = {(each.across, each.down, each.width, each.height) for each in facts.changes}
    shapes = ""
    # FFmpeg takes the shape of pixels from the start of a film, and heeds no change of it alone.
    if len({(across, down) for across, down, *_ in shown}) < len(shown):
        shapes = "The shape of pixels changes on the way: parts of the video can be squeezed."
    return " ".join(filter(None, (shapes, _colours_warning(facts))))


def _colours_warning(facts: VideoFacts) -> str:
    if not any(map(_is_undefined, facts.colours)):
        return ""
    names = {_ICTCP: "ICtCp in SDR", _CONSTANT_LUMINANCE: "of constant luminance in HDR"}
    undefined = next(names[told.matrix] for told in facts.colours if _is_undefined(told))
    return (
        f"The video says that its colours are {undefined}, which is not defined: taken for Y′CbCr."
    )


def _tagged(colours: Colours) -> str:
    """Frames that are taken to be coded so; the matrix of RGB is what it is."""
    primaries, transfer, matrix = colours.primaries, colours.transfer, colours.matrix
    tags = f"setparams=color_primaries={primaries}:color_trc={transfer}"
    return f"{tags}:colorspace={matrix}" if matrix else tags


def _overlay(mark: Mark, width: int, height: int) -> str:
    margin = margin_of(width, height)
    x, y = (part.format(m=margin) for part in _COORDINATES[mark.position])
    across, high = mark_box(mark, width, height)
    # A source of the graph's own: an input would be at its end where the graph is made anew in mid-film.
    image = f"movie={mark.image}:f=png_pipe:format_opts=protocol_whitelist=file"
    return (
        f"{image},scale=w='max(1,min({across},{high}*a))':h='max(1,min({high},ow/a))',format=rgba,"
        f"colorchannelmixer=aa={mark.opacity:g}[mark];[base][mark]overlay=x={x}:y={y}"
    )


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
    spans = chunking.spans(index, wanted, max(_LEAST_CHUNK_SECONDS, wanted / 3))
    times = index.times()
    ends = list(accumulate(count for count, _ in index.steps))
    delay = _delay(facts, max(ticks for _, ticks in index.steps) / index.timescale)
    # By it x264 chooses the level, which stands in the header that all chunks share.
    rate = Fraction((len(times) - 1) * index.timescale, times[-1] - times[0])
    command = _encode(
        _alone(facts),
        rendition,
        ("-copyts", *open_source(facts)),
        "trim=start={0}:end={1}",
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
    return round(min(2 * longest, cmaf.START_SECONDS) * facts.timescale)


def _pixels(facts: VideoFacts, rendition: Rendition) -> int:
    """Work for a frame: what is decoded, and what is encoded."""
    return facts.width * facts.height + 2 * rendition.width * rendition.height


def _whole(facts: VideoFacts, rendition: Rendition) -> Encode:
    command = _encode(
        facts, rendition, _open_whole(facts), "", _keyframes(facts), f"{cmaf.START_SECONDS}s"
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
    width, height = rendition.width, rendition.height
    graph = f"[0:{facts.video_stream}]{_shape(facts, width, height, trim, filled=True)}"
    if rendition.mark:
        graph += f"[base];{_overlay(rendition.mark, rendition.width, rendition.height)}"
    graph += ",format=yuv420p[video]"
    ceiling = max_bits_per_second(facts, rendition)
    return (
        *source,
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
    span: chunking.Span,
    delay: int,
) -> Part:
    first = index.cuts[span.first].frame
    is_last = span.behind == len(index.cuts)
    behind = len(times) - 1 if is_last else index.cuts[span.behind].frame
    starts = chunking.groups(times, first, behind, index.timescale)
    finer = facts.timescale // index.timescale

    later = cmaf.START_SECONDS * facts.timescale - index.start * finer
    parts = chunking.segments(times, starts, behind, index.timescale)
    can_run_up = span.first > 0
    # A deinterlacer looks at the frames before and after.
    run_up = int(can_run_up and facts.interlaced)
    excerpt, origin = _excerpt(facts, index, chunking.Span(span.first - run_up, span.behind))
    own = (
        f"{_begins(index, times, first, origin):.6f}",
        f"{_begins(index, times, behind, origin):.6f}",
        ",".join([f"{seconds:.6f}" for seconds in _before(index, times, starts, origin)]),
        f"{_us(index, origin - index.start) + cmaf.START_SECONDS * 1_000_000}us",
    )
    again = []
    for earlier in _run_ups(facts, index, span.first - run_up):
        longer, begin = _excerpt(facts, index, chunking.Span(earlier, span.behind))
        again.append(RunUp(longer, _us(index, origin - begin)))
    work = Chunk(
        rendition.name,
        Run(own, excerpt),
        prefix=f"video_{number:05d}_",
        delay=delay,
        seconds=(times[behind] - times[first]) / index.timescale,
        exact=Exact(
            first=times[first] * finer + later,
            steps=tuple(
                (n, ticks * finer) for n, ticks in chunking.steps(index, ends, first, behind)
            ),
            starts=tuple(times[begin] * finer + later for begin, _ in parts),
            end=times[behind] * finer + later,
            timescale=facts.timescale,
            again=tuple(again),
        ),
        extra=(rendition.mark.image,) if rendition.mark else (),
    )
    cost = max(0.1, (behind - first) * _pixels(facts, rendition) / _PIXELS_A_SECOND)
    return Part(work, cost)


def _run_ups(facts: VideoFacts, index: Index, first: int) -> list[int]:
    """At which cuts an excerpt that begins with the `first` is to begin instead, if it is not exact.

    With one group more, which is enough for a key frame that is none; and where the film does, for then its
    frames are those of the film decoded as a whole, with the errors that they have there. Long films are not
    decoded that far: the work of a chunk has a bound.
    """
    if first < 2:
        return list(range(first))
    seconds = index.cuts[first].sample * (
        facts.width * facts.height / _PIXELS_A_SECOND + _SAMPLE_SECONDS
    )
    if seconds < _MOST_RUN_UP_SECONDS:
        before = index.cuts[:first]
        seconds += (max(map(_END, before)) - min(map(_BEGIN, before))) / _BYTES_A_SECOND
    return [first - 1, 0] if seconds < _MOST_RUN_UP_SECONDS else [first - 1]


def _us(index: Index, ticks: int) -> int:
    return round(ticks * 1_000_000 / index.timescale)


def _alone(facts: VideoFacts) -> VideoFacts:
    """The facts of an excerpt of the pictures: it has no other stream."""
    return msgspec.structs.replace(facts, video_stream=0)


_EARLIEST, _BEGIN, _END = map(attrgetter, ("earliest", "begin", "end"))


def _excerpt(facts: VideoFacts, index: Index, span: chunking.Span) -> tuple[Excerpt, int]:
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
    second = cmaf.SAMPLE_RATE / cmaf.PACKET_SAMPLES
    part_seconds = max(_SOUND_SECONDS, seconds / _SOUND_PARTS)
    works = []
    for number, piece in enumerate(
        chunking.pieces(seconds, facts.audio_rate, _FIRST_SOUND_SECONDS, part_seconds)
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
        "-af", f"{first},aresample={cmaf.SAMPLE_RATE},{_AT_LEAST_ONE}",
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
        "-ar", str(cmaf.SAMPLE_RATE),
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
        group = max(1, int(cmaf.GROUP_SECONDS * Fraction(facts.frame_rate)))
        latest = cmaf.GROUP_SECONDS - 0.5 / fps(facts)
        due = f"gte(n,prev_forced_n+{group})+gte(t,prev_forced_t+{latest:.6f})"
    else:
        # Nobody knows how long the next frame lasts: room for half a second.
        due = f"gte(t,prev_forced_t+{cmaf.GROUP_SECONDS - 0.5})"
    return f"expr:if(isnan(prev_forced_t),1,{due})"


def mp4(facts: VideoFacts, rendition: Rendition, output: str) -> Join:
    """An MP4 that plays while it downloads."""
    return Join(
        output,
        rendition.width,
        rendition.height,
        facts.seconds,
        facts.frames,
        _warning(facts),
    )


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
        warning=_warning(facts),
    )


def poster(facts: VideoFacts, output: str) -> Poster:
    """Frames to choose a poster from, scaled before they are compared: 4K frames fill a memory otherwise."""
    otherwise: list[Run] = []
    if facts.index is None:
        command = _encode_poster(facts, ("{1}", "{2}us", *open_source(facts)), "trim=start={3}")
        candidates = [
            Run((f"{part}", "-ss", str(round(facts.seconds * part * 1_000_000)), "0"))
            for part in POSTER_AT[:-1]
        ]
        otherwise = [
            Run((f"from_start_{part}", "-itsoffset", "0", f"{facts.seconds * part:.6f}"))
            for part in (*_POSTER_FROM_START, POSTER_AT[-1])
        ]
    else:
        source = ("-copyts", *open_source(facts))
        command = _encode_poster(_alone(facts), source, "trim=start={1}")
        times = facts.index.times()
        candidates = [
            _candidate(facts, facts.index, times, number, part)
            for number, part in enumerate(POSTER_AT)
        ]
    return Poster(command, tuple(candidates), output, tuple(otherwise), _warning(facts))


def _candidate(
    facts: VideoFacts, index: Index, times: Sequence[int], number: int, part: float
) -> Run:
    time = index.start + facts.seconds * part * index.timescale
    frame = min(bisect_left(times, time), len(times) - 2)
    span = chunking.Span(
        bisect_right(index.cuts, frame, key=lambda cut: cut.frame) - 1,
        bisect_left(index.cuts, frame + _POSTER_FRAMES, key=lambda cut: cut.frame),
    )
    excerpt, origin = _excerpt(facts, index, span)
    return Run((str(number), f"{_begins(index, times, frame, origin):.6f}"), excerpt)


def _encode_poster(facts: VideoFacts, source: Sequence[str], trim: str) -> Command:
    width, height = fit_box(facts.width, facts.height, POSTER_BOX)
    filled = _has_one_graph(facts)  # which is made for frames of one size
    if filled or any(map(_is_special, facts.colours)):
        # Bars, and zscale, take an even one.
        width, height = even(width), even(height)
    return (
        *source,
        "-map", f"0:{facts.video_stream}",
        "-vf", f"{_shape(facts, width, height, trim, filled=filled)},thumbnail={_POSTER_FRAMES}",
        "-fps_mode", "passthrough",
        "-frames:v", "1",
        "-f", "image2",
        "-c:v", "png",
        "-update", "1",
        "candidate_{0}.png",
    )  # fmt: skip
