"""Sound of every kind that people send, judged by decoding what is made: which tone when, and how loud."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import m3u8
import msgspec
import numpy
import pytest

from chalicelib.errors import JobError
from chalicelib.formats import adts
from chalicelib.model.facts import AudioTrack, VideoFacts
from chalicelib.model.plan import Plan
from chalicelib.model.work import Audio
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying
from chalicelib.planning.planner import make_plan
from chalicelib.probing import media, video
from infra.tools import samples
from testing.local import Result, carry_out, copy_of, facts_of, run
from testing.planned import DEFAULTS, SHORT_CHUNKS, plan_settings_with
from testing.prepared import CORPUS

pytestmark = pytest.mark.media
BOTH = ("transcode_720p", "hls_720p")
RATE = 48000
# Whoever makes AAC of a film adds a packet at the end, and HLS has one ahead.
PACKET = 1024 / RATE


def film(path: Path, *options: str, seconds: float = 6, rate: str = "10") -> None:
    """Pictures, and whatever else the options say."""
    samples.run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=160x96:rate={rate}:duration={seconds}",
        *options,
        str(path),
    )  # fmt: skip


# Small, with a key frame each second.
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-g", "10")


def samples_of(path: Path) -> Any:
    """What is heard, a row for each channel."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (RATE, 2)
        return numpy.concatenate([f.to_ndarray() for f in container.decode(stream)], axis=1)


def tones(heard: Any, hop: float = 0.5) -> list[int]:
    """The loudest frequency of each half second, to ten hertz; 0 where it is silent."""
    length = int(hop * RATE)
    found = []
    for start in range(0, len(heard) - length + 1, length):
        window = heard[start : start + length]
        spectrum = abs(numpy.fft.rfft(window * numpy.hanning(length)))
        is_loud = numpy.sqrt(numpy.mean(window**2)) > 0.005
        found.append(round(spectrum.argmax() / hop / 10) * 10 if is_loud else 0)
    return found


def level(heard: Any) -> float:
    return float(numpy.sqrt(numpy.mean(heard**2)))


def played(results: dict[str, Result]) -> dict[str, Any]:
    """The samples of each output, the encoder's own packet left out."""
    ahead = {"transcode_720p": 0, "hls_720p": 1024}
    return {step: samples_of(results[step].path)[:, ahead[step] :] for step in results}


# ── channels and rate that change on the way ────────────────────────────────────────────────────

# A part: how many seconds of which tone, with how many channels, at which rate.
Piece = tuple[float, int, str, int]
LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6, "quad": 4}


def joined(folder: Path, codec: str, pieces: Sequence[Piece]) -> Path:
    """A stream of frames that each say what they are, put together of several."""
    suffix = {"ac3": "ac3", "eac3": "eac3", "aac": "aac", "mp2": "mp2", "libmp3lame": "mp3"}[codec]
    whole = folder / f"sound.{suffix}"
    with whole.open("wb") as file:
        for seconds, tone, layout, rate in pieces:
            part = folder / f"part.{suffix}"
            each = "|".join([f"0.4*sin(2*PI*t*{tone})"] * LAYOUTS[layout])
            samples.run_ffmpeg(
                "-f", "lavfi", "-i", f"aevalsrc={each}:d={seconds}:s={rate}:c={layout}",
                "-c:a", codec, "-id3v2_version", "0", "-write_xing", "0",
                str(part),
            ) if codec == "libmp3lame" else samples.run_ffmpeg(
                "-f", "lavfi", "-i", f"aevalsrc={each}:d={seconds}:s={rate}:c={layout}",
                "-c:a", codec,
                str(part),
            )  # fmt: skip
            file.write(part.read_bytes())
    return whole


def changing(path: Path, codec: str, pieces: Sequence[Piece]) -> None:
    sound = joined(path.parent, codec, pieces)
    seconds = sum(piece[0] for piece in pieces)
    film(path, "-i", str(sound), *H264, "-c:a", "copy", seconds=seconds)


def check_tones(heard: Any, pieces: Sequence[Piece]) -> None:
    """Every tone in its place, but for half a second around each change."""
    found = tones(heard)
    ends = list(accumulate(piece[0] for piece in pieces))
    assert len(heard) / RATE == pytest.approx(ends[-1], abs=0.12)
    for number, tone in enumerate(found):
        begin, end = number / 2, (number + 1) / 2
        piece = next(n for n, until in enumerate(ends) if end <= until + 0.01 or n == len(ends) - 1)
        if any(begin - 0.2 < until < end + 0.2 for until in ends):
            continue
        assert tone == pieces[piece][1], (begin, found)


TV: Sequence[Piece] = (
    (3.0, 500, "stereo", 48000),
    (3.0, 700, "5.1", 48000),
    (3.0, 900, "stereo", 48000),
)
PHONE: Sequence[Piece] = ((4.0, 500, "mono", 44100), (3.0, 800, "stereo", 44100))
BACK: Sequence[Piece] = ((2.5, 600, "stereo", 48000), (2.5, 1000, "mono", 48000))
FASTER: Sequence[Piece] = ((3.0, 400, "stereo", 32000), (3.0, 900, "stereo", 48000))
SLOWER: Sequence[Piece] = ((3.0, 400, "stereo", 48000), (3.0, 900, "mono", 44100))
OFTEN: Sequence[Piece] = tuple(
    (1.5, 300 + 100 * n, ("stereo", "5.1")[n % 2], 48000) for n in range(6)
)
variants = pytest.mark.variants
LONG_CHUNKS = plan_settings_with(chunk_work_seconds=60.0)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("name", "codec", "pieces"),
    [
        ("tv.ts", "ac3", TV),
        ("tv.mp4", "ac3", TV),
        pytest.param("tv.mkv", "ac3", TV, marks=variants),
        pytest.param("eac3.ts", "eac3", OFTEN, marks=variants),
        pytest.param("phone.ts", "aac", PHONE, marks=variants),
        pytest.param("back.ts", "aac", BACK, marks=variants),
        pytest.param("rate.ts", "aac", SLOWER, marks=variants),
        pytest.param("faster.ts", "mp2", FASTER, marks=variants),
        pytest.param("slower.mpg", "mp2", SLOWER, marks=variants),
        pytest.param("often.mp4", "ac3", OFTEN, marks=variants),
        pytest.param("rate.mkv", "libmp3lame", FASTER, marks=variants),
        pytest.param("mono.ts", "libmp3lame", BACK, marks=variants),
        pytest.param("mono.mp4", "ac3", BACK, marks=variants),
    ],
)
def test_sound_that_changes_on_the_way_stays_in_its_place(
    tmp_path: Path, name: str, codec: str, pieces: Sequence[Piece], chunked: bool
) -> None:
    path = tmp_path / name
    changing(path, codec, pieces)
    results = run(path, tmp_path / "made", *BOTH, chosen=SHORT_CHUNKS if chunked else LONG_CHUNKS)
    for heard in played(results).values():
        for channel in heard:
            check_tones(channel, pieces)
            # Each part at its level: 0.4 at the peak; of 5.1, FFmpeg adds up what is the same in all.
            second = channel[RATE // 2 : RATE]
            assert level(second) == pytest.approx(0.283, rel=0.1)
        last = heard[0][-int(0.9 * RATE) : -int(0.3 * RATE)]
        if pieces[-1][2] != "5.1":
            assert level(last) == pytest.approx(0.283, rel=0.1)


def test_sound_that_changes_in_a_part_of_it(tmp_path: Path) -> None:
    chosen = plan_settings_with(chunk_work_seconds=0.01, audio_part_seconds=12.0)
    pieces = tuple((8.0, 400 + 100 * n, ("stereo", "5.1")[n % 2], 48000) for n in range(6))
    changing(tmp_path / "long.mp4", "ac3", pieces)
    results = run(tmp_path / "long.mp4", tmp_path / "made", *BOTH, chosen=chosen)
    assert len(list((tmp_path / "made" / "tasks").glob("sound.*"))) > 2
    for heard in played(results).values():
        check_tones(heard[0], pieces)


@pytest.mark.parametrize(
    ("first", "second"),
    [("stereo", "mono"), pytest.param("mono", "stereo", marks=variants)],
)
def test_aac_that_changes_is_decoded_for_a_copy(tmp_path: Path, first: str, second: str) -> None:
    pieces = ((10.0, 500, first, 44100), (10.0, 800, second, 44100))
    path = tmp_path / "tv.ts"
    changing(path, "aac", pieces)
    facts, copied, copy = copy_of(path, tmp_path / "copy")
    assert copying.difference(facts, copied) == ""
    assert [each.audio[0].codec for each in (facts, copied)] == ["aac", "flac"]
    steps = find_steps(["transcode_720p"], JobError)
    plan = make_plan("job", "a.ts", copying.as_copied(facts, copied), steps, DEFAULTS)
    results = carry_out(plan, copy, tmp_path / "made")
    for channel in samples_of(results["transcode_720p"].path):
        check_tones(channel, pieces)


def frame_of(channels: int, size: int = 40) -> bytes:
    """An ADTS frame of AAC-LC at 48 kHz, which holds nothing."""
    fields = 0xFFF1 << 40 | 1 << 38 | 3 << 34 | channels << 30 | size << 13
    return fields.to_bytes(7).ljust(size, b"\xff")


def test_frames_behind_a_damaged_one_are_looked_at_too() -> None:
    stereo, mono = frame_of(2), frame_of(1)
    assert adts.kinds(5 * stereo) == {(1, 3, 2)}
    for damage in (bytes(40), stereo[:30], stereo[:4] + b"\xff" + stereo[5:], mono[7:]):
        assert adts.kinds(3 * stereo + damage + 3 * mono) == {(1, 3, 2), (1, 3, 1)}
        assert adts.kinds(3 * stereo + damage + 3 * stereo) == {(1, 3, 2)}
    assert adts.kinds(bytes(100)) == adts.kinds(b"\xff") == set()


def test_a_copy_whose_sound_cannot_be_decoded_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "tv.ts"
    sound = joined(tmp_path, "aac", PHONE)
    content = bytearray(sound.read_bytes())
    frame = content.index(b"\xff\xf1", len(content) // 4)
    for number in range(frame + 8, content.index(b"\xff\xf1", frame + 8)):
        content[number] = (
            7 * content[number] + 13 & 0x7F
        )  # no header, and nothing that can be decoded
    sound.write_bytes(content)
    film(path, "-i", str(sound), *H264, "-c:a", "copy", seconds=7)
    with pytest.raises(JobError):
        copy_of(path, tmp_path / "copy")


def test_room_on_the_disk_is_kept_for_sound_that_may_be_decoded() -> None:
    facts = VideoFacts(
        "mpegts",
        1920,
        1080,
        7200.0,
        None,
        "25",
        90000,
        0,
        (AudioTrack(1, "aac"),),
        video_codec="h264",
    )
    size = (copying.DISK_BYTES - 1024**3) // 2
    assert "too large" in copying.obstacle(facts, size)
    assert copying.obstacle(facts.__replace__(audio=(AudioTrack(1, "ac3"),)), size) == ""


# ── level ───────────────────────────────────────────────────────────────────────────────────────


def tone(layout: str, *levels: float, seconds: float = 3, rate: int = 48000) -> tuple[str, ...]:
    """An input with a tone of 440 Hz, of so much at the peak in each channel."""
    each = "|".join(f"{peak}*sin(2*PI*t*440)" for peak in levels)
    return "-f", "lavfi", "-i", f"aevalsrc={each}:d={seconds}:s={rate}:c={layout}"


@pytest.mark.parametrize(
    ("name", "source", "codec", "left", "right"),
    [
        ("mono.mp4", tone("mono", 0.5), "aac", 0.354, 0.354),
        ("stereo.mp4", tone("stereo", 0.5, 0.1), "aac", 0.354, 0.071),
        pytest.param("mono.mov", tone("mono", 0.5), "pcm_s16le", 0.354, 0.354, marks=variants),
        pytest.param("low.mov", tone("mono", 0.5, rate=8000), "pcm_alaw", 0.354, 0.354, marks=variants),
        pytest.param("mono.mkv", tone("mono", 0.5, rate=44100), "flac", 0.354, 0.354, marks=variants),
        pytest.param("mono.mka.mkv", tone("mono", 0.5), "libopus", 0.354, 0.354, marks=variants),
        pytest.param("mono.ts", tone("mono", 0.5), "mp2", 0.354, 0.354, marks=variants),
        pytest.param("mono.avi", tone("mono", 0.5), "libmp3lame", 0.354, 0.354, marks=variants),
        pytest.param("mono.flv", tone("mono", 0.5, rate=44100), "aac", 0.354, 0.354, marks=variants),
        pytest.param("quiet.mov", tone("mono", 0.05), "pcm_s24le", 0.0354, 0.0354, marks=variants),
        pytest.param("full.mp4", tone("mono", 0.99), "alac", 0.7, 0.7, marks=variants),
        pytest.param("left.mp4", tone("stereo", 0.5, 0), "aac", 0.354, 0, marks=variants),
        # As FFmpeg has it: the front, and 0.707 of the centre.
        pytest.param("front.mp4", tone("3.0", 0.3, 0.3, 0), "pcm_s16le", 0.212, 0.212, marks=variants),
        pytest.param("centre.mov", tone("5.1", 0, 0, 0.5, 0, 0, 0), "pcm_s16le", 0.25, 0.25, marks=variants),
        pytest.param("matrix.mov", tone("downmix", 0.5, 0.1), "pcm_s16le", 0.354, 0.071, marks=variants),
    ],
)  # fmt: skip
def test_sound_is_as_loud_as_it_was(
    tmp_path: Path, name: str, source: tuple[str, ...], codec: str, left: float, right: float
) -> None:
    path = tmp_path / name
    picture = ("-c:v", "flv") if name.endswith("flv") else H264
    film(path, *source, *picture, "-c:a", codec, seconds=3)
    for heard in played(run(path, tmp_path / "made", *BOTH)).values():
        middle = heard[:, RATE : 2 * RATE]
        assert [level(channel) for channel in middle] == pytest.approx(
            [left, right], rel=0.06, abs=0.002
        )


def ambisonic(path: Path, order: int = 1, *, beside: bool = False, codec: str = "libvpx") -> None:
    """A sound field from the left, and its other channels silent; beside it, stereo that stays in front."""
    channels = (order + 1) ** 2
    each = ["0.4*sin(2*PI*t*440)", "0.4*sin(2*PI*t*440)", *["0"] * (channels - 2)]
    each += ["0.2*sin(2*PI*t*2000)"] * 2 if beside else []
    film(
        path,
        "-f", "lavfi", "-i", f"aevalsrc={'|'.join(each)}:d=3:s=48000",
        "-c:v", codec, "-deadline", "realtime",
        # The layout is not asked for where each channel is coded alone.
        "-c:a", "libopus", "-mapping_family", "255",
        seconds=3,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    content[content.index(b"OpusHead") + 18] = 2  # mapping family (RFC 7845, 5.1.1)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "order", "beside"),
    [
        ("field.webm", 1, False),
        pytest.param("field.mkv", 1, False, marks=variants),
        pytest.param("second.webm", 2, False, marks=variants),
        pytest.param("third.mkv", 3, False, marks=variants),
        pytest.param("beside.webm", 1, True, marks=variants),
        pytest.param("second_beside.webm", 2, True, marks=variants),
    ],
)
def test_a_sound_field_becomes_stereo(tmp_path: Path, name: str, order: int, beside: bool) -> None:
    path = tmp_path / name
    ambisonic(path, order, beside=beside)
    for heard in played(run(path, tmp_path / "made", *BOTH)).values():
        left, right = heard[:, RATE : 2 * RATE]
        spectrum = [abs(numpy.fft.rfft(channel)) / RATE * 2 for channel in (left, right)]
        assert [each[440] for each in spectrum] == pytest.approx([0.4 * 2**0.5, 0], abs=0.02)
        assert [each[2000] for each in spectrum] == pytest.approx([0.2 * beside] * 2, abs=0.02)


# ── no sound ────────────────────────────────────────────────────────────────────────────────────


def declared(path: Path, *video: str, codec: str = "aac", more: Sequence[str] = ()) -> None:
    """A track that says what it is, and has no packet."""
    film(
        path, *tone("mono", 0.5), *video, "-c:a", codec, "-bsf:a", "noise=drop=1", *more, seconds=3
    )


def emptied(path: Path) -> None:
    """An MP4 of whose sound the tables have no rows."""
    film(path, *tone("mono", 0.5), *H264, "-c:a", "aac", seconds=3)
    content = bytearray(path.read_bytes())
    sound = content.index(b"soun")
    for kind, at in ((b"stts", 8), (b"stsc", 8), (b"stsz", 12), (b"stco", 8)):
        struct.pack_into(">I", content, content.index(kind, sound) + at, 0)
    path.write_bytes(content)


def few(path: Path, *video: str, codec: str = "pcm_s16le", count: int = 4) -> None:
    film(
        path,
        *tone("mono", 0.5),
        *video,
        "-af",
        f"atrim=end_sample={count}",
        "-c:a",
        codec,
        seconds=3,
    )


FRAGMENTED = ("-movflags", "+frag_keyframe+empty_moov")
SILENT: dict[str, Callable[[Path], None]] = {
    "muted.webm": lambda path: declared(path, *VP8, codec="libopus"),
    "emptied.mp4": emptied,
    "four.mov": lambda path: few(path, *H264),
}
MORE_SILENT: dict[str, Callable[[Path], None]] = {
    "muted.mkv": lambda path: declared(path, *H264),
    "vorbis.webm": lambda path: declared(path, *VP8, codec="libvorbis"),
    "fragmented.mp4": lambda path: declared(path, *H264, more=FRAGMENTED),
    "muted.avi": lambda path: declared(path, "-c:v", "mpeg4", codec="libmp3lame"),
    "muted.flv": lambda path: declared(path, "-c:v", "flv"),
    "muted.nut.mkv": lambda path: declared(path, *H264, codec="pcm_s16le"),
    "flac.mkv": lambda path: declared(path, *H264, codec="flac"),
    "hundred.mov": lambda path: few(path, *H264, count=100),
    "four.mkv": lambda path: few(path, *H264),
    "four.avi": lambda path: few(path, "-c:v", "mpeg4"),
    "four_fragmented.mp4": lambda path: few(path, *H264, *FRAGMENTED),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "name", [*SILENT, *(pytest.param(name, marks=variants) for name in MORE_SILENT)]
)
def test_a_track_that_was_declared_and_never_filled_is_no_sound(
    tmp_path: Path, name: str, chunked: bool
) -> None:
    path = tmp_path / name
    (SILENT | MORE_SILENT)[name](path)
    results = run(path, tmp_path / "made", *BOTH, chosen=SHORT_CHUNKS if chunked else LONG_CHUNKS)
    for result in results.values():
        with av.open(str(result.path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 30
            has_sound = bool(container.streams.audio)
        if has_sound:
            assert level(samples_of(result.path)) < 1e-3


def test_a_track_is_known_to_be_empty_when_it_is_encoded_at_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "muted.mkv"
    declared(path, *H264)
    # Looked at here: in a child it would be another module.
    monkeypatch.setattr(video, "COUNT_BYTES", 0)
    with path.open("rb") as file:
        facts = media.look_at(file, "matroska", path.stat().st_size, 64, 10**8)
    plan = make_plan("job", path.name, facts, find_steps(BOTH, JobError), DEFAULTS)
    results = carry_out(plan, path, tmp_path / "made")
    for result in results.values():
        assert result.made.warning.startswith("The sound track of the film is empty")
        assert result.made.duration == pytest.approx(3, abs=0.05)
        heard = samples_of(result.path)
        assert not heard.any()
        assert heard.shape[1] / RATE == pytest.approx(3, abs=3 * PACKET)


def test_of_two_tracks_the_one_that_can_be_heard_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "two.mov"
    film(
        path, *tone("mono", 0.5), *tone("mono", 0.25),
        "-map", "0", "-map", "1", "-map", "2", *H264, "-c:a", "pcm_s16le",
        "-filter:a:0", "atrim=end_sample=4",
        seconds=3,
    )  # fmt: skip
    heard = samples_of(run(path, tmp_path / "made", "transcode_720p")["transcode_720p"].path)
    assert level(heard[0][RATE : 2 * RATE]) == pytest.approx(0.177, rel=0.03)


# ── which sound ─────────────────────────────────────────────────────────────────────────────────


def two_tracks(path: Path, *dispositions: str, codec: str = "aac") -> None:
    """Tones of 300, 600 and so on, one for each track."""
    inputs, maps = [], ["-map", "0"]
    for number, _ in enumerate(dispositions, 1):
        inputs += ["-f", "lavfi", "-i", f"sine=f={300 * number}:d=3"]
        maps += ["-map", str(number)]
    flags = [
        part
        for number, disposition in enumerate(dispositions)
        for part in (f"-disposition:a:{number}", disposition)
    ]
    film(path, *inputs, *maps, *H264, "-c:a", codec, *flags, seconds=3)


@pytest.mark.parametrize(
    ("name", "dispositions", "taken"),
    [
        ("commentary.mkv", ("comment", "default"), 600),
        ("second.mp4", ("0", "default"), 600),
        pytest.param("first.mkv", ("default", "0"), 300, marks=variants),
        pytest.param("both.mkv", ("default", "default"), 300, marks=variants),
        pytest.param("none.mkv", ("0", "0"), 300, marks=variants),
        pytest.param("third.mkv", ("0", "0", "default"), 900, marks=variants),
        pytest.param("third.mp4", ("0", "0", "default"), 900, marks=variants),
        pytest.param("second.mov", ("0", "default", "0"), 600, marks=variants),
        pytest.param("two_of_three.mkv", ("0", "default", "default"), 600, marks=variants),
        pytest.param("dub.mkv", ("dub", "default+original"), 600, marks=variants),
        pytest.param("plain.ts", ("0", "0"), 300, marks=variants),
        pytest.param("plain.mp4", ("default", "0"), 300, marks=variants),
    ],
)
def test_the_default_track_is_heard(
    tmp_path: Path, name: str, dispositions: Sequence[str], taken: int
) -> None:
    path = tmp_path / name
    two_tracks(path, *dispositions)
    heard = samples_of(run(path, tmp_path / "made", "transcode_720p")["transcode_720p"].path)
    assert set(tones(heard[0])[:5]) == {taken}


# ── sound that ends before the pictures, or after ───────────────────────────────────────────────


def playlist_seconds(results: dict[str, Result], track: str) -> float:
    folder = results["hls_720p"].path.parent
    return float(sum(each.duration for each in m3u8.load(str(folder / f"{track}.m3u8")).segments))


ENDS: dict[str, Callable[[Path], None]] = {
    "ends.mp4": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), *H264, "-c:a", "aac", seconds=20
    ),
    "ends.mkv": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), *H264, "-c:a", "aac", seconds=20
    ),
}
MORE_ENDS: dict[str, Callable[[Path], None]] = {
    "ends.webm": lambda path: film(
        path, *tone("stereo", 0.5, 0.5, seconds=2.5), *VP8, "-c:a", "libopus", seconds=20
    ),
    "ends.ts": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), *H264, "-c:a", "mp2", seconds=20
    ),
    "ends.mov": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5, rate=44100), *H264, "-c:a", "pcm_s16le", seconds=20
    ),
    "fragmented.mp4": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), *H264, "-c:a", "aac", *FRAGMENTED, seconds=20
    ),
    "ends.avi": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), "-c:v", "mpeg4", "-c:a", "mp3", seconds=20
    ),
    "ends.flv": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5, rate=44100), "-c:v", "flv", "-c:a", "mp3", seconds=20
    ),
    "ntsc.mp4": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5, rate=32000), *H264, "-c:a", "aac",
        seconds=20, rate="30000/1001",
    ),
    "one_group.mp4": lambda path: film(
        path, *tone("mono", 0.5, seconds=2.5), *H264, "-g", "999", "-c:a", "aac", seconds=20
    ),
}  # fmt: skip


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "name", [*ENDS, *(pytest.param(name, marks=variants) for name in MORE_ENDS)]
)
def test_where_sound_ends_early_there_is_silence_to_the_end(
    tmp_path: Path, name: str, chunked: bool
) -> None:
    path = tmp_path / name
    (ENDS | MORE_ENDS)[name](path)
    results = run(path, tmp_path / "made", *BOTH, chosen=SHORT_CHUNKS if chunked else LONG_CHUNKS)
    assert playlist_seconds(results, "audio") == pytest.approx(20, abs=0.15)
    assert playlist_seconds(results, "audio") >= playlist_seconds(results, "video") - 0.01
    for heard in played(results).values():
        assert heard.shape[1] / RATE == pytest.approx(20, abs=0.15)
        assert tones(heard[0])[:5] == [440] * 5
        assert not any(tones(heard[0])[6:])
    assert all(result.made.warning == "" for result in results.values())


def test_late_pictures_and_sound_that_ends_early(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mkv", tmp_path / "late.mkv"
    film(whole, *tone("mono", 0.5, seconds=2.5), *H264, "-c:a", "aac", seconds=6)
    samples.run_ffmpeg(
        "-i", str(whole), "-itsoffset", "2", "-i", str(whole),
        "-map", "0:a", "-map", "1:v", "-c", "copy", str(path),
    )  # fmt: skip
    heard = played(run(path, tmp_path / "made", *BOTH))
    for each in heard.values():
        assert each.shape[1] / RATE == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("name", ["longer.mp4", pytest.param("longer.mkv", marks=variants)])
def test_sound_that_is_longer_than_the_pictures_is_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    film(path, *tone("mono", 0.5, seconds=8), *H264, "-c:a", "aac", seconds=3)
    for heard in played(run(path, tmp_path / "made", *BOTH)).values():
        assert heard.shape[1] / RATE == pytest.approx(8, abs=0.1)
        assert tones(heard[0])[:16] == [440] * 16


def test_sound_that_comes_out_longer_than_it_is_is_never_published(tmp_path: Path) -> None:
    path = tmp_path / "source.mp4"
    film(path, *tone("mono", 0.5, seconds=9), *H264, "-c:a", "aac", seconds=3)
    facts = facts_of(path)
    assert isinstance(facts, VideoFacts)
    made = make_plan("job", "a.mp4", facts, find_steps(["transcode_720p"], JobError), DEFAULTS)
    with pytest.raises(JobError, match="came out 9 s long, instead of 5 s") as refusal:
        carry_out(_with_most(made, 5.0), path, tmp_path / "made")
    assert refusal.value.code == "sound_not_exact"


def _with_most(plan: Plan, seconds: float) -> Plan:
    tasks = [
        msgspec.structs.replace(task, work=msgspec.structs.replace(task.work, max_seconds=seconds))
        if isinstance(task.work, Audio)
        else task
        for task in plan.tasks
    ]
    return msgspec.structs.replace(plan, tasks=tuple(tasks))


# ── what was found among what people send ───────────────────────────────────────────────────────


@pytest.mark.corpus
def test_sound_that_was_hunted(tmp_path: Path) -> None:
    hunted = CORPUS / "hunted"
    for name, seconds in (("ac3_clean.mp4", 60), ("ac3_stereo_then_51.ts", 12)):
        results = run(hunted / name, tmp_path / name, "transcode_720p")
        heard = samples_of(results["transcode_720p"].path)
        assert heard.shape[1] / RATE == pytest.approx(seconds, abs=0.2)
    mono = run(hunted / "mono_minus6.mp4", tmp_path / "mono", "transcode_720p")
    heard = samples_of(mono["transcode_720p"].path)
    assert [level(each[RATE : 5 * RATE]) for each in heard] == pytest.approx([0.354] * 2, rel=0.02)
