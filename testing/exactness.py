"""Compare films frame by frame: the digests of decoded frames, and PSNR.

Whether chunks equal the whole film is judged by the frames that reach the encoders: two encodes of the same
frames differ.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path

import msgspec

from chalicelib.model.plan import FILM, Plan, Task
from chalicelib.model.work import Chunk, Command
from infra.tools.samples import ffmpeg

_SEEN = "seen.framemd5"


def noting(plan: Plan) -> Plan:
    """The plan, with an extra output in each encode: the digests of its decoded frames."""
    commands = {
        name: _noting(command, in_part="{start}" in "".join(command))
        for name, command in plan.commands.items()
        if name == FILM
    }
    return msgspec.structs.replace(plan, commands=plan.commands | commands)


def _noting(command: Command, *, in_part: bool) -> Command:
    """The command with an extra output of frame digests; `in_part`: only of the part's own frames."""
    before = command.index("-filter_complex") + 2
    stream = re.match(r"\[(0:\d+)\]", command[before - 1])
    assert stream
    output = (
        "-map", stream[1],
        "-vf", "trim=start={start}:end={end}" if in_part else "null",
        "-fps_mode", "passthrough",
        "-f", "framemd5", _SEEN,
    )  # fmt: skip
    return (*command[:before], *output, *command[before:])


def seen(plan: Plan, folder: Path) -> list[str]:
    """Digests of the film's decoded frames, in order; each task has run in the folder `folder`/id."""
    return [digest for task in _parts(plan) for digest in _digests(folder / task.id / _SEEN)]


def _parts(plan: Plan) -> list[Task]:
    return [task for task in plan.tasks if isinstance(task.work, Chunk)]


def _digests(path: Path) -> Iterator[str]:
    """The digest of each frame: the last column of FFmpeg's framemd5."""
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            yield line.rpartition(",")[2].strip()


def differing(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """The numbers of frames that differ; with unequal counts, of the surplus frames."""
    if len(one) == len(other):
        return [n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    return list(range(min(len(one), len(other)), max(len(one), len(other))))


def psnr(one: Path, other: Path) -> list[float]:
    """PSNR in dB, over all planes, of each pair of frames with the same number."""
    command = (
        ffmpeg(), "-v", "error", "-nostdin",
        "-i", str(one),
        "-i", str(other),
        "-filter_complex",
        "[0:v]settb=1/25,setpts=N[one];[1:v]settb=1/25,setpts=N[other];"
        "[one][other]psnr=stats_file=-:shortest=1",
        "-fps_mode", "passthrough",
        "-f", "null", "/dev/null",
    )  # fmt: skip
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [inf if value == "inf" else float(value) for value in re.findall(r"psnr_avg:(\S+)", log)]
