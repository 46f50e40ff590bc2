"""The right outputs of the inputs in `hunted/`, which a plain decode of them does not show.

Each of these inputs was converted wrongly once. Its row in the table RIGHT expresses its RIGHT.txt in checks,
which come on top of the checks of every file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corpus import chart, independent, stills
from corpus.chart import COLOURS, Colour
from corpus.colour import Rgb, differences
from corpus.decode import AUDIO_RATE, stereo
from corpus.failures import Failure
from corpus.independent import Decoder
from corpus.outputs import Outputs
from sluice.client import Job

Expectation = Literal["ok", "clear-error", "either"]
Check = Callable[[Outputs], Iterator[Failure]]

# Limits for tone-mapped HDR: it may be darker than SDR, and BT.2408 and BT.2446 do not agree by how much.
_HDR_DIFFERENCE = 22.0  # ΔE
_HDR_WHITE = 180  # of 255: the least mean of the white patch's channels
_BLAMES = re.compile(r"damaged|incomplete", re.IGNORECASE)
_BLAMING_CODES = {"source_damaged", "conversion_failed", "decoder_crashed"}


@dataclass(frozen=True)
class Right:
    """How one file is judged."""

    expectation: Expectation = "ok"
    checks: tuple[Check, ...] = ()
    refusal: str = ""  # a pattern that the sentence of a refusal must match
    warning: str = ""  # a pattern that one warning of a success must match
    picture: Decoder = stills.reference
    most: float | None = None  # the largest mean ΔE; None: as for every file
    stream: int | None = None  # number of the video stream that is the film; None: the first
    # FFmpeg's options before and after the input with which it decodes the film as it is meant.
    meant: tuple[tuple[str, ...], tuple[str, ...]] | None = None


# ── checks of outputs ───────────────────────────────────────────────────────────────────────────


def shows(colours: dict[str, Colour], within: int) -> Check:
    """Every picture, and some frames of every film, show the chart's patches; within so many of 255."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for pictures in outputs.pictures().values():
            wrong = (check_patches(name, picture, colours, within) for name, picture in pictures)
            yield from islice(chain.from_iterable(wrong), 1)

    return check


def check_patches(
    name: str, picture: Rgb, colours: dict[str, Colour], within: int
) -> Iterator[Failure]:
    """Fails with the patch that is furthest off."""
    found = chart.patches(picture)
    off = {
        patch: max(abs(a - b) for a, b in zip(found[patch], colour, strict=True))
        for patch, colour in colours.items()
    }
    worst = max(off, key=lambda patch: off[patch])
    if off[worst] > within:
        yield Failure(
            "chart",
            f"{name}: {worst} is {found[worst]}, not {colours[worst]} give or take {within}",
        )


def tone_mapped(outputs: Outputs) -> Iterator[Failure]:
    """The chart of an HDR input has its hues, and a white that is light."""
    for pictures in outputs.pictures().values():
        wrong = (_check_tone_mapped(name, picture) for name, picture in pictures)
        yield from islice(chain.from_iterable(wrong), 1)


def _check_tone_mapped(name: str, picture: Rgb) -> Iterator[Failure]:
    found = chart.patches(picture)
    if sum(found["white"]) < 3 * _HDR_WHITE:
        yield Failure("chart", f"{name}: white is {found['white']}, below {_HDR_WHITE}")
    one, other = (np.array([list(c.values())], np.uint8) for c in (found, COLOURS))
    delta = differences(one, other)[0]
    if delta.max() > _HDR_DIFFERENCE:
        worst = list(COLOURS)[int(delta.argmax())]
        yield Failure(
            "chart",
            f"{name}: {worst} is {found[worst]}, ΔE {delta.max():.0f} from {COLOURS[worst]}",
        )


def either(one: Check, other: Check) -> Check:
    """One of two checks is met: the file can be read in two ways."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        first = list(one(outputs))
        if first and list(other(outputs)):
            yield from first

    return check


def sized(width: int, height: int) -> Check:
    """Every film has this size."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            shown = outputs.film(name).shown
            if shown != (width, height):
                yield Failure(
                    "size", f"{name}: it is {shown[0]} × {shown[1]}, not {width} × {height}"
                )

    return check


def has_frames(least: int, most: int) -> Check:
    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            found = len(outputs.film(name).times)
            if not least <= found <= most:
                yield Failure("frames", f"{name}: it has {found} frames, not {least} to {most}")

    return check


def lasts(seconds: float) -> Check:
    """Video and audio of every film last `seconds`, within a tenth of a second."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            film = outputs.film(name)
            audio_end = film.audio.end if film.audio else seconds
            for what, end in (("film", film.end), ("sound", audio_end)):
                if abs(end - seconds) > 0.1:
                    yield Failure(
                        "length", f"{name}: its {what} lasts {end:.2f} s, not {seconds:.2f} s"
                    )

    return check


def hears(*tones: tuple[float, float]) -> Check:
    """`tones`: (second, Hz) of the loudest tone in the quarter of a second from there; a sweep may be on."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            for second, hertz in tones:
                found = _loudest_tone(outputs, name, second)
                if not 0.95 * hertz < found < 1.15 * hertz:
                    yield Failure(
                        "tone",
                        f"{name}: at {second:.1f} s it sounds {found:.0f} Hz, not {hertz:.0f}",
                    )

    return check


def _loudest_tone(outputs: Outputs, name: str, second: float) -> float:
    audio = outputs.film(name).audio
    if audio is None:
        return 0.0
    first = round((second - audio.start) * AUDIO_RATE)
    window = audio.samples[first : first + AUDIO_RATE // 4]
    if len(window) < AUDIO_RATE // 8:
        return 0.0
    spectrum = np.abs(np.fft.rfft(window * np.hanning(len(window))))
    return float(spectrum[1:].argmax() + 1) * AUDIO_RATE / len(window)


def as_loud(level: float) -> Check:
    """Both channels have this root mean square, as a part of full scale, within half a decibel."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            for side, samples in zip(("left", "right"), stereo(outputs.file(name)), strict=True):
                middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
                found = float(np.sqrt((middle**2).mean())) if len(middle) else 0.0
                if not 0.944 < found / level < 1.06:
                    yield Failure(
                        "level", f"{name}: {side} has a level of {found:.3f}, not {level:.3f}"
                    )

    return check


def streams_audio_to_the_end(outputs: Outputs) -> Iterator[Failure]:
    """The audio playlist does not end before the video playlist: a player would wait for audio."""
    if "hls_720p" not in outputs:
        return
    stream = outputs.stream()
    if stream.audio is None:
        return
    video, audio = (
        sum(float(segment.duration) for segment in media.playlist.segments)
        for media in (stream.video, stream.audio)
    )
    if audio < video - 0.1:
        yield Failure("length", f"hls: the sound lasts {audio:.2f} s, the pictures {video:.2f} s")


def combed(from_second: float) -> Check:
    """No frame from this second on mixes rows of two moments."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.films:
            with av.open(str(outputs.file(name)), "r") as container:
                share = max(
                    combs(frame.to_ndarray(format="gray"))
                    for frame in container.decode(video=0)
                    if frame.time is not None and frame.time >= from_second
                )
            if share > 0.003:
                yield Failure("combs", f"{name}: {share:.1%} of a frame's pixels are combed")

    return check


def combs(luma: NDArray[Any]) -> float:
    """The share of pixels that differ from the pixels above and below, while those two are alike."""
    rows = luma.astype(np.int16)
    above, here, below = rows[:-2], rows[1:-1], rows[2:]
    up, down = here - above, here - below
    stands_out = (up * down > 0) & (np.minimum(abs(up), abs(down)) > 20)
    return float((stands_out & (abs(above - below) < 10)).mean())


def plain_around(margin: float) -> Check:
    """The margin of every picture has one colour; only the upper half counts, as a mark may lie below.

    `margin` is a part of each side, 0 to 1.
    """

    def check(outputs: Outputs) -> Iterator[Failure]:
        for pictures in outputs.pictures().values():
            wrong = (_check_margin(name, picture, margin) for name, picture in pictures)
            yield from islice(chain.from_iterable(wrong), 1)

    return check


def _check_margin(name: str, picture: Rgb, margin: float) -> Iterator[Failure]:
    height, width = picture.shape[:2]
    outside = np.ones((height, width), dtype=bool)
    top, left = round(height * margin), round(width * margin)
    outside[top:, left : width - left] = False
    outside[height // 2 :] = False
    spread = float(picture[outside].std(axis=0).max())
    if spread > 4:
        yield Failure("alpha", f"{name}: what is transparent shows (deviation {spread:.0f})")


def bright_poster(least: int) -> Check:
    """The chart's white in the posters has at least `least` of 255 in each channel."""

    def check(outputs: Outputs) -> Iterator[Failure]:
        for name in outputs.posters:
            white = chart.patches(outputs.picture(name))["white"]
            if min(white) < least:
                yield Failure("poster", f"{name}: white is {white}, below {least}")

    return check


def plays_elsewhere(outputs: Outputs) -> Iterator[Failure]:
    """The machine's own FFmpeg decodes every film without a message."""
    for name in outputs.films:
        if said := independent.complaints(outputs.file(name)):
            yield Failure("elsewhere", f"{name}: another FFmpeg says: {said[-300:]}")


def warns_or(pattern: str, check: Check) -> Check:
    """The job has a warning that matches `pattern`; if not, `check` must be met."""

    def checked(outputs: Outputs) -> Iterator[Failure]:
        if not any(re.search(pattern, warning) for warning in outputs.job["warnings"]):
            yield from check(outputs)

    return checked


def check_right(right: Right, outputs: Outputs) -> Iterator[Failure]:
    """The checks of a file's row, without those of every file."""
    yield from check_said(right, outputs.job)
    if outputs.job["status"] == "SUCCESS":
        for check in (*right.checks, plays_elsewhere):
            yield from check(outputs)


def check_said(right: Right, job: Job) -> Iterator[Failure]:
    """A refusal names what is not supported, and does not blame damage; a success has the warning."""
    if job["status"] == "FAILURE" and right.refusal:
        errors = {(job["error_code"], job["error"])}
        errors |= {(s["error_code"], s["error"]) for s in job["steps"] if s["status"] == "FAILURE"}
        for code, sentence in sorted(errors):
            if code in _BLAMING_CODES or _BLAMES.search(sentence):
                yield Failure("refusal", f"It is called damaged, and is not: {code}: {sentence}")
            elif not re.search(right.refusal, sentence, re.IGNORECASE):
                yield Failure(
                    "refusal", f"The sentence does not name {right.refusal!r}: {sentence}"
                )
    if job["status"] == "SUCCESS" and right.warning:
        warned = any(re.search(right.warning, warning) for warning in job["warnings"])
        if not warned:
            yield Failure("warning", "The job does not say what is wrong with the file")


# ── the table ───────────────────────────────────────────────────────────────────────────────────

_CHART = shows(COLOURS, 3)
_GREY_CHART = shows(chart.in_grey(), 3)
# H.264, 4:2:0 and scaling change the patches more than JPEG does.
_CHART_IN_FILM = shows(COLOURS, 8)
# tif_lab.tif as libvips 8.14 and ImageMagick 6.9 read it: with the white point D65 instead of D50.
_LAB_BY_D65: dict[str, Colour] = COLOURS | {
    "green": (72, 157, 72), "blue": (0, 84, 188), "yellow": (238, 199, 64),
}  # fmt: skip


def drawn(_: object) -> Image.Image:
    """The image from which the file was made; for files that no decoder of the machine reads."""
    return chart.drawn()


_HEIF_P3 = Right(checks=(_CHART,), picture=independent.heif_in_p3)
_HEIF_PQ = Right(checks=(tone_mapped,), picture=independent.heif_in_pq, most=12.0)
_CUT_JPEG = Right(checks=(_CHART,), picture=independent.magick, warning=".")
_TIFF_CHART = Right(checks=(_CHART,), picture=independent.magick)
_GREY_TIFF = Right(checks=(_GREY_CHART,), picture=independent.magick)


def _named(kind: str) -> Right:
    return Right("either", (_CHART,), refusal=kind, picture=drawn, most=6.0)


def _odd_colours(names: str) -> Right:
    return Right("either", refusal=names, most=12.0)


RIGHT: dict[str, Right] = {
    "ac3_clean.mp4": Right(checks=(lasts(60.0), hears((0.1, 200), (20.1, 1000), (40.1, 1800)))),
    "ac3_stereo_then_51.ts": Right(checks=(lasts(12.0), hears((6.05, 700)))),
    "ambisonic_opus.webm": Right(checks=(hears((1.0, 440), (4.0, 440)),)),
    # Decoders of AV1 differ by 2 of 255; the conversion to sRGB makes that 4.
    "avif_p3.avif": replace(_HEIF_P3, checks=(shows(COLOURS, 5),)),
    "avif_pq.avif": _HEIF_PQ,
    "black_start_one_key_h264.ts": Right(checks=(bright_poster(230),)),
    "commentary_first.mkv": Right(checks=(hears((1.0, 900), (3.0, 900)),)),
    "dolby_vision_5.mp4": Right(
        "either",
        (warns_or("Dolby Vision", tone_mapped),),
        refusal="Dolby Vision",
    ),
    "empty_audio.mkv": Right(checks=(has_frames(150, 150),)),
    "empty_audio.mp4": Right(checks=(has_frames(150, 150),)),
    "fonts70.mkv": Right(),
    "h264_matrix_chroma_derived.mp4": _odd_colours("matrix|colour"),
    "h264_trc_log100.mp4": _odd_colours("transfer|curve|colour|log"),
    "heic_brand_miaf.heic": Right(checks=(_CHART,), picture=independent.heif),
    "heic_p3_nclx.heic": _HEIF_P3,
    "heic_pq_bt2020.heic": _HEIF_PQ,
    "hevc_bt2020c.mp4": _odd_colours("matrix|luminance|colour"),
    "joined_colours.mp4": Right(checks=(has_frames(500, 500), _CHART_IN_FILM)),
    "jpg_12bit.jpg": _named("12.bit"),
    "jpg_cut10.jpg": _CUT_JPEG,
    "jpg_minus1.jpg": _CUT_JPEG,
    "jpg_missing_eoi.jpg": _CUT_JPEG,
    # Colours beyond BT.709 in PQ, which Pillow does not tone-map.
    "libavif__colors_hdr_rec2020.avif": Right(picture=independent.heif_in_pq, most=12.0),
    "mono_minus6.mp4": Right(checks=(as_loud(0.354),)),
    "nokeyneg_4_0.6.mp4": Right(checks=(has_frames(85, 95),)),
    # Its manifest expects an error, but the picture is whole: the end marker lacks its second byte.
    "Pillow__truncated_jpeg.jpg": Right(
        picture=independent.magick, warning="The file lacks its end"
    ),
    "png_bad_crc_ancillary.png": Right(checks=(_CHART,), picture=independent.magick),
    "png_cicp_hlg.png": Right(checks=(tone_mapped,), picture=independent.vips_in_hlg, most=12.0),
    "png_cicp_pq.png": Right(checks=(tone_mapped,), picture=independent.vips_in_pq, most=12.0),
    "png_gama_linear.png": Right(checks=(_CHART,), picture=independent.magick),
    "png_grey16_trns.png": Right(
        checks=(shows(chart.in_grey() | {"red": (255, 255, 255)}, 3),), picture=independent.magick
    ),
    "pq_colr_only.mp4": Right(checks=(tone_mapped,)),
    "preview_track_first.mp4": Right(
        checks=(sized(640, 400), lasts(4.0), has_frames(100, 100)), stream=1
    ),
    # The timestamps begin again at the second part.
    "progressive_then_interlaced.ts": Right(checks=(combed(2.0),), meant=((), ())),
    "raw_like.dng": Right("either", (_CHART,), refusal="camera.*raw", picture=drawn, most=6.0),
    # Rotated as FFmpeg rotates it, with black corners.
    "rot45.mp4": Right(checks=(sized(640, 400),), meant=((), ())),
    "sdr_bt2020sdr.mp4": Right(checks=(_CHART_IN_FILM,)),
    "sound_4samples.mov": Right(checks=(has_frames(125, 125),)),
    "sound_5s_of_180.mp4": Right(checks=(streams_audio_to_the_end,)),
    "sticker_alpha.webm": Right(
        checks=(plain_around(0.25),),
        meant=(
            ("-c:v", "libvpx-vp9"),
            (
                "-filter_complex",
                "[0:v]split[a][b];[a]drawbox=c=black:t=fill:replace=1[k];[k][b]overlay",
            ),
        ),
    ),
    "tif_big.tif": Right("either", (_CHART,), refusal="BigTIFF", picture=independent.magick),
    "tif_grey16_miniswhite.tif": _GREY_TIFF,
    "tif_grey32.tif": _GREY_TIFF,
    "tif_icclab.tif": _named("Lab"),
    "tif_jpegxl.tif": _named("JPEG.?XL"),
    "tif_lab.tif": Right(
        checks=(either(shows(COLOURS, 6), shows(_LAB_BY_D65, 6)),),
        picture=independent.magick,
        most=6.0,
    ),
    "tif_rgb16_planar.tif": _TIFF_CHART,
    # The second of two films in it: as long, and larger.
    "torchcodec__nasa_13013.mp4": Right(stream=1),
    "vp8_size_changes.webm": Right(checks=(has_frames(150, 150),)),
    "vp8_turns_portrait.webm": Right(checks=(has_frames(100, 100),)),
    "zero_matrix.mp4": Right(checks=(sized(640, 400), _CHART_IN_FILM)),
}
