"""FFmpeg arguments, purely from facts: how a rendition is encoded, and packaged without encoding again.

Names of files are local to the task's folder: the original is `source`, results go to `out/`.
"""

from __future__ import annotations

from fractions import Fraction

from chalicelib.media import VideoFacts, fit_box, fit_short_side, fps
from chalicelib.plan import Hls, Mark, Poster, Rendition, Video, Work

KEYFRAME_SECONDS = 2
SEGMENT_SECONDS = 6
POSTER_BOX = 512

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


def _shape(facts: VideoFacts, width: int, height: int) -> str:
    """Filters from a decoded frame, which FFmpeg has turned upright already, to square pixels."""
    # The whole frame at the field rate's half: the default would double the frames.
    deinterlace = "bwdif=mode=send_frame," if facts.interlaced else ""
    return f"{deinterlace}{_scale(facts, width, height)},setsar=1,{_BT709}"


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


def encode(facts: VideoFacts, rendition: Rendition) -> tuple[Work, float]:
    """H.264 and AAC, as they will be in every package; and the cost in seconds, roughly."""
    graph = f"[0:{facts.video_stream}]{_shape(facts, rendition.width, rendition.height)}"
    if rendition.mark:
        graph += f"[base];{_overlay(rendition.mark, rendition.width, rendition.height)}"
    graph += ",format=yuv420p[video]"
    mark = ("-f", "png_pipe", "-i", rendition.mark.image) if rendition.mark else ()
    ceiling = max_bits_per_second(facts, rendition)
    video = (
        "-map", "[video]",
        "-c:v", "libx264",
        "-preset", "veryfast",
        "-crf", "23",
        "-maxrate", str(ceiling),
        "-bufsize", str(2 * ceiling),
        "-profile:v", "high",
        *_keyframes(facts),
        "-sc_threshold", "0",
        "-fps_mode", "passthrough",  # a variable frame rate keeps its timestamps
        "-enc_time_base", f"1/{facts.timescale}",
        "-video_track_timescale", str(facts.timescale),
    )  # fmt: skip
    audio = (
        "-map", f"0:{facts.audio_stream}",
        "-c:a", "aac",
        "-b:a", "128k",
        "-ac", "2",
        "-ar", "48000",
    ) if facts.audio_stream is not None else ()  # fmt: skip
    work = Video(
        args=(
            *open_source(facts),
            *mark,
            "-filter_complex", graph,
            *video,
            *audio,
            "-map_metadata", "-1",
            "-map_chapters", "-1",
            "-f", "mp4",
            f"out/{rendition.file}",
        ),
        output=rendition.file,
        width=rendition.width,
        height=rendition.height,
        seconds=facts.seconds,
        frames=facts.frames,
        extra=(rendition.mark.image,) if rendition.mark else (),
    )  # fmt: skip
    decoded = facts.width * facts.height
    encoded = rendition.width * rendition.height
    pixels = facts.seconds * fps(facts) * (decoded + 2 * encoded)
    return work, max(1.0, pixels / 250e6)


def _keyframes(facts: VideoFacts) -> tuple[str, ...]:
    """Closed groups of pictures of at most two seconds, or one frame where that lasts longer."""
    if facts.steady:
        # By number; by time where one is missing.
        latest = KEYFRAME_SECONDS - 0.5 / fps(facts)
        due = f"gte(n,prev_forced_n+{_group_frames(facts)})+gte(t,prev_forced_t+{latest:.6f})"
    else:
        # Nobody knows how long the next frame lasts: room for half a second.
        due = f"gte(t,prev_forced_t+{KEYFRAME_SECONDS - 0.5})"
    return ("-g", "100000", "-force_key_frames", f"expr:if(isnan(prev_forced_t),1,{due})")


def _group_frames(facts: VideoFacts) -> int:
    return max(1, int(KEYFRAME_SECONDS * Fraction(facts.frame_rate)))


def segment_seconds(facts: VideoFacts) -> float:
    """How long a segment must be at least to end before its six seconds are over, at the next keyframe."""
    if not facts.steady:
        return SEGMENT_SECONDS - KEYFRAME_SECONDS + 0.5
    group = _group_frames(facts) / Fraction(facts.frame_rate)
    groups = max(1, int(SEGMENT_SECONDS / group))
    return float(groups * group - Fraction(1, 2) / Fraction(facts.frame_rate))


def progressive_mp4(facts: VideoFacts, rendition: Rendition, output: str) -> Work:
    """An MP4 that plays while it downloads: the same bytes, with the index first."""
    return Video(
        args=(
            "-f", "mov",
            "-protocol_whitelist", "file",
            "-i", rendition.file,
            "-map", "0",
            "-c", "copy",
            "-movflags", "+faststart",
            "-video_track_timescale", str(facts.timescale),
            "-f", "mp4",
            f"out/{output}",
        ),
        output=output,
        width=rendition.width,
        height=rendition.height,
        seconds=facts.seconds,
        frames=facts.frames,
    )  # fmt: skip


def hls(facts: VideoFacts, rendition: Rendition) -> Work:
    """CMAF segments of six seconds, video and audio apart, with their playlists."""
    # Where there is one stream only, FFmpeg takes %v in the name of its header to the letter.
    streams, header = "v:0,name:video", "video_init.mp4"
    if facts.audio_stream is not None:
        streams = "v:0,agroup:audio,name:video a:0,agroup:audio,name:audio,default:yes"
        header = "%v_init.mp4"
    return Hls(
        args=(
            "-f", "mov",
            "-protocol_whitelist", "file",
            "-i", rendition.file,
            "-map", "0",
            "-c", "copy",
            "-f", "hls",
            "-hls_time", f"{segment_seconds(facts):.6f}",
            "-hls_playlist_type", "vod",
            "-hls_segment_type", "fmp4",
            "-hls_flags", "independent_segments",
            "-hls_fmp4_init_filename", header,
            "-hls_segment_filename", "out/%v_%05d.m4s",
            "-var_stream_map", streams,
            "out/%v.m3u8",
        ),
        rendition=rendition.file,
        width=rendition.width,
        height=rendition.height,
        seconds=facts.seconds,
        frames=facts.frames,
    )  # fmt: skip


def poster(facts: VideoFacts, output: str) -> Work:
    """Frames to choose a poster from, scaled before they are compared: 4K frames fill a memory otherwise."""
    width, height = fit_box(facts.width, facts.height, POSTER_BOX)
    return Poster(
        tuple(
            (
                "-ss", f"{facts.seconds * part:.3f}",
                *open_source(facts),
                "-map", f"0:{facts.video_stream}",
                "-vf", f"{_shape(facts, width, height)},thumbnail=12",
                "-frames:v", "1",
                "-f", "image2",
                "-c:v", "png",
                "-update", "1",
                f"candidate_{number}.png",
            )
            for number, part in enumerate(POSTER_AT)
        ),
        output,
    )  # fmt: skip
