"""Make a film's captions: a WebVTT of each track, before the film can be watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chalicelib.errors import JobError
from chalicelib.formats import captions
from chalicelib.model.plan import CAPTIONS
from chalicelib.model.result import Encoded, EncodedTrack
from chalicelib.model.work import SUBRIP, Captions, Segment
from chalicelib.store import objects
from chalicelib.tasks.encoding import run_ffmpeg
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.workbench import Workbench
from chalicelib.telemetry import logger

# Bytes of a track as WebVTT, for each second of a film.
_BYTES_A_SECOND = 40
_UNREAD = "The film's own subtitles could not be read: there are none in the captions."


def run(work: Captions, bench: Workbench) -> Encoded:
    """Store the captions of a film. Raises JobError `captions_changed`, Transient.

    The film's own ones, which nobody asked for, are empty where they cannot be read: playlists list them.
    """
    files = list[Segment]()
    for playlist, sidecar in work.sidecars.items():
        text = _webvtt(work, objects.read_sidecar(sidecar))
        files.append(_stored(work, bench, playlist, text))
    warning = ""
    for playlist, found in _embedded(work, bench):
        files.append(_stored(work, bench, playlist, found or captions.to_webvtt(())))
        warning = warning if found else _UNREAD
    made = EncodedTrack(tuple(files), work.seconds, header="", warning=warning)
    return Encoded({CAPTIONS: made})


def _webvtt(work: Captions, body: bytes) -> bytes:
    return captions.to_webvtt(captions.until(captions.read(body), work.seconds))


def _stored(work: Captions, bench: Workbench, playlist: str, text: bytes) -> Segment:
    name = f"{playlist}.vtt"
    return Segment(name, work.seconds, objects.put_output(bench.task.destination + name, text))


def _embedded(work: Captions, bench: Workbench) -> Iterator[tuple[str, bytes | None]]:
    """The WebVTT of each of the film's own tracks, by their playlists; None where they cannot be read."""
    if not work.command:
        return
    with bench.folder() as folder:
        try:
            run_ffmpeg(work.command, None, folder, bench.budget, lambda _: None)
        except JobError as error:
            logger.warning("No captions", error_code=error.code, error=error.detail)
            yield from ((playlist, None) for playlist in work.embedded)
        else:
            for playlist in work.embedded:
                yield playlist, _read(work, folder / SUBRIP.format(playlist))


def _read(work: Captions, path: Path) -> bytes | None:
    body = path.read_bytes() if path.exists() else b""
    try:
        return _webvtt(work, body) if body.strip() else captions.to_webvtt(())
    except captions.Unusable as unusable:
        logger.warning("No captions", file=path.name, error=str(unusable))
        return None


def predict(work: Captions, basis: Basis) -> Prediction:
    tracks = len(work.sidecars) + len(work.embedded)
    size = round(tracks * work.seconds * _BYTES_A_SECOND)
    reads_film = bool(work.command)
    return Prediction(
        s3_gets=1 + len(work.sidecars) + reads_film,
        s3_puts=tracks,
        bytes_read=sum(each.size for each in work.sidecars.values())
        + (basis.source_bytes if reads_film else 0),
        bytes_written=size,
        seconds=DECODER_SECONDS if reads_film else 0.0,
        output_bytes=size,
    )
