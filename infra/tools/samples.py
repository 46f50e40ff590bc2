"""Makes sample media, each named after the trap that it is. For the demo, the README and tests."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from infra.paths import LOCAL
from layers.build import unpacked

Maker = Callable[[Path], None]


@cache
def ffmpeg() -> str:
    """Path of the FFmpeg of the layer."""
    binary = unpacked("ffmpeg", LOCAL / "layers") / "bin" / "ffmpeg"
    binary.chmod(0o755)
    return str(binary)


def run_ffmpeg(*args: str) -> None:
    subprocess.run([ffmpeg(), "-v", "error", "-nostdin", "-y", *args], check=True)


# ── images ──────────────────────────────────────────────────────────────────────────────────────


def scene(width: int, height: int) -> Image.Image:
    """A landscape with coloured corners, clockwise from top left: red, green, blue, white."""
    image = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (image, image.rotate(180), Image.new("L", image.size, 150)))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((width * 0.62, height * 0.12, width * 0.82, height * 0.42), fill=(255, 221, 120))
    pen.polygon(
        [(0, height), (width * 0.35, height * 0.35), (width * 0.7, height)], fill=(46, 64, 87)
    )
    picture = picture.filter(ImageFilter.GaussianBlur(max(1, width // 400)))
    pen = ImageDraw.Draw(picture)
    side = max(1, min(width, height) // 8)
    right, low = width - side, height - side
    for x, y, colour in (
        (0, 0, "red"),
        (right, 0, "green"),
        (right, low, "blue"),
        (0, low, "white"),
    ):
        pen.rectangle((x, y, x + side, y + side), fill=colour)
    return picture


def photo(path: Path, width: int = 1600, height: int = 1200) -> None:
    scene(width, height).save(path, "JPEG", quality=90)


def orientation(number: int) -> Maker:
    """A JPEG that is upright only once its EXIF orientation, `number`, is applied."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[number]

    def make(path: Path) -> None:
        picture = scene(800, 600)
        stored = picture.transpose(undo) if undo is not None else picture
        exif = Image.Exif()
        exif[0x0112] = number
        exif[0x010E] = "secret place"  # must not survive
        stored.save(path, "JPEG", quality=95, exif=exif)

    return make


def transparent_png(path: Path) -> None:
    picture = scene(640, 480).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path, "PNG")


def palette_png(path: Path) -> None:
    picture = scene(640, 480).quantize(64)
    picture.save(path, "PNG", transparency=0)


def sixteen_bit_png(path: Path) -> None:
    ramp = Image.linear_gradient("L").resize((640, 480))
    ramp.convert("I").point(lambda value: value * 257).convert("I;16").save(path, "PNG")


def cmyk_jpeg(path: Path) -> None:
    scene(640, 480).convert("CMYK").save(path, "JPEG", quality=95)


def animated_gif(path: Path) -> None:
    frames = [scene(320, 240), scene(320, 240).rotate(180)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def tiny_png(path: Path) -> None:
    scene(9, 7).save(path, "PNG")


IMAGES: dict[str, Maker] = {
    "photo.jpg": photo,
    **{f"orientation_{number}.jpg": orientation(number) for number in range(1, 9)},
    "transparent.png": transparent_png,
    "palette.png": palette_png,
    "sixteen_bit.png": sixteen_bit_png,
    "cmyk.jpg": cmyk_jpeg,
    "animated.gif": animated_gif,
    "tiny.png": tiny_png,
}


# ── films ───────────────────────────────────────────────────────────────────────────────────────


def film(
    path: Path,
    *,
    size: str = "1280x720",
    rate: str = "25",
    seconds: float = 3,
    sound: bool = True,
    tone: str = "sine=440:sample_rate=48000",
    filters: str = "null",
    output: tuple[str, ...] = (),
) -> None:
    """A moving test picture with a clock, and `tone`, an FFmpeg audio source that takes a duration."""
    audio = ("-f", "lavfi", "-i", f"{tone}:duration={seconds}") if sound else ()
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}",
        *audio,
        "-vf", filters,
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
        "-c:a", "aac",
        *output,
        str(path),
    )  # fmt: skip


def plain(path: Path) -> None:
    film(path)


def rotated(path: Path) -> None:
    """Stored rotated, as phones do; upright it is 360 wide and 640 high."""
    lying = path.with_suffix(".lying.mp4")
    film(lying, size="640x360", filters="transpose=cclock,transpose=clock")
    run_ffmpeg("-display_rotation", "90", "-i", str(lying), "-c", "copy", str(path))
    lying.unlink()


def no_audio(path: Path) -> None:
    film(path, sound=False)


def odd_size(path: Path) -> None:
    film(
        path,
        size="322x242",
        filters="crop=321:241:0:0:exact=1",
        output=("-pix_fmt", "yuv444p"),
    )


def anamorphic(path: Path) -> None:
    """Coded at 1440 × 1080, displayed at 1920 × 1080."""
    film(path, size="1440x1080", filters="setsar=4/3", seconds=2)


def fades_in(path: Path) -> None:
    """Black for the first 1.2 seconds."""
    film(path, filters="fade=in:st=1.2:d=0.5")


def variable_rate(path: Path) -> None:
    """Frames at irregular intervals."""
    film(
        path,
        filters="select='not(mod(n,3))+not(mod(n,7))'",
        output=("-fps_mode", "passthrough", "-enc_time_base", "1/90000"),
    )


def small(path: Path) -> None:
    film(path, size="320x180", seconds=2)


def webm(path: Path) -> None:
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=2",
        "-f", "lavfi", "-i", "sine=440:duration=2",
        "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "500k",
        "-c:a", "libopus",
        str(path),
    )  # fmt: skip


def ntsc(path: Path) -> None:
    """29.97 frames a second: two seconds are no whole number of frames."""
    film(path, size="640x360", rate="30000/1001", seconds=5)


def colours(width: int, height: int, *output: str) -> Maker:
    """A film of the landscape, coded with the FFmpeg options `output`."""

    def make(path: Path) -> None:
        still = path.with_suffix(".still.png")
        scene(width, height).save(still)
        run_ffmpeg(
            "-loop", "1", "-i", str(still),
            "-t", "1", "-r", "25",
            "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12",
            *output,
            str(path),
        )  # fmt: skip
        still.unlink()

    return make


_TAGS = "setparams=color_primaries={0}:color_trc={1}:colorspace={2}"
bt601 = colours(
    640, 480,
    "-vf", "scale=out_color_matrix=smpte170m,format=yuv420p,"
    + _TAGS.format("smpte170m", "smpte170m", "smpte170m"),
)  # fmt: skip
full_range = colours(
    640, 480,
    "-vf", "scale=out_color_matrix=smpte170m:out_range=pc,format=yuvj420p,"
    + _TAGS.format("smpte170m", "smpte170m", "smpte170m"),
)  # fmt: skip
hd_untold = colours(
    1280, 720,
    "-vf", "scale=out_color_matrix=bt709,format=yuv420p,"
    + _TAGS.format("unknown", "unknown", "unknown"),
)  # fmt: skip
_HDR = (
    "zscale=pin=bt709:tin=bt709:min=gbr:p=bt2020:t={0}:m=bt2020nc:r=tv:npl=203,format=yuv420p10le"
)
hlg = colours(640, 480, "-vf", _HDR.format("arib-std-b67"), "-profile:v", "high10")
pq = colours(640, 480, "-vf", _HDR.format("smpte2084"), "-profile:v", "high10")


VIDEOS: dict[str, Maker] = {
    "plain.mp4": plain,
    "rotated.mp4": rotated,
    "no_audio.mp4": no_audio,
    "odd_size.mp4": odd_size,
    "anamorphic.mp4": anamorphic,
    "fades_in.mp4": fades_in,
    "variable_rate.mp4": variable_rate,
    "small.mp4": small,
    "webm.webm": webm,
    "ntsc.mp4": ntsc,
    "bt601.mp4": bt601,
    "full_range.mp4": full_range,
    "hd_untold.mp4": hd_untold,
    "hlg.mp4": hlg,
    "pq.mp4": pq,
}


# ── broken, or no media ──────────────────────────────────────────────────────────────────


def text(path: Path) -> None:
    path.write_text("This is no picture, whatever its name says.\n" * 20)


def truncated_jpeg(path: Path) -> None:
    photo(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated_mp4(path: Path) -> None:
    """An MP4 whose index has three seconds of frames, half of which are missing."""
    film(path, output=("-movflags", "+faststart"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sound_only(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=440:duration=1", "-c:a", "aac", str(path))


BROKEN: dict[str, Maker] = {
    "text.jpg": text,
    "truncated.jpg": truncated_jpeg,
    "truncated.mp4": truncated_mp4,
    "empty.png": empty,
    "sound_only.m4a": sound_only,
}

ALL = {**IMAGES, **VIDEOS, **BROKEN}


def sample(name: str, folder: Path) -> Path:
    """The path of a sample in `folder`, made unless it is there."""
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"part-{os.getpid()}-{name}"  # another process may make it at the same time
        ALL[name](part)
        part.rename(path)
    return path


def main() -> None:
    """Make samples by name in a folder."""
    parser = argparse.ArgumentParser(prog="python -m infra.tools.samples", description=main.__doc__)
    parser.add_argument("names", nargs="+", choices=ALL, metavar="NAME", help=", ".join(ALL))
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="the current one if not said"
    )
    chosen = parser.parse_args()
    for name in chosen.names:
        print(sample(name, chosen.folder))


if __name__ == "__main__":
    main()
