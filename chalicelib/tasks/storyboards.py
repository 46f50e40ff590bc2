"""Make a film's storyboard of the key frames of a rendition, by the bytes of its segments that show them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from chalicelib.errors import Transient, crashed
from chalicelib.formats import mp4_fragments, mp4_movie, storyboards
from chalicelib.formats.cmaf import INIT
from chalicelib.formats.storyboards import Layout
from chalicelib.model.result import StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import KeyFrame, Storyboard
from chalicelib.planning.storyboards import SHEET
from chalicelib.store import objects
from chalicelib.store.objects import READERS
from chalicelib.tasks.encoding import run_ffmpeg
from chalicelib.tasks.packaging import Part, parts_of
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.workbench import Workbench

_STEM = "storyboard"
# Seconds of one core for a tile; bytes of one, for each pixel.
_TILE_SECONDS, _PIXEL_BYTES = 0.01, 0.15


class _Shown(NamedTuple):
    """A key frame of the film."""

    time: float  # seconds
    key: str  # of the segment, in S3
    frame: KeyFrame


def run(work: Storyboard, bench: Workbench) -> StepsEnded:
    """Draw the sheets, and store them with their layout. Raises JobError, Transient."""
    video, _ = parts_of(bench)
    parts = video[work.rendition]
    found = list(_key_frames(parts))
    names = [f"{_STEM}_{number}.jpg" for number in range(1, 1 + work.sheets)]
    layout = storyboards.layout(work, names)
    with bench.folder() as folder:
        wanted = [_nearest(found, (tile.start + tile.end) / 2) for tile in layout.tiles]
        header = objects.read_object(f"{parts[0].prefix}{INIT}")
        if header is None:
            raise Transient("part_missing", "A part of the video is not there.")
        (folder / "source").write_bytes(_film(header, _samples(wanted)))
        run_ffmpeg(work.command, None, folder, bench.budget, lambda _: None)
        drawn = [folder / (SHEET % number) for number in range(1, 1 + len(names))]
        if (
            not all(path.exists() for path in drawn)
            or (folder / (SHEET % (1 + len(names)))).exists()
        ):
            raise crashed("video")
        return StepsEnded({bench.task.id: _published(work, bench, layout, drawn, folder / "out")})


def _key_frames(parts: Sequence[Part]) -> Iterator[_Shown]:
    time = 0.0
    for part in parts:
        for segment in part.encoded.segments:
            for frame in segment.keys:
                yield _Shown(time, part.prefix + segment.name, frame)
                time += frame.seconds


def _nearest(found: Sequence[_Shown], time: float) -> _Shown:
    after = bisect_left(found, time, key=lambda shown: shown.time)
    beside = found[max(0, after - 1) : after + 1]
    return min(beside, key=lambda shown: abs(shown.time - time))


def _samples(wanted: Sequence[_Shown]) -> list[bytes]:
    """The encoded key frames. Raises Transient where a segment is not there."""

    def read(shown: _Shown) -> bytes:
        begin = shown.frame.offset
        fragment = objects.read_object(shown.key, (begin, begin + shown.frame.length))
        if fragment is None:
            raise Transient("part_missing", "A part of the video is not there.")
        # A moof box, the head of its mdat, and the sample.
        return fragment[int.from_bytes(fragment[:4]) + 8 :]

    with ThreadPoolExecutor(READERS) as pool:
        once = dict.fromkeys(wanted)
        made = dict(zip(once, pool.map(read, once), strict=True))
    return [made[shown] for shown in wanted]


def _film(header: bytes, samples: Sequence[bytes]) -> bytes:
    """A film of which each sample is shown for a second."""
    second = mp4_movie.timescale_of(header)
    return header + b"".join(
        mp4_fragments.fragment(
            number + 1,
            [number * second],
            [number * second, (number + 1) * second],
            [True],
            [sample],
        )
        for number, sample in enumerate(samples)
    )


def _published(
    work: Storyboard, bench: Workbench, layout: Layout, drawn: Sequence[Path], out: Path
) -> StepState:
    for path, name in zip(drawn, layout.sheets, strict=True):
        path.rename(out / name)
    vtt, told = out / f"{_STEM}.vtt", out / f"{_STEM}.json"
    vtt.write_text(storyboards.webvtt(layout))
    told.write_bytes(msgspec.json.encode(layout))
    files = [vtt, told, *(out / name for name in layout.sheets)]
    tile, (across, down) = (work.width, work.height), work.grid
    # What is left of the last sheet is black.
    sizes = [tile, tile, *[(work.width * across, work.height * down)] * work.sheets]
    outputs = [
        Output(
            type=bench.task.id,
            s3_key=bench.task.destination + path.name,
            size=bench.publish(path),
            content_type=objects.CONTENT_TYPES[path.suffix],
            width=width,
            height=height,
            duration=layout.duration,
            warning=work.warning if path is vtt else "",
            format=format_of(path.name),
        )
        for path, (width, height) in zip(files, sizes, strict=True)
    ]
    return StepState(SUCCESS, outputs=tuple(outputs))


def predict(work: Storyboard, basis: Basis) -> Prediction:
    tiles = work.tiles
    size = round(tiles * work.width * work.height * _PIXEL_BYTES)
    return Prediction(
        s3_gets=2 + tiles,
        s3_puts=2 + work.sheets,
        bytes_read=tiles * 10_000,
        bytes_written=size,
        seconds=DECODER_SECONDS + tiles * _TILE_SECONDS / basis.one_core,
        results_read=len(basis.task.needs),
        requests_at_once=READERS,
        output_bytes=size,
    )
