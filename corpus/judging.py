"""Judge whether a file's job ended as expected, and whether its outputs are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
from PIL import Image

from corpus import films, hls, independent, pipelines, placeholders, stills
from corpus.audio import check_audio
from corpus.decode import Film, NoFilm, decode, decode_audio
from corpus.failures import Failure
from corpus.files import File, check_elsewhere, opened
from corpus.hunted import Right, check_right, drawn, plays_elsewhere
from corpus.independent import Decoder, NoDecoder
from corpus.ladders import check_ladder
from corpus.manifest import Entry
from corpus.outputs import Outputs
from corpus.pictures import Original, check_image
from corpus.pipelines import Hls, Mp4, Poster, Step
from corpus.pipelines import Image as ImageStep
from corpus.posters import check_poster
from corpus.report import on_checks
from corpus.sending import Ran
from sluice.client import Job

_CLEAR_ERROR_SECONDS = 20
_MOST_OF_POSTER, _MOST_OF_POSTER_IN_HDR = 8.0, 25.0  # mean ΔE from the nearest frame
_GAP = 4  # pixels
# Encoders of HEVC and AV1 take no smaller films.
_TOO_SMALL, _LEAST_SIDE = "too_small_for_codec", 16
_MOMENTS = 3  # frames of a film in the report, besides the first

_VAGUE_CODES = {"", "internal_error", "attempts_exhausted", "intake_failed", "deadline_exceeded"}
# A job's sentence begins with the name of the step that it is about.
_SENTENCE = re.compile(r"(\w+: )?[A-Z].{13,}\.", re.DOTALL)
_RAW = re.compile(
    r"Traceback|Error opening|Invalid data found|\[\w+ @|ffmpeg|libav|errno|0x[0-9a-f]{4,}|/tmp/|\n",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Judged:
    """The verdict on one file."""

    failures: tuple[Failure, ...]
    pictures: dict[str, Image.Image] = field(
        repr=False
    )  # of the original and the outputs, by caption


def judge(entry: Entry, path: Path, ran: Ran, http: httpx.Client) -> Judged:
    """Judge a job by its expectation, and, if it did not fail as expected, by all of its outputs."""
    if ran.job is None:
        return Judged((Failure("hang", f"It had not ended after {ran.seconds:.0f} s"),), {})
    failures = list(check_ending(entry.expectation, ran.job, ran.seconds))
    pictures: dict[str, Image.Image] = {}
    if entry.expectation == "clear-error" and ran.job["status"] == "FAILURE":
        return Judged(tuple(failures), pictures)
    try:
        steps = pipelines.steps(ran.pipeline or ran.job["pipeline"])
    except pipelines.NotJudged as error:
        return Judged((*failures, Failure("pipeline", str(error))), pictures)
    cropped = {step.name for step in steps if isinstance(step, ImageStep) and step.crops}
    with TemporaryDirectory() as scratch:
        outputs = Outputs(ran.job, http, Path(scratch), cropped)
        check = _check_film if _is_film(ran.job, entry) else _check_still
        try:
            failures += check(path, entry.right, outputs, steps, pictures)
            if entry.says:
                failures += check_right(entry.right, outputs)
        except NoDecoder as error:
            failures.append(Failure("decoder", f"It is not judged: {error}"))
        except NoFilm as error:
            failures.append(Failure("film", f"An output cannot be decoded: {error}"))
        except OSError as error:
            failures.append(Failure("format", f"An output is no picture: {error}"))
    return Judged(tuple(failures), pictures)


def check_ending(expectation: str, job: Job, seconds: float) -> Iterator[Failure]:
    """Every step ended as SUCCESS, or a FAILURE says what is wrong with the file."""
    failed = job["status"] == "FAILURE"
    if expectation == "ok" and failed and job["error_code"] != _TOO_SMALL:
        yield Failure("status", f"It failed: {job['error_code']}: {job['error']}")
    if expectation == "clear-error" and not failed:
        yield Failure("status", "It succeeded, though nothing right can come of it")
    if failed:
        yield from check_error(job)
    if failed and expectation == "clear-error" and seconds >= _CLEAR_ERROR_SECONDS:
        yield Failure("slow", f"It took {seconds:.0f} s to refuse the file")
    good = {step["name"] for step in job["steps"] if step["status"] == "SUCCESS"}
    delivered = {output["type"] for output in job["outputs"]}
    asked = {pipelines.name_of(item) for item in job["pipeline"]}
    if not failed and (missing := asked - (good & delivered)):
        yield Failure("status", f"The job succeeded without {', '.join(sorted(missing))}")


def check_error(job: Job) -> Iterator[Failure]:
    """Every failed step, and the job, has a sentence for people and a code that is about the file."""
    errors = {(job["error_code"], job["error"])}
    errors |= {(s["error_code"], s["error"]) for s in job["steps"] if s["status"] == "FAILURE"}
    for code, sentence in sorted(errors):
        if code in _VAGUE_CODES:
            yield Failure("error", f"The code {code!r} says nothing of the file: {sentence}")
        if not _SENTENCE.fullmatch(sentence):
            yield Failure("error", f"It is no sentence: {sentence!r}")
        if found := _RAW.search(sentence):
            yield Failure("error", f"It shows its insides ({found.group()!r}): {sentence!r}")


def _is_film(job: Job, entry: Entry) -> bool:
    return entry.kind == "video" or "transcode_720p" in job["pipeline"]


def _check_still(
    path: Path,
    right: Right,
    outputs: Outputs,
    steps: Sequence[Step],
    pictures: dict[str, Image.Image],
) -> Iterator[Failure]:
    decode_picture = right.picture
    if decode_picture is stills.reference and stills.has_gamma(path):
        decode_picture = independent.magick
    try:
        original = decode_picture(path)
    except (OSError, ValueError, SyntaxError) as error:
        if outputs.job["status"] == "SUCCESS":
            yield Failure("reference", f"Pillow cannot read the original ({error})")
        return
    pictures["drawn, not decoded" if right.picture is drawn else "source"] = original
    most = right.most or stills.most_difference(path)
    if "thumbnail" in outputs:
        content = outputs.content("thumbnail")
        pictures["thumbnail"] = stills.opened(content)
        yield from stills.check_thumbnail(content, original, most)
    if "watermark" in outputs:
        content = outputs.content("watermark")
        pictures["watermark"] = stills.opened(content)
        yield from stills.check_watermark(content, original, most, pictures.get("thumbnail"))
    asked = [step for step in steps if isinstance(step, ImageStep) and step.name in outputs]
    if asked:
        shown = Original(original, _alpha(path, decode_picture), most)
        for step in asked:
            files = opened(step, outputs)
            pictures.update(shown_files(files))
            yield from check_image(step, outputs, files, shown)
            yield from _check_elsewhere(files, outputs)


def _check_elsewhere(files: Sequence[File], outputs: Outputs) -> Iterator[Failure]:
    for file in files:
        yield from check_elsewhere(file, outputs.path(file.said))


def _alpha(path: Path, decoder: Decoder) -> Image.Image | None:
    if decoder is stills.reference:
        return stills.alpha(path)
    return independent.magick_alpha(path) if decoder is independent.magick else None


def shown_files(files: Sequence[File]) -> dict[str, Image.Image]:
    """Files, their placeholder and their dominant colour for the report, by caption."""
    shown = {
        file.name: on_checks(file.picture, file.alpha) if file.alpha else file.picture
        for file in files
    }
    for file in files[:1]:
        if placeholder := file.said.get("placeholder"):
            shown[f"{file.name}: placeholder"] = placeholders.drawn(placeholder)
        if color := file.said.get("color"):
            shown[f"{file.name}: color {color}"] = placeholders.patch(color)
    return shown


def _check_film(
    path: Path,
    right: Right,
    outputs: Outputs,
    steps: Sequence[Step],
    pictures: dict[str, Image.Image],
) -> Iterator[Failure]:
    try:
        original = _meant(path, right)
    except NoFilm as error:
        if outputs.job["status"] == "SUCCESS":
            yield Failure("reference", f"PyAV cannot read the original ({error})")
        return
    pictures["source"] = _strip(original)
    if outputs.job["error_code"] == _TOO_SMALL and min(original.shown) >= _LEAST_SIDE:
        yield Failure("status", f"It is refused as too small: {outputs.job['error']}")
    most = _MOST_OF_POSTER_IN_HDR if original.hdr else right.most or _MOST_OF_POSTER
    if "thumbnail" in outputs:
        content = outputs.content("thumbnail")
        pictures["thumbnail"] = stills.opened(content)
        yield from stills.check_poster(content, original.shown, original.small, most)
    for step in steps:
        if isinstance(step, Poster) and step.name in outputs:
            files = opened(step, outputs)
            pictures.update(shown_files(files))
            yield from check_poster(step, outputs, files, original, most)
            yield from _check_elsewhere(files, outputs)
    yield from _check_mp4s(outputs, original, steps, right.most or films.MOST_DIFFERENCE, pictures)
    for step in steps:
        if isinstance(step, Hls) and step.name in outputs and outputs.films:
            yield from check_ladder(
                step, outputs, outputs.films[0], original, right.most or films.MOST_DIFFERENCE
            )
    if "transcode_720p" in outputs and "hls_720p" in outputs:
        yield from check_hls(outputs, original)


def _check_mp4s(
    outputs: Outputs,
    original: Film,
    steps: Sequence[Step],
    most: float,
    pictures: dict[str, Image.Image],
) -> Iterator[Failure]:
    asked = {step.name: step for step in steps if isinstance(step, Mp4)}
    for name in outputs.films:
        output = outputs.film(name)
        pictures[name] = _strip(output)
        yield from films.check_film(
            name, outputs.file(name), output, original,
            step=asked.get(name, films.PRESET),
            marked=name == "watermark", warned=bool(outputs.job["warnings"]), most=most,
        )  # fmt: skip
    if asked:
        found = {name: films.packets(outputs.file(name)) for name in outputs.films}
        for name, others in list(found.items())[1:]:
            yield from films.check_same_keys(name, others, found[outputs.films[0]])
        yield from plays_elsewhere(outputs)


def _meant(path: Path, right: Right) -> Film:
    """The reference decode with which the outputs are compared. Raises NoFilm, NoDecoder."""
    if right.meant is None:
        return decode(path, right.stream)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.mkv"
        independent.lossless(path, plain, *right.meant)
        return decode(plain)


def _strip(film: Film) -> Image.Image:
    """A few frames of a film beside each other, in order."""
    times = sorted(film.pictures)
    shown = [film.pictures[times[n * (len(times) - 1) // _MOMENTS]] for n in range(_MOMENTS + 1)]
    gap = np.full((shown[0].shape[0], _GAP, 3), 255, np.uint8)
    beside = [piece for picture in shown for piece in (picture, gap)]
    return Image.fromarray(np.concatenate(beside[:-1], axis=1))


def check_hls(outputs: Outputs, original: Film) -> Iterator[Failure]:
    """Check the HLS stream by itself, against the MP4, and its audio against the original."""
    output = outputs.film("transcode_720p")
    try:
        stream = outputs.stream()
        film = decode(stream.video.joined)
    except (hls.NoStream, NoFilm, httpx.HTTPError) as error:
        yield Failure("hls", f"hls: it cannot be played: {error}")
        return
    yield from hls.check_stream(stream, output.shown, rates_of(output))
    if film.sums != output.sums:
        yield Failure(
            "frames", f"hls: its {len(film.sums)} frames are not the MP4's {len(output.sums)}"
        )
    if len(film.times) != len(output.times) or not np.allclose(
        film.times, output.times, atol=0.002
    ):
        yield Failure("times", "hls: its frames are not at the times of the MP4's")
    found = films.packets(stream.video.joined)
    yield from films.check_groups("hls", found)
    yield from films.check_same_keys("hls", found, films.packets(outputs.file("transcode_720p")))
    yield from check_hls_audio(stream, film, original, output.end)


def check_hls_audio(
    stream: hls.Stream, film: Film, original: Film, film_end: float
) -> Iterator[Failure]:
    may = original.declares_audio and original.audio is None
    if (stream.audio is None) != (original.audio is None) and not may:
        yield Failure("audio", "hls: it has sound where the original has none, or the reverse")
    if stream.audio:
        audio = decode_audio(stream.audio.joined, film.zero)
        yield from check_audio("hls", audio, original.audio, film_end, original.frame)


def rates_of(film: Film) -> tuple[float, ...]:
    """Frames per second: the average, and the usual rate where none is skipped; () for a single frame."""
    if len(film.times) < 2:
        return ()
    return (len(film.times) - 1) / film.times[-1], 1 / film.frame
