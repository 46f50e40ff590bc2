"""Films of every kind encoded in the shortest chunks; baseline: the same films encoded as a whole.

The films are generated, or from the corpus if they can be cut. Each is printed on stderr; the figures are
the worst of all.

Frame times, audio and the decoded frames are compared with a whole that is encoded without a frame index.
Size and quality are compared with a single chunk, whose key frames are equally far apart: without an index
they are closer where the frame rate varies.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy

from benchmarks.chunks import carried_out, planned, times
from benchmarks.figures import Figure
from benchmarks.machine import stand_in_for_lambda
from benchmarks.quality import quality
from chalicelib.formats import cmaf
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Audio
from chalicelib.planning.operation import PlanSettings
from corpus.audio import audio_lags
from corpus.decode import decode
from infra.paths import ROOT
from testing import exactness
from testing.planned import SHORT_CHUNKS, plan_settings_with

_CORPUS = ROOT.parent / "shared" / "corpus" / "videos"
_ONE_CHUNK = plan_settings_with(chunk_work_seconds=900.0)
_FILMS = (
    "DVR-Scan__traffic_camera.mp4",
    "DVR-Scan__traffic_camera_vfr.mp4",
    "sample-videos__one-by-one-person-detection.mp4",
    "streamio-ffmpeg__file+with+data&streams=works?.mp4",
    "torchcodec__nasa_13013.mp4",
)
_SECONDS = 40


class _Kind(NamedTuple):
    """One film in chunks, compared with it as a whole."""

    parts: int
    frames: int
    others: int  # frames that were decoded differently
    time: float  # ms: the largest difference of a frame's time
    size: float  # ratio
    vmaf: float  # loss
    psnr: float  # loss in dB
    worst: float  # dB: the lowest PSNR of a frame against the whole's
    audio_delays: list[float]  # ms: delays of the audio against the source's, along the film
    joins: list[float]  # dB: the difference where parts of the audio meet


def measure() -> list[Figure]:
    stand_in_for_lambda()
    with TemporaryDirectory() as scratch:
        results = [_measure(name, film) for name, film in _films(Path(scratch))]
    name = f"{len(results)} kinds of film in chunks, "
    lags = [abs(lag) for kind in results for lag in kind.audio_delays]
    return [
        Figure(
            f"{name}frames decoded otherwise than as a whole",
            "",
            [k.others for k in results],
            reduced="max",
        ),
        Figure(
            f"{name}PSNR of a frame beside the whole's",
            "dB",
            [k.worst for k in results],
            reduced="min",
        ),
        Figure(
            f"{name}difference of a frame's time", "ms", [k.time for k in results], reduced="max"
        ),
        Figure(f"{name}MP4 beside the whole", "×", [k.size for k in results], reduced="max"),
        Figure(f"{name}VMAF lost", "", [k.vmaf for k in results], reduced="max"),
        Figure(f"{name}PSNR lost", "dB", [k.psnr for k in results], reduced="max"),
        Figure(f"{name}sound off the pictures", "ms", lags, reduced="max"),
        Figure(
            f"{name}difference of sound at joins",
            "dB",
            [join for kind in results for join in kind.joins],
            reduced="max",
        ),
    ]


def _films(folder: Path) -> Iterator[tuple[str, Path]]:
    from testing.clips import clips

    for name, make in clips("640x360", _SECONDS, audio=True).items():
        path = folder / "source.mp4"
        make(path)
        yield name, path
    if not _CORPUS.exists():
        print("SKIPPED: there is no corpus, so its films are not measured", file=sys.stderr)
        return
    for film in _FILMS:
        yield film, _CORPUS / film


def _measure(name: str, film: Path) -> _Kind:
    from testing.local import facts_of

    facts = facts_of(film)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None, facts.whole_reason
    unindexed = msgspec.structs.replace(facts, index=None)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plan, chunked, digests = _encoded(film, facts, folder / "chunked", SHORT_CHUNKS)
        _, whole, whole_digests = _encoded(film, unindexed, folder / "whole", _ONE_CHUNK)
        single = carried_out(planned(film, facts, _ONE_CHUNK), film, folder / "single")
        ours, theirs = times(chunked), times(whole)
        good, best = (quality(mp4, film, "bt709", facts, folder) for mp4 in (chunked, single))
        kind = _Kind(
            parts=plan.sizes()["film"],
            frames=len(ours),
            others=len(exactness.differing(digests, whole_digests)),
            time=1000 * max(float(abs(a - b)) for a, b in zip(ours, theirs, strict=True)),
            size=chunked.stat().st_size / single.stat().st_size,
            vmaf=best.vmaf - good.vmaf,
            psnr=best.psnr - good.psnr,
            worst=min(exactness.psnr(chunked, whole)),
            audio_delays=_lags(chunked, film),
            joins=_joins(plan, chunked, whole),
        )
    printed = kind._asdict() | {"time": f"{kind.time:.3f}", "size": f"{kind.size:.4f}"}
    print(f"  {name}: {printed}", file=sys.stderr, flush=True)
    return kind


def _encoded(
    film: Path, facts: VideoFacts, folder: Path, chosen: PlanSettings
) -> tuple[Plan, Path, list[str]]:
    """(plan, MP4, digests of the frames that were decoded for it)."""
    plan = exactness.noting(planned(film, facts, chosen))
    mp4 = carried_out(plan, film, folder)
    return plan, mp4, exactness.seen(plan, folder / "tasks")


def _lags(mp4: Path, film: Path) -> list[float]:
    """Milliseconds by which the audio of the MP4 is later than the film's, relative to the first frame."""
    ours, theirs = decode(mp4).audio, decode(film).audio
    if ours is None or theirs is None:
        return []
    return [1000 * lag for lag in audio_lags(ours, theirs).values()]


def _joins(plan: Plan, chunked: Path, whole: Path) -> list[float]:
    """Difference from the whole's audio, relative to its level, in the second around each join; dB."""
    firsts = [t.work.first for t in plan.tasks if isinstance(t.work, Audio) and t.work.first]
    if not firsts:
        return []
    from testing.local import audio_samples

    ours, theirs = audio_samples(chunked), audio_samples(whole)
    shorter = min(len(ours), len(theirs))
    ours, theirs = ours[:shorter], theirs[:shorter]
    ratios = []
    for first in firsts:
        join = (first - 1) * cmaf.PACKET_SAMPLES
        near = slice(join - cmaf.SAMPLE_RATE // 2, join + cmaf.SAMPLE_RATE // 2)
        noise, loudness = (numpy.mean(x[near] ** 2) for x in (ours - theirs, theirs))
        if loudness:  # silence has no ratio
            ratios.append(float(10 * numpy.log10(max(noise, 1e-12) / loudness)))
    return ratios
