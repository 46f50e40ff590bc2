"""Write the playlists of a ladder, and its MPD; the segments of its rungs are stored already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chalicelib.formats import dash, playlists
from chalicelib.formats.playlists import Variant
from chalicelib.model.plan import CAPTIONS
from chalicelib.model.result import StepsEnded
from chalicelib.model.streams import Rung, Sound
from chalicelib.model.work import Hls, Segment
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
    video, sounds = parts_in(results, bench)
    made = {
        rung.rendition: delivered(video[rung.rendition], rung.frames, work.seconds)
        for rung in work.rungs
    }
    # What the largest rung lacks, the others lack.
    warnings = [work.warning, *made[work.largest.rendition].warnings]
    warnings += [part.encoded.warning for parts in sounds.values() for part in parts]
    captions = results[CAPTIONS].tracks[CAPTIONS] if work.captions else None
    name, shown = f"{playlists.MASTER}.m3u8", (work.largest.width, work.largest.height)
    size = _write(work, video, made, sounds, bench.task.destination)
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
    sounds: Mapping[str, Sequence[Part]],
    folder: str,
) -> int:
    """Write playlists and MPD under the key prefix `folder`. Returns the bytes of all files of the ladder."""
    size = 0
    for sound in work.sounds:
        heard = _segments(sounds[sound.track])
        size += _put(folder, sound.playlist, playlists.complete(sound.playlist, heard))
        size += sum(segment.size for segment in heard)
    variants = []
    for rung in work.rungs:
        parts = video[rung.rendition]
        segments = _segments(parts)
        size += _put(folder, rung.playlist, playlists.complete(rung.playlist, segments))
        size += sum(segment.size for segment in segments)
        keys = playlists.key_frames(rung.playlist, segments)
        size += _put(folder, playlists.key_frames_of(rung.playlist), keys)
        variants.append(_variant(rung, parts, made[rung.rendition], segments, sounds))
    listed = playlists.useful(variants) if work.only_useful else variants
    listed = playlists.start_first(listed)
    if work.dash:
        text = dash.manifest(
            [_picture(each, video[each.rung.rendition]) for each in listed],
            [_heard(each, sounds[each.track]) for each in work.sounds],
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
    sounds: Mapping[str, Sequence[Part]],
) -> Variant:
    most, average = playlists.bits(segments)
    # Of the largest track: a viewer may choose that.
    of_sounds = (playlists.bits(_segments(each)) for each in sounds.values())
    most_sound, average_sound = max(of_sounds, default=(0.0, 0.0))
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
    return dash.Picture(variant.rung, variant.codec, variant.frame_rate, most, tracks)


def _heard(sound: Sound, parts: Sequence[Part]) -> dash.Heard:
    most, _ = playlists.bits(_segments(parts))
    return dash.Heard(sound, most, [part.encoded for part in parts])


def _put(folder: str, name: str, text: str) -> int:
    return objects.put_output(f"{folder}{name}.m3u8", text.encode())


def predict(work: Hls, basis: Basis) -> Prediction:
    return Prediction(
        s3_gets=1,
        s3_puts=1 + 2 * len(work.rungs) + len(work.sounds) + work.dash + len(work.captions),
        bytes_read=0,
        bytes_written=0,
        results_read=len(basis.task.needs),
        output_bytes=predicted_bytes(work, basis),
    )
