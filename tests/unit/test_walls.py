"""The walls hold against a decoder that was taken over: it reaches its file, and others of its user."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from chalicelib.engines import ffmpeg, sandbox, walls
from chalicelib.errors import JobError, Transient
from chalicelib.invocation import Budget
from chalicelib.model.facts import Interest, VideoFacts
from chalicelib.model.picture import DrawnImage, DrawnPicture
from chalicelib.model.work import Images
from chalicelib.probing import inspect
from chalicelib.tasks import images
from chalicelib.tasks.stills import in_child
from testing.local import THUMBNAIL
from testing.taken_over import PREFIX

# Python may lie where others may not go: a view of the machine in which they may.
_OPEN_WAY = """\
set -e
if [ -n "$1" ]; then
    mount --make-rprivate /
    mkdir -p /mnt && mount --bind "$1" /mnt
    mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$1" && mount --bind /mnt "$1" && umount /mnt
fi
shift 2
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


def as_ordinary_user() -> list[str]:
    """How to begin a command so that it is run by a user who is not root."""
    if os.getuid():
        return []
    prefix = Path(sys.executable).resolve().parent.parent
    closed = [each for each in prefix.parents if not each.stat().st_mode & 0o001]
    told = [str(prefix), str(closed[-1])] if closed else ["", ""]
    return ["unshare", "--mount", "sh", "-c", _OPEN_WAY, "sh", *told]


@pytest.fixture(params=["root", "an ordinary user"])
def tried(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What two decoders reach, of a worker of this user."""
    if request.param == "root" and os.getuid():
        pytest.skip("only root can be root")
    run = subprocess.run(
        [
            *(as_ordinary_user() if request.param != "root" else ()),
            sys.executable, "-m", "testing.taken_over",
        ],
        env={"AWS_SECRET_ACCESS_KEY": f"{PREFIX}12345678", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, list[str]] = json.loads(run.stdout.splitlines()[-1])  # behind the log
    return found


# In Lambda there are none: a worker has one task at a time, and nothing of a decoder outlives it.
REMAINS = ["files of other tasks", "folders of other tasks"]


def test_who_takes_a_decoder_over_reaches_no_more_than_files(tried: dict[str, list[str]]) -> None:
    assert tried == {"forked": REMAINS, "FFmpeg": REMAINS}


# ── what comes back ─────────────────────────────────────────────────────────────────────────────

MEMORY = 2**32


def ask(job: str, *args: Any, returns: Any = bytes, size: int | None = None) -> Any:
    """Of a decoder that was taken over; with a file of that size."""
    told: dict[str, Any] = {"returns": returns, "seconds": 2.0, "memory_bytes": MEMORY}
    if size is None:
        return sandbox.call(f"testing.decoders:{job}", *args, **told)
    return sandbox.call_with_source(
        f"testing.decoders:{job}", *args, **told, read=read, size=size, most_seconds=4.0
    )


def read(start: int, length: int) -> bytes:
    assert 0 <= start < start + length <= 1000
    return bytes(length)


def crashes(job: str, *args: Any, **options: Any) -> bool:
    with pytest.raises(JobError) as refusal:
        ask(job, *args, **options)
    return refusal.value.code == "decoder_crashed"


def packed(name: str, **fields: object) -> bytes:
    return msgspec.msgpack.encode({"type": name, **fields})


@pytest.mark.parametrize(
    "message",
    [
        b"\0",
        b"\xc1",
        b"A" * 60_000,
        packed("Answered")[:-1],
        packed("Other"),
        packed("Refused", code="source_damaged", detail="A" * 501),
        packed("Refused", code="source_damaged", detail="Two\nlines."),
        packed("Refused", code="source_damaged", detail=""),
        packed("Refused", code="made_up", detail="A code of its own."),
        packed("Broken", errno=-1, trace=""),
        packed("Broken", errno=2**40, trace=""),
        packed("Wanted", start=0, length=1),  # of no file
    ],
    ids=lambda message: repr(message[:40]),
)
def test_a_message_that_is_none_ends_a_decoder_at_once(message: bytes) -> None:
    # It would be a timeout, and no crash, at its deadline.
    assert crashes("say", [message])


def test_a_message_longer_than_any_is_not_received() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert crashes("say", [b"A" * 70_000])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_an_answer_that_was_announced_and_is_not_there_is_none() -> None:
    assert crashes("say", [packed("Answered")])


@pytest.mark.parametrize("range_", [(-5, 8), (10**15, 8), (996, 8), (0, 2**40), (0, 0), (0, -1)])
def test_no_range_is_read_that_is_not_in_the_file(range_: tuple[int, int]) -> None:
    assert crashes("want", *range_, size=1000)


def test_who_asks_and_does_not_listen_ends_at_its_deadline() -> None:
    with pytest.raises((JobError, Transient)):
        ask("say_endlessly", size=1000)


@pytest.mark.parametrize("length", [300 * 2**20, 1500 * 2**20])
def test_an_answer_of_holes_is_not_read(length: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert crashes("answer_at_length", length)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_nobody_cuts_off_the_memory_that_both_share() -> None:
    with pytest.raises(Transient, match="not permitted"):
        ask("cut_off_memory", size=1000)


GRAPH = "bt709[a];movie=/proc/self/status[b];[a][b]overlay,scale=640:360:in_color_matrix=bt709"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("matrix", GRAPH),
        ("demuxer", "concat,x"),
        ("frame_rate", "25:movie=x"),
        ("frame_rate", "1/0"),
        ("frame_rate", "0"),
        ("video_codec", "{0.__class__}"),
        ("audio", {"stream": 1, "language": 'en",URI="x'}),
        ("audio", {"stream": 1, "codec": "{0.__class__}"}),
        ("whole_reason", "<script>"),
        ("width", 0),
        ("height", -2),
        ("timescale", 0),
        ("seconds", float("nan")),
        ("video_start", float("-inf")),
        ("frames", -1),
        ("video_stream", -1),
        ("colours", []),
        ("colours", [[1, 1, -1]]),
        ("changes", [[2, 2, 2, 2, "yuvj420p[x];movie=y", True]]),
        ("index", {"timescale": 0}),
    ],
)
def test_facts_that_no_film_can_have_are_none(field: str, value: object) -> None:
    assert ask("forged", "mov", "frames", 7, returns=VideoFacts, size=1000).frames == 7
    assert crashes("forged", "mov", field, value, returns=VideoFacts, size=1000)


def test_facts_of_another_format_than_the_files_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    film = b"\0\0\0\x18ftypisom" + bytes(100)
    budget = Budget(lambda: 20.0, 2**30)

    def inspected(demuxer: str) -> str:
        forged = VideoFacts(demuxer, 640, 360, 10.0, 250, "25", 12800, 0)
        monkeypatch.setattr(sandbox, "call_with_source", lambda *_, **__: forged)
        facts = inspect.inspect(lambda start, end: film[start:end], len(film), budget)
        assert isinstance(facts, VideoFacts)
        return facts.demuxer

    assert inspected("mov") == "mov"
    with pytest.raises(JobError, match="crash"):
        inspected("concat")


def test_pictures_that_were_not_asked_for_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    work = Images("JPEG", {"thumbnail": THUMBNAIL})

    def draw(step: str, *files: DrawnImage) -> object:
        drawn = {step: DrawnPicture(files)} if step else {}
        monkeypatch.setattr(images, "in_child", lambda *_: drawn)
        return images.draw(work, tmp_path, Budget(lambda: 20.0, MEMORY))

    right = DrawnImage("thumb.jpg", 512, 384)
    assert draw("thumbnail", right)
    for step, files in (
        ("thumbnail", [DrawnImage("../source", 512, 384)]),
        ("thumbnail", [DrawnImage("thumb.jpg", 512, 2**30)]),
        ("thumbnail", [right, right]),
        ("thumbnail", []),
        ("watermark", [right]),
        ("", []),
    ):
        with pytest.raises(JobError, match="crash"):
            draw(step, *files)


@pytest.mark.parametrize(("image_format", "side"), [("TIFF", 512), ("PNG", 24000)])
def test_a_frame_that_is_none_is_not_opened(tmp_path: Path, image_format: str, side: int) -> None:
    """A picture of another kind, or a large one, in place of what FFmpeg was told to write."""
    path = tmp_path / "candidate_0.png"
    budget = Budget(lambda: 20.0, MEMORY)
    Image.new("1", (512, 288)).save(path, "PNG")
    assert in_child("pillow:interest", Interest, budget, path, (512, 512)) == (0, 0)
    Image.new("1", (side, side)).save(path, image_format)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(JobError) as refusal:
        in_child("pillow:interest", Interest, budget, path, (512, 512))
    assert refusal.value.code == "source_damaged"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


# ── what FFmpeg leaves ──────────────────────────────────────────────────────────────────────────


def run_instead(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str, seconds: float = 600
) -> None:
    """Run a program of Python in FFmpeg's place, for at most `seconds`."""
    program = folder / "ffmpeg"
    begin = f"#!{sys.executable} -S", "import os, time"
    program.write_text("\n".join((*begin, *lines, "print('progress=end')")))
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "binary", lambda: program)
    ffmpeg.run((), folder=folder, seconds=seconds, memory_bytes=MEMORY)


@pytest.mark.parametrize(
    "left",
    [
        "os.symlink('/etc/passwd', 'pictures.mp4')",
        "os.link('ffmpeg', 'pictures.mp4')",
        "os.mkfifo('pictures.mp4')",
        "os.rename('out', 'in'); os.symlink('/etc', 'out')",
        "os.mkdir('out/in'); os.symlink('/etc/passwd', 'out/in/x')",
    ],
)
def test_what_is_no_file_of_ffmpegs_own_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    (tmp_path / "out").mkdir()
    run_instead(monkeypatch, tmp_path, "open('out/pictures.mp4', 'w')")
    with pytest.raises(JobError, match="crash"):
        run_instead(monkeypatch, tmp_path, left)


@pytest.mark.parametrize("holds", [True, False], ids=["holds", "lets go"])
def test_ffmpeg_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    """Whether it holds what FFmpeg writes to, or not."""
    # Unless its deadline ends it, this takes longer than any test may.
    with pytest.raises(JobError):
        run_instead(
            monkeypatch,
            tmp_path,
            "if os.fork() == 0:",
            "    os.setsid()",
            "    open('left', 'w').write(str(os.getpid()))",
            *(() if holds else ("    os.closerange(0, 9)",)),
            "    time.sleep(9999)",
            "time.sleep(9999)",
            seconds=1,
        )
    left = tmp_path / "left"
    assert not left.exists() or not Path(f"/proc/{left.read_text()}").exists()


def test_an_endless_line_of_ffmpegs_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_instead(
        monkeypatch,
        tmp_path,
        "for each in range(100): os.write(1, bytes(2**20)); os.write(2, bytes(2**20))",
        "print(); print('frame=' + '9' * 5000)",
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


ORPHANS = """\
import os, sys, time
from chalicelib.engines import forkserver, walls
walls.adopt()
if os.fork() == 0:
    os.setsid()
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
    os._exit(0)
os.wait()
before = len(list(forkserver.children()))
forkserver.end_all()
print(before, len(list(forkserver.children())))
"""


def test_who_is_orphaned_below_the_forkserver_is_ended() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ORPHANS], capture_output=True, text=True, timeout=20, check=True
    )
    assert run.stdout == "5 0\n"


def test_a_decoder_that_crashed_is_the_last_of_its_forkserver() -> None:
    assert ask("parent", returns=int) == ask("parent", returns=int)
    before = ask("parent", returns=int)
    with pytest.raises(JobError):
        ask("refuse", "source_damaged", "It is damaged.")
    assert ask("parent", returns=int) == before
    assert crashes("say", [b"\0"])
    assert ask("parent", returns=int) != before
    assert not Path(f"/proc/{before}").exists()


HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("column", [0, 1])
def test_every_number_of_a_system_call_is_that_of_its_name(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip("the kernel's headers are not there")
    text = HEADERS[column].read_text()
    told = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    names = {name: numbers[column] for name, numbers in walls.DENIED.items()}
    names |= {"clone": walls.CLONE[column], "clone3": walls.CLONE3[column]}
    names |= {"kill": walls.SIGNALS[0][column], "tgkill": walls.SIGNALS[1][column]}
    names |= {"prlimit64": walls.LIMITS[column]}
    wanted = {name: number for name, number in names.items() if number is not None}
    assert {name: int(told[name]) for name in wanted} == wanted
