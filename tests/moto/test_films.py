"""Films as they are to be seen: what changes on the way, colours however told, the right pictures."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy
import pytest
from PIL import Image

from chalicelib.errors import JobError
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts
from chalicelib.operations.pipelines import find_steps
from chalicelib.planning import copying
from chalicelib.planning.planner import make_plan
from chalicelib.tasks import posters
from infra.tools.samples import run_ffmpeg
from testing.local import carry_out, copy_of, facts_of, run
from testing.planned import DEFAULTS, SHORT_CHUNKS, plan_settings_with

pytestmark = pytest.mark.media
variants = pytest.mark.variants
Rgb = tuple[int, int, int]
RED, GREEN, SAND, WHITE = (200, 60, 50), (60, 160, 70), (224, 172, 150), (240, 240, 240)

# Parts of red and of blue in what is bright, by the numbers of ITU-T H.273.
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def coded(rgb: Rgb, matrix: int, *, full: bool = False) -> tuple[float, float, float]:
    """Y′CbCr of 8 bits: the formulas of ITU-T H.273, 8.3, so that nobody judges himself."""
    red, blue = WEIGHTS[matrix]
    r, g, b = (value / 255 for value in rgb)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    if full:
        return 255 * y, 128 + 255 * u, 128 + 255 * v
    return 16 + 219 * y, 128 + 224 * u, 128 + 224 * v


def seen(path: Path) -> list[Any]:
    """Every frame of a film that says it is BT.709, as RGB, by the same formulas."""
    red, blue = WEIGHTS[1]
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (1, 1, 1)
            assert (frame.format.name, frame.color_range) == ("yuv420p", 1)
            planes = frame.to_ndarray().astype(float)
            high, wide = frame.height, frame.width
            y = (planes[:high] - 16) / 219
            u, v = (
                (plane.reshape(high // 2, wide // 2).repeat(2, 0).repeat(2, 1) - 128) / 224
                for plane in numpy.split(planes[high:].ravel(), 2)
            )
            r, b = y + (2 - 2 * red) * v, y + (2 - 2 * blue) * u
            g = (y - red * r - blue * b) / (1 - red - blue)
            found.append(numpy.stack([r, g, b], -1) * 255)
    return found


def near(pixel: Any, rgb: Rgb, tolerance: float = 6) -> bool:
    return bool(abs(numpy.subtract(pixel, rgb)).max() <= tolerance)


def box(frame: Any) -> tuple[int, int]:
    """How wide and how high that is which is not black."""
    lit = frame.max(-1) > 30
    return int(lit.any(0).sum()), int(lit.any(1).sum())


class Part(NamedTuple):
    """Some frames of one colour."""

    rgb: Rgb
    size: tuple[int, int] = (160, 96)
    matrix: int = 6
    full: bool = False
    pixels: str = "yuv420p"
    codec: tuple[str, ...] = ("libx264", "-preset", "ultrafast")
    sar: str = "1"
    primaries: int = 2
    transfer: int = 2
    frames: int = 10

    def make(self, path: Path, *output: str) -> None:
        depth = 4 if "10" in self.pixels else 1
        y, u, v = (round(depth * value) for value in coded(self.rgb, self.matrix, full=self.full))
        fields = "pc" if self.full else "tv"
        length = self.frames / 25
        run_ffmpeg(
            "-f", "lavfi",
            "-i", f"color=size={self.size[0]}x{self.size[1]}:rate=25:duration={length}",
            "-vf", f"format={self.pixels},lutyuv={y}:{u}:{v},setsar={self.sar},"
            f"setparams=range={fields}:color_primaries={self.primaries}"
            f":color_trc={self.transfer}:colorspace={self.matrix}",
            "-g", "10",
            "-c:v", *self.codec,
            *output,
            str(path),
        )  # fmt: skip


def join(path: Path, *parts: Part, as_bytes: bool = True) -> None:
    """Clips joined without encoding, as recordings and cutters do it."""
    begin = 0.0
    for number, part in enumerate(parts):
        part.make(path.with_stem(f"part_{number}"), "-output_ts_offset", f"{begin}")
        begin += part.frames / 25 if path.suffix == ".ts" else 0
    joined(path, len(parts), as_bytes=as_bytes and path.suffix == ".ts")


def joined(path: Path, parts: int, *, as_bytes: bool) -> None:
    files = [path.with_stem(f"part_{number}") for number in range(parts)]
    if as_bytes:
        path.write_bytes(b"".join(file.read_bytes() for file in files))
        return
    listed = path.with_suffix(".txt")
    listed.write_text("".join(f"file '{file}'\n" for file in files))
    run_ffmpeg("-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(path))


# ── what changes on the way ─────────────────────────────────────────────────────────────────────

MPEG2 = ("mpeg2video", "-q:v", "2")
HEVC = ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")
VP8 = ("libvpx", "-deadline", "realtime", "-b:v", "1M", "-auto-alt-ref", "0")
VP9 = ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")
AV1 = ("libsvtav1", "-preset", "12", "-svtav1-params", "avif=0")
TFF = ("-flags", "+ilme+ildct", "-x264-params", "tff=1:log-level=error")
INTERLACED = ("libx264", "-preset", "ultrafast", *TFF)


def a(**changes: Any) -> Part:
    return Part(SAND, **changes)


def b(**changes: Any) -> Part:
    return Part(GREEN, **changes)


CHANGES: dict[str, tuple[Part, ...]] = {
    "larger.ts": (a(), b(size=(240, 144))),
    "portrait.webm": (a(codec=VP8), b(codec=VP8, size=(48, 80))),
    "matrix.mp4": (a(matrix=6), b(matrix=1)),
}
MORE_CHANGES: dict[str, tuple[Part, ...]] = {
    "smaller.webm": (a(codec=VP9), b(codec=VP9, size=(80, 48))),
    "grows.webm": (a(codec=VP8, size=(80, 48)), b(codec=VP8, size=(320, 192))),
    "portrait.ts": (a(codec=MPEG2), b(codec=MPEG2, size=(96, 160))),
    "larger.mp4": (a(), b(size=(240, 144))),
    "422.ts": (a(codec=HEVC), b(codec=HEVC, pixels="yuv422p")),
    "10bit.ts": (a(), b(pixels="yuv420p10le")),
    "444.ts": (a(), b(pixels="yuv444p")),
    "range.ts": (a(), b(full=True)),
    "range.mp4": (a(full=True), b()),
    "matrix.ts": (a(matrix=1, codec=HEVC), b(matrix=9, codec=HEVC)),
    "back.ts": (a(), b(size=(96, 96)), a()),
    "squares.ts": (a(sar="3/2"), b(size=(128, 72))),
    "wide.ts": (a(matrix=1), Part(WHITE, matrix=9, primaries=9, transfer=14)),
    "AV1.mkv": (a(codec=AV1), b(codec=AV1, size=(192, 192))),
    "interlaced.ts": (a(codec=INTERLACED), b(codec=INTERLACED, size=(240, 144))),
    "later.ts": (a(), b(codec=INTERLACED, size=(96, 128))),
}


def shown(part: Part) -> tuple[int, int]:
    """A frame's size in square pixels."""
    across, _, down = part.sar.partition("/")
    return round(part.size[0] * int(across) / int(down or 1)), part.size[1]


@pytest.mark.parametrize(
    "name", [*CHANGES, *(pytest.param(n, marks=variants) for n in MORE_CHANGES)]
)
def test_every_frame_of_a_film_that_changes_keeps_its_shape_and_colours_and_has_the_mark(
    tmp_path: Path, name: str
) -> None:
    parts = (CHANGES | MORE_CHANGES)[name]
    join(tmp_path / name, *parts)
    width, height = max(map(shown, parts), key=lambda size: size[0] * size[1])
    made = run(tmp_path / name, tmp_path / "made", "thumbnail", "watermark", "transcode_720p")
    assert not any(result.made.warning for result in made.values())
    plain, marked = (seen(made[step].path) for step in ("transcode_720p", "watermark"))
    wanted = [part for part in parts for _ in range(part.frames)]
    if (
        parts[0].codec == MPEG2
    ):  # FFmpeg's decoder forgets the frame that it holds when the size changes
        wanted.pop(parts[0].frames - 1)
    assert len(plain) == len(marked) == len(wanted)
    for part, before, after in zip(wanted, plain, marked, strict=True):
        assert before.shape == after.shape == (height, width, 3)
        assert near(before[height // 2, width // 2], part.rgb)
        across, down = shown(part)
        scale = min(width / across, height / down)
        assert abs(numpy.subtract(box(before), (across * scale, down * scale))).max() <= 3
        difference = abs(after - before).max(-1)
        assert difference[height // 2 :, width // 2 :].max() > 60
        assert difference[: height // 2].max() < 30
    with Image.open(made["thumbnail"].path) as poster:
        assert any(
            abs(poster.width / poster.height - across / down) < 0.05
            for across, down in map(shown, parts)
        )


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("film.ts", MPEG2),
        pytest.param("film.ts", a().codec, marks=variants),
        pytest.param("film.mkv", a().codec, marks=variants),
    ],
)
def test_pixels_whose_shape_alone_changes_are_warned_of(
    tmp_path: Path, name: str, codec: tuple[str, ...]
) -> None:
    path = tmp_path / name
    join(path, a(codec=codec, sar="16/15"), b(codec=codec, sar="4/5"))
    for result in run(path, tmp_path / "made", "thumbnail", "transcode_720p").values():
        assert "shape of pixels changes" in result.made.warning


def test_curves_that_nobody_knows_are_taken_for_those_of_sdr_where_colours_change(
    tmp_path: Path,
) -> None:
    join(tmp_path / "film.ts", a(), Part(WHITE, matrix=9, primaries=9, transfer=9))
    made = run(tmp_path / "film.ts", tmp_path / "made", "transcode_720p")["transcode_720p"]
    first, *_, last = seen(made.path)
    assert near(first[48, 80], SAND)
    assert near(last[48, 80], WHITE)


@pytest.mark.parametrize(
    ("primaries", "transfer", "matrix"),
    [(1, 1, 8), *(pytest.param(*told, marks=variants) for told in [(9, 16, 14), (1, 1, 12)])],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_rare_colours_that_change_on_the_way_are_refused_as_that(
    tmp_path: Path, primaries: int, transfer: int, matrix: int, is_first: bool
) -> None:
    path = tmp_path / "film.ts"
    usual, rare = (path.with_stem(f"part_{n}") for n in ((1, 0) if is_first else (0, 1)))
    a(primaries=9, matrix=9).make(usual)
    told = f"colour_primaries={primaries}:transfer_characteristics={transfer}"
    b(matrix=1).make(rare, "-bsf:v", f"h264_metadata={told}:matrix_coefficients={matrix}")
    joined(path, 2, as_bytes=True)
    wanted = f"primaries {primaries}, transfer {transfer}, matrix {matrix}"
    with pytest.raises(JobError, match=wanted) as refusal:
        run(path, tmp_path / "made", "transcode_720p")
    assert refusal.value.code == "unsupported_colours"


def in_one_track(path: Path, *parts: Part) -> None:
    """H.264 that changes within a track, whose description is that of the first."""
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"")
    for part in parts:
        part.make(path.with_name("part.h264"))
        raw.write_bytes(raw.read_bytes() + path.with_name("part.h264").read_bytes())
    run_ffmpeg("-r", "25", "-i", str(raw), "-c", "copy", str(path))


def test_frames_that_are_larger_than_films_may_be_are_not_decoded_where_nobody_looked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "film.mp4"
    in_one_track(path, a(frames=100), b(size=(640, 384), frames=10), a(frames=150))
    chosen = plan_settings_with(max_video_pixels=20_000)
    made = run(path, tmp_path / "made", "transcode_720p", chosen=chosen)["transcode_720p"]
    assert "96.0% of the video could be decoded" in made.made.warning
    assert all(near(frame[48, 80], SAND) for frame in seen(made.path))


@variants
@pytest.mark.parametrize("name", ["larger.ts", "portrait.ts", "matrix.ts", "10bit.ts", "range.ts"])
def test_chunks_of_a_film_that_changes_are_the_film(tmp_path: Path, name: str) -> None:
    first, second = (part._replace(frames=275) for part in (CHANGES | MORE_CHANGES)[name])
    path = tmp_path / name
    join(path, first, second, as_bytes=False)  # no packet is missing, or nothing is copied
    facts, copied, copy = copy_of(path, tmp_path / "copy")
    assert copying.difference(facts, copied) == ""
    steps = find_steps(["watermark"], JobError)
    as_chunks = make_plan("job", name, copying.as_copied(facts, copied), steps, SHORT_CHUNKS)
    assert as_chunks.sizes()["film"] > 2
    as_whole = make_plan("job", name, facts, steps, SHORT_CHUNKS)
    whole = carry_out(as_whole, path, tmp_path / "whole")["watermark"]
    parts = carry_out(as_chunks, copy, tmp_path / "chunks")["watermark"]
    for one, other in zip(seen(whole.path), seen(parts.path), strict=True):
        assert abs(one - other).mean() < 2


def combs(path: Path) -> float:
    """How much more every second line differs from its neighbours than these from each other."""
    worst = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            y = frame.to_ndarray()[: frame.height].astype(float)
            beside = abs(y[1:-1] - (y[:-2] + y[2:]) / 2).mean()
            worst = max(worst, beside / (1 + abs(y[2:] - y[:-2]).mean()))
    return worst


def moving(path: Path, *output: str, interlaced: bool, seconds: float = 1) -> None:
    weave = "tinterlace=interleave_top,setfield=tff" if interlaced else "setfield=prog,fps=25"
    flags = ("-flags", "+ilme+ildct") if interlaced else ()
    bars = "mod(X+8*N\\,32)"
    run_ffmpeg(
        "-f", "lavfi", "-i", f"nullsrc=size=160x96:rate=50:duration={seconds}",
        "-vf", f"format=gray,geq='if(lt({bars}\\,16)\\,60\\,200)',format=yuv420p,{weave}",
        "-g", "12", *flags, *output,
        str(path),
    )  # fmt: skip


_H264 = ("-c:v", "libx264", "-preset", "ultrafast")
LATER_INTERLACED = {
    "h264.ts": (*_H264, "-x264-params", "log-level=error"),
    "mpeg2.ts": ("-c:v", *MPEG2),
    "mpeg2.mpg": ("-c:v", *MPEG2, "-f", "vob"),
    "h264.mkv": (*_H264, "-x264-params", "log-level=error"),
    "h264.mp4": (*_H264, "-x264-params", "log-level=error"),
}


@pytest.mark.parametrize(
    "name",
    ["h264.ts", *(pytest.param(name, marks=variants) for name in [*LATER_INTERLACED][1:])],
)
def test_a_film_that_is_interlaced_later_has_no_combs(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    output = LATER_INTERLACED[name]
    for number, interlaced in enumerate((False, True)):
        part = path.with_stem(f"part_{number}")
        moving(part, *output, interlaced=interlaced)
    joined(path, 2, as_bytes=path.suffix in (".ts", ".mpg"))
    assert combs(path.with_stem("part_1")) > 3
    assert combs(run(path, tmp_path / "made", "transcode_720p")["transcode_720p"].path) < 1.5


# ── colours, however they are told ──────────────────────────────────────────────────────────────

Matrix = Any
# ITU-T H.273, table 2: where red, green, blue and white lie. DCI's white is not that of the others.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)),
}


def to_xyz(primaries: int) -> Matrix:
    """Of linear light (SMPTE RP 177)."""
    *colours, white = ([x / y, 1, (1 - x - y) / y] for x, y in PRIMARIES[primaries])
    mixed = numpy.array(colours).T
    return mixed * numpy.linalg.solve(mixed, white)


def in_primaries(rgb: Rgb, primaries: int, transfer: int) -> Rgb:
    """Colours of BT.709 in others, by light as displays show it (ITU-R BT.1886)."""
    light = (numpy.array(rgb) / 255) ** 2.4
    light = numpy.linalg.solve(to_xyz(primaries), to_xyz(1) @ light)
    if transfer == 13:  # IEC 61966-2-1
        values = numpy.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    else:
        values = light ** (1 / 2.4)
    r, g, b = 255 * values
    return r, g, b


PRORES = ("prores_ks", "-profile:v", "3")
HIGH10 = ("libx264", "-preset", "ultrafast", "-profile:v", "high10")


@pytest.mark.parametrize(
    ("suffix", "primaries", "transfer", "matrix", "more"),
    [
        (".mp4", 9, 14, 9, {}),
        (".mp4", 12, 1, 1, {}),
        *(
            pytest.param(*values, marks=variants)
            for values in [
                (".mkv", 9, 1, 9, {"codec": HEVC}),
                (".mp4", 9, 15, 9, {"codec": HIGH10, "pixels": "yuv420p10le"}),
                (".mkv", 9, 14, 9, {"codec": AV1}),
                (".mkv", 9, 14, 9, {"full": True}),
                (".mp4", 9, 2, 9, {}),
                (".mov", 12, 1, 1, {"codec": PRORES, "pixels": "yuv422p10le"}),
                (".mp4", 12, 13, 1, {}),
                (".mp4", 12, 1, 6, {"size": (240, 136)}),
                (".ts", 12, 1, 1, {"codec": HEVC}),
                (".webm", 9, 1, 9, {"codec": VP9}),
            ]
        ),
    ],
)
@pytest.mark.parametrize("rgb", [RED, SAND])
def test_wide_colours_of_sdr_are_those_of_bt_709(
    tmp_path: Path, rgb: Rgb, suffix: str, primaries: int, transfer: int, matrix: int, more: Any
) -> None:
    wide = in_primaries(rgb, primaries, transfer)
    assert not near(wide, rgb, 7)
    part = Part(wide, matrix=matrix, primaries=primaries, transfer=transfer, **more)
    part.make(tmp_path / f"wide{suffix}")
    made = run(tmp_path / f"wide{suffix}", tmp_path / "made", "thumbnail", "transcode_720p")
    for frame in seen(made["transcode_720p"].path):
        assert near(frame[48, 80], rgb, 7)
    with Image.open(made["thumbnail"].path) as poster:
        assert near(poster.getpixel((80, 48)), rgb, 7)


def hdr(
    path: Path, curve: str, *output: str, matrix: str = "bt2020nc", size: str = "160x96"
) -> None:
    run_ffmpeg(
        "-f", "lavfi", "-i", f"smptebars=size={size}:rate=25:duration=0.4",
        "-vf", "format=gbrp,zscale=pin=bt709:tin=bt709:min=gbr:p=bt2020:t=linear:m=gbr:npl=203,"
        f"format=gbrpf32le,zscale=t={curve}:m={matrix}:r=tv:npl=203,format=yuv420p10le",
        *(output or ("-c:v", *HEVC, "-crf", "6")),
        str(path),
    )  # fmt: skip


UNTOLD = {
    "hevc": "hevc_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2",
    "av1": "av1_metadata=color_primaries=2:transfer_characteristics=2:matrix_coefficients=2",
}


@pytest.mark.parametrize(
    ("suffix", "curve", "codec"),
    [
        (".mp4", "smpte2084", "hevc"),
        *(
            pytest.param(*values, marks=variants)
            for values in [
                (".mkv", "smpte2084", "hevc"),
                (".mov", "smpte2084", "hevc"),
                (".mp4", "smpte2084", "av1"),
                (".mp4", "arib-std-b67", "av1"),
                (".mkv", "arib-std-b67", "av1"),
                (".webm", "arib-std-b67", "av1"),
            ]
        ),
    ],
)
def test_hdr_that_the_container_alone_tells_is_hdr(
    tmp_path: Path, suffix: str, curve: str, codec: str
) -> None:
    told, path = tmp_path / f"told{suffix}", tmp_path / f"untold{suffix}"
    hdr(told, curve, "-c:v", *{"hevc": HEVC, "av1": AV1}[codec])
    run_ffmpeg("-i", str(told), "-c", "copy", "-bsf:v", UNTOLD[codec], str(path))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).color_trc == 2
    steps = ("thumbnail", "transcode_720p")
    one, other = (run(each, tmp_path / f"made_{each.stem}", *steps) for each in (told, path))
    for first, second in zip(*(seen(r["transcode_720p"].path) for r in (one, other)), strict=True):
        assert abs(first - second).max() < 3
    posters = [numpy.asarray(Image.open(r["thumbnail"].path), int) for r in (one, other)]
    assert abs(posters[0] - posters[1]).max() < 3


def test_hdr_of_any_shape_has_a_poster(tmp_path: Path) -> None:
    hdr(tmp_path / "wide.mp4", "smpte2084", size="640x266")
    with Image.open(run(tmp_path / "wide.mp4", tmp_path, "thumbnail")["thumbnail"].path) as poster:
        assert poster.size == (512, 212)


@variants
@pytest.mark.parametrize("matrix", ["ictcp", "ycgco", "chroma-derived-nc"])
@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_of_every_matrix_looks_alike(tmp_path: Path, curve: str, matrix: str) -> None:
    hdr(tmp_path / "usual.mp4", curve)
    hdr(tmp_path / "other.mp4", curve, matrix=matrix)
    steps = ("thumbnail", "transcode_720p")
    usual, other = (run(tmp_path / f"{n}.mp4", tmp_path / n, *steps) for n in ("usual", "other"))
    for one, two in zip(*(seen(r["transcode_720p"].path) for r in (usual, other)), strict=True):
        assert abs(one - two).mean() < 4


def as_ycgco(rgb: Rgb) -> tuple[float, float, float]:
    r, g, b = (value / 255 for value in rgb)
    return 16 + 219 * (g / 2 + (r + b) / 4), 128 + 224 * (g / 2 - (r + b) / 4), 128 + 112 * (r - b)


@pytest.mark.parametrize("rgb", [RED, GREEN, SAND])
@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer"),
    [(8, 1, 1), pytest.param(12, 1, 1, marks=variants), pytest.param(1, 1, 9, marks=variants)],
)
def test_sdr_of_rare_matrices_and_curves_has_its_colours(
    tmp_path: Path, rgb: Rgb, matrix: int, primaries: int, transfer: int
) -> None:
    y, u, v = map(round, as_ycgco(rgb) if matrix == 8 else coded(rgb, 1))
    path = tmp_path / "rare.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=size=640x400:rate=25:duration=0.2",
        "-vf", f"format=yuv420p,lutyuv={y}:{u}:{v}",
        "-c:v", "libx264", "-bsf:v", "h264_metadata=video_full_range_flag=0"
        f":colour_primaries={primaries}:transfer_characteristics={transfer}"
        f":matrix_coefficients={matrix}",
        str(path),
    )  # fmt: skip
    made = run(path, tmp_path / "made", "thumbnail", "transcode_720p")
    assert not any(result.made.warning for result in made.values())
    assert all(near(frame[200, 320], rgb) for frame in seen(made["transcode_720p"].path))
    with Image.open(made["thumbnail"].path) as poster:
        assert poster.size == (512, 320)
        assert near(poster.getpixel((256, 160)), rgb)


def tagged(path: Path, primaries: int, transfer: int, matrix: int) -> None:
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=0.2",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bsf:v",
        f"h264_metadata=colour_primaries={primaries}:transfer_characteristics={transfer}"
        f":matrix_coefficients={matrix}",
        str(path),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("transfer", "matrix", "named"),
    [(14, 14, "ICtCp in SDR"), pytest.param(16, 10, "luminance in HDR", marks=variants)],
)
def test_colours_that_mean_nothing_are_taken_for_others_with_a_warning(
    tmp_path: Path, transfer: int, matrix: int, named: str
) -> None:
    tagged(tmp_path / "film.mp4", 9, transfer, matrix)
    for result in run(tmp_path / "film.mp4", tmp_path, "thumbnail", "transcode_720p").values():
        assert named in result.made.warning


@pytest.mark.parametrize(("matrix", "name"), [(11, "YDzDx"), (15, "IPT-PQ-c2")])
def test_colours_that_nobody_here_can_read_are_refused_as_that(
    tmp_path: Path, matrix: int, name: str
) -> None:
    tagged(tmp_path / "film.mp4", 9, 16, matrix)
    with pytest.raises(JobError, match=name) as refusal:
        facts_of(tmp_path / "film.mp4")
    assert refusal.value.code == "unsupported_colours"


@variants
@pytest.mark.parametrize("transfer", [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
def test_no_code_of_colours_makes_a_film_fail(tmp_path: Path, transfer: int) -> None:
    for primaries, matrix in [(1, 1), (2, 10), (10, 12), (8, 13), (22, 14), (3, 3), (11, 7)]:
        path = tmp_path / f"{primaries}_{matrix}.mp4"
        tagged(path, primaries, transfer, matrix)
        made = run(path, tmp_path / path.stem, "thumbnail", "watermark")
        assert len(seen(made["watermark"].path)) == 5


def with_box(path: Path, kind: bytes, content: bytes) -> None:
    """Put a box into the sample entry of an MP4 whose index is last."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"hvc1") - 4 if b"hvc1" in data else data.index(b"hev1") - 4
    size = struct.unpack_from(">I", data, entry)[0]
    made = struct.pack(">I4s", len(content) + 8, kind) + content
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        at = data.index(name) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(made))
    struct.pack_into(">I", data, entry, size + len(made))
    data[entry + size : entry + size] = made
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("profile", "compatible_with", "is_taken"),
    [(5, 0, False), (8, 1, True), (8, 4, True), (7, 6, True), (10, 0, False), (10, 1, True)],
)
def test_dolby_vision_is_taken_where_its_base_is_hdr_or_sdr(
    tmp_path: Path, profile: int, compatible_with: int, is_taken: bool
) -> None:
    path = tmp_path / "film.mp4"
    hdr(path, "smpte2084", "-c:v", *HEVC, "-tag:v", "hvc1")
    flags = struct.pack(">H", profile << 9 | 3 << 3 | 0b101)
    with_box(path, b"dvcC", b"\1\0" + flags + bytes([compatible_with << 4]) + bytes(19))
    if is_taken:
        assert isinstance(facts_of(path), VideoFacts)
        return
    with pytest.raises(JobError, match=f"Dolby Vision profile {profile}") as refusal:
        facts_of(path)
    assert refusal.value.code == "unsupported_colours"


# ── which pictures, and which way up ────────────────────────────────────────────────────────────


def with_preview(path: Path, *output: str, preview: Part, film: Part) -> None:
    for part, name in ((preview, "preview.mkv"), (film, "film.mkv")):
        part.make(path.with_name(name))
    run_ffmpeg(
        "-i", str(path.with_name("preview.mkv")), "-i", str(path.with_name("film.mkv")),
        "-map", "0:v", "-map", "1:v", "-c", "copy", *output, str(path),
    )  # fmt: skip


MJPEG = ("mjpeg", "-strict", "unofficial")
STILL = Part(SAND, size=(80, 48), codec=MJPEG, frames=1)
ENABLED = ("-disposition:v:0", "default", "-disposition:v:1", "0")
BOTH = ("-disposition:v:0", "default", "-disposition:v:1", "default")
DISABLED = ("-disposition:v:0", "0", "-disposition:v:1", "default")
PREVIEWS: dict[str, tuple[tuple[str, ...], Part]] = {
    "a still.mp4": (ENABLED, STILL),
    "a still that is disabled.mp4": (DISABLED, STILL),
    "some frames.mp4": (ENABLED, Part(SAND, size=(80, 48), frames=8)),
    "some frames that are larger.mp4": (ENABLED, Part(SAND, size=(320, 192), frames=8)),
    "all frames, but disabled.mp4": (DISABLED, Part(SAND, size=(320, 192), frames=50)),
    "all frames, but smaller.mp4": (BOTH, Part(SAND, size=(80, 48), frames=50)),
    "a still.mov": (ENABLED, STILL),
    "a large still.mov": (ENABLED, STILL._replace(size=(320, 192))),
    "a still.mkv": (ENABLED, STILL),
    "some frames.mkv": ((), Part(SAND, size=(80, 48), frames=8)),
}


@pytest.mark.parametrize(
    "name",
    [*PREVIEWS][:2] + [pytest.param(name, marks=variants) for name in [*PREVIEWS][2:]],
)
def test_a_preview_is_not_the_film(tmp_path: Path, name: str) -> None:
    output, preview = PREVIEWS[name]
    with_preview(tmp_path / name, *output, preview=preview, film=b(frames=50))
    made = run(tmp_path / name, tmp_path / "made", "thumbnail", "transcode_720p")
    frames = seen(made["transcode_720p"].path)
    assert len(frames) == 50
    assert all(frame.shape == (96, 160, 3) and near(frame[48, 80], GREEN) for frame in frames)


def with_matrix(path: Path, change: Any) -> None:
    """Another matrix in the header of the track (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, at, *change)
    path.write_bytes(data)


def turned(degrees: float, scale: float = 1) -> list[int]:
    angle = numpy.radians(degrees)
    sine, cosine = (round(65536 * scale * f(angle)) for f in (numpy.sin, numpy.cos))
    return [cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30]


UPRIGHT, SIDEWAYS = (160, 96), (96, 160)
MATRICES: dict[str, tuple[list[int], tuple[int, int]]] = {
    "by 45": (turned(45), UPRIGHT),
    "zero": ([0] * 9, UPRIGHT),
    "by 90": (turned(90), SIDEWAYS),
    "by 10": (turned(10), UPRIGHT),
    "by 135": (turned(135), UPRIGHT),
    "by 180": (turned(180), UPRIGHT),
    "by 270": (turned(270), SIDEWAYS),
    "by 89.8": (turned(89.8), SIDEWAYS),
    "by 0.3": (turned(0.3), UPRIGHT),
    "by 300": (turned(300), UPRIGHT),
    "mirrored": ([-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30], UPRIGHT),
    "half a zero": ([65536, 0, 0, 0, 0, 0, 0, 0, 1 << 30], UPRIGHT),
    "by 90 and smaller": (turned(90, 0.5), SIDEWAYS),
}


@pytest.mark.parametrize(
    "name",
    [*MATRICES][:3] + [pytest.param(name, marks=variants) for name in [*MATRICES][3:]],
)
def test_a_film_that_is_turned_keeps_its_shape(tmp_path: Path, name: str) -> None:
    matrix, size = MATRICES[name]
    path = tmp_path / "film.mp4"
    # A square of the one in the middle of the other.
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=color=black:size=160x96:rate=25:duration=0.4",
        "-vf", "drawbox=x=64:y=32:w=32:h=32:color=white:t=fill,format=yuv420p",
        "-c:v", "libx264", str(path),
    )  # fmt: skip
    with_matrix(path, matrix)
    made = run(path, tmp_path / "made", "thumbnail", "transcode_720p")
    for frame in seen(made["transcode_720p"].path):
        assert frame.shape == (size[1], size[0], 3)
        across, high = box(frame)
        assert abs(across - high) <= 4
        # As large as it was, whichever way it is turned.
        assert abs((frame.max(-1) > 128).sum() - 32 * 32) < 110
    with Image.open(made["thumbnail"].path) as poster:
        assert poster.size == size


ALPHA: dict[str, tuple[str, ...]] = {
    "vp9.webm": ("-pix_fmt", "yuva420p", "-c:v", *VP9),
    "qtrle.mov": ("-pix_fmt", "argb", "-c:v", "qtrle"),
    "vp8.webm": ("-pix_fmt", "yuva420p", "-c:v", *VP8),
    "prores.mov": ("-pix_fmt", "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4"),
    "png.mov": ("-pix_fmt", "rgba", "-c:v", "png"),
    "ffv1.mkv": ("-pix_fmt", "yuva444p", "-c:v", "ffv1"),
    "ffv1 rgb.mkv": ("-pix_fmt", "bgra", "-c:v", "ffv1"),
    "utvideo.avi": ("-pix_fmt", "gbrap", "-c:v", "utvideo"),
    "ffv1 16.mkv": ("-pix_fmt", "yuva420p16le", "-c:v", "ffv1"),
    "vp9 in Matroska.mkv": ("-pix_fmt", "yuva420p", "-c:v", *VP9),
    "png.mkv": ("-pix_fmt", "rgba64be", "-c:v", "png"),
}


@pytest.mark.parametrize(
    "name", [*ALPHA][:2] + [pytest.param(name, marks=variants) for name in [*ALPHA][2:]]
)
def test_what_is_transparent_in_a_film_does_not_show(tmp_path: Path, name: str) -> None:
    inside = "between(X\\,40\\,119)*between(Y\\,24\\,71)"
    red, green, blue = (
        f"{inside}*{there}+(1-{inside})*{hidden}" for there, hidden in zip(GREEN, SAND, strict=True)
    )
    run_ffmpeg(
        "-f", "lavfi", "-i", "nullsrc=size=160x96:rate=25:duration=0.4",
        "-vf", f"format=rgba,geq=r='{red}':g='{green}':b='{blue}':a='255*{inside}'",
        *ALPHA[name],
        str(tmp_path / name),
    )  # fmt: skip
    made = run(tmp_path / name, tmp_path / "made", "thumbnail", "transcode_720p")
    frames = seen(made["transcode_720p"].path)
    assert len(frames) == 10
    for frame in frames:
        assert near(frame[48, 80], GREEN, 10)
        for x, y in ((4, 4), (155, 4), (4, 91), (155, 91), (80, 12), (20, 48)):
            assert near(frame[y, x], (0, 0, 0), 6)
        assert abs(numpy.subtract(box(frame), (80, 48))).max() <= 2
    with Image.open(made["thumbnail"].path) as poster:
        assert near(poster.getpixel((80, 48)), GREEN, 10)
        assert near(poster.getpixel((6, 6)), (0, 0, 0), 8)


def test_a_film_that_is_transparent_is_not_copied() -> None:
    facts = VideoFacts("matroska", 160, 96, 60.0, 1500, "25", 16000, 0, alpha=True)
    as_vp9 = copying.obstacle(facts.__replace__(video_codec="vp9"), 10**6)
    assert "transparent" in as_vp9


# ── posters ─────────────────────────────────────────────────────────────────────────────────────

ONE_KEY = ("-g", "1000", "-keyint_min", "1000", "-sc_threshold", "0")
DARK_STARTS: dict[str, tuple[str, ...]] = {
    "h264.ts": (*_H264, *ONE_KEY),
    "hevc.ts": (
        "-c:v", "libx265", "-preset", "ultrafast",
        "-x265-params", "keyint=1000:min-keyint=1000:scenecut=0:log-level=error",
    ),
    "mpeg2.ts": ("-c:v", *MPEG2, "-bf", "2", *ONE_KEY),
    "mpeg2.mpg": ("-c:v", *MPEG2, *ONE_KEY, "-f", "vob"),
    "h264.m2ts": (*_H264, *ONE_KEY, "-mpegts_m2ts_mode", "1"),
    "h264.mkv": (*_H264, *ONE_KEY),
    "h264.mp4": (*_H264, *ONE_KEY),
    "h264.flv": (*_H264, *ONE_KEY),
    "vp8.webm": ("-c:v", *VP8, "-g", "1000"),
    "fragments.mp4": (*_H264, *ONE_KEY, "-movflags", "+frag_every_frame+empty_moov"),
    "starts late.ts": (*_H264, *ONE_KEY, "-output_ts_offset", "60"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [*DARK_STARTS][:1] + [pytest.param(name, marks=variants) for name in [*DARK_STARTS][1:]],
)
def test_a_film_with_one_key_frame_and_a_dark_start_has_a_bright_poster(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=6",
        "-vf", "fade=in:st=1:d=0.7,format=yuv420p",
        *DARK_STARTS[name], str(path),
    )  # fmt: skip
    with Image.open(run(path, tmp_path / "made", "thumbnail")["thumbnail"].path) as poster:
        assert numpy.asarray(poster.convert("L")).max() > 220


def test_seeks_that_find_frames_are_all_that_a_poster_takes(tmp_path: Path) -> None:
    path = tmp_path / "black.ts"
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=color=black:size=160x96:rate=25:duration=6",
        *_H264, "-g", "10", str(path),
    )  # fmt: skip
    run(path, tmp_path / "made", "thumbnail")
    found = {file.name for file in (tmp_path / "made" / "tasks" / "thumbnail").iterdir()}
    assert {name for name in found if "start" in name} == {"candidate_from_start_0.0.png"}


def test_a_poster_that_is_there_is_kept_when_a_later_look_takes_too_long(tmp_path: Path) -> None:
    path = tmp_path / "black.ts"
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=color=black:size=160x96:rate=25:duration=6",
        *_H264, "-g", "10", str(path),
    )  # fmt: skip
    # For FFmpeg and for what it has found; then for what is there alone.
    left = iter([60.0, 60.0, *[posters.DRAWING_SECONDS] * 99])
    budget = Budget(lambda: next(left), 4 * 1024**3)
    plan = make_plan(
        "job", path.name, facts_of(path), find_steps(["thumbnail"], JobError), DEFAULTS
    )
    results = carry_out(plan, path, tmp_path / "made", budget_of=lambda _: budget)
    assert results["thumbnail"].path.exists()
