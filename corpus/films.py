"""Check an MP4 output against the reference decode of its original."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, pairwise
from pathlib import Path
from statistics import median

import av
import numpy as np

from corpus import codecs, stills
from corpus.audio import check_audio
from corpus.boxes import moov, top_level
from corpus.codecs import Codec
from corpus.colour import Floats, Rgb, differences, lightness, resized, to_bytes, worst_place
from corpus.decode import Film, first_film
from corpus.failures import Failure
from corpus.pipelines import Mp4

PRESET = Mp4("transcode_720p")
GOP_SECONDS = 2.0
MOST_DIFFERENCE = 6.0  # mean ΔE of a frame
# Mean ΔE of the worst place in a frame. HEVC and AV1 make up to 25 of a small moving test pattern.
MOST_PLACE_DIFFERENCE = {"h264": 20.0, "hevc": 30.0, "av1": 30.0}
_SAME_INSTANT = 0.003  # seconds
_TONES = 48  # frames whose lightness is compared
_DELIVERED = 0.9  # the part of a damaged source's frames that an output must have
_HARMLESS_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder"}


@dataclass(frozen=True)
class Packet:
    """An encoded frame."""

    time: float  # of presentation; seconds from the first frame's
    lasts: float  # seconds
    key: bool
    starts_anew: bool  # nothing after it needs what comes before it
    says_sets: bool  # parameter sets are in it, which belong into the sample entry


def packets(path: Path) -> list[Packet]:
    """The packets of a file's video stream, in order of decoding."""
    with av.open(str(path), "r") as container:
        stream = first_film(container)
        codec = codecs.of(stream.codec_context.codec.canonical_name)
        tick = float(stream.time_base or 0)
        entries = [
            (p.pts * tick, (p.duration or 0) * tick, p.is_keyframe, codec.units(bytes(p)))
            for p in container.demux(stream)
            if p.pts is not None and p.size
        ]
    zero = min(time for time, *_ in entries)
    return [
        Packet(time - zero, lasts, key, bool(units & codec.starts), bool(units & codec.sets))
        for time, lasts, key, units in entries
    ]


def check_film(
    name: str,
    path: Path,
    output: Film,
    original: Film,
    *,
    step: Mp4 = PRESET,
    marked: bool = False,
    warned: bool = False,
    most: float = MOST_DIFFERENCE,
) -> Iterator[Failure]:
    """Every check of an MP4. `step`: what was asked for; `marked`: the watermark, and the original's size.

    `warned`: its job has warnings. `most`: the largest mean ΔE of a frame.
    """
    largest = min(original.shown) if marked else step.height
    yield from check_size(name, output.shown, original.shown, largest)
    yield from check_stream(name, path, output, codecs.of(step.codec))
    yield from check_times(name, output, original, warned)
    most_in_a_place = MOST_PLACE_DIFFERENCE[step.codec] * most / MOST_DIFFERENCE
    yield from check_pictures(name, output, original, marked, most, most_in_a_place)
    yield from check_audio(name, output.audio, original.audio, output.end, original.frame)
    yield from check_audio_stream(name, path, original)
    yield from check_groups(name, packets(path))
    yield from check_index_first(name, path)


def check_size(
    name: str, output: tuple[int, int], original: tuple[int, int], short_side: int
) -> Iterator[Failure]:
    """The size has the original's shape, a short side of at most `short_side`, and even sides; in pixels."""
    scale = min(1.0, short_side / min(original))
    wanted = [side * scale for side in original]
    if any(side % 2 for side in output):
        yield Failure("size", f"{name}: {output[0]} × {output[1]} is not even")
    if any(abs(m - w) > 2 for m, w in zip(output, wanted, strict=True)):
        yield Failure(
            "size",
            f"{name}: it is {output[0]} × {output[1]}, not {wanted[0]:.0f} × {wanted[1]:.0f} "
            f"as of {original[0]} × {original[1]}",
        )


def check_stream(name: str, path: Path, output: Film, codec: Codec) -> Iterator[Failure]:
    """The codec, 8 bit, 4:2:0, progressive, square pixels, tagged BT.709; no further metadata or streams."""
    with av.open(str(path), "r") as container:
        stream = first_film(container)
        context = stream.codec_context
        frame = next(container.decode(stream))
        found = (
            context.codec.canonical_name, context.profile, context.codec_tag, context.pix_fmt,
        )  # fmt: skip
        tags = (
            frame.color_primaries,
            frame.color_trc,
            frame.colorspace,
            frame.color_range,
        )
        sar = stream.sample_aspect_ratio
        interlaced = frame.interlaced_frame
        metadata = {**container.metadata, **stream.metadata}
        others = len(container.streams) - len(container.streams.audio) - 1
    wanted = (codec.name, codec.profile, codec.tag, "yuv420p")
    if found != wanted:
        yield Failure("codec", f"{name}: it is {' '.join(map(str, found))}, not {' '.join(wanted)}")
    if tags != (1, 1, 1, 1):
        yield Failure(
            "tags",
            f"{name}: primaries, transfer, matrix and range are tagged {tags}, not as BT.709 (1, 1, 1, 1)",
        )
    if sar and (sar.numerator != sar.denominator):
        yield Failure("size", f"{name}: its pixels are not square ({sar})")
    if interlaced:
        yield Failure("interlaced", f"{name}: it is interlaced")
    if others:
        yield Failure("streams", f"{name}: it has {others} streams besides film and sound")
    leaked = {
        key: value
        for key, value in metadata.items()
        if key not in {*_HARMLESS_METADATA, "language", "handler_name", "vendor_id"}
    }
    if leaked:
        yield Failure("metadata", f"{name}: it says {leaked}")
    if found[0] == codec.name and not codec.level_is_enough(
        moov(path), *output.shown, 1 / output.frame
    ):
        yield Failure("level", f"{name}: its level is not enough for its size and rate")


def check_times(name: str, output: Film, original: Film, warned: bool) -> Iterator[Failure]:
    """Every frame of the original is there at its time; of a damaged original, most frames and a warning."""
    tolerance = 0.001 + output.tick
    if original.damaged or warned:
        known = sorted(original.times)
        strange = [t for t in output.times if not _is_near(t, known, tolerance)]
        share = len(output.times) / len(original.times)
        if share < _DELIVERED:
            yield Failure("frames", f"{name}: only {share:.0%} of the frames are there")
        if len(output.times) < len(original.times) and not warned:
            yield Failure("warning", f"{name}: frames are missing, and the job does not say so")
        if strange:
            yield Failure("times", f"{name}: {len(strange)} frames are at times of their own")
        return
    if len(output.times) != len(original.times):
        yield Failure(
            "frames",
            f"{name}: {len(output.times)} frames, the original has {len(original.times)}",
        )
        return
    off = np.abs(np.array(output.times) - np.array(original.times))
    if (off > tolerance).any():
        worst = int(off.argmax())
        yield Failure(
            "times",
            f"{name}: {int((off > tolerance).sum())} of {len(off)} frames are not at their time; "
            f"frame {worst} is at {output.times[worst]:.4f} s, not {original.times[worst]:.4f} s",
        )


def _is_near(time: float, known: list[float], tolerance: float) -> bool:
    at = bisect_left(known, time - tolerance)
    return at < len(known) and known[at] <= time + tolerance


def check_pictures(
    name: str,
    output: Film,
    original: Film,
    marked: bool,
    most: float = MOST_DIFFERENCE,
    most_in_a_place: float = MOST_PLACE_DIFFERENCE["h264"],
) -> Iterator[Failure]:
    """Every frame shows the original's picture; HDR has a plain tone mapping's lightness and contrast."""
    pairs = same_frames(output, original)
    if not pairs:
        yield Failure("picture", f"{name}: no frame of it is where the original has one")
        return
    if original.hdr:
        yield from _check_tones(name, output, original, pairs)
        original = _mapped_alike(output, original, pairs)
    yield from _check_frames(name, output, original, pairs, marked, most, most_in_a_place)
    if marked and min(output.shown) >= 64:
        yield from _check_mark(name, output, original, pairs)


def same_frames(output: Film, original: Film) -> list[tuple[int, int]]:
    """Pairs (number in the output, number in the original) of frames that are shown at the same time.

    Corrupt frames of the original, and frames that share their time with another, are left out.
    """
    times, pairs = original.times, []
    for number, time in enumerate(output.times):
        first = bisect_left(times, time - _SAME_INSTANT)
        last = bisect_right(times, time + _SAME_INSTANT)
        if last - first == 1 and first not in original.corrupt:
            pairs.append((number, first))
    return pairs


def _check_frames(
    name: str,
    output: Film,
    original: Film,
    pairs: list[tuple[int, int]],
    marked: bool,
    most: float,
    most_in_a_place: float,
) -> Iterator[Failure]:
    whole, places = zip(
        *(_deltas(output.small[n], original.small[m], marked) for n, m in pairs), strict=True
    )
    untagged = " (the original does not say by which matrix)" if original.untagged else ""
    if max(whole) > most:
        worst = output.times[pairs[int(np.argmax(whole))][0]]
        yield Failure(
            "picture",
            f"{name}: pictures differ from the original's: mean ΔE up to {max(whole):.1f}, "
            f"at {worst:.3f} s; {median(whole):.1f} in the middle{untagged}",
        )
    if bad := [n for n, place in enumerate(places) if place > most_in_a_place]:
        yield Failure(
            "place",
            f"{name}: a part of the picture differs from the original's in {len(bad)} of "
            f"{len(pairs)} frames, from {output.times[pairs[bad[0]][0]]:.3f} s on: "
            f"ΔE up to {max(places):.0f}{untagged}",
        )


def _deltas(one: Rgb, other: Rgb, marked: bool) -> tuple[float, float]:
    """Mean ΔE of two pictures, and of the place where they differ most."""
    delta = differences(one, other)
    if marked:
        delta = np.where(stills.mark_region(one), 0.0, delta)
    return float(delta.mean()), worst_place(delta)


def _check_mark(
    name: str, output: Film, original: Film, pairs: list[tuple[int, int]]
) -> Iterator[Failure]:
    without = [n for n, m in pairs if not stills.shows_mark(output.small[n], original.small[m])]
    if without:
        yield Failure(
            "mark",
            f"{name}: there is no mark in the lower right corner of {len(without)} of "
            f"{len(pairs)} frames, from {output.times[without[0]]:.3f} s on",
        )


def _mapped_alike(output: Film, original: Film, pairs: list[tuple[int, int]]) -> Film:
    """The original with its tones fitted to the output's by one polynomial for the whole film.

    Tone mappings of HDR differ so much that a fault, or a mark, cannot be distinguished from them otherwise.
    """
    some = pairs[:: max(1, len(pairs) // _TONES)]
    height, width = original.small.shape[1:3]
    shown = np.concatenate([_powers(original.small[m]) for _, m in some])
    wanted = np.concatenate(
        [resized(output.small[n], width, height).reshape(-1, 3) for n, _ in some]
    )
    curve = np.linalg.lstsq(shown, wanted / 255, rcond=None)[0]
    small = [to_bytes(_powers(frame) @ curve).reshape(height, width, 3) for frame in original.small]
    return replace(original, small=np.stack(small))


def _powers(picture: Rgb) -> Floats:
    """For each pixel, all products of up to three of its colour values: pixels × 20."""
    colours = picture.reshape(-1, 3) / 255
    terms = [np.ones(len(colours))]
    for degree in (1, 2, 3):
        for chosen in combinations_with_replacement(range(3), degree):
            terms.append(colours[:, chosen].prod(axis=1))
    return np.stack(terms, axis=1)


def _check_tones(
    name: str, output: Film, original: Film, pairs: list[tuple[int, int]]
) -> Iterator[Failure]:
    some = pairs[:: max(1, len(pairs) // _TONES)]
    one = np.concatenate([lightness(output.small[n]).ravel() for n, _ in some])
    other = np.concatenate([lightness(original.small[m]).ravel() for _, m in some])
    if not 0.6 < (one.mean() + 3) / (other.mean() + 3) < 1.6:
        yield Failure(
            "tones",
            f"{name}: its lightness is {one.mean():.0f}, a plain tone mapping's {other.mean():.0f}",
        )
    if one.std() + 1 < 0.6 * (other.std() + 1):
        yield Failure(
            "tones",
            f"{name}: it is washed out: lightness varies by {one.std():.0f}, "
            f"a plain tone mapping's by {other.std():.0f}",
        )


def check_audio_stream(name: str, path: Path, original: Film) -> Iterator[Failure]:
    """AAC, stereo, 48 kHz, if the original has audio; else no audio stream.

    If the original has an empty audio track, silence is right, too.
    """
    with av.open(str(path), "r") as container:
        streams = [
            (s.codec_context.name, s.codec_context.layout.name, s.codec_context.sample_rate)
            for s in container.streams.audio
        ]
    has_audio = original.audio is not None
    may_be_silent = original.declares_audio and not has_audio
    if streams != [("aac", "stereo", 48000)] * (has_audio or (may_be_silent and bool(streams))):
        described = "; ".join(" ".join(map(str, stream)) for stream in streams) or "none"
        yield Failure(
            "audio",
            f"{name}: its sound is {described}, not {'AAC stereo 48 kHz' if has_audio else 'none'}",
        )


def check_groups(name: str, packets: list[Packet]) -> Iterator[Failure]:
    """Groups of pictures are closed and last at most GOP_SECONDS, unless one frame lasts longer."""
    keys = [packet for packet in packets if packet.key]
    if not packets[0].key:
        yield Failure("groups", f"{name}: the first frame is no key frame")
    if not all(packet.starts_anew for packet in keys):
        yield Failure("groups", f"{name}: not at all key frames can a decoder begin")
    if any(packet.says_sets for packet in packets):
        yield Failure("groups", f"{name}: parameter sets are outside of the sample entry")
    since = 0.0
    for packet in packets:
        since = packet.time if packet.key else since
        if packet.time < since - 1e-6:
            yield Failure(
                "groups",
                f"{name}: an open group: the frame at {packet.time:.3f} s needs the key frame after it",
            )
            break
    end = max(packet.time + packet.lasts for packet in packets)
    starts = sorted(packet.time for packet in packets)
    edges = [*(packet.time for packet in keys), end]
    for start, stop in pairwise(edges):
        frames = bisect_left(starts, stop - 1e-6) - bisect_left(starts, start - 1e-6)
        if stop - start > GOP_SECONDS + 0.0015 and frames > 1:
            yield Failure(
                "groups",
                f"{name}: {frames} frames from {start:.3f} s on, {stop - start:.3f} s, are one group",
            )
            break


def check_index_first(name: str, path: Path) -> Iterator[Failure]:
    kinds = [kind for kind, _, _ in top_level(path)]
    if kinds.index("moov") > kinds.index("mdat"):
        yield Failure("index", f"{name}: its index comes after the film")


def check_same_keys(name: str, one: list[Packet], other: list[Packet]) -> Iterator[Failure]:
    """Two renditions have key frames at the same times."""
    a, b = ([p.time for p in found if p.key] for found in (one, other))
    if len(a) != len(b) or any(abs(x - y) > 0.002 for x, y in zip(a, b, strict=True)):
        yield Failure(
            "keys", f"{name}: its {len(a)} key frames are not where the other's {len(b)} are"
        )
