"""Fuzz with damaged variants of real files: sniffing, probing and planning, and whole steps.

`python -m testing.fuzz --seed 1 --variants 5000 --whole 500 --corpus ../shared/corpus` prints the outcomes by
code, and each defect with the arguments that repeat it: `--seed 1 --first 4711 --variants 1`.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import re
import resource
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import psutil
from PIL import Image, ImageCms

from infra.tools import samples
from testing.prepared import LOCAL, ROOT  # before chalicelib: its variables, and the layer's FFmpeg

# isort: split
from chalicelib.engines import sandbox
from chalicelib.errors import JobError, SluiceError, Transient
from chalicelib.invocation import Budget
from chalicelib.model.facts import Facts, VideoFacts
from chalicelib.model.plan import Plan, Task
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.planner import make_plan
from chalicelib.settings import settings
from chalicelib.telemetry import logger
from testing.local import below, carry_out, facts_of
from testing.planned import DEFAULTS

FOLDER = LOCAL / "fuzz"
# Larger files take longer and find no more defects.
MOST_BYTES = 400_000
MOST_WHOLE_BYTES = 130_000
# The time limit of a whole task here; on Lambda it is up to 15 minutes.
TASK_SECONDS = 60.0
# How much later than its deadline a trial may end on a busy machine.
GRACE_SECONDS = 5.0
MOST_GROWTH = 300 * 1024**2

# ── what is damaged ─────────────────────────────────────────────────────────────────────────────


class Base(NamedTuple):
    """A file to damage."""

    name: str
    content: bytes


_PICTURES = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF")
_FILMS = {
    "h264.mp4": ("-c:v", "libx264", "-c:a", "aac"),
    "fragmented.mp4": ("-c:v", "libx264", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"),
    "mpeg4.mov": ("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    "h264.mkv": ("-c:v", "libx264", "-c:a", "flac"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "h264.ts": ("-c:v", "libx264", "-c:a", "aac"),
    "flv1.flv": ("-c:v", "flv", "-ar", "44100", "-c:a", "libmp3lame"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "wmv2.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "theora.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
}


def own_bases(folder: Path = LOCAL / "samples" / "fuzz") -> list[Base]:
    """A small file of every accepted format; missing ones are generated."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PICTURES:
        _make(folder / f"picture.{name.lower()}", partial(_picture, name))
    for name, codecs in _FILMS.items():
        _make(folder / name, partial(_film, codecs))
    return bases(folder)


def _make(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically: tests in another process may read it at the same time."""
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent.parent) as scratch:
            part = Path(scratch) / path.name
            write(part)
            part.rename(path)


def _picture(image_format: str, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {} if image_format in ("BMP", "GIF") else {"exif": exif, "icc_profile": profile}
    samples.scene(64, 48).save(path, image_format, **options)


def _film(codecs: tuple[str, ...], path: Path) -> None:
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.48",
        "-f", "lavfi", "-i", "sine=440:sample_rate=44100:duration=0.48",
        "-pix_fmt", "yuv420p",
        *codecs,
        str(path),
    )  # fmt: skip


def bases(folder: Path, most_bytes: int = MOST_BYTES) -> list[Base]:
    """The files of a folder that are not too large, in a stable order."""
    return [
        Base(str(path.relative_to(folder)), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in (".tsv", ".md")
        and path.stat().st_size <= most_bytes
    ]


# ── how it is damaged ───────────────────────────────────────────────────────────────────────────

Damage = Callable[[Random, bytearray, bytes], bytearray]
_TELLING = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, -1, -2)


def _place(rng: Random, content: bytes | bytearray) -> int:
    """An offset for damage; half of all are in the head, where lengths and sizes are."""
    return rng.randrange(min(len(content), 1024) if rng.random() < 0.5 else len(content))


def flip_bits(rng: Random, content: bytearray, _: bytes) -> bytearray:
    for _number in range(rng.choice((1, 1, 2, 4, 16, 64))):
        content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return content


def overwrite(rng: Random, content: bytearray, _: bytes) -> bytearray:
    for _number in range(rng.choice((1, 2, 8))):
        start = _place(rng, content)
        length = min(rng.choice((1, 2, 4, 16, 256)), len(content) - start)
        fill = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", rng.randbytes(1)))
        content[start : start + length] = rng.choice((fill * length, rng.randbytes(length)))
    return content


def edit_length(rng: Random, content: bytearray, _: bytes) -> bytearray:
    """Replace a number beside a four-letter name, or four bytes anywhere."""
    names = [match.start() for match in re.finditer(rb"[A-Za-z0-9 ]{4}", content)]
    for _number in range(rng.choice((1, 1, 3))):
        start = max(0, rng.choice(names) + rng.choice((-4, 4, 8, 12))) if names else 0
        if not names or rng.random() < 0.4:
            start = _place(rng, content)
        width = rng.choice((1, 2, 4, 4, 8))
        value = rng.choice((*_TELLING, len(content), len(content) - start, rng.getrandbits(32)))
        order = rng.choice(("big", "little"))
        number = (value % (1 << 8 * width)).to_bytes(width, "big")
        content[start : start + width] = number if order == "big" else number[::-1]
    return content


def truncate(rng: Random, content: bytearray, _: bytes) -> bytearray:
    return content[: _place(rng, content)]


def duplicate(rng: Random, content: bytearray, _: bytes) -> bytearray:
    start = _place(rng, content)
    chunk = content[start : start + rng.choice((4, 64, 1024, 16384))]
    times = rng.choice((1, 1, 2, 50))
    return content[:start] + chunk * times + content[start:]


def remove(rng: Random, content: bytearray, _: bytes) -> bytearray:
    start = _place(rng, content)
    del content[start : start + rng.choice((1, 4, 64, 1024, 16384))]
    return content


def splice(rng: Random, content: bytearray, other: bytes) -> bytearray:
    """Join the beginning of one file and the rest of another."""
    cut = rng.choice((8, 16, 64, 512, 4096))
    if rng.random() < 0.5:
        return bytearray(other[:cut]) + content[cut:]
    return content[: _place(rng, content)] + other[_place(rng, other) :]


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    overwrite,
    edit_length,
    truncate,
    duplicate,
    remove,
    splice,
)


def _with_checksums(content: bytes) -> bytes:
    """Correct the checksums of a PNG, so that it is not refused for them alone."""
    fixed = bytearray(content)
    start = 8
    while start + 12 <= len(fixed):
        end = start + 8 + int.from_bytes(fixed[start : start + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(fixed)


class Variant(NamedTuple):
    """A damaged file, and what was done to it."""

    number: int
    name: str
    content: bytes


def variant(seed: int, number: int, originals: Sequence[Base]) -> Variant:
    """The damaged file of this number; equal seeds and originals give equal files."""
    rng = Random(f"{seed}:{number}")
    base, other = rng.choice(originals), rng.choice(originals)
    content, done = bytearray(base.content), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damage = rng.choice(DAMAGES)
        if content and other.content:
            content = damage(rng, content, other.content)
            done.append(damage.__name__)
    made = bytes(content)
    if made.startswith(b"\x89PNG") and rng.random() < 0.7:
        made = _with_checksums(made)
    return Variant(number, f"{base.name} {'+'.join(done)}", made)


# ── what it goes through ────────────────────────────────────────────────────────────────────────


@cache
def memory_of(queue: str) -> int:
    """The memory of a queue's Lambda in bytes."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return int(config["lambda_functions"][queue]["lambda_memory_size"]) * 1024**2


def inspect(path: Path) -> Facts:
    """Probe a local file as intake probes one in S3."""
    return facts_of(path, Budget(lambda: TASK_SECONDS, memory_of("intake")))


def plan_of(path: Path) -> Plan:
    """The plan of every step that the file can have, encoded and decoded again as by the store."""
    facts = inspect(path)
    film = isinstance(facts, VideoFacts)
    pipeline = ("thumbnail", "watermark", *(("transcode_720p", "hls_720p") if film else ()))
    made = make_plan("job", "a.bin", facts, find_steps(pipeline, JobError), DEFAULTS)
    plan = msgspec.json.decode(msgspec.json.encode(made), type=Plan)
    numbers = [cost for tasks in plan.shares().values() for cost in tasks.values()]
    if isinstance(facts, VideoFacts):
        numbers += [facts.seconds]
    if plan != made or not all(math.isfinite(number) for number in numbers):
        raise ValueError("the plan cannot be stored")
    return plan


def budget_of(task: Task) -> Budget:
    """The budget of a Lambda that starts now."""
    until = time.monotonic() + TASK_SECONDS
    return Budget(lambda: until - time.monotonic(), memory_of(task.pool))


# ── what came of it ─────────────────────────────────────────────────────────────────────────────

DEFECT = "DEFECT"


class Outcome(NamedTuple):
    """`ok`, the code of a refusal, or DEFECT with what is wrong."""

    code: str
    defect: str
    seconds: float


@contextmanager
def _log() -> Iterator[io.StringIO]:
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    try:
        yield written
    finally:
        handler.setStream(before)


def judge(trial: Callable[[], object], deadline: float) -> Outcome:
    """Run a trial. Returns its outcome."""
    started = time.monotonic()
    with _log() as log:
        code, defect = _try(trial)
    for line in log.getvalue().splitlines():
        if trace := json.loads(line).get("trace"):
            defect = _signature(trace)
    seconds = time.monotonic() - started
    if seconds > deadline + GRACE_SECONDS:
        defect = defect or f"took {seconds:.0f} s, {deadline:.0f} are allowed"
    if left := below(psutil.Process()):
        defect = defect or f"left a child behind ({left[0].status()})"
    return Outcome(DEFECT if defect else code, defect, seconds)


def _try(trial: Callable[[], object]) -> tuple[str, str]:
    try:
        trial()
    except JobError as error:
        bad = not error.detail.endswith(".") or "Traceback" in error.detail or "/" in error.detail
        return error.code, f"no sentence: {error.detail}" if bad else ""
    except Transient as error:
        return error.code, f"Transient {error.code}: {error.detail}"
    except SluiceError as error:
        return error.code, f"{type(error).__name__} {error.code}"
    except Exception as error:
        import traceback

        return "", _signature("".join(traceback.format_exception(error)))
    return "ok", ""


def _signature(trace: str) -> str:
    """The signature of a traceback: the exception, our last line in it, and the last line of all."""
    frames = re.findall(
        r'File "[^"]*?((?:chalicelib/)?[^/"]+/[^/"]+)", line (\d+), in (\S+)', trace
    )
    ours = [frame for frame in frames if frame[0].startswith("chalicelib/")]
    last = trace.strip().splitlines()[-1][:160]
    where = " · ".join(":".join(frame) for frame in (ours[-1:] + frames[-1:]))
    return f"{last} at {where}"


@dataclass
class Report:
    """The outcomes of all trials."""

    codes: Counter[str] = field(default_factory=Counter)
    defects: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    slowest: list[tuple[float, str]] = field(default_factory=list)
    trials: int = 0

    def note(self, what: str, seed: int, damaged: Variant, outcome: Outcome) -> None:
        label = f"--seed {seed} --first {damaged.number} ({damaged.name}{what})"
        self.codes[outcome.code] += 1
        self.slowest = sorted([*self.slowest, (outcome.seconds, label)], reverse=True)[:8]
        if outcome.defect:
            self.defects[outcome.defect].append(label)
            name = re.sub(r"\W+", "_", damaged.name)
            FOLDER.mkdir(parents=True, exist_ok=True)
            (FOLDER / f"{seed}-{damaged.number}-{name}").write_bytes(damaged.content)

    def text(self) -> str:
        lines = [f"{count:6} {code}" for code, count in self.codes.most_common()]
        lines += ["slowest:", *(f"{seconds:6.1f} s {label}" for seconds, label in self.slowest)]
        sandbox.stop()
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        lines += [f"largest child: {largest:.0f} MiB"]
        for defect, labels in sorted(self.defects.items(), key=lambda pair: -len(pair[1])):
            lines += [f"{len(labels)} × {defect}", *(f"    {label}" for label in labels[:3])]
        return "\n".join(lines)


def _grown(before: int, report: Report) -> None:
    grown = psutil.Process().memory_info().rss - before
    if grown > MOST_GROWTH:
        report.defects[f"the worker grew by {grown / 1024**2:.0f} MiB"].append("all together")


def fuzz_probing(seed: int, first: int, count: int, originals: Sequence[Base]) -> Report:
    """Sniff, probe and plan `count` variants from number `first` on."""
    report, before = Report(), psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source"
        for number in range(first, first + count):
            damaged = variant(seed, number, originals)
            path.write_bytes(damaged.content)
            outcome = judge(partial(plan_of, path), settings().probe_seconds)
            report.note("", seed, damaged, outcome)
            report.trials += 1
    _grown(before, report)
    return report


def _collect(plans: list[Plan], path: Path) -> None:
    plans.append(plan_of(path))


def fuzz_steps(seed: int, first: int, count: int, originals: Sequence[Base]) -> Report:
    """Run variants through all steps, until `count` of them could be planned."""
    report, before, number = Report(), psutil.Process().memory_info().rss, first
    small = [base for base in originals if len(base.content) <= MOST_WHOLE_BYTES]
    while report.trials < count:
        damaged = variant(seed, number, small)
        number += 1
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = folder / "file"
            path.write_bytes(damaged.content)
            plans: list[Plan] = []
            judge(partial(_collect, plans, path), math.inf)
            for plan in plans:
                report.trials += 1

                def note(task: Callable[[], None], damaged: Variant = damaged) -> None:
                    report.note(" whole", seed, damaged, judge(task, TASK_SECONDS))

                carry_out(plan, path, folder, note, budget_of)
    _grown(before, report)
    return report


def main() -> None:
    """Run the fuzz and print the outcomes; exit with 1 if there is a defect."""
    parser = argparse.ArgumentParser(prog="python -m testing.fuzz", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first variant")
    parser.add_argument("--variants", type=int, default=500, help="into sniffing and probing")
    parser.add_argument("--whole", type=int, default=50, help="through whole steps")
    parser.add_argument("--corpus", type=Path, help="a folder of files, instead of own samples")
    arguments = parser.parse_args()
    originals = bases(arguments.corpus) if arguments.corpus else own_bases()
    failed = False
    for name, run, count in (
        ("sniff, probe, plan", fuzz_probing, arguments.variants),
        ("whole steps", fuzz_steps, arguments.whole),
    ):
        started = time.monotonic()
        report = run(arguments.seed, arguments.first, count, originals)
        failed |= bool(report.defects)
        spent = time.monotonic() - started
        print(f"{name}: {report.trials} variants, {spent:.0f} s\n{report.text()}\n", flush=True)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
