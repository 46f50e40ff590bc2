"""Fuzz films with damaged frames, in chunks and as a whole: chunks may hide no error, and add none.

`python -m testing.fuzz_chunks --seed 1 --variants 500` prints the outcomes, and each defect with the
arguments that repeat it: `--first 47 --variants 1`.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import msgspec

from testing.prepared import LOCAL  # before chalicelib: its variables, and the layer's FFmpeg

# isort: split
from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts
from chalicelib.model.plan import Plan, Task
from chalicelib.model.result import EncodedTrack
from chalicelib.model.work import Chunk, Join
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from chalicelib.tasks import chunks
from chalicelib.tasks.packaging import shortfall
from infra.tools.samples import run_ffmpeg
from testing import exactness
from testing.local import facts_of, write_excerpt
from testing.planned import plan_settings_with

FOLDER = LOCAL / "fuzz"
# Settings by which a chunk begins at each key frame that is a second after the last chunk's.
SHORTEST_CHUNKS = plan_settings_with(chunk_work_seconds=0.0001, least_chunk_seconds=1.0)
_SECONDS = 3
_BUDGET = Budget(lambda: 60.0, 4 * 1024**3)
_AGAIN = 5
# The part of the frames that may have errors without a warning.
_MOST_SILENT = 0.01
_X264 = ("-c:v", "libx264", "-preset", "medium", "-g", "10", "-bf", "3")
_X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-bf", "3")
_X265_PARAMS = "log-level=error:keyint=10:min-keyint=10"
ENCODES: dict[str, tuple[str, ...]] = {
    "H.264": (*_X264, "-pix_fmt", "yuv420p"),
    "H.264, open groups": (*_X264, "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1"),
    "H.264, CAVLC, slices": (*_X264, "-pix_fmt", "yuv420p", "-coder", "0", "-slices", "4"),
    "H.264 4:4:4": (*_X264, "-pix_fmt", "yuv444p"),
    "HEVC": (*_X265, "-x265-params", f"{_X265_PARAMS}:open-gop=0"),
    "HEVC, open groups": (*_X265, "-x265-params", f"{_X265_PARAMS}:open-gop=1"),
    "MPEG-4": ("-c:v", "mpeg4", "-g", "10", "-q:v", "4", "-bf", "2"),
    "MPEG-2": ("-c:v", "mpeg2video", "-g", "10", "-q:v", "4", "-bf", "2"),
    "VP9": ("-c:v", "libvpx-vp9", "-g", "10", "-deadline", "realtime", "-cpu-used", "8"),
    "AV1": ("-c:v", "libsvtav1", "-preset", "12", "-g", "10"),
    "Motion JPEG": ("-c:v", "mjpeg", "-q:v", "6", "-pix_fmt", "yuvj420p"),
}  # fmt: skip


class Base(NamedTuple):
    """A film to damage."""

    name: str
    content: bytes
    packets: list[tuple[int, int]]  # (offset, size) in bytes of each video packet


def bases() -> list[Base]:
    return [_base(name, encode) for name, encode in ENCODES.items()]


def _base(name: str, encode: Sequence[str]) -> Base:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        source = f"testsrc2=size=160x96:rate=10:duration={_SECONDS}"
        run_ffmpeg("-f", "lavfi", "-i", source, *encode, str(path))
        with av.open(str(path)) as film:
            packets = [(p.pos, p.size) for p in film.demux(video=0) if p.size and p.pos is not None]
        return Base(name, path.read_bytes(), packets)


class Variant(NamedTuple):
    """A damaged film."""

    name: str
    content: bytes


def variant(seed: int, number: int, originals: Sequence[Base]) -> Variant:
    """The film of this seed and number, with an intact index and some damaged packets."""
    rng = Random(f"chunks:{seed}:{number}")
    base = originals[number % len(originals)]
    content = bytearray(base.content)
    for begin, size in rng.sample(base.packets, rng.choice((0, 1, 1, 2, 4, 9))):
        # In some films only the first bytes of a packet, its headers, make a difference.
        place = begin + min(size - 1, rng.choice((rng.randrange(size), rng.randrange(24))))
        length = min(rng.choice((1, 1, 4, 32, size)), begin + size - place)
        fill = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
        content[place : place + length] = fill
    return Variant(base.name, bytes(content))


class Decode(NamedTuple):
    """The result of encoding a film: the code of its failure, or its warning, and the decoded frames."""

    code: str
    warning: str
    seen: list[str]


def _decode(path: Path, facts: VideoFacts, folder: Path) -> Decode:
    """Encode as `local.carry_out` does, without S3, which takes longer than all else."""
    steps = find_steps(["transcode_720p"], JobError)
    plan = exactness.noting(make_plan("job", "a.mp4", facts, steps, SHORTEST_CHUNKS))
    try:
        made = [_encoded(plan, task, path, facts, folder / task.id) for task in plan.first()]
        work = plan.tasks[-1].work
        assert isinstance(work, Join)
        warning = shortfall(
            work.frames,
            work.seconds,
            sum(parts.frames for parts in made),
            sum(parts.seconds for parts in made),
            sum(parts.faults for parts in made),
        )
    except JobError as error:
        return Decode(error.code, "", [])
    return Decode("", warning, exactness.seen(plan, folder))


def _encoded(plan: Plan, task: Task, path: Path, facts: VideoFacts, place: Path) -> EncodedTrack:
    assert isinstance(task.work, Chunk)
    (place / "out").mkdir(parents=True)
    fetch = partial(write_excerpt, plan, task, facts.index, path, place / "source")
    if task.excerpt is None:
        shutil.copy(path, place / "source")
    (track,) = chunks.encode(task.work, plan.commands, place, _BUDGET, fetch).tracks.values()
    return track


def _faulty(path: Path) -> float:
    """The part of all packets that give no frame, or a frame marked as corrupt, in another FFmpeg."""
    faults = frames = 0
    with av.open(str(path)) as film:
        for packet in film.demux(video=0):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                faults += 1
                continue
            frames += len(decoded)
            faults += sum(frame.is_corrupt for frame in decoded)
    return faults / max(1, frames)


class Outcome(NamedTuple):
    """The outcome of a variant in a few words, and its defect."""

    said: str
    defect: str = ""


def judge(path: Path, folder: Path) -> Outcome:
    """Compare a film in chunks with the film as a whole."""
    try:
        facts = facts_of(path)
    except JobError as error:
        return Outcome(f"refused: {error.code}")
    assert isinstance(facts, VideoFacts)
    if facts.index is None:
        return Outcome(f"not cut: {facts.whole_reason}")
    as_whole = msgspec.structs.replace(facts, index=None)
    whole = _decode(path, as_whole, folder / "whole")
    chunked = _decode(path, facts, folder / "chunks")
    others = set(exactness.differing(whole.seen, chunked.seen))
    for number in range(_AGAIN if others else 0):
        # FFmpeg's HEVC decoder is not deterministic with some damage.
        again = _decode(path, as_whole, folder / f"again{number}")
        others -= set(exactness.differing(whole.seen, again.seen))
    summary = chunked.code or ("with a warning" if chunked.warning else "without a warning")
    return Outcome(summary, _defect(whole, chunked, others, _faulty(path)))


def _defect(whole: Decode, chunked: Decode, others: Collection[int], faulty: float) -> str:
    """The defect, or "". `others`: numbers of the frames that differ from the whole's."""
    whole_is_sound = not whole.code and not whole.warning
    if chunked.code:
        return f"the whole has no errors, and chunks fail: {chunked.code}" if whole_is_sound else ""
    if whole_is_sound and others:
        return f"the whole has no errors, and {len(others)} frames of chunks are others"
    if chunked.warning:
        return "the whole has no warning" if whole_is_sound else ""
    if whole.code or others:
        return f"no warning, and {len(others)} frames are others than the whole's ({whole.code})"
    return f"no warning of {faulty:.0%} with errors" if faulty > _MOST_SILENT else ""


class Report(NamedTuple):
    """The outcomes of all variants, by codec."""

    codes: dict[str, Counter[str]]
    defects: dict[str, list[str]]

    def text(self) -> str:
        lines = []
        for name, codes in self.codes.items():
            told = ", ".join(f"{count} {code}" for code, count in codes.most_common())
            lines.append(f"{name}: {told}")
        for defect, labels in self.defects.items():
            lines += [f"{len(labels)} × {defect}", *(f"    {label}" for label in labels[:5])]
        return "\n".join(lines)


def fuzz(seed: int, first: int, count: int, originals: Sequence[Base]) -> Report:
    """Judge `count` variants from number `first` on."""
    report = Report(defaultdict(Counter), defaultdict(list))
    for number in range(first, first + count):
        damaged = variant(seed, number, originals)
        with TemporaryDirectory() as temporary:
            path = Path(temporary) / "film.mp4"
            path.write_bytes(damaged.content)
            outcome = judge(path, Path(temporary))
        report.codes[damaged.name][outcome.said] += 1
        if outcome.defect:
            report.defects[outcome.defect].append(f"--first {number} ({damaged.name})")
            FOLDER.mkdir(parents=True, exist_ok=True)
            (FOLDER / f"chunks-{seed}-{number}.mp4").write_bytes(damaged.content)
    return report


def main() -> None:
    """Run the fuzz and print the outcomes; exit with 1 if there is a defect."""
    parser = argparse.ArgumentParser(prog="python -m testing.fuzz_chunks", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first variant")
    parser.add_argument("--variants", type=int, default=500)
    arguments = parser.parse_args()
    report = fuzz(arguments.seed, arguments.first, arguments.variants, bases())
    print(report.text(), flush=True)
    raise SystemExit(bool(report.defects))


if __name__ == "__main__":
    main()
