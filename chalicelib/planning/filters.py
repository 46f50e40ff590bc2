"""FFmpeg filters from a decoded frame to the frame that is encoded: size, shape, colours, watermark."""

from __future__ import annotations

from chalicelib.model.facts import VideoFacts
from chalicelib.model.mark import Mark, margin_of, mark_box
from chalicelib.planning import colours

# Tags of BT.709, limited range, which every player expects, and assumes where nothing is said (ITU-R BT.709).
TAGGED_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


def shape(facts: VideoFacts, width: int, height: int, trim: str, *, filled: bool) -> str:
    """Filters from a decoded frame to square pixels in width × height, progressive, in BT.709.

    FFmpeg has already turned the frame upright. `trim` is a filter that selects frames by time; "" for all.
    A frame of another aspect ratio than the film's fits in the size; if `filled`, bars fill the rest.
    Raises JobError where no filter can read the colours.
    """
    return _joined(in_common(facts, trim), to_size(facts, width, height, trim, filled=filled))


def in_common(facts: VideoFacts, trim: str) -> str:
    """The first filters of `shape`, which are the same for every size; "" where there are none."""
    # Decoders return frames in the order in which they are shown, and in MXF all last equally long.
    in_order = (
        f"setpts={facts.video_start}/TB+N/({facts.frame_rate}*TB)" if facts.disordered else ""
    )
    return in_order if keeps_one_graph(facts) else _joined(in_order, _progressive(facts), trim)


def to_size(facts: VideoFacts, width: int, height: int, trim: str, *, filled: bool) -> str:
    """The filters of `shape` that follow those of `in_common`."""
    # Where only the range changes, H.264 decoders keep a pixel format that the scaler takes for full range.
    full = any(change.format.startswith("yuvj") for change in facts.changes)
    is_mixed = full and not all(change.full for change in facts.changes)
    limited = "zscale=r=tv,format=yuv420p|yuv422p|yuv444p" if is_mixed else ""
    # Blended with black before scaling: else edges would take on the colours of hidden pixels.
    opaque = "premultiply=inplace=1" if facts.alpha else ""
    scaled = colours.to_bt709(facts, f"scale={_fitted_size(facts, width, height)}:flags=bicubic")
    bars = f"pad={width}:{height}:-1:-1:eval=frame" if filled else ""
    last = (_progressive(facts), trim) if keeps_one_graph(facts) else ()
    return _joined(limited, opaque, scaled, "setsar=1", TAGGED_BT709, bars, *last)


def _progressive(facts: VideoFacts) -> str:
    """One frame for each pair of fields: by default the filter doubles the frame rate."""
    return "bwdif=mode=send_frame:deint=interlaced" if facts.interlaced else ""


def _joined(*filters: str) -> str:
    return ",".join(filter(None, filters))


def keeps_one_graph(facts: VideoFacts) -> bool:
    """Whether the filter graph must survive changes in mid-film: bwdif loses a frame when it is made anew.

    The scaler then comes first, as the other filters expect one size; it scales each field separately.
    """
    return facts.interlaced and bool(facts.changes)


def _fitted_size(facts: VideoFacts, width: int, height: int) -> str:
    """Options of the scaler: width × height for frames of the film's aspect ratio, less for others."""
    ratio = "dar"  # display aspect ratio from the container, whatever the size of a frame
    for change in facts.changes:
        has_this_size = f"eq(iw,{change.across})*eq(ih,{change.down})"
        ratio = f"if({has_this_size},{change.width}/{change.height},{ratio})"
    relative = f"({ratio}*{facts.height}/{facts.width})"  # to the film's: above 1 for a wider frame
    # Sizes are whole pixels, so ratios are never exactly equal.
    is_alike = f"lt(abs({relative}-1),{max(0.02, 2 / min(width, height)):.4f})"
    across = f"if({is_alike},{width},max(2,min({width},2*round({width / 2}*{relative}))))"
    down = f"if({is_alike},{height},max(2,min({height},2*round({height / 2}/{relative}))))"
    in_one_graph = ":eval=frame:interl=-1" if keeps_one_graph(facts) else ""
    return f"w='{across}':h='{down}'{in_one_graph}"


def overlay(mark: Mark, width: int, height: int, base: str) -> str:
    """Filters that lay the mark on a frame of width × height, which has the label `base`."""
    x, y = _position(mark, margin_of(width, height))
    box_width, box_height = mark_box(mark, width, height)
    # A source inside the graph: an input would be at its end when the graph is made anew in mid-film.
    image = f"movie={mark.file}:f=png_pipe:format_opts=protocol_whitelist=file"
    fitted = f"w='max(1,min({box_width},{box_height}*a))':h='max(1,min({box_height},ow/a))'"
    return (
        f"{image},scale={fitted},format=rgba,colorchannelmixer=aa={mark.opacity:g}[on_{base}];"
        f"[{base}][on_{base}]overlay=x={x}:y={y}"
    )


def _position(mark: Mark, margin: int) -> tuple[str, str]:
    """Where the mark's top left corner lies: FFmpeg expressions, in pixels."""
    if mark.position == "center":
        return "(main_w-overlay_w)/2", "(main_h-overlay_h)/2"
    vertical, horizontal = mark.position.split("_")
    x = {"left": f"{margin}", "right": f"main_w-overlay_w-{margin}"}[horizontal]
    y = {"top": f"{margin}", "bottom": f"main_h-overlay_h-{margin}"}[vertical]
    return x, y


def warning(facts: VideoFacts) -> str:
    """One or two sentences on what a viewer may see wrong in what is made of the film; "" if nothing."""
    shown = {(each.across, each.down, each.width, each.height) for each in facts.changes}
    squeezed = ""
    # FFmpeg takes the shape of pixels from the start of a film, and ignores a change of the shape alone.
    if len({(across, down) for across, down, *_ in shown}) < len(shown):
        squeezed = "The shape of pixels changes on the way: parts of the video can be squeezed."
    return " ".join(filter(None, (squeezed, colours.warning(facts))))
