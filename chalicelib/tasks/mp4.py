"""Join a rendition's segments into one MP4: samples are copied from S3 to S3 and never lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from math import ceil
from typing import NamedTuple

from chalicelib.errors import JobError, Transient
from chalicelib.formats import mp4_fragments, mp4_movie
from chalicelib.formats.cmaf import INIT, START_SECONDS
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import SOUND
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Join
from chalicelib.store import objects
from chalicelib.store.objects import PART_BYTES, READERS
from chalicelib.tasks.packaging import Part, delivered, packaged, parts_of, predicted_bytes
from chalicelib.tasks.prediction import Basis, Prediction, count_segments
from chalicelib.tasks.workbench import Workbench

# Bytes of the largest MP4 that is written: a multipart upload has at most 10,000 parts.
_MOST_BYTES = 9_000 * PART_BYTES


def run(work: Join, bench: Workbench) -> StepsEnded:
    """Join the parts into one MP4. Raises JobError, Transient."""
    video, sounds = parts_of(bench)
    parts, audio = video[work.rendition], sounds.get(SOUND, [])
    made = delivered(parts, work.frames, work.seconds)
    key = bench.task.destination + work.output

    def on_part(part: float) -> None:
        bench.budget.check()
        bench.on_progress(part)

    size = _join(parts, audio, key, on_part)
    warnings = (work.warning, *made.warnings, *(part.encoded.warning for part in audio))
    shown = work.width, work.height
    return packaged(bench, work.output, size, shown, made.seconds, warnings)


class _File(NamedTuple):
    """A stored segment that goes into the MP4."""

    track: int  # 0: video, 1: audio
    key: str
    begins: float  # seconds from the film's start


def _join(
    video: Sequence[Part],
    audio: Sequence[Part],
    key: str,
    on_part: Callable[[float], None],
) -> int:
    """Write the MP4 and return its size in bytes.

    Samples are uploaded as they arrive, from part 2 on. Part 1, the header and the first samples, is uploaded
    last, as the header lists every sample: a multipart upload takes its parts in any order. Raises JobError,
    Transient.
    """
    total = sum(s.size for part in (*video, *audio) for s in part.encoded.segments)
    if total > _MOST_BYTES:
        detail = f"The MP4 would have {total} bytes, and at most {_MOST_BYTES} can be joined: use hls_720p."
        raise JobError("output_too_large", detail)
    headers = [parts[0].prefix + INIT for parts in (video, audio) if parts]
    tracks = [mp4_movie.Track(_get(header), START_SECONDS) for header in headers]
    order = sorted(
        chain(_files(0, video), _files(1, audio)), key=lambda file: (file.begins, file.track)
    )
    with objects.multipart(key) as put, ThreadPoolExecutor(READERS) as pool:
        head, size = b"", 0
        waiting = bytearray()
        number, sent = 2, []
        for done, (file, data) in enumerate(_fetched(pool, order), 1):
            for fragment in mp4_fragments.split(data)[1]:
                tracks[file.track].add(fragment, size)
                samples = data[fragment.data : fragment.end]
                size += len(samples)
                waiting += samples
            if not head and len(waiting) >= PART_BYTES:
                head, waiting = bytes(waiting), bytearray()
            elif len(waiting) >= PART_BYTES:
                sent.append(pool.submit(put, number, bytes(waiting)))
                number, waiting = number + 1, bytearray()
                _settle(sent, most=READERS)
            on_part(done / len(order))
        if not head:
            head, waiting = bytes(waiting), bytearray()
        if waiting:
            sent.append(pool.submit(put, number, bytes(waiting)))
        _settle(sent, most=0)
        header = mp4_movie.movie_header(tracks, size)
        put(1, header + head)
    return len(header) + size


def _files(track: int, parts: Sequence[Part]) -> Iterator[_File]:
    begins = 0.0
    for part in parts:
        for segment in part.encoded.segments:
            yield _File(track, part.prefix + segment.name, begins)
            begins += segment.seconds


def _fetched(pool: ThreadPoolExecutor, order: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    """Each file with its content, in order; up to READERS files are read ahead."""
    ahead: list[tuple[_File, Future[bytes]]] = []
    for file in order:
        ahead.append((file, pool.submit(_get, file.key)))
        if len(ahead) >= READERS:
            first, body = ahead.pop(0)
            yield first, body.result()
    for first, body in ahead:
        yield first, body.result()


def _get(key: str) -> bytes:
    body = objects.read_object(key)
    if body is None:
        raise Transient("part_missing", "A part of the video is not there.")
    return body


def _settle(sent: list[Future[None]], most: int) -> None:
    """Wait until at most `most` uploads are under way. Raises what an upload raised."""
    while len(sent) > most:
        sent.pop(0).result()


def predict(work: Join, basis: Basis) -> Prediction:
    video, audio = basis.plan.parts(basis.task)
    assert isinstance(basis.facts, VideoFacts)
    film_seconds = basis.facts.seconds
    size = predicted_bytes(work, basis)
    tracks = 1 + bool(audio)
    files = sum(count_segments(part, film_seconds) for part in (*video, *audio))
    return Prediction(
        s3_gets=1 + tracks + files,
        s3_puts=2 + ceil(size / PART_BYTES),
        bytes_read=size,
        bytes_written=size,
        results_read=len(basis.task.needs),
        requests_at_once=READERS,
        output_bytes=size,
    )
