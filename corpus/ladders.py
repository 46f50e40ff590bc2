"""Check each rung of an HLS ladder: against the original, an MP4 of the same job, the others, Apple's rules.

The rules are those of Apple's HLS authoring specification for its devices, of 2025-06-26, by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
import httpx
import numpy as np

from corpus import dash, films, hls
from corpus.audio import check_audio
from corpus.decode import Film, NoFilm, decode, decode_audio
from corpus.failures import Failure
from corpus.films import Packet
from corpus.outputs import Outputs
from corpus.pipelines import Hls

# Frames a second of small rungs, at most.
_SMALL_SIDE, _SMALL_FPS = 480, 30.5
# Short sides of rungs, in pixels, but for the film's own.
_SIDES = (1080, 720, 480, 360, 234)
_INSTANT = 0.002  # seconds
_SWITCH = 1.02  # the smaller of two rungs may have at most so many times the bits of the larger one


def check_ladder(
    step: Hls, outputs: Outputs, mp4: str, original: Film, most: float
) -> Iterator[Failure]:
    """Every check of a step. The step `mp4` has all frames; `most`: the largest mean ΔE of a frame."""
    name = step.name
    try:
        streams = outputs.streams(name)
        manifest = outputs.manifest(name)
        rungs = [decode(stream.video.joined) for stream in streams]
    except (hls.NoStream, NoFilm, httpx.HTTPError) as error:
        yield Failure("hls", f"{name}: it cannot be played: {error}")
        return
    whole, keys = outputs.film(mp4), films.packets(outputs.file(mp4))
    for stream, rung in zip(streams, rungs, strict=True):
        called = f"{name} {min(rung.shown)}p"
        yield from _check_rung(called, stream, rung, original, whole, keys, most)
        yield from _check_key_frames(called, outputs.key_frames(name, stream), stream, rung)
    yield from _check_sides(name, rungs, original)
    yield from _check_together(name, streams, rungs)
    if step.dash != (manifest is not None):
        yield Failure("dash", f"{name}: DASH was {'' if step.dash else 'not '}asked for")
    if manifest is not None:
        yield from dash.check_manifest(name, manifest, streams)
    if audio := streams[0].audio:
        sound = decode_audio(audio.joined, rungs[0].zero)
        yield from check_audio(name, sound, original.audio, whole.end, original.frame)


def _check_rung(
    name: str,
    stream: hls.Stream,
    rung: Film,
    original: Film,
    whole: Film,
    keys: list[Packet],
    most: float,
) -> Iterator[Failure]:
    rates: list[float] = []
    if len(rung.times) > 1:
        rates = [(len(rung.times) - 1) / rung.times[-1], 1 / rung.frame]
    yield from hls.check_stream(stream, rung.shown, rates)
    found = films.packets(stream.video.joined)
    yield from films.check_groups(name, found)
    yield from films.check_same_keys(name, found, keys)
    step = len(whole.times) / len(rung.times)
    small = min(rung.shown) < _SMALL_SIDE
    if not small and len(rung.times) != len(whole.times):
        yield Failure("frames", f"{name}: {len(rung.times)} frames, the MP4 has {len(whole.times)}")
    if small and step > 1.01 and not original.frame < 1 / 30.2:
        yield Failure(
            "frames", f"{name}: frames of a film of {1 / original.frame:.1f} fps are left out"
        )
    # An unsteady film may keep its frames, where nothing tells them before they are decoded.
    gaps = np.diff(original.times)
    steady = len(gaps) and gaps.max() < 1.5 * gaps.min()
    if small and steady and rates[0] > _SMALL_FPS:
        yield Failure("rate", f"{name}: it has {rates[0]:.2f} frames a second")
    known = np.array(whole.times)
    off = [float(np.abs(known - time).min()) for time in rung.times]
    if max(off) > _INSTANT:
        yield Failure("times", f"{name}: a frame is {max(off):.3f} s beside those of the MP4")
    place = films.MOST_PLACE_DIFFERENCE["h264"] * most / films.MOST_DIFFERENCE
    yield from films.check_pictures(name, rung, original, False, most, place)


def _check_key_frames(
    name: str, listed: hls.KeyFrames | None, stream: hls.Stream, rung: Film
) -> Iterator[Failure]:
    """6.1, 6.8, 6.10: a playlist of all key frames, each by bytes that show it."""
    if listed is None:
        yield Failure("i-frames", f"{name}: it has no playlist of key frames")
        return
    playlist = listed.playlist
    uris = [segment.uri for segment in stream.video.playlist.segments]
    keys = sorted(packet.time for packet in films.packets(stream.video.joined) if packet.key)
    if len(playlist.segments) != len(keys) or not playlist.is_i_frames_only:
        yield Failure("i-frames", f"{name}: {len(playlist.segments)} are listed of {len(keys)}")
        return
    edges = [*keys, sum(each.duration for each in stream.video.playlist.segments)]
    sizes: list[int] = []
    alone = stream.video.joined.with_suffix(".key")
    for segment, (key, until) in zip(playlist.segments, pairwise(edges), strict=True):
        length, _, offset = segment.byterange.partition("@")
        content = stream.video.segments[uris.index(segment.uri)][int(offset) :][: int(length)]
        alone.write_bytes(stream.video.initialisation + content)
        with av.open(str(alone), "r") as container:
            shown = [float(frame.time) - rung.zero for frame in container.decode(video=0)]
        if len(shown) != 1 or abs(shown[0] - key) > _INSTANT:
            yield Failure(
                "i-frames", f"{name}: the bytes of the key frame at {key:.3f} s show {shown}"
            )
            break
        sizes.append(int(length))
        if abs(segment.duration - (until - key)) > max(_INSTANT, 1.5 * rung.frame):
            yield Failure("i-frames", f"{name}: EXTINF of the key frame at {key:.3f} s is wrong")
            break
    lengths = [float(segment.duration) for segment in playlist.segments][: len(sizes)]
    most = hls.peak_of(sizes, lengths, playlist.target_duration or 1)
    if listed.bandwidth < 0.999 * most:
        yield Failure(
            "i-frames", f"{name}: BANDWIDTH of key frames {listed.bandwidth}, it is {most:.0f}"
        )
    alone.unlink(missing_ok=True)


def _check_sides(name: str, rungs: Sequence[Film], original: Film) -> Iterator[Failure]:
    """The largest has the film's own size, or 1080 lines; the others are usual sizes, in its shape."""
    side = min(original.shown)
    sides = [min(rung.shown) for rung in rungs]
    if abs(max(sides) - min(side, max(_SIDES))) > 1:
        yield Failure("ladder", f"{name}: the largest rung has {max(sides)} lines of {side}")
    if strange := [each for each in sides if each not in _SIDES and each != max(sides)]:
        yield Failure("ladder", f"{name}: it has rungs of {strange} lines")
    for rung in rungs:
        yield from films.check_size(name, rung.shown, original.shown, min(rung.shown))


def _check_together(
    name: str, streams: Sequence[hls.Stream], rungs: Sequence[Film]
) -> Iterator[Failure]:
    """8.22: the same boundaries; and a smaller rung needs fewer bits."""
    lengths = [[each.duration for each in stream.video.playlist.segments] for stream in streams]
    if not all(_alike(each, lengths[0]) for each in lengths):
        yield Failure("segments", f"{name}: the rungs' segments have other boundaries")
    bits = [stream.variant.stream_info.average_bandwidth for stream in streams]
    by_size = sorted(zip((rung.shown[0] * rung.shown[1] for rung in rungs), bits, strict=True))
    for (_, fewer), (_, more) in pairwise(by_size):
        if fewer > _SWITCH * more:
            yield Failure(
                "ladder", f"{name}: a smaller rung has {fewer} bits a second, a larger one {more}"
            )


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=_INSTANT)
