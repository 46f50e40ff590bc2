"""Whether a file's job ended as expected, and whether what came of it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
from PIL import Image

from corpus import films, hls, stills
from corpus.decode import Film, NoFilm, decode, hear
from corpus.failures import Failure
from corpus.manifest import Entry
from corpus.sending import Ran
from corpus.sound import check_sound
from infra.client import Job

_CLEAR_ERROR_SECONDS = 20

_VAGUE_CODES = {"", "internal_error", "attempts_exhausted", "intake_failed", "deadline_exceeded"}
# The job's own says of which step it speaks.
_SENTENCE = re.compile(r"(\w+: )?[A-Z].{13,}\.", re.DOTALL)
_RAW = re.compile(
    r"Traceback|Error opening|Invalid data found|\[\w+ @|ffmpeg|libav|errno|0x[0-9a-f]{4,}|/tmp/|\n",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Judged:
    """What is wrong, in words; and pictures of the original and of what came of it."""

    failures: tuple[Failure, ...]
    pictures: dict[str, Image.Image] = field(repr=False)


def judge(entry: Entry, path: Path, ran: Ran, http: httpx.Client) -> Judged:
    """By the expectation, and where the job ended well by all of its outputs."""
    if ran.job is None:
        return Judged((Failure("hang", f"It had not ended after {ran.seconds:.0f} s"),), {})
    failures = list(check_ending(entry.expectation, ran.job, ran.seconds))
    pictures: dict[str, Image.Image] = {}
    if entry.expectation == "clear-error" and ran.job["status"] == "FAILURE":
        return Judged(tuple(failures), pictures)
    with TemporaryDirectory() as scratch:
        outputs = Outputs(ran.job, http, Path(scratch))
        check = _check_film if _is_film(ran.job, entry) else _check_still
        failures += check(path, ran.job, outputs, pictures)
    return Judged(tuple(failures), pictures)


def check_ending(expectation: str, job: Job, seconds: float) -> Iterator[Failure]:
    """SUCCESS in every step, or a FAILURE that says what is wrong with the file."""
    failed = job["status"] == "FAILURE"
    if expectation == "ok" and failed:
        yield Failure("status", f"It failed: {job['error_code']}: {job['error']}")
    if expectation == "clear-error" and not failed:
        yield Failure("status", "It succeeded, though nothing right can come of it")
    if failed:
        yield from check_error(job)
    if failed and expectation == "clear-error" and seconds >= _CLEAR_ERROR_SECONDS:
        yield Failure("slow", f"It took {seconds:.0f} s to refuse the file")
    good = {step["name"] for step in job["steps"] if step["status"] == "SUCCESS"}
    made = {output["type"] for output in job["outputs"]}
    if not failed and (missing := set(job["pipeline"]) - (good & made)):
        yield Failure("status", f"The job succeeded without {', '.join(sorted(missing))}")


def check_error(job: Job) -> Iterator[Failure]:
    """A sentence for a person and a code for a program, of every step that failed."""
    said = {(job["error_code"], job["error"])}
    said |= {(s["error_code"], s["error"]) for s in job["steps"] if s["status"] == "FAILURE"}
    for code, sentence in sorted(said):
        if code in _VAGUE_CODES:
            yield Failure("error", f"The code {code!r} says nothing of the file: {sentence}")
        if not _SENTENCE.fullmatch(sentence):
            yield Failure("error", f"It is no sentence: {sentence!r}")
        if found := _RAW.search(sentence):
            yield Failure("error", f"It shows its insides ({found.group()!r}): {sentence!r}")


class Outputs:
    """The outputs of a job, fetched through their links."""

    def __init__(self, job: Job, http: httpx.Client, folder: Path) -> None:
        self.folder = folder
        self._http = http
        self._outputs = {output["type"]: output for output in job["outputs"]}

    def __contains__(self, name: str) -> bool:
        return name in self._outputs

    def content(self, name: str) -> bytes:
        return self._http.get(self._outputs[name]["url"]).raise_for_status().content

    def file(self, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(self.content(name))
        return path

    def stream(self) -> hls.Stream:
        return hls.fetch(self._outputs["hls_720p"]["url"], self._http, self.folder)


def _is_film(job: Job, entry: Entry) -> bool:
    return entry.kind == "video" or "transcode_720p" in job["pipeline"]


def _check_still(
    path: Path, job: Job, outputs: Outputs, pictures: dict[str, Image.Image]
) -> Iterator[Failure]:
    try:
        original = stills.reference(path)
    except (OSError, ValueError, SyntaxError) as error:
        if job["status"] == "SUCCESS":
            yield Failure("reference", f"Pillow cannot read the original ({error})")
        return
    pictures["source"] = original
    most = stills.MOST_DIFFERENCE_CMYK if stills.is_cmyk(path) else stills.MOST_DIFFERENCE
    for name, check in (
        ("thumbnail", stills.check_thumbnail),
        ("watermark", stills.check_watermark),
    ):
        if name in outputs:
            content = outputs.content(name)
            pictures[name] = stills.opened(content)
            yield from check(content, original, most)


def _check_film(
    path: Path, job: Job, outputs: Outputs, pictures: dict[str, Image.Image]
) -> Iterator[Failure]:
    try:
        original = decode(path)
    except NoFilm as error:
        if job["status"] == "SUCCESS":
            yield Failure("reference", f"PyAV cannot read the original ({error})")
        return
    middle = sorted(original.pictures)[len(original.pictures) // 2]
    pictures["source"] = Image.fromarray(original.pictures[middle])
    warned = bool(job["warnings"])
    if "thumbnail" in outputs:
        content = outputs.content("thumbnail")
        pictures["thumbnail"] = stills.opened(content)
        yield from stills.check_poster(content, original.shown, list(original.pictures.values()))
    wanted = tuple(sorted(original.pictures))
    decoded: dict[str, Film] = {}
    for name in ("watermark", "transcode_720p"):
        if name in outputs:
            film = outputs.file(name)
            try:
                made = decoded[name] = decode(film, wanted)
            except NoFilm as error:
                yield Failure("film", f"{name}: it cannot be decoded ({error})")
                continue
            shown = min(made.pictures, key=lambda t: abs(t - middle), default=None)
            if shown is not None:
                pictures[name] = Image.fromarray(made.pictures[shown])
            yield from films.check_film(
                name, film, made, original, marked=name == "watermark", warned=warned
            )
    if "transcode_720p" in decoded and "hls_720p" in outputs:
        yield from check_hls(outputs, decoded["transcode_720p"], original, wanted)


def check_hls(
    outputs: Outputs, made: Film, original: Film, wanted: tuple[float, ...]
) -> Iterator[Failure]:
    """The stream by itself, and beside the MP4 and the original."""
    try:
        stream = outputs.stream()
        film = decode(stream.video.joined, wanted)
    except (hls.NoStream, NoFilm, httpx.HTTPError) as error:
        yield Failure("hls", f"hls: it cannot be played: {error}")
        return
    yield from hls.check_stream(stream, made.shown, rates_of(made))
    if film.sums != made.sums:
        yield Failure(
            "frames", f"hls: its {len(film.sums)} frames are not the MP4's {len(made.sums)}"
        )
    if len(film.times) != len(made.times) or not np.allclose(film.times, made.times, atol=0.002):
        yield Failure("times", "hls: its frames are not at the times of the MP4's")
    found = films.packets(stream.video.joined)
    yield from films.check_groups("hls", found)
    yield from films.check_same_keys("hls", found, films.packets(outputs.folder / "transcode_720p"))
    yield from check_hls_sound(stream, film, original)


def check_hls_sound(stream: hls.Stream, film: Film, original: Film) -> Iterator[Failure]:
    if (stream.audio is None) != (original.sound is None):
        yield Failure("audio", "hls: it has sound where the original has none, or the reverse")
    if stream.audio:
        heard = hear(stream.audio.joined, film.zero)
        yield from check_sound("hls", heard, original.sound, film.end, original.frame)


def rates_of(film: Film) -> tuple[float, ...]:
    """Frames a second: on average, and where it does not skip any; none of a single one."""
    if len(film.times) < 2:
        return ()
    return (len(film.times) - 1) / film.times[-1], 1 / film.frame
