"""Encode one part of a film's tracks of audio, check its length, and cut it into CMAF segments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from chalicelib.errors import JobError
from chalicelib.formats import cmaf, mp4_fragments, playlists
from chalicelib.invocation import Budget
from chalicelib.model.facts import VideoFacts
from chalicelib.model.result import Encoded, EncodedTrack
from chalicelib.model.work import FIRST_PACKET, Audio, audio_room
from chalicelib.tasks.encoding import (
    Commands,
    Fetch,
    Fragments,
    run_ffmpeg,
    run_part,
    take_fragments,
)
from chalicelib.tasks.prediction import (
    COST_CORES,
    DECODER_SECONDS,
    Basis,
    Prediction,
    count_segments,
)
from chalicelib.tasks.workbench import Workbench


def run(work: Audio, bench: Workbench) -> Encoded:
    """Encode one part of the audio track and store its segments. Raises JobError, Transient."""
    return run_part(work, encode, bench)


def encode(
    work: Audio,
    commands: Commands,
    folder: Path,
    budget: Budget,
    fetch: Fetch,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Encoded:
    """Encode the audio of `folder`/source, or of the excerpts that `fetch` writes there, track by track.

    Writes the segments and the initialisation segment of each track to `folder`/out/track. `on_seconds` gets
    the seconds of audio that are encoded, of all tracks on average. Raises JobError, Transient.
    """
    tracks = {}
    for number, (name, run) in enumerate(work.runs.items()):
        args = run.args(commands[work.command_of(name)])
        before = number * work.seconds

        def on_more(seconds: float, before: float = before) -> None:
            on_seconds((before + seconds) / len(work.runs))

        run_ffmpeg(args, run.excerpt, folder, budget, fetch, on_more)
        out = folder / "out" / name
        out.mkdir()
        track = _write_segments(work, take_fragments(folder / args[-1]), out)
        is_empty = FIRST_PACKET in args and not (folder / FIRST_PACKET).stat().st_size
        if is_empty:
            track = msgspec.structs.replace(track, warning=SILENT)
        tracks[name] = track
    return Encoded(tracks)


SILENT = "The sound track of the film is empty: there is silence instead."


def _write_segments(work: Audio, file: Fragments, out: Path) -> EncodedTrack:
    data, header, fragments = file
    packets = [data[fragment.data : fragment.end] for fragment in fragments]
    _check_length(work, len(packets) * cmaf.PACKET_SAMPLES / cmaf.SAMPLE_RATE)
    packets = packets[work.skip :]
    if work.packets is not None:
        packets = packets[: work.packets]
    if not packets or len(packets) < (work.packets or 0):
        raise JobError("source_damaged", "The sound cannot be decoded: it is damaged.")
    (out / cmaf.INIT).write_bytes(header)

    segments, begins = [], []
    for segment, (first, count) in zip(
        playlists.of_audio(work, len(packets)),
        cmaf.audio_segments(work.first, len(packets)),
        strict=True,
    ):
        segment_packets = packets[first - work.first : first - work.first + count]
        # Packet 0 of a film is the encoder's priming: its samples are decoded before the film's start.
        start = cmaf.START_SECONDS * cmaf.SAMPLE_RATE + (first - 1) * cmaf.PACKET_SAMPLES
        *times, stop = (start + number * cmaf.PACKET_SAMPLES for number in range(count + 1))
        fragment = mp4_fragments.fragment(1, times, [*times, stop], [True] * count, segment_packets)
        (out / segment.name).write_bytes(fragment)
        begins.append(start)
        segments.append(msgspec.structs.replace(segment, size=len(fragment)))
    return EncodedTrack(
        segments=tuple(segments),
        seconds=sum(segment.seconds for segment in segments),
        header=hashlib.sha256(header).hexdigest()[:16],
        times=(*begins, stop),
        timescale=cmaf.SAMPLE_RATE,
    )


def _check_length(work: Audio, seconds: float) -> None:
    max_seconds = work.max_seconds
    if max_seconds is not None and seconds > max_seconds + audio_room(max_seconds):
        raise JobError(
            "sound_not_exact",
            f"The sound came out {seconds:.0f} s long, instead of {max_seconds:.0f} s.",
        )


def predict(work: Audio, basis: Basis) -> Prediction:
    gets, fetched = basis.reading_source()
    cores = basis.one_core * COST_CORES
    assert isinstance(basis.facts, VideoFacts)
    bits = sum(basis.plan.tracks[name].bits_per_second for name in work.runs)
    return Prediction(
        gets,
        len(work.runs) * (1 + count_segments(basis.task, basis.facts.seconds)),
        fetched,
        round(work.seconds * bits / 8),
        seconds=DECODER_SECONDS * len(work.runs) + basis.task.cost * COST_CORES / cores,
    )
