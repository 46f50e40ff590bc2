"""A film encoded in chunks is the film encoded as a whole: same frames, same times, same sound."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, mp4_excerpt, mp4_tables, playlists
from chalicelib.formats.mp4_boxes import file_boxes
from chalicelib.formats.mp4_tracks import Movie
from chalicelib.model.facts import FrameIndex, TrackSamples, VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.result import EncodedTrack
from chalicelib.model.work import Audio, Chunk, Excerpt, Poster, Segment
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning.operation import PlanSettings
from chalicelib.planning.planner import make_plan
from chalicelib.probing import read_ahead, video
from chalicelib.probing.film import open_film
from chalicelib.probing.frame_index import with_index
from testing import attacks
from testing.clips import clip, clips
from testing.local import audio_samples, carry_out, facts_of, run, write_excerpt
from testing.planned import SHORT_CHUNKS, plan_settings_with

pytestmark = pytest.mark.media
BOTH = ("transcode_720p", "hls_720p")
CLIPS = clips("160x96", 16, audio=False)


def decoded(path: Path) -> tuple[list[Any], Any]:
    """When each frame is shown, and all of them, small and grey."""
    times, pictures = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            assert frame.pts is not None
            times.append(frame.pts * frame.time_base)
            pictures.append(frame.to_ndarray(format="gray")[::2, ::2])
    return times, numpy.array(pictures, dtype=numpy.int16)


def shown_packets(path: Path) -> list[int]:
    """When each packet of pictures is shown, in ticks, as FFmpeg's demuxer says."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)


def columns(content: bytes, track: int, samples: int) -> mp4_tables.Columns | None:
    """What the tables of a file say of so many samples of a track."""
    source = io.BytesIO(content)
    (moov,) = [b for b in file_boxes(source, 0, len(content)) if b.kind == b"moov"]
    box = Movie(source, moov).track(track)
    assert box is not None
    found = mp4_tables.tables_of(source, box)
    return mp4_tables.columns_of(found, samples) if found else None


def plans(
    facts: VideoFacts, *pipeline: str, chosen: PlanSettings = SHORT_CHUNKS
) -> tuple[Plan, Plan]:
    """As a whole, and in chunks."""
    steps = find_steps(pipeline, JobError)
    whole = make_plan("job", "a.mp4", msgspec.structs.replace(facts, index=None), steps, chosen)
    return whole, make_plan("job", "a.mp4", facts, steps, chosen)


@pytest.mark.parametrize("name", CLIPS)
def test_chunks_give_every_frame_at_its_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / "source.mp4"
    CLIPS[name](path)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None, facts.whole_reason
    assert facts.index.times().tolist()[:-1] == shown_packets(path)
    as_whole, as_chunks = plans(facts, *BOTH)
    assert (as_chunks.sizes()["film"] > 1) == (name != "one long group")
    whole = carry_out(as_whole, path, tmp_path / "whole")
    parts = carry_out(as_chunks, path, tmp_path / "chunks")
    whole_times, whole_pictures = decoded(whole["transcode_720p"].path)
    assert len(whole_times) == sum(count for count, _ in facts.index.durations)
    for step in BOTH:
        times, pictures = decoded(parts[step].path)
        first = times[0] - whole_times[0] if step == "hls_720p" else 0
        # Playlists are read with the precision of a microsecond.
        tolerance = 1e-5 if step == "hls_720p" else 0
        worst = max(abs(one - first - other) for one, other in zip(times, whole_times, strict=True))
        assert worst <= tolerance
        # Whoever is a frame off is far off: the picture moves.
        assert abs(pictures - whole_pictures).mean(axis=(1, 2)).max() < 6
        assert parts[step].made.warning == ""
    assert (
        parts["transcode_720p"].path.stat().st_size
        < 1.05 * whole["transcode_720p"].path.stat().st_size
    )


def test_a_chunk_begins_as_well_as_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50", "-crf", "12", filters="noise=alls=20:allf=t")
    made = run(path, tmp_path / "made", "transcode_720p", chosen=SHORT_CHUNKS)
    result = made["transcode_720p"].path
    with av.open(str(result)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.is_keyframe]
    firsts, others = sizes[::3], [*sizes[1::3], *sizes[2::3]]
    assert len(firsts) > 2
    assert numpy.median(firsts) > numpy.median(others)


def test_a_chunk_reads_its_own_bytes_and_no_index(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    rate = ("-b:v", "4M", "-minrate", "4M", "-bufsize", "1M", "-nal-hrd", "cbr")
    clip(path, "25", "-g", "50", *rate, audio=True)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None
    _, plan = plans(facts, *BOTH)
    of_chunks = [task for task in plan.tasks if isinstance(task.work, Chunk)]
    assert len(of_chunks) > 2
    excerpts = [task.excerpt for task in of_chunks if task.excerpt]
    assert len(excerpts) == len(of_chunks)
    read = sum(excerpt.byte_range[1] - excerpt.byte_range[0] for excerpt in excerpts)
    assert read < 1.15 * path.stat().st_size


def coded(path: Path, kind: str) -> list[tuple[bytes, int, bool]]:
    """Each packet, when it is shown in ticks, and whether it is a key frame; in coding order."""
    with av.open(str(path)) as container:
        packets = container.demux(**{kind: 0})
        return [(bytes(p), p.pts, p.is_keyframe) for p in packets if p.pts is not None]


@pytest.mark.parametrize(
    "name", ["open groups, H.264", "open groups, HEVC", "edit list", "late pictures"]
)
def test_an_excerpt_has_its_own_samples_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / "source.mp4"
    clips("160x96", 30, audio=True)[name](path)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None
    _, plan = plans(facts, "thumbnail", *BOTH)
    seen = set()
    for task in plan.first():
        assert task.excerpt is not None
        seen.add(type(task.work))
        kind = "audio" if isinstance(task.work, Audio) else "video"
        made = tmp_path / f"{task.id}.mp4"
        write_excerpt(plan, task, facts.index, path, made, task.excerpt)
        of_film = coded(path, kind)[slice(*task.excerpt.samples)]
        of_excerpt = coded(made, kind)
        lag = plan.samples[task.excerpt.track].reorder_delay
        begin = min(time for _, time, _ in of_film) - lag
        expected = [(data, time - begin, key) for data, time, key in of_film]
        if task.excerpt.samples[0]:  # as the film's own first one begins
            expected[0] = (
                plan.samples[task.excerpt.track].preamble + expected[0][0],
                *expected[0][1:],
            )
        assert of_excerpt == expected
        size = sum(len(data) for data, _, _ in of_excerpt)
        assert size < made.stat().st_size < size + 32 * len(of_film) + 5000
    assert seen == {Poster, Chunk, Audio}


def test_rows_have_room_for_the_longest_steps_and_the_largest_samples(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25")
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None
    step, lag, size = 2**31 - 1, 2**28, 2**29 - 1
    begins = numpy.array([2**41, 2**42, 2**41 + size])
    sizes = numpy.array([size, 1, size])
    track = facts.index.video.track
    for times, row in (
        (numpy.array([-(2**40), step - 2**40, step - lag - 2**40]), "<qIi"),
        (numpy.array([5, 133, 4]), "<qIh"),
        (numpy.array([5, 132, 4]), "<qIb"),
    ):
        packed = mp4_excerpt.pack(times, begins, sizes, numpy.array([0, 2]))
        coded = TrackSamples(*packed, track, 1, lag)
        assert coded.row == row
        assert mp4_excerpt.count(coded) == 3
        wanted = Excerpt((0, 3), 2**41, (2**41, 2**42 + 1), "film")
        made = mp4_excerpt.make(mp4_excerpt.samples_of("job", coded), wanted, coded.rows)
        assert made.parts == [(2**41, 2**41 + 2 * size), (2**42, 2**42 + 1)]
        found = columns(made.head, 1, 3)
        assert found is not None
        assert (found.shown - lag == times - times.min()).all()
        assert (found.sizes == sizes).all()
        assert (found.keys == [0, 2]).all()
        assert (found.offsets - len(made.head) == [0, 2 * size, size]).all()


def test_a_film_whose_second_half_lies_gigabytes_behind_its_first_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50", "-movflags", "+faststart", audio=True)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") - 4
    struct.pack_into(">I", content, begin, 0)  # up to the end of the file
    places = content.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", content, places)
    apart = 2**31
    for at in range(places + 4 * (count // 2), places + 4 * (count + 1), 4):
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + apart)
    with path.open("r+b") as file:
        file.write(content)
        file.seek(begin + apart)
        file.write(content[begin:])
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    assert facts.index is not None
    _, plan = plans(facts, "transcode_720p")
    frames = 0
    for task in plan.first():
        if not isinstance(task.work, Chunk):
            continue
        assert task.excerpt is not None
        made = tmp_path / f"{task.id}.mp4"
        write_excerpt(plan, task, facts.index, path, made, task.excerpt)
        first, *others = [data for data, _, _ in coded(path, "video")[slice(*task.excerpt.samples)]]
        if task.excerpt.samples[0]:
            first = plan.samples[task.excerpt.track].preamble + first
        assert [data for data, _, _ in coded(made, "video")] == [first, *others]
        frames += len(coded(made, "video"))
    assert frames >= len(coded(path, "video"))


@pytest.mark.parametrize("edits", ["0", "1"])
def test_what_is_read_ahead_is_what_is_read_afterwards(tmp_path: Path, edits: str) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-preset", "medium", "-g", "50", "-use_editlist", edits, audio=True)

    def look(change: Callable[[read_ahead.Prepared], read_ahead.Prepared | None]) -> FrameIndex:
        size = path.stat().st_size
        with path.open("rb") as file, open_film(file, "mov", size, 9) as film:
            assert len(film.ahead) == 2
            found = {}
            for box, future in film.ahead.items():
                prepared = future.result()
                assert prepared is not None
                found[box] = Future[read_ahead.Prepared | None]()
                found[box].set_result(change(prepared))
            facts = video.facts_of(film, 10**6)
            index = with_index(film._replace(ahead=found), facts).index
            assert index is not None
            return index

    def damaged(prepared: read_ahead.Prepared) -> read_ahead.Prepared:
        return prepared._replace(packed=prepared.packed._replace(rows=b"damaged"))

    def mistaken(prepared: read_ahead.Prepared) -> read_ahead.Prepared:
        return damaged(prepared)._replace(sound=not prepared.sound)

    def cut_short(prepared: read_ahead.Prepared) -> read_ahead.Prepared:
        sizes = prepared.columns.sizes[:-1]
        return damaged(prepared)._replace(columns=prepared.columns._replace(sizes=sizes))

    as_read = look(lambda prepared: prepared)
    assert as_read == look(lambda _: None) == look(mistaken) == look(cut_short)
    used = look(damaged)
    assert used.video.rows == used.audio[0].samples.rows == b"damaged"


def test_tables_tell_what_ffmpeg_does_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-preset", "medium", "-g", "50", "-use_editlist", "0", audio=True)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        told = {
            s.id: [(e.timestamp, e.pos, e.size, e.is_keyframe) for e in s.index_entries]
            for s in container.streams
        }

    for number, entries in told.items():
        found = columns(content, number, len(entries))
        assert found is not None
        keys = [n in found.keys for n in range(len(entries))]
        decoded = found.decoded + entries[0][0]
        assert list(zip(decoded, found.offsets, found.sizes, keys, strict=True)) == entries
        assert columns(content, number, len(entries) - 1) is None
    pictures, sound = sorted(told)
    # Another number of samples in the first run of chunks; of chunks; a run that is not in order; key frames
    # beyond the end, or not in order; times of another number of samples.
    for track, kind, at, value in (
        (sound, b"stsc", 12, 99),
        (sound, b"stco", 4, 1),
        (sound, b"stsc", 8, 2),
        (pictures, b"stss", 8, 500),
        (pictures, b"stss", 12, 1),
        (pictures, b"stts", 8, 7),
        (pictures, b"ctts", 8, 2),
    ):
        start = (content.rindex if track == sound else content.index)(kind) + 4
        wrong = bytearray(content)
        struct.pack_into(">I", wrong, start + at, value)
        assert columns(bytes(wrong), track, len(told[track])) is None, kind


def test_a_chunk_that_comes_out_wrong_is_repaired_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50")
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    _, plan = plans(facts, "transcode_720p")
    (task,) = [task for task in plan.tasks if task.id == "film.1"]
    assert isinstance(task.work, Chunk)
    assert task.work.exact is not None

    def with_work(work: Chunk) -> Plan:
        tasks = tuple(msgspec.structs.replace(t, work=work) if t is task else t for t in plan.tasks)
        return msgspec.structs.replace(plan, tasks=tasks)

    # Its key frame is missed.
    assert task.excerpt is not None
    first, behind = task.excerpt.samples
    missed, _, _ = coded(path, "video")[first]
    late = msgspec.structs.replace(
        task.excerpt,
        samples=(first + 1, behind),
        first_offset=task.excerpt.first_offset + len(missed),
    )
    late_work = msgspec.structs.replace(
        task.work, run=msgspec.structs.replace(task.work.run, excerpt=late)
    )
    repaired = carry_out(with_work(late_work), path, tmp_path / "repaired")
    as_planned = carry_out(plan, path, tmp_path / "planned")
    times = [decoded(made["transcode_720p"].path)[0] for made in (repaired, as_planned)]
    assert times[0] == times[1]
    again, _ = task.work.again
    assert again.excerpt.samples[0] < first
    fetched = (tmp_path / "repaired" / "tasks" / task.id / "source").read_bytes()
    begin, end = again.excerpt.byte_range
    assert fetched.endswith(path.read_bytes()[begin:end])
    # Every frame between two of the film's times.
    off = msgspec.structs.replace(again, ahead_us=again.ahead_us - 20_000)
    with pytest.raises(JobError, match="other frames"):
        carry_out(
            with_work(msgspec.structs.replace(late_work, again=(off,))),
            path,
            tmp_path / "hopeless",
        )


def test_a_film_shorter_than_a_tick_of_the_movie_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "source.mov"
    path.write_bytes(attacks.movie(timescale=1_000_000, ticks=1))
    made = run(path, tmp_path, "transcode_720p", chosen=SHORT_CHUNKS)
    times, _ = decoded(made["transcode_720p"].path)
    assert len(times) == 2


# ── sound ───────────────────────────────────────────────────────────────────────────────────────


SHORT_AUDIO = plan_settings_with(chunk_work_seconds=0.01, audio_part_seconds=24.0)


def test_sound_in_parts_is_the_sound_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "5", "-g", "25", size="64x64", seconds=56, audio=True)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    as_whole, as_parts = plans(facts, "transcode_720p", chosen=SHORT_AUDIO)
    assert as_parts.sizes()["sound"] == 3
    whole = audio_samples(carry_out(as_whole, path, tmp_path / "whole")["transcode_720p"].path)
    parts = audio_samples(carry_out(as_parts, path, tmp_path / "parts")["transcode_720p"].path)
    assert abs(len(whole) - len(parts)) <= cmaf.PACKET_SAMPLES
    joins = [t.work.first for t in as_parts.tasks if isinstance(t.work, Audio) and t.work.first]
    seconds = [(join - 1) * cmaf.PACKET_SAMPLES // 48000 for join in joins]
    for second in (5, *seconds, 51):
        near = slice((second - 1) * 48000, (second + 2) * 48000)
        noise = numpy.mean((whole[near] - parts[near]) ** 2)
        assert 10 * numpy.log10(numpy.mean(whole[near] ** 2) / max(noise, 1e-12)) > 30


@pytest.mark.parametrize("begun", [8, 0])
def test_a_part_of_the_sound_in_which_nothing_is_said_is_silence(
    tmp_path: Path, begun: int
) -> None:
    path = tmp_path / "source.mp4"
    silence = ("-af", f"aselect='lt(t,{begun}-0.1)+gt(t,40)'")
    clip(path, "5", "-g", "25", *silence, size="64x64", seconds=56, audio=True)
    made = run(path, tmp_path / "made", "transcode_720p", chosen=SHORT_AUDIO)
    samples = audio_samples(made["transcode_720p"].path)
    # A gap is filled to a sample; with it the last packet may be one more.
    assert 56 * 48000 <= len(samples) <= 56 * 48000 + cmaf.PACKET_SAMPLES
    loud = [abs(samples[at * 48000 : (at + 1) * 48000]).max() > 0.1 for at in range(56)]
    assert loud == [second < begun or second >= 40 for second in range(56)]


# ── watched while it grows ──────────────────────────────────────────────────────────────────────


def as_growing(playlist: str) -> list[str]:
    """The lines of one that is complete, but for the two that say so."""
    start = "EXT-X-START:TIME-OFFSET=0,PRECISE=YES"
    growing = playlist.replace("EXT-X-MEDIA-SEQUENCE:0", start)
    return growing.replace("PLAYLIST-TYPE:VOD", "PLAYLIST-TYPE:EVENT").splitlines()


def test_a_playlist_only_grows_and_ends_as_it_will_be(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", "50", audio=True)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    _, plan = plans(facts, *BOTH)
    final = carry_out(plan, path, tmp_path / "made")["hls_720p"].path.parent
    pictures, sound = plan.parts(plan.task("hls_720p"))
    # What became of the sound, whose length nobody planned.
    lines = (final / "audio.m3u8").read_text().splitlines()
    said = [
        (line.removeprefix("audio_"), float(before.split(":")[1][:-1]))
        for before, line in pairwise(lines)
        if before.startswith("#EXTINF")
    ]
    made = {sound[0].id: EncodedTrack(tuple(Segment(*one) for one in said), 20.0, "")}
    order = [pictures[2], pictures[0], sound[0], *pictures[3:], pictures[1]]
    before: dict[str, list[str]] = {"video": [], "audio": []}
    for number in range(len(order) + 1):
        ended = {task.id for task in order[:number]}
        tracks = playlists.so_far(pictures, sound, ended, made)
        for track, segments in tracks.items():
            longest = playlists.longest(pictures) if track == "video" else 0.0
            text = playlists.media(track, segments, longest, complete=False).splitlines()
            assert text[: len(before[track])] == before[track]
            before[track] = text
        lengths = [sum(segment.seconds for segment in track) for track in tracks.values()]
        if number == 3:
            assert all(5 < length < 12.1 for length in lengths)
            assert max(lengths) - min(lengths) < 6.1
        if number < 3:
            assert min(lengths) == 0
    for track, lines in before.items():
        assert as_growing((final / f"{track}.m3u8").read_text()) == [*lines, "#EXT-X-ENDLIST"]


@pytest.mark.parametrize("group", ["50", "125"])
def test_what_is_listed_first_has_pictures_and_sound(tmp_path: Path, group: str) -> None:
    path = tmp_path / "source.mp4"
    clip(path, "25", "-g", group, "-keyint_min", group, seconds=40, audio=True)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    _, plan = plans(facts, "hls_720p")
    pictures, sound = plan.parts(plan.task("hls_720p"))
    assert len(pictures) > 2
    tracks = playlists.so_far(pictures, sound, {pictures[0].id, sound[0].id}, {})
    assert all(tracks.values())


def test_what_sound_will_be_listed_as_is_known_before_but_of_its_end(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    clips("160x96", 40, audio=True)["open groups, H.264"](path)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    _, plan = plans(facts, "hls_720p")
    made = carry_out(plan, path, tmp_path / "made")["hls_720p"].path.parent
    _, sound = plan.parts(plan.task("hls_720p"))
    first, *_, last = (playlists.planned(part.work) for part in sound)
    assert len(first) == 2
    assert not last
    listed = "".join(f"#EXTINF:{each.seconds:.6f},\naudio_{each.name}\n" for each in first)
    header, found, rest = (made / "audio.m3u8").read_text().partition(listed)
    assert found
    assert ".m4s" not in header
    assert rest.startswith("#EXTINF")
