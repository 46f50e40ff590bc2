"""The files of a folder, and the expectation of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from corpus.hunted import RIGHT, Expectation, Right

MANIFEST = "MANIFEST.tsv"


class NoFiles(Exception):
    """There is no file to run; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A file and its expectation."""

    name: str  # path within the folder
    kind: str
    trait: str
    expectation: Expectation
    says: str = ""  # the manifest's description of the right output, for people

    @property
    def right(self) -> Right:
        """The file's own row of checks, if its manifest describes the right output."""
        return RIGHT[Path(self.name).name] if self.says else Right(self.expectation)


def entries(folder: Path) -> list[Entry]:
    """The files in the manifests of the folder and its subfolders; without one, all files. Raises NoFiles."""
    if not folder.is_dir():
        raise NoFiles(f"There is no folder {folder}: say which one to run with DIR=.")
    manifests = [folder / MANIFEST, *sorted(folder.glob(f"*/{MANIFEST}"))]
    listed = [e for m in manifests if m.exists() for e in _listed(m, m.parent.relative_to(folder))]
    files = listed or _unlisted(folder)
    if not files:
        raise NoFiles(f"There is no file in {folder}.")
    return files


def _listed(manifest: Path, within: Path) -> list[Entry]:
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [_entry(row, within) for row in rows]


def _entry(row: dict[str, str], within: Path) -> Entry:
    """An entry with an expectation, or with a description in words whose checks are in corpus/hunted.py.

    A row of that table counts for more than an expectation.
    """
    name = str(within / row["path"])
    right = RIGHT.get(Path(name).name)
    if right:
        says = row.get("right") or row["trait"]
        return Entry(name, row["kind"], row["trait"], right.expectation, says)
    if "expectation" not in row:
        raise NoFiles(f"What is right for {name} is not in corpus/hunted.py: add it there.")
    return Entry(name, row["kind"], row["trait"], cast(Expectation, row["expectation"]))


def _unlisted(folder: Path) -> list[Entry]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Entry(str(path.relative_to(folder)), "unknown", "", "either") for path in paths]
