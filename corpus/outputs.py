"""The outputs of a job, fetched from their URLs and decoded once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from corpus import hls, stills
from corpus.colour import Rgb
from corpus.decode import Film, decode
from sluice.client import Job

Listed = dict[str, Any]  # an output as the API tells it


class Outputs:
    """The outputs of a job by name of step; a step may have several files."""

    def __init__(
        self, job: Job, http: httpx.Client, folder: Path, cropped: Collection[str] = ()
    ) -> None:
        """`cropped`: the names of steps whose files show a part of the original only."""
        self.job = job
        self._folder = folder
        self._http = http
        self._cropped = cropped
        self._films: dict[str, Film] = {}
        self._stream: hls.Stream | None = None

    def __contains__(self, name: str) -> bool:
        return bool(self.listed(name))

    def listed(self, name: str) -> list[Listed]:
        """The files of a step, as the job lists them."""
        return [output for output in self.job["outputs"] if output["type"] == name]

    def path(self, listed: Listed) -> Path:
        """A file, fetched once."""
        path = self._folder / f"{listed['type']} {self.job['outputs'].index(listed)}"
        if not path.exists():
            path.write_bytes(self._http.get(listed["url"]).raise_for_status().content)
        return path

    def file(self, name: str) -> Path:
        """The first file of a step."""
        return self.path(self.listed(name)[0])

    def content(self, name: str) -> bytes:
        return self.file(name).read_bytes()

    def picture(self, name: str) -> Rgb:
        return np.asarray(stills.opened(self.content(name)))

    def warnings(self, name: str) -> list[str]:
        """The warnings of a step."""
        return [warning for warning in self.job["warnings"] if warning.startswith(f"{name}: ")]

    def film(self, name: str) -> Film:
        """The decoded film of a step. Raises NoFilm."""
        if name not in self._films:
            self._films[name] = decode(self.file(name))
        return self._films[name]

    def stream(self) -> hls.Stream:
        """The HLS output. Raises NoStream, httpx.HTTPError."""
        if self._stream is None:
            self._stream = hls.fetch(self._address("hls_720p"), self._http, self._folder)
        return self._stream

    def streams(self, name: str) -> list[hls.Stream]:
        """All variants of an HLS output. Raises NoStream, httpx.HTTPError."""
        return hls.fetch_all(self._address(name), self._http, self._folder)

    def key_frames(self, name: str, stream: hls.Stream) -> hls.KeyFrames | None:
        """The key frames of one of them. Raises httpx.HTTPError."""
        return hls.key_frames(self._address(name), self._http, stream)

    def manifest(self, name: str) -> str | None:
        """The MPD of an HLS output; None where it tells none. Raises httpx.HTTPError."""
        address = self.listed(name)[0].get("dash_url")
        return self._http.get(address).raise_for_status().text if address else None

    def _address(self, name: str) -> str:
        return str(self.listed(name)[0]["url"])

    @property
    def films(self) -> tuple[str, ...]:
        """The steps whose outputs are MP4."""
        return tuple(o["type"] for o in self.job["outputs"] if o["content_type"] == "video/mp4")

    @property
    def posters(self) -> tuple[str, ...]:
        """The steps whose outputs are pictures of a frame that is not blank."""
        return tuple(name for name in ("thumbnail", "poster") if name in self)

    def pictures(self) -> dict[str, list[tuple[str, Rgb]]]:
        """By name of step, (caption, picture) of images or of a few frames of a film; none is cropped."""
        captioned: dict[str, list[tuple[str, Rgb]]] = {}
        for output in self.job["outputs"]:
            if output["content_type"].startswith("image/") and output["type"] not in self._cropped:
                picture = np.asarray(stills.opened(self.path(output).read_bytes()))
                captioned.setdefault(output["type"], []).append((output["type"], picture))
        for name in self.films:
            frames = self.film(name).pictures.items()
            captioned[name] = [(f"{name} at {time:.2f} s", picture) for time, picture in frames]
        return captioned
