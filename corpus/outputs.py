"""The outputs of a job, fetched from their URLs and decoded once."""

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
    """The outputs of a job by name of step."""

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
        """The decoded film of a step. Raises NoFilm."""
        if name not in self._films:
            self._films[name] = decode(self.file(name))
        return self._films[name]

    def stream(self) -> hls.Stream:
        """The HLS output. Raises NoStream, httpx.HTTPError."""
        if self._stream is None:
            self._stream = hls.fetch(self._outputs["hls_720p"]["url"], self._http, self._folder)
        return self._stream

    @property
    def films(self) -> tuple[str, ...]:
        """The steps whose outputs are MP4."""
        return tuple(
            name
            for name in FILMS
            if name in self and self._outputs[name]["content_type"] == "video/mp4"
        )

    def pictures(self) -> dict[str, list[tuple[str, Rgb]]]:
        """By name of step, (caption, picture) of its image, or of a few frames of its film."""
        stills = [name for name in ("thumbnail", "watermark") if name in self]
        captioned = {
            name: [(name, self.picture(name))] for name in stills if name not in self.films
        }
        for name in self.films:
            frames = self.film(name).pictures.items()
            captioned[name] = [(f"{name} at {time:.2f} s", picture) for time, picture in frames]
        return captioned
