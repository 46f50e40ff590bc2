"""Encode one chunk of a film in all renditions, check the time of each frame, and cut CMAF segments."""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple

import msgspec

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, codecs, mp4_fragments, mp4_movie, playlists
from chalicelib.invocation import Budget
from chalicelib.model.result import Encoded, EncodedTrack
from chalicelib.model.work import Chunk, Command, Exact, Excerpt, KeyFrame, Segment, file_of
from chalicelib.tasks.encoding import (
    Commands,
    Fetch,
    Fragments,
    run_ffmpeg,
    run_part,
    take_fragments,
)
from chalicelib.tasks.prediction import (
    COST_CORES,
    DECODER_SECONDS,
    Basis,
    Prediction,
    count_segments,
)
from chalicelib.tasks.workbench import Workbench
from chalicelib.telemetry import logger


def run(work: Chunk, bench: Workbench) -> Encoded:
    """Encode a chunk and store its segments. Raises JobError, Transient."""
    return run_part(work, encode, bench)


def encode(
    work: Chunk,
    commands: Commands,
    folder: Path,
    budget: Budget,
    fetch: Fetch,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Encoded:
    """Encode a chunk of `folder`/source, or of the excerpts that `fetch` writes there, with the marks there.

    Writes the segments and the initialisation segment of each rendition to `folder`/out/rendition.
    `on_seconds` gets the seconds of video that are encoded. Raises JobError, Transient.
    """

    def encode_once(args: Command, excerpt: Excerpt | None) -> Ran:
        faults = run_ffmpeg(args, excerpt, folder, budget, fetch, on_seconds).faults
        return Ran([take_fragments(folder / file_of(name)) for name in work.renditions], faults)

    ran = encode_exactly(work, work.run.args(commands[work.command]), encode_once)
    tracks = {}
    for name, file in zip(work.renditions, ran.files, strict=True):
        out = folder / "out" / name
        out.mkdir()
        tracks[name] = _write_segments(work, name, file, ran.faults, out)
    return Encoded(tracks)


class Ran(NamedTuple):
    """What a run of FFmpeg left: the file of each rendition, and the count of damaged frames."""

    files: list[Fragments]
    faults: int  # frames in which the decoder found errors


def encode_exactly(
    work: Chunk, args: Command, encode_once: Callable[[Command, Excerpt | None], Ran]
) -> Ran:
    """Encode a chunk, with longer run-ups if need be, until a run delivers all frames without errors.

    If no run does, returns the last run that delivered the planned frames, else the last one that delivered
    any. Raises JobError if every run fails.
    """
    runs = [(args, work.run.excerpt)]
    for again in work.again:
        runs.append((("-itsoffset", f"{-again.ahead_us}us", *args), again.excerpt))
    best: Ran | None = None
    failure: JobError | None = None
    for run_args, excerpt in runs:
        try:
            latest = encode_once(run_args, excerpt)
        except JobError as error:
            # A later run that takes too long or crashes does not discard the result of an earlier one.
            if best is None and error.code != "conversion_failed":
                raise
            failure = error
            continue
        if work.exact is None:
            return latest
        has_frames = _has_its_frames(work, latest)
        if has_frames and not latest.faults:
            return latest
        logger.info("Not exact", faults=latest.faults)
        if best is None or not _has_its_frames(work, best):
            best = latest
        elif has_frames:
            # A run also counts errors in its run-up, whose frames do not belong to the chunk.
            best = latest._replace(faults=min(latest.faults, best.faults))
    if best is None:
        assert failure
        raise failure
    return best


def _has_its_frames(work: Chunk, ran: Ran) -> bool:
    """Whether the frames of each file are exactly the planned ones, each at its planned time."""
    for name, file in zip(work.renditions, ran.files, strict=True):
        exact = work.exact_of(name)
        shown = sorted(time for fragment in file.fragments for time in fragment.times)
        if exact and shown != exact.times()[:-1]:
            return False
    return True


def _write_segments(
    work: Chunk, rendition: str, file: Fragments, faults: int, out: Path
) -> EncodedTrack:
    data, header, fragments = file
    if not fragments:
        raise JobError("source_damaged", "No frame of the video can be decoded.")
    exact = work.exact_of(rendition)
    if work.exact and exact:  # the part of the damaged frames that it keeps, about
        faults = ceil(faults * exact.frames / work.exact.frames)
    codec = codecs.codec_of(header)
    (out / cmaf.INIT).write_bytes(header)
    groups = (
        grouped_as_planned(work, work.exact, fragments)
        if work.exact
        else _by_length(work, header, fragments)
    )
    # The encoder can only guess the duration of the last frame; the plan knows it.
    chunk_stop = exact.end if exact else fragments[-1].shown_until
    begins = [members[0].shown_at for _, members in groups]
    stops = [*begins[1:], chunk_stop]
    scale = mp4_movie.timescale_of(header)
    segments = [
        write_segment(segment, members, stop, data, scale, out)
        for (segment, members), stop in zip(groups, stops, strict=True)
    ]
    frames = sum(len(fragment.times) for fragment in fragments)
    return EncodedTrack(
        segments=tuple(segments),
        seconds=sum(segment.seconds for segment in segments),
        header=hashlib.sha256(header).hexdigest()[:16],
        times=(*begins, chunk_stop),
        timescale=scale,
        frames=frames,
        faults=min(faults, frames),
        codec=codec,
    )


def write_segment(
    segment: Segment,
    members: Sequence[mp4_fragments.Fragment],
    stop: int,
    data: mmap.mmap,
    timescale: int,
    out: Path,
) -> Segment:
    """Write a CMAF segment of the fragments `members` to `out`.

    Returns `segment` with its size in bytes and its key frames.

    `data` is the file that holds their samples. `stop`, the time at which the segment's last frame ends, is
    in ticks of `timescale`.
    """
    shown = [time for fragment in members for time in fragment.times]
    decode_times = cmaf.decode_times(shown, timescale)
    decode_times.append(decode_times[-1] + stop - max(shown))
    firsts = accumulate((len(fragment.times) for fragment in members), initial=0)
    written = [
        mp4_fragments.fragment(
            number,
            fragment.times,
            decode_times[first : first + len(fragment.times) + 1],
            fragment.keys,
            mp4_fragments.samples_of(data, fragment),
        )
        for number, (fragment, first) in enumerate(zip(members, firsts, strict=False), 1)
    ]
    (out / segment.name).write_bytes(b"".join(written))
    begins = [*(fragment.shown_at for fragment in members), stop]
    offsets = accumulate(map(len, written), initial=0)
    keys = tuple(
        KeyFrame(
            offset,
            len(content) - sum(fragment.sizes[1:]),
            round((until - begin) / timescale, 6),
        )
        for fragment, content, offset, (begin, until) in zip(
            members, written, offsets, pairwise(begins), strict=False
        )
    )
    return msgspec.structs.replace(segment, size=sum(map(len, written)), keys=keys)


Grouped = list[tuple[Segment, list[mp4_fragments.Fragment]]]


def grouped_as_planned(
    work: Chunk, exact: Exact, fragments: Sequence[mp4_fragments.Fragment]
) -> Grouped:
    """The planned segments with their fragments. `exact` is of all frames of the source.

    A rendition with fewer frames keeps others than planned where the source lacks some. Raises JobError
    `chunk_not_exact` if a frame has a time that no frame of the source has, and `source_damaged` if a segment
    has no frame.
    """
    if not {time for fragment in fragments for time in fragment.times} <= set(exact.times()[:-1]):
        raise JobError(
            "chunk_not_exact", "A part of the video came out with other frames than it has."
        )
    groups: Grouped = [(segment, []) for segment in playlists.of_chunk(work, exact)]
    for fragment in fragments:
        number = bisect_right(exact.starts, fragment.shown_at) - 1
        groups[max(0, number)][1].append(fragment)
    if not all(members for _, members in groups):
        raise JobError("source_damaged", "Seconds of the video cannot be decoded: it is damaged.")
    return groups


def _by_length(work: Chunk, header: bytes, fragments: Sequence[mp4_fragments.Fragment]) -> Grouped:
    """Segments of whole fragments, each at most SEGMENT_SECONDS long unless one fragment is longer."""
    scale = mp4_movie.timescale_of(header)
    stops = [fragment.shown_at for fragment in fragments[1:]] + [fragments[-1].shown_until]
    groups: list[tuple[int, list[mp4_fragments.Fragment]]] = []
    for fragment, stop in zip(fragments, stops, strict=True):
        start = groups[-1][1][0].shown_at if groups else 0
        if groups and stop - start <= cmaf.SEGMENT_SECONDS * scale:
            groups[-1] = stop, [*groups[-1][1], fragment]
        else:
            groups.append((stop, [fragment]))
    return [
        (
            Segment(cmaf.segment_name(number), round((stop - members[0].shown_at) / scale, 6)),
            members,
        )
        for number, (stop, members) in enumerate(groups, work.first_segment)
    ]


def predict(work: Chunk, basis: Basis) -> Prediction:
    gets, fetched = basis.reading_source()
    bits = sum(basis.plan.tracks[name].bits_per_second for name in work.renditions)
    return Prediction(
        gets,
        len(work.renditions) * (1 + count_segments(basis.task, work.seconds)),
        fetched,
        round(work.seconds * bits / 8),
        seconds=DECODER_SECONDS + basis.task.cost * COST_CORES / basis.function.cores,
    )
