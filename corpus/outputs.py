"""What came of a file, fetched through its links and decoded once."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from corpus import hls, stills
from corpus.colour import Rgb
from corpus.decode import Film, decode
from sluice.client import Job

FILMS = ("watermark", "transcode_720p")


class Outputs:
    """The outputs of a job by the names of their steps; those of films are MP4."""

    def __init__(self, job: Job, http: httpx.Client, folder: Path) -> None:
        self.job = job
        self._folder = folder
        self._http = http
        self._outputs = {output["type"]: output for output in job["outputs"]}
        self._films: dict[str, Film] = {}
        self._stream: hls.Stream | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._outputs

    def content(self, name: str) -> bytes:
        return self._http.get(self._outputs[name]["url"]).raise_for_status().content

    def file(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            path.write_bytes(self.content(name))
        return path

    def picture(self, name: str) -> Rgb:
        return np.asarray(stills.opened(self.file(name).read_bytes()))

    def film(self, name: str) -> Film:
        """Raises NoFilm."""
        if name not in self._films:
            self._films[name] = decode(self.file(name))
        return self._films[name]

    def stream(self) -> hls.Stream:
        """Raises NoStream, or httpx's errors."""
        if self._stream is None:
            self._stream = hls.fetch(self._outputs["hls_720p"]["url"], self._http, self._folder)
        return self._stream

    @property
    def films(self) -> tuple[str, ...]:
        """The names of those that are films."""
        return tuple(
            name
            for name in FILMS
            if name in self and self._outputs[name]["content_type"] == "video/mp4"
        )

    def pictures(self) -> dict[str, list[tuple[str, Rgb]]]:
        """By the output every picture, and a few frames of every film, with names for a person."""
        stills = [name for name in ("thumbnail", "watermark") if name in self]
        found = {name: [(name, self.picture(name))] for name in stills if name not in self.films}
        for name in self.films:
            frames = self.film(name).pictures.items()
            found[name] = [(f"{name} at {time:.2f} s", picture) for time, picture in frames]
        return found
