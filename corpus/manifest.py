"""What a folder of files is, and what is expected of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Expectation = Literal["ok", "clear-error", "either"]
MANIFEST = "MANIFEST.tsv"

# What a presigned upload asks for; a file of any other kind is dropped, and gets the default.
PIPELINES = {
    "image": ("thumbnail", "watermark"),
    "video": ("thumbnail", "watermark", "transcode_720p", "hls_720p"),
}


class NoFiles(Exception):
    """There is nothing to run; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A file, by its path within the folder."""

    name: str
    kind: str
    trait: str
    expectation: Expectation

    @property
    def pipeline(self) -> tuple[str, ...]:
        return PIPELINES.get(self.kind, ())


def entries(folder: Path) -> list[Entry]:
    """What the manifest lists; without one, every file, of which nothing is known. Raises NoFiles."""
    if not folder.is_dir():
        raise NoFiles(f"There is no folder {folder}: say which one to run with DIR=.")
    manifest = folder / MANIFEST
    found = _listed(manifest) if manifest.exists() else _unlisted(folder)
    if not found:
        raise NoFiles(f"There is no file in {folder}.")
    return found


def _listed(manifest: Path) -> list[Entry]:
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Entry(row["path"], row["kind"], row["trait"], cast(Expectation, row["expectation"]))
        for row in rows
    ]


def _unlisted(folder: Path) -> list[Entry]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Entry(str(path.relative_to(folder)), "unknown", "", "either") for path in paths]
