"""What is made of a rendition's parts by copying: an MP4, or playlists. From S3 to S3, on no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from chalicelib.errors import JobError, Transient
from chalicelib.formats import mp4_fragments, mp4_movie, playlists
from chalicelib.formats.cmaf import START_SECONDS
from chalicelib.model.job import Output
from chalicelib.model.plan import Hls, Join, Parts, Task
from chalicelib.store import objects
from chalicelib.store.objects import PART_BYTES, READERS

_ENOUGH = 0.9
# A multipart upload has at most 10,000 parts; what is larger than this is refused.
_MOST_BYTES = 9_000 * PART_BYTES


class Stored(NamedTuple):
    """A part as its worker left it: what it says of itself, and the key prefix of its files."""

    parts: Parts
    folder: str


def package(
    task: Task,
    pictures: Sequence[Stored],
    sound: Sequence[Stored],
    on_part: Callable[[float], None],
) -> Output:
    """Do the work of `task` on the parts that it needs. Raises JobError, Transient."""
    work = task.work
    assert isinstance(work, Join | Hls)
    if len({part.parts.header for part in pictures}) != 1:
        raise JobError("chunks_differ", "The video's parts were encoded in different ways.")
    frames = sum(part.parts.frames for part in pictures)
    seconds = sum(part.parts.seconds for part in pictures)
    faults = sum(part.parts.faults for part in pictures)
    warnings = [work.warning, shortfall(work.frames, work.seconds, frames, seconds, faults)]
    warnings += [part.parts.warning for part in (*pictures, *sound)]
    if isinstance(work, Hls):
        name, size = _hls(work, pictures, sound, task.destination, frames / seconds)
    else:
        name = work.output
        size = _join(pictures, sound, task.destination + name, on_part)
    return Output(
        type=task.id,
        s3_key=task.destination + name,
        size=size,
        content_type=objects.CONTENT_TYPES[Path(name).suffix],
        width=work.width,
        height=work.height,
        duration=round(seconds, 3),
        warning=" ".join(dict.fromkeys(filter(None, warnings))),
    )


def shortfall(
    frames: int | None,
    seconds: float,
    delivered_frames: int,
    delivered_seconds: float,
    faults: int = 0,
) -> str:
    """A warning where less came out than the source promised, or with errors; "" where all did, whole.

    Raises JobError `source_damaged` where it is less than nine tenths. Damaged frames are left out
    silently by decoders that exit with 0, or filled in, so all counts matter; `faults` is that of frames in
    which the decoder found errors.
    """
    whole = (delivered_frames - faults) / delivered_frames
    parts = [delivered_seconds / seconds, whole]
    if frames:
        parts.append(delivered_frames / frames)
    part = min(parts)
    if part < _ENOUGH:
        raise JobError(
            "source_damaged", f"Only {part:.0%} of the video can be decoded: the file is damaged."
        )
    missing = (frames or 0) - delivered_frames
    if (frames and missing > 1) or seconds - delivered_seconds > max(0.5, 0.01 * seconds):
        return f"The file is damaged: {part:.1%} of the video could be decoded."
    if faults:
        return (
            f"The file is damaged: {faults} of {delivered_frames} frames of the video could not be "
            "decoded without errors."
        )
    return ""


def _hls(
    work: Hls, pictures: Sequence[Stored], sound: Sequence[Stored], folder: str, frame_rate: float
) -> tuple[str, int]:
    """Write the playlists of a film that is complete: the one to list, and the bytes of all its files."""
    tracks = {
        playlists.VIDEO: [segment for part in pictures for segment in part.parts.segments],
        playlists.AUDIO: [segment for part in sound for segment in part.parts.segments],
    }
    size = 0
    for name, segments in tracks.items():
        if segments:
            longest = max(segment.seconds for segment in segments)
            text = playlists.media(name, segments, longest, complete=True)
            size += objects.put_output(f"{folder}{name}.m3u8", text.encode())
            size += sum(segment.size for segment in segments)
    video, audio = (playlists.bits(segments) for segments in tracks.values())
    text = playlists.master(
        work, pictures[0].parts.codec, frame_rate, video[0] + audio[0], video[1] + audio[1]
    )
    name = f"{playlists.MASTER}.m3u8"
    return name, size + objects.put_output(folder + name, text.encode())


class _File(NamedTuple):
    """A segment, on its way into an MP4."""

    track: int
    key: str
    begins: float  # seconds


def _join(
    pictures: Sequence[Stored],
    sound: Sequence[Stored],
    key: str,
    on_part: Callable[[float], None],
) -> int:
    """Write the MP4; its size in bytes.

    Samples are passed on as they come, and the index, in which each is a line, goes first: a multipart
    upload takes its parts in any order.
    """
    total = sum(s.size for part in (*pictures, *sound) for s in part.parts.segments)
    if total > _MOST_BYTES:
        detail = f"The MP4 would have {total} bytes, and at most {_MOST_BYTES} can be joined: use hls_720p."
        raise JobError("output_too_large", detail)
    headers = [f"{pictures[0].folder}video_init.mp4"]
    if sound:
        headers.append(f"{sound[0].folder}audio_init.mp4")
    tracks = [mp4_movie.Track(_get(header), START_SECONDS) for header in headers]
    order = sorted(
        chain(_files(0, pictures), _files(1, sound)), key=lambda file: (file.begins, file.track)
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


def _files(track: int, parts: Sequence[Stored]) -> Iterator[_File]:
    begins = 0.0
    for part in parts:
        for segment in part.parts.segments:
            yield _File(track, part.folder + segment.name, begins)
            begins += segment.seconds


def _fetched(pool: ThreadPoolExecutor, order: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    """Each file and what is in it, in order; a few are read ahead."""
    ahead: list[tuple[_File, Future[bytes]]] = []
    for file in order:
        ahead.append((file, pool.submit(_get, file.key)))
        if len(ahead) >= READERS:
            first, body = ahead.pop(0)
            yield first, body.result()
    for first, body in ahead:
        yield first, body.result()


def _get(key: str) -> bytes:
    body = objects.get_output(key)
    if body is None:
        raise Transient("part_missing", "A part of the video is not there.")
    return body


def _settle(sent: list[Future[None]], most: int) -> None:
    """Wait until at most so many uploads are under way; raises what one raised."""
    while len(sent) > most:
        sent.pop(0).result()
