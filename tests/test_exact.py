"""Chunks see each frame as the film as a whole has it, and errors of decoding are not passed over."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from chalicelib.errors import JobError
from chalicelib.media import VideoFacts
from chalicelib.plan import Plan
from chalicelib.planning import make_plan
from chalicelib.steps import find_steps
from infra import exactness
from tests.clips import clip
from tests.local import Result, carry_out, facts_of

pytestmark = [pytest.mark.media, pytest.mark.usefixtures("short_chunks")]


class Film:
    """A film in chunks and as a whole: the outputs, and the frames that were decoded for them."""

    def __init__(self, path: Path, folder: Path) -> None:
        facts = facts_of(path)
        assert isinstance(facts, VideoFacts)
        assert facts.index is not None, facts.uncut
        self.facts = facts
        self._path, self._folder = path, folder

    def plan(self, *, whole: bool = False) -> Plan:
        facts = msgspec.structs.replace(self.facts, index=None) if whole else self.facts
        steps = find_steps(["transcode_720p"], JobError)
        return exactness.noting(make_plan("job", "a.mp4", facts, steps))

    def made(self, plan: Plan) -> tuple[Result, list[str]]:
        folder = self._folder / str(len(plan.tasks))
        shutil.rmtree(folder, ignore_errors=True)
        result = carry_out(plan, self._path, folder)["transcode_720p"]
        return result, exactness.seen(plan, folder / "tasks")

    def differing(self) -> list[int]:
        """Frames that chunks see otherwise."""
        whole, seen_whole = self.made(self.plan(whole=True))
        chunked, seen = self.made(self.plan())
        assert (chunked.made.warning == "") == (whole.made.warning == "")
        return exactness.differing(seen_whole, seen)


Say = Callable[[bytes], bytes]


def saying(path: Path, target: Path, says: dict[int, Say]) -> None:
    """The film with other bytes in some of its packets, by their numbers."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        video = source.streams.video[0]
        stream = copy.add_stream_from_template(video)
        packets = (packet for packet in source.demux(video) if packet.size)
        for number, packet in enumerate(packets):
            said = av.Packet(says.get(number, bytes)(bytes(packet)))
            said.pts, said.dts, said.time_base = packet.pts, packet.dts, packet.time_base
            said.duration, said.is_keyframe = packet.duration, packet.is_keyframe
            said.stream = stream
            copy.mux(said)


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def of_an_old_x264(path: Path, *output: str, build: int = 30, **options: Any) -> None:
    """Made by today's; decoders read its direct blocks as those of the build that it claims."""
    clip(path, "25", "-preset", "medium", "-bf", "3", "-g", "50", *output, **options)
    name = re.compile(rb"x264 - core (\d{3})")

    def change(content: bytearray) -> None:
        (found,) = name.finditer(content)
        content[slice(*found.span(1))] = b"%03d" % build

    rewrite(path, change)


def of_an_old_xvid(path: Path, *output: str, build: int = 1, **options: Any) -> None:
    """Made by FFmpeg; decoders interpolate its chroma by quarters as the build does that it claims."""
    whole = path.with_stem("whole")
    clip(
        whole, "25", "-c:v", "mpeg4", "-q:v", "4", "-flags", "+qpel", "-g", "50", *output, **options
    )
    saying(whole, path, {0: lambda packet: b"\0\0\1\xb2XviD%04d" % build + packet})


def with_parameters_in_its_first_sample(path: Path, *output: str, **options: Any) -> None:
    """As avc3 and hev1 allow; the description of the track has none."""
    whole = path.with_stem("whole")
    clip(whole, "25", "-g", "50", *output, **options)
    with av.open(str(whole)) as film:
        described = film.streams.video[0].codec_context.extradata or b""
        codec = film.streams.video[0].codec_context.name
    sets = b"".join(_sets(described, codec))
    saying(whole, path, {0: lambda packet: sets + packet})
    at = path.read_bytes().index(described)
    # How many there are: of one kind, and then of the other; of arrays of them.
    length = len(described)
    none = (
        described[:5] + b"\xe0\0" + bytes(length - 7)
        if codec == "h264"
        else described[:22] + bytes(length - 22)
    )

    def change(content: bytearray) -> None:
        content[at : at + length] = none

    rewrite(path, change)


def _sets(described: bytes, codec: str) -> Iterator[bytes]:
    """The parameter sets of a description, each behind its length of four bytes (ISO/IEC 14496-15)."""
    at, arrays = (5, 2) if codec == "h264" else (23, described[22])
    for _ in range(arrays):
        if codec == "h264":
            count, at = described[at] & 0x1F, at + 1
        else:
            count, at = int.from_bytes(described[at + 1 : at + 3]), at + 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(described[at : at + 2])
            yield b"\0\0" + described[at:end]
            at = end


X265 = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-tag:v",
    "hev1",
    "-x265-params",
    "log-level=error:keyint=50",
)
KINDS: dict[str, Callable[..., None]] = {
    "x264's build in SEI": of_an_old_x264,
    "Xvid's build in user data": of_an_old_xvid,
    "H.264's parameters": with_parameters_in_its_first_sample,
    "HEVC's parameters": lambda path: with_parameters_in_its_first_sample(path, *X265),
}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_told_what_the_first_sample_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source.mp4"
    KINDS[kind](path)
    film = Film(path, tmp_path)
    assert film.plan().sizes()["720p"] > 1
    assert film.differing() == []
