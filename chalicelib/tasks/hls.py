"""Write the HLS playlists of a rendition; its segments are stored already."""

from __future__ import annotations

from chalicelib.formats import playlists
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Hls
from chalicelib.store import objects
from chalicelib.tasks.packaging import Parts, packaged, parts_of, predicted_bytes
from chalicelib.tasks.prediction import Basis, Prediction
from chalicelib.tasks.workbench import Workbench


def run(work: Hls, bench: Workbench) -> StepsEnded:
    """Write the complete playlists of a rendition. Raises JobError, Transient."""
    parts = parts_of(work, bench)
    name = f"{playlists.MASTER}.m3u8"
    return packaged(work, bench, name, _write(work, parts, bench.task.destination), parts)


def _write(work: Hls, parts: Parts, folder: str) -> int:
    """Write the playlists under the key prefix `folder`. Returns the bytes of all files of the rendition."""
    tracks = {
        playlists.VIDEO: [segment for part in parts.video for segment in part.encoded.segments],
        playlists.AUDIO: [segment for part in parts.audio for segment in part.encoded.segments],
    }
    size = 0
    for track, segments in tracks.items():
        if segments:
            longest = max(segment.seconds for segment in segments)
            text = playlists.media(track, segments, longest, complete=True)
            size += objects.put_output(f"{folder}{track}.m3u8", text.encode())
            size += sum(segment.size for segment in segments)
    video, audio = (playlists.bits(segments) for segments in tracks.values())
    text = playlists.master(
        work,
        parts.video[0].encoded.codec,
        parts.frames / parts.seconds,
        video[0] + audio[0],
        video[1] + audio[1],
    )
    return size + objects.put_output(f"{folder}{playlists.MASTER}.m3u8", text.encode())


def predict(work: Hls, basis: Basis) -> Prediction:
    _, audio = basis.plan.parts(basis.task)
    return Prediction(
        s3_gets=1,
        s3_puts=2 + bool(audio),
        bytes_read=0,
        bytes_written=0,
        results_read=len(basis.task.needs),
        output_bytes=predicted_bytes(work, basis),
    )
