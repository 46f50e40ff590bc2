"""Films with several tracks of sound, judged by decoding what a viewer can choose between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import av
import m3u8
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.jobs import limits
from chalicelib.model.facts import VideoFacts
from chalicelib.model.usage import Used
from chalicelib.model.work import Hls
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying
from chalicelib.planning.planner import make_plan
from chalicelib.probing import media
from chalicelib.probing.film import Film
from chalicelib.probing.packets import CannotCut, IndexedTrack, Packets, audio_packets
from infra.tools import samples
from testing.local import Result, carry_out, copy_of, facts_of, run
from testing.planned import DEFAULTS, SHORT_CHUNKS, plan_settings_with

pytestmark = pytest.mark.media

RATE = 48000
PACKET = 1024 / RATE


class Voice(NamedTuple):
    """A track: its tone, when it begins and how long it is, in seconds; its options."""

    tone: int
    begin: float = 0.0
    seconds: float = 6.0
    options: Sequence[str] = ()
    channels: int = 2
    rate: int = 48000


ENGLISH = Voice(440, options=("language=eng", "title=Director's cut"))
GERMAN = Voice(600, begin=1.25, seconds=3.0, options=("language=deu",), channels=1, rate=44100)
TOLD = Voice(880, options=("language=eng",))
VOICES = (ENGLISH, GERMAN, TOLD)


def film(
    path: Path, *voices: Voice, seconds: float = 6, codec: str = "aac", default: int = 0
) -> Path:
    inputs, options = list[str](), list[str]()
    for number, voice in enumerate(voices):
        each = "|".join([f"0.4*sin(2*PI*t*{voice.tone})"] * voice.channels)
        inputs += ["-itsoffset", f"{voice.begin}", "-f", "lavfi", "-i"]
        inputs += [f"aevalsrc={each}:d={voice.seconds}:s={voice.rate}"]
        options += ["-map", f"{number + 1}:a"]
        for option in voice.options:
            options += [f"-metadata:s:a:{number}", option]
        options += [f"-disposition:a:{number}", "default" if number == default else "0"]
    options += ["-disposition:a:2", "visual_impaired"] if len(voices) == 3 else []
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=160x96:rate=10:duration={seconds}",
        *inputs,
        "-map", "0:v", *options,
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10",
        "-c:a", codec,
        str(path),
    )  # fmt: skip
    return path


def heard(path: Path) -> Any:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.codec_context.channels) == (RATE, 2)
        return numpy.concatenate([f.to_ndarray() for f in container.decode(stream)], axis=1)


def tones(sound: Any) -> list[int]:
    """The loudest frequency of each half second, to ten hertz; 0 where it is silent."""
    found = []
    half = RATE // 2
    for start in range(1024, sound.shape[1] - half + 1, half):
        window = sound[0][start : start + half]
        spectrum = abs(numpy.fft.rfft(window * numpy.hanning(half)))
        is_loud = numpy.sqrt(numpy.mean(window**2)) > 0.005
        found.append(round(spectrum.argmax() * 2 / 10) * 10 if is_loud else 0)
    return found


def wanted(voice: Voice, seconds: float) -> list[int]:
    return [
        voice.tone
        if min((half + 1) / 2, voice.begin + voice.seconds) - max(half / 2, voice.begin) > 0.1
        else 0
        for half in range(int(2 * seconds))
    ]


def check(result: Result, voices: Sequence[Voice], seconds: float = 6) -> list[m3u8.Media]:
    """Each voice has its playlist, with its tone at its time, and all end together with the film."""
    master = m3u8.load(str(result.path))
    media = [each for each in master.media if each.type == "AUDIO"]
    assert len({each.name for each in media}) == len(media) == len(voices)
    assert [each.default for each in media] == ["YES", *["NO"] * (len(voices) - 1)]
    assert all(each.group_id == "audio" and each.autoselect == "YES" for each in media)
    assert all(variant.stream_info.audio == "audio" for variant in master.playlists)
    lengths = set()
    for voice, each in zip(voices, media, strict=True):
        path = result.path.parent / each.uri
        sound = heard(path)
        lengths.add(round(sum(part.duration for part in m3u8.load(str(path)).segments), 3))
        assert sound.shape[1] / RATE == pytest.approx(seconds, abs=4 * PACKET)
        assert tones(sound) == wanted(voice, seconds)
    assert max(lengths) - min(lengths) < 2 * PACKET
    return media


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_viewer_chooses_between_all_tracks(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, *VOICES)
    results = run(path, tmp_path / "made", "hls_720p", "transcode_720p")
    media = check(results["hls_720p"], VOICES)
    assert [each.language for each in media] == ["en", "de", "en"]
    # MP4 keeps titles of tracks elsewhere.
    assert [each.name for each in media][1:] == [
        "Deutsch",
        "English" if name == "film.mkv" else "English 2",
    ]
    assert media[2].characteristics == "public.accessibility.describes-video"
    with av.open(str(results["transcode_720p"].path)) as container:
        assert len(container.streams.audio) == 1
    found = tones(heard(results["transcode_720p"].path))
    assert found == wanted(ENGLISH, 6)[: len(found)]


def test_the_first_is_what_the_container_marks(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", *VOICES, default=1)
    check(run(path, tmp_path / "made", "hls_720p")["hls_720p"], (GERMAN, ENGLISH, TOLD))


def test_one_track_is_listed_where_that_is_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", *VOICES)
    step = {"make": "hls", "ladder": [144], "audio": "first"}
    made = run(path, tmp_path / "made", step)["hls"]
    (media,) = check(made, (ENGLISH,))
    assert media.name == "audio"
    assert not list(made.path.parent.glob("audio_2*"))


def test_long_tracks_are_cut_into_parts_that_join(tmp_path: Path) -> None:
    voices = (
        Voice(440, seconds=40),
        Voice(600, begin=20, seconds=5, rate=44100, channels=1),
        Voice(880, seconds=11, rate=32000),
    )
    path = film(tmp_path / "film.mp4", *voices, seconds=40)
    chosen = plan_settings_with(chunk_work_seconds=0.01, audio_part_seconds=12.0)
    result = run(
        path, tmp_path / "made", {"make": "hls", "ladder": [144], "dash": True}, chosen=chosen
    )["hls"]
    parts = sorted(each.name for each in (tmp_path / "made/tasks").glob("sound.*"))
    assert len(parts) > 2
    check(result, voices, seconds=40)
    mpd = ElementTree.parse(result.path.parent / "manifest.mpd").getroot()
    space = "{urn:mpeg:dash:schema:mpd:2011}"
    sets = [
        each for each in mpd.iter(f"{space}AdaptationSet") if each.get("contentType") == "audio"
    ]
    ids = [each.find(f"{space}Representation").get("id") for each in sets]  # type: ignore[union-attr]
    assert ids == ["audio", "audio_2", "audio_3"]
    roles = [each.find(f"{space}Role").get("value") for each in sets]  # type: ignore[union-attr]
    assert roles == ["main", "alternate", "description"]


@pytest.mark.parametrize(("name", "codec"), [("film.ts", "aac"), ("film.mkv", "ac3")])
def test_a_copy_has_all_tracks(tmp_path: Path, name: str, codec: str) -> None:
    voices = (ENGLISH, GERMAN._replace(rate=48000), TOLD)
    path = film(tmp_path / name, *voices, codec=codec)
    facts, copied, copy = copy_of(path, tmp_path / "copy")
    assert copying.difference(facts, copied) == ""
    as_copied = copying.as_copied(facts, copied)
    assert [each.language for each in as_copied.audio] == ["en", "de", "en"]
    steps = find_steps(["hls_720p"], JobError)
    plan = make_plan("job", path.name, as_copied, steps, SHORT_CHUNKS)
    check(carry_out(plan, copy, tmp_path / "made")["hls_720p"], voices)


def test_a_track_that_cannot_be_cut_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.mp4", *VOICES)
    packets = audio_packets

    def some(opened: Film, track: IndexedTrack) -> Packets:
        if track.stream.index == 2:
            raise CannotCut("it has more than one edit")
        return packets(opened, track)

    # Looked at here: in a child it would be another module.
    monkeypatch.setattr("chalicelib.probing.frame_index.audio_packets", some)
    with path.open("rb") as file:
        facts = media.look_at(file, "mov", path.stat().st_size, 64, 10**8)
    assert isinstance(facts, VideoFacts)
    assert (len(facts.audio), facts.sounds_left_out) == (2, 1)
    plan = make_plan("job", path.name, facts, find_steps(["hls_720p"], JobError), DEFAULTS)
    work = plan.task("hls_720p").work
    assert isinstance(work, Hls)
    assert work.warning == "Tracks of sound that cannot be taken are left out: 1."
    assert [sound.language for sound in work.sounds] == ["en", "en"]


def test_many_tracks_lie_between_the_same_bytes(tmp_path: Path) -> None:
    """Each excerpt of a track brings the others' bytes with it: the file is not damaged for that."""
    path = film(
        tmp_path / "film.mp4", *(Voice(300 + 50 * n, seconds=30) for n in range(6)), seconds=30
    )
    facts = facts_of(path)
    plan = make_plan("job", path.name, facts, find_steps(["hls_720p"], JobError), DEFAULTS)
    limits.affordable(plan, facts, path.stat().st_size, Used("intake"), None)


def test_tracks_of_a_transport_stream_keep_their_times(tmp_path: Path) -> None:
    """FFmpeg lets it start when the streams in use start."""
    late = (Voice(440, begin=0.0), Voice(880, begin=1.25, seconds=3.0))
    path = film(tmp_path / "film.ts", *late)
    result = run(path, tmp_path / "made", {"make": "hls", "ladder": [144]})["hls"]
    media = [each for each in m3u8.load(str(result.path)).media if each.type == "AUDIO"]
    found = [tones(heard(result.path.parent / each.uri)) for each in media]
    assert found[0][0] == 440
    assert found[1] == wanted(late[1], 6)


def test_a_track_that_begins_an_hour_late_costs_no_hour(tmp_path: Path) -> None:
    """FFmpeg would hold all of the silence before it, for each part."""
    chosen = plan_settings_with(audio_part_seconds=12.0)
    voices = (Voice(440, seconds=30), Voice(880, begin=27.0, seconds=2.0))
    path = film(tmp_path / "late.mp4", *voices, seconds=30)
    check(
        run(path, tmp_path / "made", {"make": "hls", "ladder": [144]}, chosen=chosen)["hls"],
        voices,
        30,
    )
    facts = facts_of(path)
    plan = make_plan("job", path.name, facts, find_steps(["hls_720p"], JobError), chosen)
    assert "atrim=end={enough}" in " ".join(plan.commands["sound_2"])


def test_the_plan_says_what_is_read_of_each_track(tmp_path: Path) -> None:
    facts = facts_of(film(tmp_path / "film.mp4", *VOICES))
    plan = make_plan("job", "film.mp4", facts, find_steps(["hls_720p"], JobError), DEFAULTS)
    (task,) = (task for task in plan.tasks if task.id == "sound.0")
    assert [each.track for each in task.excerpts] == ["sound", "sound_2", "sound_3"]
    assert set(plan.samples) == {"film", "sound", "sound_2", "sound_3"}
