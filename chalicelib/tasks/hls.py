"""Write the playlists of a ladder, and its MPD; the segments of its rungs are stored already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chalicelib.formats import dash, playlists
from chalicelib.formats.playlists import Variant
from chalicelib.model.plan import CAPTIONS
from chalicelib.model.result import StepsEnded
from chalicelib.model.work import Hls, Rung, Segment
from chalicelib.store import objects
from chalicelib.tasks.packaging import (
    Delivered,
    Part,
    delivered,
    packaged,
    parts_in,
    predicted_bytes,
    results_of,
)
from chalicelib.tasks.prediction import Basis, Prediction
from chalicelib.tasks.workbench import Workbench


def run(work: Hls, bench: Workbench) -> StepsEnded:
    """Write the complete playlists of a ladder. Raises JobError, Transient."""
    results = results_of(bench)
    video, audio = parts_in(results, bench)
    made = {
        rung.rendition: delivered(video[rung.rendition], rung.frames, work.seconds)
        for rung in work.rungs
    }
    # What the largest rung lacks, the others lack.
    warnings = [work.warning, *made[work.largest.rendition].warnings]
    warnings += [part.encoded.warning for part in audio]
    captions = results[CAPTIONS].tracks[CAPTIONS] if work.captions else None
    name, shown = f"{playlists.MASTER}.m3u8", (work.largest.width, work.largest.height)
    size = _write(work, video, made, audio, bench.task.destination)
    if captions:
        warnings.append(captions.warning)
        size += sum(segment.size for segment in captions.segments)
        for track in work.captions:
            listed = playlists.captions(track.playlist, captions.seconds, complete=True)
            size += _put(bench.task.destination, track.playlist, listed)
    seconds = made[work.largest.rendition].seconds
    manifest = dash.NAME if work.dash else ""
    return packaged(bench, name, size, shown, seconds, warnings, manifest=manifest)


def _write(
    work: Hls,
    video: Mapping[str, Sequence[Part]],
    made: Mapping[str, Delivered],
    audio: Sequence[Part],
    folder: str,
) -> int:
    """Write playlists and MPD under the key prefix `folder`. Returns the bytes of all files of the ladder."""
    size, sound = 0, _segments(audio)
    if sound:
        size += _put(folder, playlists.AUDIO, playlists.complete(playlists.AUDIO, sound))
        size += sum(segment.size for segment in sound)
    variants = []
    for rung in work.rungs:
        parts = video[rung.rendition]
        segments = _segments(parts)
        size += _put(folder, rung.playlist, playlists.complete(rung.playlist, segments))
        size += sum(segment.size for segment in segments)
        keys = playlists.key_frames(rung.playlist, segments)
        size += _put(folder, playlists.key_frames_of(rung.playlist), keys)
        variants.append(_variant(rung, parts, made[rung.rendition], segments, sound))
    listed = playlists.useful(variants) if work.only_useful else variants
    listed = playlists.start_first(listed)
    if work.dash:
        text = dash.manifest(
            [_picture(each, video[each.rung.rendition]) for each in listed], _sound(work, audio)
        )
        size += objects.put_output(folder + dash.NAME, text.encode())
    return size + _put(folder, playlists.MASTER, playlists.master(work, listed))


def _segments(parts: Iterable[Part]) -> list[Segment]:
    return [segment for part in parts for segment in part.encoded.segments]


def _variant(
    rung: Rung,
    parts: Sequence[Part],
    made: Delivered,
    segments: Sequence[Segment],
    sound: Sequence[Segment],
) -> Variant:
    most, average = playlists.bits(segments)
    most_sound, average_sound = playlists.bits(sound)
    return Variant(
        rung,
        parts[0].encoded.codec,
        made.frames / made.seconds,
        most + most_sound,
        average + average_sound,
        *playlists.key_frame_bits(segments),
    )


def _picture(variant: Variant, parts: Sequence[Part]) -> dash.Picture:
    most, _ = playlists.bits(_segments(parts))
    tracks = [part.encoded for part in parts]
    return dash.Picture(variant.rung, variant.codec, most, tracks)


def _sound(work: Hls, parts: Sequence[Part]) -> dash.Sound | None:
    if work.language is None:
        return None
    most, _ = playlists.bits(_segments(parts))
    return dash.Sound(work.language, most, [part.encoded for part in parts])


def _put(folder: str, name: str, text: str) -> int:
    return objects.put_output(f"{folder}{name}.m3u8", text.encode())


def predict(work: Hls, basis: Basis) -> Prediction:
    _, audio = basis.plan.parts(basis.task)
    return Prediction(
        s3_gets=1,
        s3_puts=1 + 2 * len(work.rungs) + bool(audio) + work.dash + len(work.captions),
        bytes_read=0,
        bytes_written=0,
        results_read=len(basis.task.needs),
        output_bytes=predicted_bytes(work, basis),
    )
