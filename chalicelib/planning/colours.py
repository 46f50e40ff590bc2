"""FFmpeg filters that bring a film's colours to BT.709: other matrices, wide gamuts, HDR.

Numbers are code points of ITU-T H.273: primaries, transfer characteristics (here: curves), matrices.
"""

from __future__ import annotations

from chalicelib.errors import JobError
from chalicelib.model.colours import HLG, PQ, WHITE_NITS
from chalicelib.model.facts import Colours, VideoFacts

_UNSPECIFIED, _BT2020 = 2, 9
_HDR_CURVES = frozenset({PQ, HLG})
_CONSTANT_LUMINANCE, _ICTCP = 10, 14
# SDR curves, and primaries, of television are treated as BT.709's, as players do; those of NTSC of 1953, too,
# which encoders of Theora tell of any film. These are not.
_OTHER_SDR_CURVES = frozenset({4, 5, 13})
_WIDE_PRIMARIES = frozenset({8, 9, 11, 12})
_PRIMARIES = frozenset({1, 4, 5, 6, 7, 22}) | _WIDE_PRIMARIES
# FFmpeg's scaler refuses reserved numbers, and logarithmic curves.
_RESERVED = 3
_CURVES_UNKNOWN_TO_SCALE = frozenset({_RESERVED, 9, 10})
# Matrices that FFmpeg's scaler knows, and those that only zscale knows. 0: the samples are RGB.
_BY_SCALE = frozenset({0, 1, 4, 5, 6, 7, 9})
_BY_ZSCALE = frozenset({8, _CONSTANT_LUMINANCE, 12, 13, _ICTCP})
_MATRIX_NUMBERS = {"bt709": 1, "smpte170m": 6}

_TO_SDR = "out_color_matrix=bt709:out_range=tv,format=yuv420p"
# The scaler converts by a lookup table, which takes it seconds to make.
_TO_BT709_BY_SCALE = f"out_primaries=bt709:out_transfer=bt709:{_TO_SDR}"


def to_bt709(facts: VideoFacts, scale: str) -> str:
    """Filters that scale by the filter `scale`, and convert to BT.709, 8-bit 4:2:0, limited range.

    Raises JobError where a frame's colours cannot be read.
    """
    kinds = dict.fromkeys(colours if is_special(colours) else None for colours in facts.colours)
    special = next(iter(kinds))
    if len(kinds) > 1:
        return _each_by_its_own_tags(facts, scale)
    if special is None:
        # The scaler refuses curves that it does not know, even where it leaves them as they are.
        return f"{_tagged(Colours(1, 1, 0))},{scale}:in_color_matrix={matrix_of(facts)}:{_TO_SDR}"
    assumed = _with_defaults(special, facts)
    # The scaler keeps what it is not told of; the filters after it work on 32-bit samples.
    scaled = f"{_tagged(Colours(1, 1, min(1, assumed.matrix)))},{scale},{_tagged(assumed)}"
    if assumed.transfer in _HDR_CURVES:
        return (
            f"{scaled},zscale=t=linear:npl={WHITE_NITS},"
            "format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
            "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        )
    return f"{scaled},zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"


def _each_by_its_own_tags(facts: VideoFacts, scale: str) -> str:
    """As `to_bt709`, for a film of several codings: the scaler converts each frame by that frame's tags.

    Raises JobError where the scaler does not know one of them.
    """
    is_hdr = any(colours.transfer in _HDR_CURVES for colours in facts.colours)
    for colours in facts.colours:
        if (
            colours.primaries == _RESERVED
            or colours.matrix not in _BY_SCALE | {_UNSPECIFIED}
            or (is_hdr and colours.transfer in _CURVES_UNKNOWN_TO_SCALE)
        ):
            raise JobError(
                "unsupported_colours",
                "The video's colours are coded in several ways, of which one cannot be read beside others "
                f"(by ITU-T H.273: primaries {colours.primaries}, transfer {colours.transfer}, "
                f"matrix {colours.matrix}). Export it as HDR10, HLG or SDR throughout.",
            )
    as_bt709 = "" if is_hdr else "setparams=color_trc=bt709,"
    return f"{as_bt709}{scale}:{_TO_BT709_BY_SCALE}"


def matrix_of(facts: VideoFacts) -> str:
    """FFmpeg's name of an SDR film's matrix; "auto" where the frames' tags say it."""
    is_told = any(colours.matrix in _BY_SCALE for colours in facts.colours)
    return "auto" if is_told else facts.matrix


def is_special(colours: Colours) -> bool:
    """Whether colours differ from SDR television's by more than a matrix that the scaler knows."""
    return (
        colours.transfer in _HDR_CURVES
        or colours.primaries in _WIDE_PRIMARIES
        or colours.matrix in _BY_ZSCALE
    )


def _with_defaults(special: Colours, facts: VideoFacts) -> Colours:
    """Special colours, with the usual value for each that is unspecified or undefined."""
    primaries, transfer, matrix = special.primaries, special.transfer, special.matrix
    if matrix == _ICTCP and transfer == _UNSPECIFIED:
        transfer = PQ
    is_hdr = transfer in _HDR_CURVES
    if not is_hdr and (transfer not in _OTHER_SDR_CURVES or matrix == _CONSTANT_LUMINANCE):
        transfer = 1
    if matrix in (_CONSTANT_LUMINANCE, _ICTCP):  # of BT.2020 and BT.2100
        primaries = _BT2020
    if primaries not in _PRIMARIES:
        primaries = _BT2020 if is_hdr else 1
    if _is_undefined(special):
        matrix = _BT2020
    if matrix not in _BY_SCALE | _BY_ZSCALE:
        is_bt2020 = is_hdr or primaries == _BT2020
        matrix = _BT2020 if is_bt2020 else _MATRIX_NUMBERS[facts.matrix]
    return Colours(primaries, transfer, matrix)


def _is_undefined(colours: Colours) -> bool:
    """ICtCp is defined for PQ and HLG only (ITU-R BT.2100), constant luminance for SDR only (BT.2020)."""
    if colours.matrix == _ICTCP:
        return colours.transfer not in (_UNSPECIFIED, *_HDR_CURVES)
    return colours.matrix == _CONSTANT_LUMINANCE and colours.transfer in _HDR_CURVES


def warning(facts: VideoFacts) -> str:
    """A sentence on colours that are undefined, and what they were taken for; "" where all are defined."""
    if not any(map(_is_undefined, facts.colours)):
        return ""
    names = {_ICTCP: "ICtCp in SDR", _CONSTANT_LUMINANCE: "of constant luminance in HDR"}
    undefined = next(names[each.matrix] for each in facts.colours if _is_undefined(each))
    return (
        f"The video says that its colours are {undefined}, which is not defined: taken for Y′CbCr."
    )


def _tagged(colours: Colours) -> str:
    """A filter that tags frames with these colours; it leaves the matrix of RGB untouched."""
    tags = f"setparams=color_primaries={colours.primaries}:color_trc={colours.transfer}"
    return f"{tags}:colorspace={colours.matrix}" if colours.matrix else tags
