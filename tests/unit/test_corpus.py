"""The checks of `make corpus`: what is right passes, and each thing that is wrong fails its own check."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from corpus import __main__ as runner
from corpus import boxes, chart, dash, films, hls, hunted, independent, judging, stills
from corpus.audio import check_audio
from corpus.boxes import codecs
from corpus.colour import difference
from corpus.decode import AUDIO_RATE, Audio, Film, decode, decode_audio
from corpus.failures import Failure
from corpus.hunted import Right
from corpus.independent import NoDecoder
from corpus.manifest import Entry, NoFiles, entries
from corpus.outputs import Outputs
from corpus.sending import Ran
from infra.tools import samples
from infra.tools.samples import run_ffmpeg
from testing.prepared import CORPUS

pytestmark = pytest.mark.media


def checks(found: Iterable[Failure]) -> set[str]:
    return {failure.check for failure in found}


# ── pictures ────────────────────────────────────────────────────────────────────────────────────


def jpeg(image: Image.Image, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    return samples.scene(800, 600)


def small(image: Image.Image) -> Image.Image:
    return image.resize((512, 384))


def with_mark(image: Image.Image) -> Image.Image:
    marked = image.copy()
    width, height = image.size
    box = (width * 0.76, height * 0.87, width * 0.97, height * 0.97)
    ImageDraw.Draw(marked).rectangle(box, fill="orange")
    return marked


def test_a_right_thumbnail_and_watermark_pass(scene: Image.Image) -> None:
    assert not checks(stills.check_thumbnail(jpeg(small(scene)), scene))
    assert not checks(stills.check_watermark(jpeg(with_mark(scene)), scene))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    return exif


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (lambda s: jpeg(small(s).rotate(180)), "picture"),
        (lambda s: jpeg(small(s).transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "picture"),
        (lambda s: jpeg(small(s).rotate(90, expand=True)), "size"),
        (lambda s: jpeg(s), "size"),
        (lambda s: jpeg(s.resize((256, 192))), "size"),
        (lambda s: jpeg(small(s), exif=_exif()), "metadata"),
        (lambda s: jpeg(small(s), icc_profile=PROFILE), "metadata"),
        (lambda s: jpeg(small(s), comment=b"secret place"), "metadata"),
        (lambda s: jpeg(small(s).convert("CMYK")), "jpeg"),
        (lambda s: jpeg(small(s).convert("L")), "jpeg"),
        (lambda s: jpeg(Image.merge("RGB", small(s).split()[::-1])), "picture"),
        (lambda s: jpeg(small(s).point(lambda v: round(255 * (v / 255) ** 1.4))), "picture"),
    ],
)
def test_a_wrong_thumbnail_fails(
    scene: Image.Image, wrong: Callable[[Image.Image], bytes], check: str
) -> None:
    assert check in checks(stills.check_thumbnail(wrong(scene), scene))


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (lambda s: jpeg(s), "mark"),
        (lambda s: jpeg(with_mark(s).resize((512, 384))), "size"),
        (lambda s: jpeg(with_mark(s.rotate(180))), "picture"),
        (lambda s: jpeg(with_mark(s), exif=_exif()), "metadata"),
    ],
)
def test_a_wrong_watermark_fails(
    scene: Image.Image, wrong: Callable[[Image.Image], bytes], check: str
) -> None:
    assert check in checks(stills.check_watermark(wrong(scene), scene))


def test_noise_in_the_corner_is_no_mark(scene: Image.Image) -> None:
    noisy = scene.copy()
    width, height = noisy.size
    corner = Image.effect_noise((width // 3, height // 4), 90).convert("RGB")
    noisy.paste(corner, (width - corner.width, height - corner.height))
    for quality in (50, 85):
        content = io.BytesIO()
        noisy.save(content, "JPEG", quality=quality)
        assert "mark" in checks(stills.check_watermark(content.getvalue(), noisy))
    assert "mark" not in checks(stills.check_watermark(jpeg(with_mark(noisy)), noisy))


def test_a_small_picture_may_not_be_enlarged() -> None:
    tiny = samples.scene(100, 80)
    assert not checks(stills.check_thumbnail(jpeg(tiny), tiny))
    assert "size" in checks(stills.check_thumbnail(jpeg(tiny.resize((512, 410))), tiny))


def test_a_png_with_gamma_is_known_unless_a_profile_counts(tmp_path: Path) -> None:
    def has_gamma(format: str, *chunks: tuple[bytes, bytes]) -> bool:
        info = PngImagePlugin.PngInfo()
        for chunk in chunks:
            info.add(*chunk)
        path = tmp_path / "picture"
        samples.scene(32, 32).save(path, format, **({"pnginfo": info} if format == "PNG" else {}))
        return stills.has_gamma(path)

    gamma = (b"gAMA", (100_000).to_bytes(4))
    assert has_gamma("PNG", gamma)
    assert not has_gamma("PNG", gamma, (b"sRGB", b"\0"))
    assert not has_gamma("PNG")
    assert not has_gamma("JPEG")


def test_the_reference_of_a_picture_is_as_it_is_meant_to_be_seen(
    sample: Callable[[str], Path], scene: Image.Image
) -> None:
    upright = np.asarray(scene)
    for number in range(1, 9):
        turned = stills.reference(sample(f"orientation_{number}.jpg"))
        assert difference(np.asarray(turned), upright) < 2
    deep = np.asarray(stills.reference(sample("sixteen_bit.png")))
    assert (deep[0, 0, 0], deep[-1, 0, 0]) == (0, 255)
    clear = stills.reference(sample("transparent.png")).getpixel((0, 0))
    assert clear == (255, 255, 255)


def test_a_wrong_poster_fails(scene: Image.Image) -> None:
    def judged(picture: bytes, frame: Any) -> set[str]:
        return checks(stills.check_poster(picture, (800, 600), frame[np.newaxis], 8))

    frame = stills.small(scene, 64)
    assert not judged(jpeg(small(scene)), frame)
    assert judged(jpeg(small(scene).rotate(180)), frame) == {"poster"}
    red, green, blue = small(scene).split()
    assert judged(jpeg(Image.merge("RGB", (green, blue, red))), frame) == {"poster"}
    black = jpeg(Image.new("RGB", (512, 384)))
    assert "poster" in judged(black, frame)
    assert "poster" in judged(black, np.full((48, 64, 3), 90, np.uint8))
    assert "size" in judged(jpeg(scene.resize((384, 512))), frame)


# ── films ───────────────────────────────────────────────────────────────────────────────────────

CHIRP = "aevalsrc='0.4*sin(2*PI*(300*t+150*t*t))|0.4*sin(2*PI*(300*t+150*t*t))':s=44100:d=3"
TO_709 = "scale=in_color_matrix=bt601:out_color_matrix=bt709:out_range=tv"
TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
VIDEO = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-profile:v", "high", "-g", "25")
SOUND = ("-c:a", "aac", "-ac", "2", "-ar", "48000")
FIRST = ("-movflags", "+faststart", "-map_metadata", "-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """A film whose pictures and tones never come again, by the matrix of its size."""
    path = folder / "source.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=384x216:rate=25:duration=3",
        "-f", "lavfi", "-i", CHIRP,
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p",
        "-c:a", "flac",
        str(path),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def original(source: Path) -> Film:
    return decode(source)


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(source: Path, folder: Path) -> Make:
    """An MP4 of the source: right, but for what is said otherwise."""

    def make(
        name: str,
        vf: str = "null",
        matrix: str = TO_709,
        pixels: str = "yuv420p",
        tags: str = TAGS,
        video: tuple[str, ...] = (),
        sound: tuple[str, ...] = SOUND,
        first: tuple[str, ...] = FIRST,
        before: tuple[str, ...] = (),
    ) -> Path:
        path = folder / f"{name}.mp4"
        if not path.exists():
            run_ffmpeg(
                "-i", str(source), *before, "-vf", f"{matrix},{vf},format={pixels},{tags}",
                "-fps_mode", "passthrough", "-enc_time_base", "1/12800",
                *VIDEO, *video, *sound, *first,
                str(path),
            )  # fmt: skip
        return path

    return make


def judged(path: Path, original: Film, **options: Any) -> set[str]:
    made = decode(path)
    return checks(films.check_film("film", path, made, original, **options))


def test_a_right_film_passes(make: Make, original: Film) -> None:
    assert judged(make("right"), original) == set()
    marked = make("marked", MARK)
    assert judged(marked, original, marked=True) == set()


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("picture", {"vf": "hflip"}),
        ("picture", {"vf": "hflip,vflip"}),
        ("picture", {"vf": "hue=h=30"}),
        ("picture", {"matrix": "null"}),  # BT.601, said to be BT.709
        ("picture", {"vf": "lutyuv=y=16+(val-16)*0.8"}),
        # A green part of a single frame.
        ("place", {"vf": "drawbox=x=80:y=40:w=60:h=40:color=green:t=fill:enable=eq(n\\,41)"}),
        ("size", {"vf": "transpose=1"}),
        ("size", {"vf": "scale=480:270"}),
        ("size", {"vf": "scale=256:144"}),
        ("size", {"vf": "setsar=4/3"}),
        ("frames", {"vf": "select='not(eq(n,30))'"}),
        ("times", {"vf": "setpts='PTS+gte(N,30)*0.02/TB'"}),
        ("sync", {"sound": ("-af", "adelay=100:all=1", *SOUND)}),
        ("sync", {"sound": ("-af", "asetpts=PTS+0.1/TB", *SOUND)}),
        ("sync", {"sound": ("-af", "asetrate=46305,aresample=48000", *SOUND)}),
        ("sync", {"sound": ("-af", "atrim=end=2.5", *SOUND)}),
        ("sync", {"sound": ("-af", "atrim=end=2.5,apad=whole_dur=4", *SOUND)}),
        ("level", {"sound": ("-af", "volume=-3dB", *SOUND)}),
        ("groups", {"video": ("-g", "250", "-sc_threshold", "0")}),
        ("groups", {"video": ("-x264-params", "open-gop=1:bframes=3:b-adapt=0:scenecut=0")}),
        ("codec", {"video": ("-profile:v", "baseline")}),
        ("codec", {"pixels": "yuv444p", "video": ("-profile:v", "high444")}),
        ("tags", {"tags": TAGS.replace("trc=bt709", "trc=smpte170m")}),
        ("level", {"video": ("-level", "1.0")}),
        ("index", {"first": ("-map_metadata", "-1")}),
        ("metadata", {"first": (*FIRST, "-metadata", "comment=secret place")}),
        ("audio", {"sound": ("-an",)}),
        ("audio", {"sound": (*SOUND, "-ac", "1")}),
        ("audio", {"sound": (*SOUND, "-ar", "44100")}),
    ],
)
def test_a_wrong_film_fails(
    request: pytest.FixtureRequest, make: Make, original: Film, check: str, wrong: dict[str, Any]
) -> None:
    path = make(request.node.name.replace("/", "_"), **wrong)
    assert check in judged(path, original)


MARK = "drawbox=x=iw*0.76:y=ih*0.83:w=iw*0.21:h=ih*0.12:color=white:t=fill"


def test_a_film_without_its_mark_fails(make: Make, original: Film) -> None:
    assert judged(make("right"), original, marked=True) == {"mark"}
    late = make("mark gone", f"{MARK}:enable=lt(t\\,2.5)")
    assert judged(late, original, marked=True) == {"mark"}


def test_sound_that_the_original_has_not_fails(make: Make, original: Film) -> None:
    assert "audio" in judged(make("right"), replace(original, audio=None))


def test_most_of_a_damaged_film_passes_if_the_job_says_so(original: Film) -> None:
    damaged = replace(original, damaged=True)
    most, half = (replace(original, times=original.times[:n]) for n in (70, 40))
    assert checks(films.check_times("film", most, damaged, warned=True)) == set()
    assert checks(films.check_times("film", most, damaged, warned=False)) == {"warning"}
    assert checks(films.check_times("film", half, damaged, warned=True)) == {"frames"}
    late = replace(most, times=tuple(time * 1.01 for time in most.times))
    assert checks(films.check_times("film", late, damaged, warned=True)) == {"times"}


def test_tones_of_hdr_are_neither_dark_nor_washed_out(original: Film) -> None:
    hdr = replace(original, hdr=True)

    def as_light_as(change: Callable[[Any], Any]) -> set[str]:
        made = replace(original, small=(change(original.small / 255.0) * 255).astype(np.uint8))
        return checks(films.check_pictures("film", made, hdr, marked=False))

    assert as_light_as(lambda p: p**1.1) == set()
    assert as_light_as(lambda p: p * 0.3) == {"tones"}
    assert as_light_as(lambda p: 0.45 + p / 4) == {"tones"}


def test_frames_in_the_order_of_decoding_are_told_in_that_of_showing(folder: Path) -> None:
    """AVI knows no other order than that of decoding."""
    path = folder / "packed.avi"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1",
        "-c:v", "mpeg4", "-bf", "2",
        str(path),
    )  # fmt: skip
    gaps = np.diff(decode(path).times)
    assert (gaps > 0).all()


def test_a_turned_film_is_seen_upright(sample: Callable[[str], Path]) -> None:
    upright = decode(sample("rotated.mp4"))
    assert upright.shown == (360, 640)
    assert all(picture.shape[:2] == (240, 135) for picture in upright.pictures.values())


def test_silence_is_right_where_a_track_has_no_sound(make: Make, original: Film) -> None:
    silent = replace(original, audio=None)
    quiet = make("quiet", sound=("-af", "volume=0", *SOUND))
    assert "audio" in judged(quiet, replace(silent, declares_audio=False))
    assert judged(quiet, silent) == set()
    assert "audio" in judged(make("right"), silent)


def test_sound_that_ends_early_may_go_on_in_silence_alone() -> None:
    tone = (0.3 * np.sin(np.arange(5 * AUDIO_RATE) / 3)).astype(np.float32)
    short = Audio(0.0, 5.0, tone, 1)
    filled = Audio(0.0, 9.0, np.concatenate([tone, np.zeros(4 * AUDIO_RATE, np.float32)]), 2)
    assert checks(check_audio("film", filled, short, 9.0, 0.04)) == set()
    hums = replace(filled, samples=filled.samples + np.float32(0.02))
    assert "sync" in checks(check_audio("film", hums, short, 9.0, 0.04))
    longer = replace(filled, end=30.0)
    assert "sync" in checks(check_audio("film", longer, short, 9.0, 0.04))


def test_silence_in_the_middle_of_sound_fails() -> None:
    sweep = (0.3 * np.sin(np.arange(20 * AUDIO_RATE) ** 1.5 / 900)).astype(np.float32)
    sound = Audio(0.0, 20.0, sweep, 2)
    half = len(sweep) // 2
    gap = np.zeros(half, np.float32)
    late = replace(sound, samples=np.concatenate([sweep[:half], gap]))
    assert checks(check_audio("film", late, sound, 20.0, 0.04)) >= {"sync"}
    put_in = replace(sound, end=30.0, samples=np.concatenate([sweep[:half], gap, sweep[half:]]))
    assert "sync" in checks(check_audio("film", put_in, sound, 20.0, 0.04))


def test_a_film_that_changes_its_shape_and_its_sound_is_told_whole(folder: Path) -> None:
    """Two transport streams, one behind the other: 5.1 after stereo, upright after lying."""
    parts = []
    for number, (size, channels) in enumerate((("160x96", "stereo"), ("96x160", "5.1"))):
        parts.append(folder / f"part {number}.ts")
        run_ffmpeg(
            "-f", "lavfi", "-i", f"color=white:size={size}:rate=25:duration=2",
            "-f", "lavfi", "-i", f"sine=440:duration=2,aformat=channel_layouts={channels}",
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "ac3",
            "-output_ts_offset", str(2 * number),
            str(parts[-1]),
        )  # fmt: skip
    joined = folder / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    film = decode(joined)
    assert (film.shown, len(film.times)) == ((160, 96), 100)
    wide, upright = film.small[10], film.small[90]
    assert wide.min() > 200
    middle = upright.shape[1] // 2
    assert upright[:, middle].min() > 200
    assert upright[:, :8].max() == 0 and upright[:, -8:].max() == 0
    assert film.audio
    assert 3.9 < film.audio.end < 4.1
    assert 3.9 < len(film.audio.samples) / AUDIO_RATE < 4.1


# ── HTTP Live Streaming ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cut(make: Make, folder: Path) -> Path:
    """A right stream of the right film, by FFmpeg's muxer and a multivariant playlist of our own."""
    out = folder / "hls"
    out.mkdir()
    package(make("right"), out)
    (out / "master.m3u8").write_text(master(out))
    return out


def package(film: Path, out: Path, flags: str = "independent_segments") -> None:
    run_ffmpeg(
        "-i", str(film), "-map", "0", "-c", "copy",
        "-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod",
        "-hls_segment_type", "fmp4", "-hls_flags", flags,
        "-hls_fmp4_init_filename", "%v.mp4",
        "-hls_segment_filename", f"{out}/%v_%d.m4s",
        "-var_stream_map", "v:0,agroup:a,name:video a:0,agroup:a,name:audio",
        f"{out}/%v.m3u8",
    )  # fmt: skip


def master(out: Path) -> str:
    named = ",".join(
        name for part in ("video", "audio") for name in codecs((out / f"{part}.mp4").read_bytes())
    )
    return "\n".join(
        (
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="audio.m3u8"',
            "#EXT-X-STREAM-INF:BANDWIDTH=9000000,RESOLUTION=384x216,FRAME-RATE=25.000,"
            f'CODECS="{named}",AUDIO="a"',
            "video.m3u8",
            "",
        )
    )


def fetched(out: Path) -> hls.Stream:
    def answer(request: httpx.Request) -> httpx.Response:
        path = out / unquote(request.url.path.rsplit("/", 1)[-1])
        return (
            httpx.Response(200, content=path.read_bytes()) if path.exists() else httpx.Response(404)
        )

    into = out / "fetched"
    into.mkdir(exist_ok=True)
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        return hls.fetch("http://cloud.test/token/master.m3u8", http, into)


def check_cut(out: Path) -> set[str]:
    return checks(hls.check_stream(fetched(out), (384, 216), (25.0,)))


def test_a_right_stream_passes(cut: Path, make: Make, original: Film) -> None:
    assert check_cut(cut) == set()
    stream = fetched(cut)
    assert len(stream.video.segments) == 3
    film, mp4 = decode(stream.video.joined), decode(make("right"))
    assert film.sums == mp4.sums
    found = films.packets(stream.video.joined)
    assert not checks(films.check_same_keys("hls", found, films.packets(make("right"))))
    assert stream.audio
    heard = decode_audio(stream.audio.joined, film.zero)
    assert not checks(check_audio("hls", heard, original.audio, film.end, original.frame))


@pytest.mark.parametrize(
    ("check", "file", "old", "new"),
    [
        ("bandwidth", "master", "BANDWIDTH=9000000", "BANDWIDTH=100000"),
        ("bandwidth", "master", "RESOLUTION", "AVERAGE-BANDWIDTH=100000,RESOLUTION"),
        ("codecs", "master", "mp4a.40.2", "mp4a.40.5"),
        ("codecs", "master", "avc1.64", "avc1.42"),
        ("resolution", "master", "384x216", "216x384"),
        ("rate", "master", "25.000", "30.000"),
        ("rate", "master", "FRAME-RATE=25.000,", ""),
        ("independent", "master", "#EXT-X-INDEPENDENT-SEGMENTS\n", ""),
        ("version", "video", "EXT-X-VERSION:7", "EXT-X-VERSION:3"),
        ("target", "video", "TARGETDURATION:1", "TARGETDURATION:0"),
        ("extinf", "video", "EXTINF:1.000000", "EXTINF:1.040000"),
        ("extinf", "audio", "EXTINF:1.0", "EXTINF:1.1"),
        ("playlist", "video", "#EXT-X-ENDLIST", ""),
    ],
)
def test_a_wrong_playlist_fails(
    cut: Path, tmp_path: Path, check: str, file: str, old: str, new: str
) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "hls"))
    playlist = out / f"{file}.m3u8"
    assert old in playlist.read_text()
    playlist.write_text(playlist.read_text().replace(old, new))
    assert check in check_cut(out)


def manifest(out: Path) -> str:
    """The MPD of a stream by FFmpeg's muxer, whose fragments begin at 0."""
    stream = fetched(out)
    assert stream.audio
    shown = 'width="384" height="216" frameRate="25"'
    tracks = representation(stream.video, "video", shown) + representation(
        stream.audio, "audio", ""
    )
    last = max(spans[-1][1] for spans in map(segment_spans, (stream.video, stream.audio)))
    return (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT{last + 0.001:.3f}S"><Period>{tracks}</Period></MPD>'
    )


def segment_spans(media: hls.Media) -> list[tuple[float, float]]:
    return [boxes.span(media.initialisation, segment) for segment in media.segments]


def representation(media: hls.Media, kind: str, more: str) -> str:
    scale = boxes.timescale(media.initialisation)
    runs = "".join(
        f'<S t="{round(start * scale)}" d="{round((end - start) * scale)}"/>'
        for start, end in segment_spans(media)
    )
    return (
        f'<AdaptationSet mimeType="{kind}/mp4"><Representation id="{kind}" bandwidth="9000000" '
        f'codecs="{codecs(media.initialisation)[0]}" {more}><SegmentTemplate timescale="{scale}" '
        'startNumber="0" initialization="$RepresentationID$.mp4" media="$RepresentationID$_$Number$.m4s">'
        f"<SegmentTimeline>{runs}</SegmentTimeline></SegmentTemplate></Representation></AdaptationSet>"
    )


def check_dash(out: Path, text: str) -> set[str]:
    return checks(dash.check_manifest("hls", text, [fetched(out)]))


def test_a_right_manifest_passes(cut: Path) -> None:
    assert check_dash(cut, manifest(cut)) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('width="384"', 'width="386"'),
        ('frameRate="25"', 'frameRate="30"'),
        ('codecs="avc1.64', 'codecs="avc1.42'),
        ('bandwidth="9000000"', 'bandwidth="9000"'),
        ('startNumber="0"', 'startNumber="1"'),
        ("$RepresentationID$.mp4", "init.mp4"),
        ('d="', 'd="1'),
        ('timescale="', 'timescale="1'),
        ('mediaPresentationDuration="PT', 'mediaPresentationDuration="PT1'),
        ('mediaPresentationDuration="PT', 'mediaPresentationDuration="P1DT'),
    ],
)
def test_a_wrong_manifest_fails(cut: Path, old: str, new: str) -> None:
    text = manifest(cut)
    assert old in text
    assert check_dash(cut, text.replace(old, new)) == {"dash"}


def test_a_manifest_without_a_track_fails(cut: Path) -> None:
    text = manifest(cut)
    without = text[: text.index('<AdaptationSet mimeType="audio')] + "</Period></MPD>"
    assert check_dash(cut, without) == {"dash"}


def test_segments_that_need_the_one_before_fail(make: Make, tmp_path: Path) -> None:
    long_groups = make("groups of two seconds", video=("-g", "50", "-sc_threshold", "0"))
    package(long_groups, tmp_path, "split_by_time")
    (tmp_path / "master.m3u8").write_text(master(tmp_path))
    assert "independent" in check_cut(tmp_path)
    one, other = (films.packets(make(name)) for name in ("right", "groups of two seconds"))
    assert checks(films.check_same_keys("film", one, other)) == {"keys"}


def test_a_missing_file_is_no_stream(cut: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "hls"))
    (out / "video_1.m4s").unlink()
    with pytest.raises(httpx.HTTPStatusError):
        fetched(out)


# ── how a job ended ─────────────────────────────────────────────────────────────────────────────


def job(status: str, code: str = "", error: str = "") -> dict[str, Any]:
    step = {"name": "thumbnail", "status": status, "error_code": code, "error": error}
    return {
        "status": status,
        "error_code": code,
        "error": error,
        "pipeline": ["thumbnail"],
        "steps": [step],
        "outputs": [{"type": "thumbnail"}] if status == "SUCCESS" else [],
    }


DAMAGED = partial(job, "FAILURE", "source_damaged")
SENTENCE = "The image cannot be read: it is damaged."


@pytest.mark.parametrize(
    ("expectation", "ended", "seconds", "wanted"),
    [
        ("ok", job("SUCCESS"), 50, set()),
        ("ok", DAMAGED(SENTENCE), 1, {"status"}),
        # Encoders of HEVC and AV1 do not take every size.
        ("ok", job("FAILURE", "too_small_for_codec", SENTENCE), 1, set()),
        ("clear-error", DAMAGED(SENTENCE), 1, set()),
        ("clear-error", DAMAGED(f"thumbnail: {SENTENCE}"), 1, set()),
        ("clear-error", DAMAGED(SENTENCE), 21, {"slow"}),
        ("clear-error", job("SUCCESS"), 1, {"status"}),
        ("either", job("SUCCESS"), 1, set()),
        ("either", DAMAGED(SENTENCE), 1, set()),
        ("either", job("FAILURE", "internal_error", "Something went wrong."), 1, {"error"}),
        ("either", job("FAILURE", "attempts_exhausted", SENTENCE), 1, {"error"}),
        ("either", DAMAGED("oops"), 1, {"error"}),
        ("either", DAMAGED("It failed: [mov @ 0x55d] moov atom not found."), 1, {"error"}),
        ("either", DAMAGED("Traceback (most recent call last): OSError."), 1, {"error"}),
    ],
)
def test_how_a_job_may_end(
    expectation: Any, ended: dict[str, Any], seconds: float, wanted: set[str]
) -> None:
    assert checks(judging.check_ending(expectation, ended, seconds)) == wanted


def test_a_step_that_did_not_end_well_is_no_success() -> None:
    ended = job("SUCCESS") | {"steps": [{"name": "thumbnail", "status": "PENDING"}]}
    assert checks(judging.check_ending("ok", ended, 1)) == {"status"}
    ended = job("SUCCESS") | {"outputs": []}
    assert checks(judging.check_ending("ok", ended, 1)) == {"status"}


def test_a_job_that_does_not_end_is_a_hang() -> None:
    entry = Entry("a.jpg", "image", "", "either")
    with httpx.Client() as http:
        assert checks(judging.judge(entry, Path("a.jpg"), Ran(None, 120), http).failures) == {
            "hang"
        }


# ── what was hunted ─────────────────────────────────────────────────────────────────────────────


def outputs_of(folder: Path, ended: dict[str, Any], **files: Path) -> Outputs:
    """Those of a job whose outputs are local files."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=files[request.url.path.strip("/")].read_bytes())

    outputs = [
        {
            "type": name,
            "url": f"http://cloud.test/{name}",
            "content_type": "video/mp4" if path.suffix == ".mp4" else "image/jpeg",
        }
        for name, path in files.items()
    ]
    http = httpx.Client(transport=httpx.MockTransport(answer))
    folder.mkdir(exist_ok=True)
    return Outputs({"warnings": [], "steps": [], **ended, "outputs": outputs}, http, folder)


def as_thumbnail(tmp_path: Path, image: Image.Image) -> Outputs:
    path = tmp_path / "thumbnail.jpg"
    path.write_bytes(jpeg(image))
    return outputs_of(tmp_path / "fetched", job("SUCCESS"), thumbnail=path)


def test_the_chart_has_its_colours() -> None:
    assert chart.patches(np.asarray(chart.drawn())) == chart.COLOURS
    assert chart.patches(np.asarray(chart.drawn().convert("L").convert("RGB"))) == chart.in_grey()


# What came out once.
HDR_UNTOUCHED = {"white": (144, 144, 144), "red": (124, 88, 74)}
HDR_RIGHT = {"white": (187, 187, 187), "red": (166, 56, 50)}


@pytest.mark.parametrize(
    ("check", "colours", "wanted"),
    [
        (hunted.shows(chart.COLOURS, 3), {}, set()),
        (hunted.shows(chart.COLOURS, 3), {"red": (146, 11, 8)}, {"chart"}),
        (hunted.shows(chart.COLOURS, 3), {"green": (90, 158, 81)}, {"chart"}),
        (hunted.shows(chart.in_grey(), 3), {}, {"chart"}),
        (hunted.tone_mapped, {}, set()),
        (hunted.tone_mapped, HDR_RIGHT, set()),
        (hunted.tone_mapped, HDR_UNTOUCHED, {"chart"}),
        (hunted.bright_poster(230), {}, set()),
        (hunted.bright_poster(230), {"white": (60, 60, 60)}, {"poster"}),
        (hunted.warns_or("Dolby Vision", hunted.tone_mapped), HDR_UNTOUCHED, {"chart"}),
    ],
)
def test_colours_of_the_chart(
    tmp_path: Path, check: hunted.Check, colours: dict[str, chart.Colour], wanted: set[str]
) -> None:
    picture = chart.drawn(chart.COLOURS | colours)
    assert checks(check(as_thumbnail(tmp_path, picture))) == wanted


def test_what_is_transparent_may_not_show(tmp_path: Path, scene: Image.Image) -> None:
    hidden = Image.new("RGB", scene.size)
    hidden.paste(scene.resize((200, 200)), (300, 200))
    check = hunted.plain_around(0.25)
    assert not checks(check(as_thumbnail(tmp_path, hidden)))
    assert checks(check(as_thumbnail(tmp_path / "fetched", scene))) == {"alpha"}


@pytest.mark.parametrize(
    ("check", "wrong", "name"),
    [
        (hunted.sized(384, 216), {"vf": "scale=256:144"}, "size"),
        (hunted.has_frames(75, 75), {"vf": "select='not(eq(n,30))'"}, "frames"),
        (hunted.lasts(3.0), {"sound": ("-af", "apad=whole_dur=5", *SOUND)}, "length"),
        (hunted.hears((1.0, 600)), {"sound": ("-af", "atempo=2", *SOUND)}, "tone"),
        (hunted.as_loud(0.283), {"sound": ("-af", "volume=-3dB", *SOUND)}, "level"),
        (hunted.combed(1.0), {"vf": "tinterlace=interleave_top,fps=25"}, "combs"),
    ],
)
def test_a_wrong_film_fails_its_own_check(
    tmp_path: Path, make: Make, check: hunted.Check, wrong: dict[str, Any], name: str
) -> None:
    right = outputs_of(tmp_path / "right", job("SUCCESS"), transcode_720p=make("right"))
    assert not checks(check(right))
    path = make(f"wrong {name}", **wrong)
    other = outputs_of(tmp_path / "wrong", job("SUCCESS"), transcode_720p=path)
    assert name in checks(check(other))


@pytest.mark.parametrize(
    ("right", "ended", "wanted"),
    [
        (Right(refusal="12.bit"), job("FAILURE", "unsupported_media", "It has 12 bits."), set()),
        (Right(refusal="12.bit"), job("FAILURE", "unsupported_media", "Not taken."), {"refusal"}),
        (Right(refusal="12.bit"), DAMAGED("A JPEG of 12 bits."), {"refusal"}),
        (Right(refusal="x"), job("FAILURE", "unsupported_media", "x: incomplete."), {"refusal"}),
        (Right(warning="."), job("SUCCESS") | {"warnings": []}, {"warning"}),
        (Right(warning="."), job("SUCCESS") | {"warnings": ["Its end is missing."]}, set()),
    ],
)
def test_what_a_job_says(right: Right, ended: dict[str, Any], wanted: set[str]) -> None:
    assert checks(hunted.check_said(right, ended)) == wanted


def test_a_decoder_that_is_missing_is_told_of() -> None:
    with pytest.raises(NoDecoder, match=r"no-such-decoder is not on this machine: Debian has"):
        independent.run(("no-such-decoder",))


# ── the folder, and the run ─────────────────────────────────────────────────────────────────────


def test_a_folder_without_a_manifest_is_taken_whole(tmp_path: Path) -> None:
    with pytest.raises(NoFiles, match=r"There is no file in .*\."):
        entries(tmp_path)
    with pytest.raises(NoFiles, match=r"There is no folder .*\."):
        entries(tmp_path / "missing")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(b"")
    assert entries(tmp_path) == [Entry("deep/a.bin", "unknown", "", "either")]


def listed(folder: Path, *rows: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "MANIFEST.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))


def test_a_manifest_in_words_is_one_of_the_table(tmp_path: Path) -> None:
    listed(
        tmp_path,
        ("path", "kind", "trait", "expectation"),
        ("a.jpg", "image", "odd", "either"),
    )
    head = ("path", "kind", "trait", "right", "verdict")
    listed(tmp_path / "hunted", head, ("tif_lab.tif", "image", "Lab", "its colours", "FAIL"))
    one, other = entries(tmp_path)
    assert one == Entry("a.jpg", "image", "odd", "either")
    assert one.right == Right("either")
    assert other == Entry("hunted/tif_lab.tif", "image", "Lab", "ok", "its colours")
    assert other.right == hunted.RIGHT["tif_lab.tif"]
    listed(tmp_path / "hunted", head, ("new.tif", "image", "", "its colours", "FAIL"))
    with pytest.raises(NoFiles, match=r"hunted/new\.tif is not in corpus/hunted\.py"):
        entries(tmp_path)


@pytest.mark.corpus
def test_the_table_is_of_what_was_hunted() -> None:
    found = entries(CORPUS)
    assert {Path(entry.name).name for entry in found if entry.says} == hunted.RIGHT.keys()
    assert all((CORPUS / entry.name).is_file() for entry in found)


@pytest.mark.stack
def test_a_folder_of_two_files_from_end_to_end(
    sample: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("orientation_6.jpg", "text.jpg"):
        shutil.copy(sample(name), tmp_path / name)
    listed(
        tmp_path,
        ("path", "kind", "trait", "expectation"),
        ("orientation_6.jpg", "image", "lies on its side", "ok"),
        ("text.jpg", "hostile", "text", "ok"),
    )
    report = tmp_path / "report"
    monkeypatch.setattr("sys.argv", ["corpus", str(tmp_path), "--report", str(report)])
    with pytest.raises(SystemExit) as ended:
        runner.main()
    assert ended.value.code == 1
    said = json.loads((report / "report.json").read_text())
    good, bad = said["files"]
    assert (good["passed"], good["failures"], good["status"]) == (True, [], "SUCCESS")
    assert (bad["passed"], [f["check"] for f in bad["failures"]]) == (False, ["status"])
    assert {"intake", "pictures"} <= {taken["function"] for taken in said["memory"]}
    page = (report / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.index("text.jpg") < page.index("orientation_6.jpg")
