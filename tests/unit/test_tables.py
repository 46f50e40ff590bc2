"""Tables of samples that are odd, or made to harm: a film or a refusal comes of them, and never an exception.

What is made of a film's numbers is tried without decoding: index, plan, excerpts, fragments, the joined MP4.
"""

from __future__ import annotations

import io
import struct
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, mp4_boxes, mp4_excerpt, mp4_fragments, mp4_movie, playlists
from chalicelib.model.facts import Cut, FrameIndex, TrackSamples, VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Audio, Chunk, Poster, Segment
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import chunking
from chalicelib.planning.planner import make_plan
from chalicelib.tasks import chunks
from infra.tools import samples
from testing.attacks import FRAME, MEDIA_AT, audio_track, box, movie
from testing.local import facts_of
from testing.planned import plan_settings_with
from testing.prepared import LOCAL

pytestmark = pytest.mark.media

# Of 32 bits: what is likely, and what is at an edge of something.
EDGES = (0, 1, 2**15, 2**16, 2**28, 2**29, 2**30, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
odd = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1))
ticks = st.one_of(st.sampled_from([1, 100, 512, 512, 512, 3000]), st.integers(0, 20_000), odd)
scales = st.one_of(st.sampled_from([600, 12_800, 44_100, 90_000]), odd)


def full(kind: bytes, *rows: tuple[int, ...], head: tuple[int, ...] = ()) -> bytes:
    """A table: what comes before the number of its rows, that, and the rows."""
    numbers = [*head, len(rows), *(value for row in rows for value in row)]
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def runs(draw: Any, count: int, values: st.SearchStrategy[int]) -> list[tuple[int, int]]:
    """So many samples in runs that are equal; sometimes of another number of them."""
    found = []
    left = count
    while left > 0:
        length = min(left, draw(st.integers(1, max(1, count))))
        found.append((length, draw(values)))
        left -= length
    if draw(st.integers(0, 9)) == 0:
        found.append((draw(odd), draw(values)))
    return found


def track_tables(draw: Any, size: int) -> tuple[bytes, ...]:
    """The tables of a track whose samples have so many bytes, or others."""
    count = draw(st.integers(1, 30))
    places = st.integers(0, 8).map(lambda n: MEDIA_AT + n * size)
    sizes = st.one_of(*[st.just(size)] * 9, odd)
    tables = [
        full(b"stts", *runs(draw, count, ticks)),
        full(b"stsc", (1, 1, 1)),
        full(b"stsz", *[(draw(sizes),) for _ in range(count)], head=(0,)),
        full(b"stco", *[(draw(st.one_of(*[places] * 9, odd)),) for _ in range(count)]),
    ]
    if draw(st.booleans()):
        tables.append(full(b"ctts", *runs(draw, count, ticks)))
    if draw(st.booleans()):
        keys = draw(st.sets(st.integers(2, count + 1), max_size=count))
        tables.append(full(b"stss", *[(n,) for n in sorted({1, *keys})]))
    return tuple(tables)


SHORTEST_CHUNKS = plan_settings_with(chunk_work_seconds=0.0001)

edit = st.tuples(odd | ticks, st.one_of(st.just(0), ticks, odd))


@st.composite
def movies(draw: Any) -> bytes:
    """Films whose pictures, and sound if they have any, are said to be where and when it comes."""
    scale = draw(scales)
    edits = b""
    if draw(st.booleans()):
        rows = draw(st.lists(edit, max_size=3))
        edits = box(b"edts", full(b"elst", *[(lasts, time, 0x10000) for lasts, time in rows]))
    sound = b""
    if draw(st.booleans()):
        sound = audio_track(draw(scales), draw(odd | ticks), track_tables(draw, 200))
    return movie(
        timescale=scale,
        tables=track_tables(draw, len(FRAME)),
        length=draw(st.one_of(st.just(5120), odd)),
        edits=edits,
        more=sound,
        media=FRAME * 10,
    )


@pytest.fixture(scope="module")
def headers() -> tuple[bytes, bytes]:
    """Initialisations as FFmpeg writes them, of pictures and of sound."""
    found = []
    for number, chosen in enumerate((("-an", "-c:v", "libx264"), ("-vn", "-c:a", "aac"))):
        path = LOCAL / f"tables-header-{number}.mp4"
        samples.run_ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=16x16:rate=25:duration=0.2",
            "-f", "lavfi", "-i", "sine=duration=0.2",
            *chosen, "-movflags", "+frag_keyframe+empty_moov+default_base_moof",
            str(path),
        )  # fmt: skip
        found.append(mp4_fragments.split(path.read_bytes())[0])
        path.unlink()
    return found[0], found[1]


def tried(path: Path, headers: tuple[bytes, bytes]) -> str:
    """What comes of a film: the code of a refusal, or whether it is cut. Raises whatever else is raised."""
    try:
        facts = facts_of(path)
    except JobError as error:
        return error.code
    assert isinstance(facts, VideoFacts)
    steps = find_steps(("thumbnail", "watermark", "transcode_720p", "hls_720p"), JobError)
    plan = make_plan("job", "a.mp4", facts, steps, SHORTEST_CHUNKS)
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    if facts.index is None:
        return "whole"
    size = path.stat().st_size
    for task in plan.tasks:
        found = []
        match task.work:
            case Poster(candidates=candidates):
                found = [run.excerpt for run in candidates if run.excerpt]
            case Chunk() | Audio():
                found = task.excerpts
                assert found
                if isinstance(task.work, Chunk):
                    found += [again.excerpt for again in task.work.again]
        for each in found:
            is_audio = isinstance(task.work, Audio)
            coded = facts.index.audio[0].samples if is_audio else facts.index.video
            packed = coded.rows[slice(*mp4_excerpt.rows_of(coded, each))]
            made = mp4_excerpt.make(plan.samples[each.track], each, packed)
            assert all(0 <= begin <= end <= size for begin, end in made.parts)
    _join(plan, path.parent, headers)
    return "cut"


def _join(plan: Plan, out: Path, headers: tuple[bytes, bytes]) -> None:
    """What workers and the packaging do with chunks that came out exactly as planned."""
    tracks: dict[str, mp4_movie.Track] = {}
    for task in plan.tasks:
        work = task.work
        if not isinstance(work, Chunk):
            continue
        assert work.exact is not None
        times = work.exact.times()
        fragments = [
            mp4_fragments.Fragment(
                0, 0, (0,) * len(shown), shown, (1,) * len(shown), (True,) * len(shown)
            )
            for shown in _groups(times[:-1], work.exact.starts)
        ]
        groups = chunks.grouped_as_planned(work, work.exact, fragments)
        ends = [*(inside[0].shown_at for _, inside in groups[1:]), work.exact.end]
        scale = work.exact.timescale
        track = tracks.setdefault(work.command, mp4_movie.Track(_with_scale(headers[0], scale), 1))
        for (segment, inside), until in zip(groups, ends, strict=True):
            data: Any = b""
            chunks.write_segment(segment, inside, until, data, scale, out)
            written = (out / segment.name).read_bytes()
            for fragment in mp4_fragments.split(written)[1]:
                track.add(fragment, 0)
        assert playlists.planned(task.work)
    for kind in (Chunk, Audio):
        parts = [task.work for task in plan.tasks if isinstance(task.work, kind)]
        names = [segment.name for part in parts for segment in playlists.planned(part)]
        assert names == [cmaf.segment_name(number) for number in range(len(names))]
        # The last part of the audio has as many as there are.
        assert all(part.first_segment <= len(names) for part in parts)
    for track in tracks.values():
        mp4_movie.movie_header([track, _second_of_sound(headers[1])], 0)


def _groups(times: list[int], starts: tuple[int, ...]) -> list[tuple[int, ...]]:
    edges = [*starts, times[-1] + 1]
    return [tuple(time for time in times if begin <= time < end) for begin, end in pairwise(edges)]


def _with_scale(header: bytes, scale: int) -> bytes:
    at = header.index(b"mdhd") + 16
    return header[:at] + struct.pack(">I", scale) + header[at + 4 :]


def _second_of_sound(header: bytes) -> mp4_movie.Track:
    track = mp4_movie.Track(header, 1)
    times = tuple(range(48_000 - 1024, 96_000, 1024))
    count = len(times)
    track.add(
        mp4_fragments.Fragment(0, 0, (9,) * count, times, (1024,) * count, (True,) * count), 0
    )
    return track


def _try_many(examples: int, folder: Path, headers: tuple[bytes, bytes]) -> dict[str, int]:
    (folder / "made").mkdir(exist_ok=True)
    path = folder / "made" / "source.mov"
    codes: dict[str, int] = {}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(movies())
    def one(content: bytes) -> None:
        path.write_bytes(content)
        code = tried(path, headers)
        codes[code] = codes.get(code, 0) + 1

    one()
    return codes


def test_no_table_breaks_what_is_computed_of_it(
    tmp_path: Path, headers: tuple[bytes, bytes]
) -> None:
    codes = _try_many(60, tmp_path, headers)
    assert codes["cut"] > 3
    assert codes["whole"] > 1


@pytest.mark.variants
def test_many_more_tables(tmp_path: Path, headers: tuple[bytes, bytes]) -> None:
    codes = _try_many(1500, tmp_path, headers)
    assert codes["cut"] > 100


def test_a_track_that_ends_in_half_a_head_of_a_box_is_not_indexed(tmp_path: Path) -> None:
    content = bytearray(movie())
    content += b"\0\0\0\1tkhd" + bytes(4)  # the size is said to follow, in eight bytes
    for kind in (b"moov", b"trak"):
        at = content.index(kind) - 4
        struct.pack_into(">I", content, at, len(content) - at)
    path = tmp_path / "source.mov"
    path.write_bytes(content)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.whole_reason == "its index is hidden"


# ── what is cut, whatever the numbers ───────────────────────────────────────────────────────────


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    seconds=st.floats(0, 50_000),
    rates=st.sets(st.integers(1, 400_000), min_size=1, max_size=2),
    part=st.floats(12, 120),
)
def test_parts_of_sound_cover_it_and_begin_where_both_rates_have_a_sample(
    seconds: float, rates: set[int], part: float
) -> None:
    found = chunking.pieces(seconds, rates, 12, part)
    assert found[0].first == 0
    assert found[-1].stop is None
    for piece, following in pairwise(found):
        assert piece.stop == following.first > piece.first
    for piece in found:
        assert 0 <= piece.start <= piece.first
        for rate in rates:
            assert piece.start * cmaf.PACKET_SAMPLES * rate % cmaf.SAMPLE_RATE == 0


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    gaps=st.lists(st.integers(1, 2**30), min_size=1, max_size=40),
    early=st.lists(st.integers(0, 3), min_size=40, max_size=40),
    start=st.integers(0, 2**40),
    scale=st.integers(1, 1_000_000),
)
@example(gaps=[40, 40, 40], early=[0, 1, 0] + [0] * 37, start=0, scale=1000)
def test_frames_of_a_segment_are_decoded_before_they_are_shown(
    gaps: list[int], early: list[int], start: int, scale: int
) -> None:
    begin = start + scale  # fragments begin at a second
    times = list(accumulate(gaps, initial=begin))
    stop = times.pop()
    # Coding order: some frames are coded up to three places before those that are shown earlier.
    order = sorted(range(1, len(times)), key=lambda n: (n - early[n], -n))
    shown = [times[n] for n in (0, *order)]
    decoded = cmaf.decode_times(shown, scale)
    assert len(decoded) == len(shown)
    assert all(later >= earlier for earlier, later in pairwise(decoded))
    assert all(at <= time for at, time in zip(decoded, shown, strict=True))
    packet = round(cmaf.PACKET_SAMPLES * scale / cmaf.SAMPLE_RATE)
    assert decoded[0] == begin - packet
    # The next segment is decoded from a packet before `stop` on. Only one shorter than a packet overlaps it.
    assert decoded[-1] <= stop - packet or stop - begin < packet


@pytest.mark.parametrize(
    ("shown", "decoded"),
    [
        ((48, 88, 128), (27, 67, 107)),  # the delay of all is a packet
        ((48, 128, 88), (27, 48, 88)),  # the last one is not squeezed: it is shown for its 40 ticks
        ((48, 208, 128, 88, 168), (27, 37, 48, 88, 128)),
    ],
)
def test_times_before_a_segment_are_squeezed_behind_its_first_packet(
    shown: tuple[int, ...], decoded: tuple[int, ...]
) -> None:
    assert cmaf.decode_times(shown, 1000) == list(decoded)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    pattern=st.lists(st.integers(1_000, 9_000), min_size=1, max_size=12),
    count=st.integers(1, 12_000),
    seconds=st.floats(0.001, 100),
    first=st.floats(0.001, 40),
)
@example(pattern=[1_000], count=1_260, seconds=0.001, first=6)
@example(pattern=[2_000], count=43_200, seconds=6, first=6)
def test_chunks_cover_a_film_and_are_never_too_many(
    pattern: list[int], count: int, seconds: float, first: float
) -> None:
    gaps = [gap for _, gap in zip(range(count), cycle(pattern), strict=False)]
    times = list(accumulate(gaps[:-1], initial=0))
    index = FrameIndex(
        timescale=1_000,
        start=0,
        start_us=0,
        durations=tuple((1, gap) for gap in gaps),
        cuts=tuple(Cut(time, n, n, 0, n, time, 0, 1, 1) for n, time in enumerate(times)),
        video=TrackSamples("<bHb", b"", "", b""),
    )
    found = chunking.spans(index, seconds, first, range(count))
    assert [span.first for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == len(times)
    assert all(span.first < span.stop for span in found)
    assert len(found) <= chunking.MAX_CHUNKS


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_boxes_are_read_or_refused(content: bytes) -> None:
    try:
        found = list(mp4_boxes.boxes(content))
    except ValueError:
        return
    assert sum(each.end - each.start for each in found) == len(content)


@given(content=st.binary(max_size=40), large=st.booleans(), end=st.integers(0, 40))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_a_box_in_a_file_lies_in_its_parent(content: bytes, large: bool, end: int) -> None:
    source = io.BytesIO(b"\0\0\0\1trak" + content if large else content)
    for each in mp4_boxes.file_boxes(source, 0, end):
        assert each.start <= each.content <= each.end <= end


@pytest.mark.parametrize("shown", [(1000, 1040, 1080), (1000, 1080, 1040)])
def test_the_last_frame_is_shown_until_the_film_ends(
    headers: tuple[bytes, bytes], tmp_path: Path, shown: tuple[int, ...]
) -> None:
    """Also where it is not the last that is decoded."""
    fragment = mp4_fragments.Fragment(0, 0, (0,) * 3, shown, (40,) * 3, (True, False, False))
    data: Any = b""
    segment = Segment("a.m4s", 0.58)
    chunks.write_segment(segment, [fragment], 1580, data, 1000, tmp_path)
    _, (written,) = mp4_fragments.split((tmp_path / "a.m4s").read_bytes())
    track = mp4_movie.Track(_with_scale(headers[0], 1000), 1)
    track.add(written, 0)
    mvhd = mp4_boxes.payload(mp4_movie.movie_header([track], 0), "moov/mvhd")
    assert struct.unpack_from(">II", mvhd, 12) == (1000, 580)


def test_a_fragment_of_an_unsteady_film_ends_with_its_last_frame() -> None:
    """It is decoded second, half a second before the frame that is decoded last."""
    times, durations = (1000, 1540, 1040), (40, 500, 40)
    fragment = mp4_fragments.Fragment(0, 0, (0,) * 3, times, durations, (True, False, False))
    assert fragment.shown_until == 1580
