"""Plans are pure: what runs is data, and is compared as such."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.errors import JobError, Transient, Unprocessable
from chalicelib.invocation import Budget
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.facts import (
    AudioCut,
    AudioTrack,
    Cut,
    FrameIndex,
    ImageFacts,
    IndexedAudio,
    TrackSamples,
    VideoFacts,
    fit_box,
    fit_short_side,
    rhythm,
)
from chalicelib.model.filenames import stem
from chalicelib.model.mark import Mark
from chalicelib.model.plan import Plan, Task, work_folder
from chalicelib.model.work import Audio, Chunk, Command, Join, Poster, Remux, Run, Source
from chalicelib.operations import PRESETS
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying, video
from chalicelib.planning.operation import Packaging, PlanSettings
from chalicelib.planning.planner import make_plan
from chalicelib.settings import Settings
from chalicelib.store.queues import QUEUES
from chalicelib.tasks.packaging import parts_of, shortfall
from chalicelib.tasks.workbench import Workbench
from testing.local import a_plan
from testing.planned import DEFAULTS, FILM

JOB = "d7b8f4bf-5809-4c62-97a4-c008686e881d"
HEX = JOB.replace("-", "")
INDEX = FrameIndex(
    timescale=12800,
    start=0,
    start_us=0,
    durations=((3000, 512),),
    cuts=(
        Cut(
            time=0,
            frame=0,
            sample=0,
            at=0,
            leading_stop=0,
            earliest=0,
            begin=0,
            end=1,
            leading_bytes_stop=1,
        ),
    ),
    video=TrackSamples("<bHb", b"", "", b""),
)
PICTURE = ImageFacts("JPEG", 4000, 3000)
MARKED = video.rendition(FILM, short_side=None, mark=DEFAULTS.mark).name


def plan(facts: ImageFacts | VideoFacts, *pipeline: str) -> Plan:
    steps = find_steps(pipeline, JobError)
    return make_plan(JOB, "uploads/" + "0" * 32 + "_a film.mov", facts, steps, DEFAULTS)


def test_a_rendition_that_two_steps_need_is_encoded_once() -> None:
    made = plan(FILM, "transcode_720p", "hls_720p")
    parts = ["film.0", "sound.0"]
    assert [task.id for task in made.tasks] == [*parts, "transcode_720p", "hls_720p"]
    assert [task.id for task in made.first()] == parts
    assert made.ready_after("film.0", {"film.0"}) == []
    waiting = made.ready_after("sound.0", set(parts))
    assert [task.id for task in waiting] == ["transcode_720p", "hls_720p"]
    assert made.steps_needing("film.0") == ["transcode_720p", "hls_720p"]
    assert made.shares()["hls_720p"].keys() == {"hls_720p", "film", "sound"}


def test_a_film_is_decoded_once_for_all_of_its_renditions() -> None:
    made = plan(FILM, "watermark", "transcode_720p", "hls_720p")
    assert [task.id for task in made.first()] == ["film.0", "sound.0"]
    work = made.task("film.0").work
    assert isinstance(work, Chunk)
    assert work.renditions == (MARKED, "720p")
    (text,) = (" ".join(args) for args in filled(made, made.task("film.0")))
    assert text.count("-i source") == 1
    assert [text.count(f"-map [{name}]") for name in work.renditions] == [1, 1]
    assert [mark.image for mark in work.marks] == ["watermark.png"]


def test_keys_come_from_the_job_and_the_step_alone() -> None:
    made = plan(FILM, "thumbnail", "watermark", "transcode_720p", "hls_720p")
    keys = {task.id: task.destination for task in made.tasks}
    assert keys["thumbnail"] == f"outputs/{HEX}_a_film_"
    assert keys["hls_720p"] == f"outputs/{HEX}_a_film_hls/"
    # What HLS lists is made where it is listed.
    assert {name: track.prefix for name, track in made.tracks.items()} == {
        MARKED: f"{work_folder(JOB)}{MARKED}/video_",
        "720p": f"{keys['hls_720p']}video_",
        "sound": f"{keys['hls_720p']}audio_",
    }


def test_renditions_that_differ_have_different_names() -> None:
    film = msgspec.structs.replace(FILM, width=1920, height=1080)
    lines = [video.rendition(film, short_side=each) for each in (720, 721, None)]
    assert [each.name for each in lines] == ["720p", "1282x720", "1080p"]
    odd = msgspec.structs.replace(FILM, width=1282, height=721)
    assert len({video.rendition(odd, short_side=each).name for each in (720, None)}) == 2


def test_a_film_is_encoded_in_so_many_ways_at_once_as_one_function_has_memory_for() -> None:
    film = msgspec.structs.replace(FILM, width=3840, height=2160)
    source: dict[str, Any] = {"make": "mp4", "height": "source", "codec": "av1"}
    many = [{**source, "name": f"m{rate}", "max_kbps": rate} for rate in (1000, 2000, 3000)]
    steps = find_steps(many, JobError)
    make_plan(JOB, "a.mp4", film, steps[:2], DEFAULTS)
    with pytest.raises(JobError, match="in 3 ways at once, of 50 megapixels") as refused:
        make_plan(JOB, "a.mp4", film, steps, DEFAULTS)
    assert refused.value.code == "too_many_renditions"


def test_a_plan_survives_being_stored() -> None:
    made = plan(FILM, "thumbnail", "watermark", "transcode_720p", "hls_720p")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made


def test_every_step_takes_films_and_its_tasks_go_to_queues_that_there_are() -> None:
    for step in PRESETS:
        made = plan(FILM, step.name)
        assert made.steps == {step.name: step.name}
        assert {task.pool for task in made.tasks} <= set(QUEUES)


def test_a_step_for_films_refuses_a_picture() -> None:
    with pytest.raises(JobError, match=r"transcode_720p needs a video.*image"):
        plan(PICTURE, "thumbnail", "transcode_720p")


def test_a_pipeline_is_refused_with_what_it_may_name() -> None:
    with pytest.raises(Unprocessable, match=r"'sepia'.*thumbnail, watermark"):
        find_steps(["sepia"], Unprocessable)


def test_what_an_operator_sets_is_what_plans_are_made_with() -> None:
    chosen = Settings(
        max_video_pixels=1_000_000,
        max_video_seconds=60,
        chunk_work_seconds=2.5,
        watermark_image="other.png",
        watermark_position="center",
        watermark_scale=0.5,
        watermark_opacity=0.25,
    )
    assert plan_settings(chosen) == PlanSettings(
        max_video_pixels=1_000_000,
        max_video_seconds=60,
        chunk_work_seconds=2.5,
        mark=Mark("other.png", "center", 0.5, 0.25),
    )


def test_plans_depend_on_the_settings_that_are_handed_in() -> None:
    small = msgspec.structs.replace(DEFAULTS, max_video_pixels=1_000_000)
    steps = find_steps(["transcode_720p"], JobError)
    for chosen, limit in ((DEFAULTS, 2 * DEFAULTS.max_video_pixels), (small, 2_000_000)):
        made = make_plan(JOB, "a.mov", FILM, steps, chosen)
        assert made == make_plan(JOB, "a.mov", FILM, steps, chosen)
        for command in made.commands.values():
            assert command[command.index("-max_pixels") + 1] == str(limit)


def test_a_run_fills_the_placeholders_of_its_values_and_no_other_brace() -> None:
    command = ("{start}", "trim=start={start}:end={end}", "drawtext=text={pts} {}}{", "{Start}")
    run = Run({"start": "{end}", "end": "2.5"})
    assert run.args(command) == (
        "{end}",
        "trim=start={end}:end=2.5",
        "drawtext=text={pts} {}}{",
        "{Start}",
    )


@pytest.mark.parametrize("index", [None, INDEX])
def test_every_placeholder_of_a_command_is_filled_by_its_runs(index: FrameIndex | None) -> None:
    if index is not None:
        cut = AudioCut(us=0, sample=0, at=0, begin=0, end=1)
        audio = TrackSamples("<bHb", b"", "", b"")
        index = msgspec.structs.replace(index, audio=(IndexedAudio(audio, (cut,) * 60),))
    made = plan(msgspec.structs.replace(FILM, index=index), *(step.name for step in PRESETS))
    text = " ".join(arg for task in made.tasks for args in filled(made, task) for arg in args)
    assert text.count("-i source") > 9
    assert "{" not in text
    assert "}" not in text


def filled(made: Plan, task: Task) -> list[Command]:
    """The arguments of all runs of a task that encodes."""
    if isinstance(task.work, Chunk):
        return [task.work.run.args(made.commands[task.work.command])]
    if isinstance(task.work, Audio):
        work = task.work
        return [run.args(made.commands[work.command_of(name)]) for name, run in work.runs.items()]
    if isinstance(task.work, Poster):
        runs = (*task.work.candidates, *task.work.otherwise)
        return [run.args(task.work.command) for run in runs]
    return []


def test_ffmpeg_may_open_its_file_as_what_it_was_sniffed_to_be_and_nothing_else() -> None:
    made = plan(FILM, "thumbnail", "watermark", "transcode_720p", "hls_720p")
    for task in made.tasks:
        text = msgspec.json.encode(filled(made, task)).decode()
        opened = text.count('"-f","mov","-protocol_whitelist","file","-i","source"')
        assert text.count('"-i"') == opened
        mark = "movie=watermark.png:f=png_pipe:format_opts=protocol_whitelist=file"
        assert text.count("movie=") == text.count(mark) == ("film" in task.id and opened)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (720, 1280)),
        ((640, 360), (640, 360)),
        ((321, 241), (320, 240)),
        ((4096, 1716), (1718, 720)),
        ((1, 1), (2, 2)),
    ],
)
def test_720p_is_the_short_side_even_and_never_larger(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fit_short_side(*size, 720) == fitted


def test_a_thumbnail_fits_and_is_never_larger() -> None:
    assert fit_box(4000, 3000, 512) == (512, 384)
    assert fit_box(100, 3000, 512) == (17, 512)
    assert fit_box(9, 7, 512) == (9, 7)
    assert fit_box(10000, 1, 512) == (512, 1)


@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("uploads/" + "a" * 32 + "_photo.png", "photo"),
        ("my holiday/a+b c%20.JPEG", "a_b_c"),
        ("ünïcode.png", "unicode"),
        ("Übergröße привет.jpg", "Ubergrosse_privet"),
        (".hidden", "hidden"),
        ("folder/", "file"),
        ("x" * 200 + ".mp4", "x" * 60),
    ],
)
def test_what_is_left_of_a_name(key: str, left: str) -> None:
    assert stem(key) == left


def test_what_is_missing_of_a_film_is_a_warning_and_much_of_it_a_failure() -> None:
    assert shortfall(1500, 60.0, 1500, 60.0) == ""
    assert shortfall(1500, 60.0, 1499, 59.96) == ""
    assert "95.0%" in shortfall(1500, 60.0, 1425, 60.0)
    assert "95.0%" in shortfall(None, 60.0, 1425, 57.0)
    with pytest.raises(JobError, match="Only 50%"):
        shortfall(1500, 60.0, 750, 60.0)
    with pytest.raises(JobError, match="Only 80%"):
        shortfall(None, 60.0, 1500, 48.0)


def test_frames_with_errors_are_a_warning_that_counts_them_and_many_a_failure() -> None:
    assert "3 of 1500 frames" in shortfall(1500, 60.0, 1500, 60.0, 3)
    assert "95.0%" in shortfall(1500, 60.0, 1425, 60.0, 3)
    with pytest.raises(JobError, match="Only 80%"):
        shortfall(1500, 60.0, 1500, 60.0, 300)


def test_a_package_whose_parts_are_not_told_is_tried_again() -> None:
    made = a_plan("transcode_720p")
    task = made.task("transcode_720p")
    assert isinstance(task.work, Join)
    budget = Budget(lambda: 1.0, 1)
    bench = Workbench(made, task, Source("a.mp4", ""), budget, lambda _: {}, lambda _: None)
    with pytest.raises(Transient, match="not there"):
        parts_of(bench)


def test_an_image_is_decoded_once_for_all_of_its_steps() -> None:
    (both,) = plan(PICTURE, "watermark", "thumbnail").tasks
    (small,) = plan(PICTURE, "thumbnail").tasks
    assert (both.id, both.pool) == ("watermark+thumbnail", "pictures")
    assert (small.id, small.pool) == ("thumbnail", "pictures")


# ── copies of films without an index ────────────────────────────────────────────────────────────

MKV = msgspec.structs.replace(
    FILM,
    demuxer="matroska",
    seconds=120.0,
    frames=3000,
    video_codec="h264",
    audio=(AudioTrack(1, "aac"),),
    looks="upright",
    rhythm=rhythm(range(0, 3000 * 512, 512)),
    whole_reason="its container has no index of every frame",
    copy_may_help=True,
)
GB = 1000**3
ENCODED = find_steps(["thumbnail", "transcode_720p", "hls_720p"], JobError)
RENDITIONS = copying.renditions_of(MKV, ENCODED, DEFAULTS)


@pytest.mark.parametrize(
    ("change", "worth_it"),
    [
        ({}, True),
        ({"seconds": 30.0}, False),
        # Chunks are no shorter than a segment, however small the picture.
        ({"width": 64, "height": 48}, False),
        ({"width": 3840, "height": 2160, "seconds": 30.0}, True),
        ({"copy_may_help": False}, False),
    ],
)
def test_a_copy_is_made_where_it_makes_many_chunks(
    change: dict[str, float], worth_it: bool
) -> None:
    facts = msgspec.structs.replace(MKV, **change)
    renditions = copying.renditions_of(facts, find_steps(["transcode_720p"], JobError), DEFAULTS)
    assert copying.is_worth_it(facts, renditions, DEFAULTS) == worth_it


def test_a_picture_of_a_film_is_not_worth_a_copy() -> None:
    renditions = copying.renditions_of(MKV, find_steps(["thumbnail"], JobError), DEFAULTS)
    assert not copying.is_worth_it(MKV, renditions, DEFAULTS)


@pytest.mark.parametrize(
    ("change", "size", "why"),
    [
        ({}, 4 * GB, ""),
        ({}, 5 * 1024**3, "too large"),
        ({"video_codec": "vp8"}, GB, "vp8 cannot be copied"),
        (
            {"audio": (AudioTrack(1, "wmav2"), AudioTrack(2, "aac"))},
            GB,
            "wmav2 sound cannot be copied",
        ),
        ({"audio": ()}, GB, ""),
        ({"interlaced": True}, GB, "fields for frames"),
        ({"interlaced": True, "video_codec": "mpeg2video"}, GB, ""),
        ({"timescale": 10_000_000}, GB, "clock"),
    ],
)
def test_what_cannot_be_copied_says_why(change: dict[str, Any], size: int, why: str) -> None:
    said = copying.obstacle(msgspec.structs.replace(MKV, **change), size)
    assert (why in said) if why else not said


def test_a_copy_goes_without_further_tracks_that_it_cannot_have() -> None:
    tracks = tuple(AudioTrack(n, codec) for n, codec in enumerate(("ac3", "dts", "aac"), 1))
    kept = copying.without_what_cannot_be_copied(msgspec.structs.replace(MKV, audio=tracks))
    assert kept.audio == (tracks[0], tracks[2])
    assert kept.sounds_left_out == 1
    assert copying.obstacle(kept, GB) == ""
    (stream,) = (each for each in find_steps([{"make": "hls"}], JobError))
    made = stream.video(kept, DEFAULTS)
    assert isinstance(made, Packaging)
    assert made.work.warning == "Tracks of sound that cannot be taken are left out: 1."


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"looks": "upside down"}, "look different"),
        ({"width": 1440}, "look different"),
        ({"timescale": 90000}, "another clock"),
        ({"frame_rate": "3000/121"}, ""),
        ({"audio": ()}, "lost its sound"),
        ({"audio": (AudioTrack(1, "aac", 24000),)}, "sounds different"),
        ({"frames": 2999}, "2999 frames of 3000"),
        ({"seconds": 122.0}, "122 s long, and it 120 s"),
        ({"seconds": 120.5}, ""),
        ({"index": msgspec.structs.replace(INDEX, durations=((3000, 513),))}, "other times"),
        ({"index": None, "whole_reason": "it has more than one edit"}, "more than one edit"),
        ({"index": msgspec.structs.replace(INDEX, start_us=20_000)}, "another time"),
    ],
)
def test_a_copy_that_differs_is_not_taken_for_the_film(change: dict[str, Any], why: str) -> None:
    copy = msgspec.structs.replace(MKV, demuxer="mov", index=INDEX)
    said = copying.difference(MKV, msgspec.structs.replace(copy, **change))
    assert (why in said) if why else not said


def test_a_copy_of_a_film_that_nobody_read_whole_is_compared_by_its_length() -> None:
    unread = msgspec.structs.replace(MKV, frames=None, rhythm="")
    copy = msgspec.structs.replace(MKV, index=INDEX, frames=2999)
    assert copying.difference(unread, copy) == ""
    assert copying.difference(unread, msgspec.structs.replace(copy, seconds=110.0))


def test_what_is_read_from_a_copy_is_planned_as_the_film_that_it_is() -> None:
    copy = msgspec.structs.replace(
        MKV,
        demuxer="mov",
        index=INDEX,
        video_stream=0,
        audio=(AudioTrack(0, "flac", 44100, 1, language="de"),),
        frame_rate="24.9",
    )
    facts = copying.as_copied(MKV, copy)
    assert (facts.demuxer, facts.index) == ("mov", INDEX)
    assert facts.audio == (AudioTrack(0, "aac", 44100, 1),)
    assert (facts.frame_rate, facts.seconds) == (MKV.frame_rate, MKV.seconds)


def test_the_copy_has_the_streams_that_are_used() -> None:
    chosen = msgspec.structs.replace(MKV, video_stream=2, audio=(AudioTrack(5),))
    (task,) = copying.plan_copy(JOB, "abc", chosen, DEFAULTS).tasks
    assert isinstance(task.work, Remux)
    text = " ".join(task.work.args)
    assert "-f matroska -protocol_whitelist file -i source -map 0:2 -map 0:5 -c copy" in text
    assert (task.pool, task.destination, text.split()[-1]) == (
        "audio",
        work_folder(JOB),
        "copy-abc.mp4",
    )


def test_only_what_surely_takes_too_long_as_a_whole_is_refused() -> None:
    for hours, refused in ((0.1, False), (5.0, False), (6.0, True)):
        facts = msgspec.structs.replace(MKV, seconds=hours * 3600)
        if refused:
            with pytest.raises(JobError, match=r"encoded as a whole.*21600 s"):
                copying.check_length(facts, RENDITIONS)
        else:
            copying.check_length(facts, RENDITIONS)
        copying.check_length(msgspec.structs.replace(facts, index=INDEX), RENDITIONS)
