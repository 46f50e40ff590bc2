"""Encode the audio of a film, or a file of sound, into one file, and check how long that is."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import msgspec

from chalicelib.errors import JobError
from chalicelib.formats import loudness
from chalicelib.model.result import StepsEnded
from chalicelib.model.step import SUCCESS, Output, StepState, format_of
from chalicelib.model.work import FIRST_PACKET, LEVELS, PEAKS, AudioFile, Command, audio_room
from chalicelib.store import objects
from chalicelib.tasks.audio import SILENT
from chalicelib.tasks.encoding import run_ffmpeg
from chalicelib.tasks.prediction import DECODER_SECONDS, Basis, Prediction
from chalicelib.tasks.workbench import Workbench

# The part of the sound that must have been decoded, and what may be missing without a word, in seconds.
_ENOUGH = 0.9
_UNHEARD = 0.5
# Decibels by which sound is quieter than its peaks would need, where they came out too high.
_AGAIN_DB = 0.3


def run(work: AudioFile, bench: Workbench) -> StepsEnded:
    """Encode the file and store it. Raises JobError, Transient."""
    with bench.folder() as folder:
        if work.run.excerpt:
            bench.fetch(folder, work.run.excerpt)
        runs = 2 if work.measure else 1
        run = work.run

        def carry_out(args: Command, number: int) -> None:
            def on_seconds(at: float) -> None:
                bench.on_progress((number + min(1.0, at / max(work.seconds, 1.0))) / runs)

            run_ffmpeg(args, None, folder, bench.budget, lambda _: None, on_seconds)

        def encode_louder(gain: float) -> Command:
            values = run.values | {"gain": f"{gain:.2f}"}
            args = msgspec.structs.replace(run, values=values).args(work.command)
            carry_out(args, 1)
            return args

        if work.loudness is None:
            args = run.args(work.command)
            carry_out(args, 0)
        else:
            carry_out(run.args(work.measure), 0)
            gain = loudness.gain(_measured(folder), work.loudness)
            args = encode_louder(gain)
            # Encoders make some peaks higher than anybody can know before.
            meter = loudness.filters(LEVELS, PEAKS)
            carry_out(("-i", args[-1], "-map", "0:a", "-af", meter, "-f", "null", "-"), 1)
            if excess := loudness.excess(_measured(folder).true_peak):
                args = encode_louder(gain - excess - _AGAIN_DB)
        is_silent = FIRST_PACKET in args and not (folder / FIRST_PACKET).stat().st_size
        path = folder / args[-1]
        # By the packets that are in it: of an excerpt, a run counts from the first time that it reports.
        counted = ("-i", path.name, "-map", "0:a", "-c", "copy", "-f", "null", "-")
        seconds = run_ffmpeg(counted, None, folder, bench.budget, lambda _: None).seconds
        warning = SILENT if is_silent else _checked(work, seconds)
        output = Output(
            type=bench.task.id,
            s3_key=bench.task.destination + path.name,
            size=bench.publish(path),
            content_type=objects.CONTENT_TYPES[path.suffix],
            duration=round(seconds, 3),
            warning=warning,
            format=format_of(path.name),
        )
    return StepsEnded({bench.task.id: StepState(SUCCESS, outputs=(output,))})


def _measured(folder: Path) -> loudness.Measured:
    """What a run has measured."""
    with (folder / LEVELS).open() as levels, (folder / PEAKS).open() as peaks:
        return loudness.parse(chain(levels, peaks))


def _checked(work: AudioFile, seconds: float) -> str:
    """A warning if less came out than the source has, else "".

    Raises JobError if much is missing, or there is more than the file says.
    """
    if not work.is_counted:
        return ""
    if seconds > work.seconds + 0.99 * audio_room(work.seconds):
        detail = f"The file says {work.seconds:.0f} s of sound, and has more: it is damaged, or made to harm."
        raise JobError("source_damaged", detail)
    part = seconds / max(work.seconds, 0.001)
    if part < _ENOUGH and work.seconds - seconds > _UNHEARD:
        detail = f"Only {part:.0%} of the sound can be decoded: the file is damaged."
        raise JobError("source_damaged", detail)
    if work.seconds - seconds > max(_UNHEARD, 0.01 * work.seconds):
        return f"The file is damaged: {part:.1%} of the sound could be decoded."
    return ""


def predict(work: AudioFile, basis: Basis) -> Prediction:
    gets, fetched = basis.reading_source()
    size = round(work.seconds * work.bits_per_second / 8)
    return Prediction(
        gets,
        1,
        fetched,
        size,
        seconds=DECODER_SECONDS + basis.task.cost / basis.one_core,
        output_bytes=size,
    )
