"""Chunks see each frame as the film as a whole has it, and errors of decoding are not passed over."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import mp4_excerpt
from chalicelib.formats.mp4_fragments import Fragment
from chalicelib.formats.preamble import preamble
from chalicelib.invocation import Budget
from chalicelib.model.facts import Cut, FrameIndex, TrackSamples, VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Chunk, Command, Exact, Excerpt, Run, RunUp
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying, excerpts
from chalicelib.planning.operation import PlanSettings
from chalicelib.planning.planner import make_plan
from chalicelib.tasks.chunks import Ran, encode_exactly
from chalicelib.tasks.encoding import Fragments
from infra.tools import samples
from testing import exactness, fuzz_chunks
from testing.clips import clip
from testing.fuzz_chunks import SHORTEST_CHUNKS
from testing.local import Result, carry_out, copy_of, facts_of
from testing.planned import FILM, SHORT_CHUNKS
from testing.prepared import CORPUS
from tests.moto.test_chunks import columns

pytestmark = pytest.mark.media


BUDGET = Budget(lambda: 600.0, 4 * 1024**3)


class Film:
    """A film in chunks and as a whole: the outputs, and the frames that were decoded for them."""

    def __init__(self, path: Path, folder: Path, chosen: PlanSettings = SHORT_CHUNKS) -> None:
        self._chosen = chosen
        facts = facts_of(path)
        assert isinstance(facts, VideoFacts)
        self._whole = path, msgspec.structs.replace(facts, index=None)
        if facts.index is None and not copying.obstacle(facts, 0) and facts.copy_may_help:
            try:
                _, copied, path = copy_of(path, folder / "copy")
            except JobError as error:
                pytest.skip(f"as a whole: {error.detail}")
            facts = copying.as_copied(facts, copied)
        if facts.index is None:
            pytest.skip(f"as a whole: {facts.whole_reason}")
        self._chunked = path, facts
        self._folder = folder

    def chunks(self) -> int:
        return sum(isinstance(task.work, Chunk) for task in self._plan(self._chunked[1]).tasks)

    def _plan(self, facts: VideoFacts) -> Plan:
        steps = find_steps(["transcode_720p"], JobError)
        return exactness.noting(make_plan("job", "a.mp4", facts, steps, self._chosen))

    def made(self, *, whole: bool = False) -> tuple[Result, list[str]]:
        path, facts = self._whole if whole else self._chunked
        plan, folder = self._plan(facts), self._folder / ("whole" if whole else "chunks")
        result = carry_out(plan, path, folder, budget_of=lambda _: BUDGET)["transcode_720p"]
        return result, exactness.seen(plan, folder / "tasks")

    def differing(self) -> list[int]:
        """Frames that chunks see otherwise."""
        whole, seen_whole = self.made(whole=True)
        chunked, seen = self.made()
        assert chunked.made.warning == whole.made.warning
        return exactness.differing(seen_whole, seen)


Say = Callable[[bytes], bytes]


def saying(
    path: Path, target: Path, says: dict[int, Say], keys: Collection[int] | None = None
) -> None:
    """The film with other bytes in some of its packets, by their numbers, or with other key frames."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        video = source.streams.video[0]
        stream = copy.add_stream_from_template(video, opaque=True)
        packets = (packet for packet in source.demux(video) if packet.size)
        for number, packet in enumerate(packets):
            said = av.Packet(says.get(number, bytes)(bytes(packet)))
            said.pts, said.dts, said.time_base = packet.pts, packet.dts, packet.time_base
            said.duration = packet.duration
            said.is_keyframe = packet.is_keyframe if keys is None else number in keys
            said.stream = stream
            copy.mux(said)


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def of_an_old_x264(path: Path, *output: str, build: int = 30, **options: Any) -> None:
    """Made by today's; decoders read its direct blocks as those of the build that it claims."""
    clip(path, "25", "-preset", "medium", "-bf", "3", "-g", "25", *output, **options)
    name = re.compile(rb"x264 - core (\d{3})")

    def change(content: bytearray) -> None:
        (found,) = name.finditer(content)
        content[slice(*found.span(1))] = b"%03d" % build

    rewrite(path, change)


def of_an_old_xvid(path: Path, *output: str, build: int = 1, **options: Any) -> None:
    """Made by FFmpeg; decoders interpolate its chroma by quarters as the build does that it claims."""
    whole = path.with_stem("whole")
    clip(
        whole, "25", "-c:v", "mpeg4", "-q:v", "4", "-flags", "+qpel", "-g", "25", *output, **options
    )
    saying(whole, path, {0: lambda packet: b"\0\0\1\xb2XviD%04d" % build + packet})


def with_parameters_in_its_first_sample(path: Path, *output: str, **options: Any) -> None:
    """As avc3 and hev1 allow; the description of the track has none."""
    whole = path.with_stem("whole")
    clip(whole, "25", "-g", "25", *output, **options)
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


def said_once(
    path: Path, once: Say, described: Callable[[bytes], bytes], *output: str, **options: Any
) -> None:
    """A film whose description says less, and its samples but for the first one, too."""
    whole, later = path.with_stem("whole"), path.with_stem("later")
    clip(whole, "25", *output, **options)
    with av.open(str(whole)) as film:
        told = film.streams.video[0].codec_context.extradata or b""
    saying(whole, later, dict.fromkeys(range(1, 10_000), once))
    path.write_bytes(later.read_bytes().replace(told, described(told)))


def av1_said_once(path: Path) -> None:
    def without_header(sample: bytes) -> bytes:
        return sample[2 + sample[1] :] if sample[0] == 0x0A else sample

    def padded(told: bytes) -> bytes:
        return told[:4] + bytes((15 << 3 | 2, len(told) - 6)).ljust(len(told) - 4, b"\0")

    said_once(path, without_header, padded, "-c:v", "libsvtav1", "-preset", "12", "-g", "25")


def vvc_said_once(path: Path) -> None:
    def without_parameters(sample: bytes) -> bytes:
        kept, at = b"", 0
        while at < len(sample):
            end = at + 4 + int.from_bytes(sample[at : at + 4])
            kept += sample[at:end] if sample[at + 5] >> 3 not in (14, 15, 16) else b""
            at = end
        return kept

    def without_arrays(told: bytes) -> bytes:
        at = told.index(b"\x02\x8f\0\1")
        return told[:at].ljust(len(told), b"\0")

    said_once(
        path, without_parameters, without_arrays,
        "-c:v", "libvvenc", "-preset", "faster", "-qp", "45", "-g", "24", "-pix_fmt", "yuv420p10le",
        "-vvenc-params", "refreshtype=idr_no_radl", size="96x64",
    )  # fmt: skip


X265 = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-tag:v",
    "hev1",
    "-x265-params",
    "log-level=error:keyint=25",
)
KINDS: dict[str, Callable[..., None]] = {
    "x264's build in SEI": of_an_old_x264,
    "Xvid's build in user data": of_an_old_xvid,
    "H.264's parameters": with_parameters_in_its_first_sample,
    "HEVC's parameters": lambda path: with_parameters_in_its_first_sample(path, *X265),
    "AV1's header": av1_said_once,
    "VVC's parameters": vvc_said_once,
}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_told_what_the_first_sample_says(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "source.mp4"
    KINDS[kind](path)
    film = Film(path, tmp_path)
    assert film.chunks() > 1
    assert film.differing() == []
    assert not {"Not exact", "FFmpeg failed"} & set(caplog.messages)


def old_x264(build: int, size: str, *output: str) -> Callable[[Path], None]:
    return lambda path: of_an_old_x264(path, *output, build=build, size=size, seconds=5)


def old_xvid(size: str, *output: str, build: int = 0) -> Callable[[Path], None]:
    return lambda path: of_an_old_xvid(path, *output, build=build, size=size, seconds=5)


def told_once(size: str, *output: str) -> Callable[[Path], None]:
    return lambda path: with_parameters_in_its_first_sample(path, *output, size=size, seconds=5)


VARIANTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "x264 10": (".mp4", old_x264(10, "176x144")),
    "x264 33, open groups": (".mp4", old_x264(33, "320x180", "-x264-params", "open-gop=1")),
    "x264 1, index first": (".mp4", old_x264(1, "98x130", "-movflags", "+faststart")),
    "x264 20, MOV": (".mov", old_x264(20, "208x120")),
    "x264 30, 4:2:2": (".mp4", old_x264(30, "160x96", "-pix_fmt", "yuv422p")),
    "x264 30, CAVLC": (".mp4", old_x264(30, "160x96", "-coder", "0")),
    "Xvid, MOV": (".mov", old_xvid("176x144")),
    "Xvid, B-frames": (".mp4", old_xvid("320x180", "-bf", "2")),
    "H.264 4:4:4": (".mp4", told_once("160x96", "-pix_fmt", "yuv444p")),
    "H.264, index first": (".mp4", told_once("320x180", "-movflags", "+faststart", "-bf", "3")),
    "H.264, MOV": (".mov", told_once("98x130", "-coder", "0")),
    "HEVC, 10 bits": (".mp4", told_once("160x96", *X265, "-pix_fmt", "yuv420p10le")),
    "HEVC, 4:2:2": (".mov", told_once("320x180", *X265, "-pix_fmt", "yuv422p")),
}


@pytest.mark.variants
@pytest.mark.parametrize("kind", VARIANTS)
def test_chunks_are_told_so_in_films_of_other_kinds(tmp_path: Path, kind: str) -> None:
    suffix, make = VARIANTS[kind]
    path = tmp_path / f"source{suffix}"
    make(path)
    film = Film(path, tmp_path, SHORTEST_CHUNKS)
    assert film.chunks() > 1
    assert film.differing() == []


CHANGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "three times": (("-coder", "0"), ("-coder", "1"), ("-coder", "0")),
    "weights": (("-weightp", "0", "-refs", "1"), ("-weightp", "2", "-refs", "3")),
    "transform": (("-x264-params", "8x8dct=0"), ("-x264-params", "8x8dct=1")),
    "quantiser": (("-qp", "10"), ("-qp", "35")),
    "chroma": (("-x264-params", "chroma-qp-offset=6"), ("-x264-params", "chroma-qp-offset=-6")),
}


@pytest.mark.variants
@pytest.mark.parametrize("kind", CHANGES)
def test_other_changes_of_the_description_are_met_from_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source.mp4"
    joined_within(path, *CHANGES[kind], seconds=4)
    film = Film(path, tmp_path, SHORTEST_CHUNKS)
    assert film.chunks() > 3
    assert film.differing() == []


def test_a_description_that_changes_on_the_way_is_met_from_the_start(tmp_path: Path) -> None:
    """Two encodes in one track: how the second is coded stands before its own first picture, once."""
    path = tmp_path / "source.mp4"
    joined_within(path, ("-coder", "0"), ("-coder", "1"))
    film = Film(path, tmp_path)
    assert film.chunks() > 3
    assert film.differing() == []


def joined_within(path: Path, *encodes: tuple[str, ...], **options: Any) -> None:
    """Encodes of one shape, one behind the other; parameter sets stand in the first sample of each."""
    raw = b""
    for number, output in enumerate(encodes):
        part = path.with_name(f"{number}.h264")
        clip(part, "25", "-preset", "veryfast", "-bf", "0", "-g", "25", *output, **options)
        raw += b"".join(_said_once(part.read_bytes()))
    joined = path.with_name("joined.h264")
    joined.write_bytes(raw)
    samples.run_ffmpeg("-r", "25", "-i", str(joined), "-c", "copy", str(path))


def _said_once(stream: bytes) -> Iterator[bytes]:
    """The units of a byte stream (ITU-T H.264, annex B), of parameter sets the first ones alone."""
    said = set()
    for unit in re.split(rb"\x00?\x00\x00\x01", stream)[1:]:
        kind = unit[0] & 0x1F
        if kind not in (7, 8) or kind not in said:
            said.add(kind)
            yield b"\0\0\0\1" + unit


def damaged(path: Path, packets: Iterable[int], *output: str, **options: Any) -> None:
    """A film in which the most of some packets is gone: zeros, which are no code."""
    whole = path.with_stem("whole")
    clip(whole, "25", "-g", "50", "-preset", "veryfast", "-bf", "0", *output, **options)

    def spoilt(packet: bytes) -> bytes:
        return packet[: len(packet) // 4].ljust(len(packet), b"\0")

    saying(whole, path, dict.fromkeys(packets, spoilt))


def test_frames_with_errors_are_counted_alike_in_chunks_and_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    damaged(path, (30, 210, 211, 345))
    film = Film(path, tmp_path)
    whole, seen_whole = film.made(whole=True)
    chunked, seen = film.made()
    assert "4 of 400 frames" in whole.made.warning
    assert chunked.made.warning == whole.made.warning
    # FFmpeg's threads conceal errors by what their neighbours have decoded so far: from run to
    # run otherwise, until the next key frame.
    concealed = {*range(30, 50), *range(210, 250), *range(345, 350)}
    assert set(exactness.differing(seen_whole, seen)) <= concealed


def test_pictures_of_hevc_that_are_given_up_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    damaged(path, (30, 210, 211, 345), *X265)
    film = Film(path, tmp_path)
    for whole in (True, False):
        assert "4 of 400 frames" in film.made(whole=whole)[0].made.warning


def test_a_film_of_which_a_tenth_has_errors_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    damaged(path, range(110, 160))
    film = Film(path, tmp_path)
    for whole in (False, True):
        with pytest.raises(JobError, match=r"Only 8[78]%"):
            film.made(whole=whole)


def test_the_first_sample_says_for_others_what_lasts() -> None:
    def unit(*content: int) -> bytes:
        return struct.pack(">I", len(content)) + bytes(content)

    sps, pps, user_data = unit(0x67, 1), unit(0x68, 2), unit(0x06, 5, 1, 9)
    delimiter, recovery_point, picture = unit(0x09, 0xF0), unit(0x06, 6, 1, 0x84), unit(0x65, 1)
    track = b"....avcC\x01\x64\x00\x0c\xff"
    said = delimiter + sps + pps + recovery_point + user_data + picture + pps
    assert preamble("h264", track, said) == sps + pps + user_data
    # Of two bytes each, lengths are other numbers; none is told; a unit is cut short.
    assert preamble("h264", b"avcC\x01\x64\x00\x0c\xfd", said) == b""
    assert preamble("h264", b"", said) == b""
    assert preamble("h264", track, sps + pps[:-1]) == sps
    assert preamble("vp9", track, said) == b""

    # VVC tells its kinds in the second byte, and how long lengths are beside another bit.
    sps, suffix, picture = unit(0, 15 << 3 | 1, 1), unit(0, 18 << 3 | 1, 2), unit(0, 7 << 3 | 1)
    assert preamble("vvc", b"vvcC\0\0\0\0\xff", sps + suffix + picture + sps) == sps

    header, hdr10, time_code = b"\x0a\1\7", b"\x2a\2\1\5", b"\x2a\2\5\5"
    delimiter, picture = b"\x12\0", b"\x32\x81\1" + bytes(129)
    said = delimiter + header + time_code + hdr10 + picture + header
    assert preamble("av1", b"", said) == header + hdr10
    assert preamble("av1", b"", header + hdr10[:3]) == header
    assert preamble("av1", b"", b"\x0a\xff\xff\xff\xff\xff") == b""

    volume, encoder, group = b"\0\0\1\x20\x08", b"\0\0\1\xb2XviD0050", b"\0\0\1\xb3\0\x10\7"
    assert preamble("mpeg4", b"", volume + encoder + group + b"\0\0\1\xb6\1" + encoder) == (
        volume + encoder
    )
    sequence, extension = b"\0\0\1\xb3\x0a", b"\0\0\1\xb5\x14"
    group = b"\0\0\1\xb8\0\x08\0\x40"
    said = sequence + extension + group + b"\0\0\1\0\0" + extension
    assert preamble("mpeg2video", b"", said) == sequence + extension


def test_what_comes_before_a_sample_lies_before_it_where_parts_stay_in_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", seconds=1)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None
    source = bytes(range(100))
    begins, sizes = numpy.array([0, 50, 20, 40]), numpy.array([9, 5, 20, 6])
    packed = mp4_excerpt.pack(numpy.arange(4), begins, sizes, numpy.array([0, 1]))
    coded = TrackSamples(*packed, facts.index.video.track, preamble=b"preamble")
    target = tmp_path / "excerpt.mp4"
    for first, said in ((0, b""), (1, b""), (2, b"preamble")):
        wanted = Excerpt((first, 4), int(begins[first]), (0, 60), "film")
        samples_of = mp4_excerpt.samples_of("job", coded)
        rows = coded.rows[slice(*mp4_excerpt.rows_of(coded, wanted))]
        made = mp4_excerpt.make(samples_of, wanted, rows)
        assert made.parts == sorted(made.parts)  # they are read by one request
        content = made.head + b"".join(source[begin:end] for begin, end in made.parts)
        target.write_bytes(content)
        found = columns(content, 1, 4 - first)
        assert found is not None
        own = [source[at : at + size] for at, size in zip(begins, sizes, strict=True)][first:]
        assert [
            content[at : at + size] for at, size in zip(found.offsets, found.sizes, strict=True)
        ] == [said + own[0], *own[1:]]


@pytest.mark.parametrize(("cut", "again"), [(0, []), (1, [0]), (2, [1, 0]), (400, [399])])
def test_the_film_s_start_is_met_again_where_it_is_near(cut: int, again: list[int]) -> None:
    cuts = [
        Cut(
            time=n,
            frame=50 * n,
            sample=50 * n,
            at=0,
            leading_stop=0,
            earliest=0,
            begin=n,
            end=n,
            leading_bytes_stop=n,
        )
        for n in range(500)
    ]
    index = FrameIndex(
        1, 0, 0, durations=((25_000, 1),), cuts=tuple(cuts), video=TrackSamples("", b"", "", b"")
    )
    assert excerpts.run_ups(FILM, index, cut) == again


@pytest.mark.variants
def test_no_damage_is_passed_over_in_chunks_or_added_by_them() -> None:
    report = fuzz_chunks.fuzz(1, 0, 22, fuzz_chunks.bases())
    assert not report.defects, report.text()


def looped(folder: Path) -> Path:
    """Of an old x264, 4:4:4: for the most part green where its build is not known."""
    path = folder / "cockatoo.mp4"
    film = CORPUS / "videos" / "imageio-binaries__cockatoo.mp4"
    samples.run_ffmpeg("-stream_loop", "7", "-i", str(film), "-c", "copy", "-an", str(path))
    return path


@pytest.mark.corpus
def test_a_film_of_an_old_x264_is_not_green(tmp_path: Path) -> None:
    film = Film(looped(tmp_path), tmp_path)
    whole, seen_whole = film.made(whole=True)
    chunked, seen = film.made()
    assert seen == seen_whole
    assert (whole.made.warning, chunked.made.warning) == ("", "")
    assert min(exactness.psnr(chunked.path, whole.path)) > 40


FILMS = sorted((CORPUS / "videos").iterdir()) if CORPUS.exists() else []


@pytest.mark.corpus
@pytest.mark.variants
@pytest.mark.parametrize("path", FILMS, ids=lambda path: path.name)
def test_films_of_the_corpus_are_in_chunks_what_they_are_as_a_whole(
    path: Path, tmp_path: Path
) -> None:
    film = Film(path, tmp_path, SHORTEST_CHUNKS)
    assert film.differing() == []


def with_false_keys(path: Path, *output: str) -> None:
    """A film whose container calls every fifth frame a key frame."""
    whole = path.with_stem("whole")
    clip(whole, "25", "-g", "250", *output, seconds=5)
    saying(whole, path, {}, keys=range(0, 125, 5))


FALSE_KEYS = {
    "HEVC": X265,
    "H.264": ("-preset", "veryfast", "-bf", "0"),
    "H.264, B-frames": ("-preset", "veryfast", "-bf", "3"),
    "MPEG-4": ("-c:v", "mpeg4", "-q:v", "4"),
    "MPEG-2": ("-c:v", "mpeg2video", "-q:v", "4"),
    "VP9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "AV1": ("-c:v", "libsvtav1", "-preset", "12"),
}


@pytest.mark.parametrize(
    "codec",
    [
        name if name == "HEVC" else pytest.param(name, marks=pytest.mark.variants)
        for name in FALSE_KEYS
    ],
)
def test_a_key_frame_that_is_none_is_met_from_one_that_is(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "source.mp4"
    with_false_keys(path, *FALSE_KEYS[codec])
    film = Film(path, tmp_path, SHORTEST_CHUNKS)
    assert film.chunks() > 1
    assert film.differing() == []


FRAMES = tuple(range(0, 100, 20))


@pytest.mark.parametrize(
    ("runs", "frames", "faults"),
    [
        # The frames that came out of each run, or why none did, and in how many there were errors.
        ([(FRAMES, 0)], FRAMES, 0),
        ([(FRAMES, 2), (FRAMES, 0)], FRAMES, 0),
        ([(FRAMES, 2), (FRAMES, 3), (FRAMES, 4)], FRAMES, 2),
        ([(FRAMES, 1), (FRAMES[1:], 0), (FRAMES[2:], 0)], FRAMES, 1),
        ([(FRAMES, 1), ("step_timeout", 0), ("decoder_crashed", 0)], FRAMES, 1),
        ([(FRAMES[1:], 0), (FRAMES[2:], 1), ("step_timeout", 0)], FRAMES[2:], 1),
        ([("conversion_failed", 0), (FRAMES, 1), (FRAMES[1:], 0)], FRAMES, 1),
        ([(FRAMES, 3), (FRAMES[1:], 0), (FRAMES, 2)], FRAMES, 2),
    ],
)
def test_of_several_runs_the_last_that_has_its_frames_counts(
    runs: list[tuple[Any, int]], frames: tuple[int, ...], faults: int
) -> None:
    again = RunUp(Excerpt((0, 1), 0, (0, 1), "film"), 0)
    steps = ((len(FRAMES), 20),)
    exact = Exact(0, steps, starts=(0,), end=100, timescale=25)
    chunk = Chunk("film", Run(), ("720p",), 0, 4.0, exact, again=(again, again))
    script = iter(runs)

    def made(args: Command, excerpt: Excerpt | None) -> Ran:
        times, errors = next(script)
        if isinstance(times, str):
            raise JobError(times, "It is scripted.")
        count = len(times)
        fragment = Fragment(0, 0, (1,) * count, times, (20,) * count, (True,) * count)
        return Ran([Fragments(mmap.mmap(-1, 1), b"", [fragment])], errors)

    found = encode_exactly(chunk, (), made)
    assert (found.files[0].fragments[0].times, found.faults) == (frames, faults)
    assert next(script, None) is None
