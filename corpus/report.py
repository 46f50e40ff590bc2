"""The report of a run: an HTML page, and the same as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from corpus.failures import Failure
from corpus.manifest import Entry

_PICTURE_BOX = 240
_CHECK = 8  # pixels
_STRIP = 4 * _PICTURE_BOX  # pixels: the largest width, for frames of a film beside each other


@dataclass(frozen=True)
class Line:
    """The report on one file."""

    entry: Entry
    status: str
    error_code: str
    error: str
    warnings: tuple[str, ...]
    seconds: float
    failures: tuple[Failure, ...]
    pictures: dict[str, str] = field(repr=False)  # data URIs
    digests: dict[str, str] = field(repr=False)  # SHA-256 of each output object

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class Taken:
    """A function's peak of memory and its limit, in MiB."""

    function: str
    peak: float
    limit: float | None

    @property
    def passed(self) -> bool:
        return self.limit is None or self.peak <= self.limit


def data_uri(image: Image.Image) -> str:
    """The image as a small JPEG in a data URI; a tiny image is enlarged by whole pixels."""
    picture = image.convert("RGB")
    longest = max(picture.size)
    if longest < _PICTURE_BOX / 4:
        factor = _PICTURE_BOX // 2 // longest
        picture = picture.resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    picture.thumbnail((_STRIP, _PICTURE_BOX))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def on_checks(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """A picture on white once more on light checks, where it is transparent."""
    width, height = image.size
    rows, columns = np.indices((height, width)) // _CHECK
    checks = np.where((rows + columns) % 2, 255, 215).astype(np.uint8)
    # It is white already as far as it is transparent.
    darker = (255 - checks) * (1 - np.asarray(alpha) / 255)
    return Image.fromarray(np.clip(np.asarray(image) - darker[..., None], 0, 255).astype(np.uint8))


def write(folder: Path, lines: list[Line], taken: list[Taken]) -> None:
    """Write report.html and report.json to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page(lines, taken), encoding="utf-8")
    report = {
        "summary": summary(lines, taken),
        "files": [_as_json(line) for line in lines],
        "memory": [asdict(t) | {"passed": t.passed} for t in taken],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def summary(lines: list[Line], taken: list[Taken]) -> str:
    failed = sum(not line.passed for line in lines)
    above = [t.function for t in taken if not t.passed]
    memory = f"above its memory size: {', '.join(above)}" if above else "none above its memory size"
    return f"{len(lines)} files, {failed} of them not as expected; of the functions {memory}."


def _as_json(line: Line) -> dict[str, object]:
    fields = asdict(line) | {"passed": line.passed}
    del fields["pictures"]
    return fields


_STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; max-width: 1400px }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: 2px 8px }
section { border-top: 1px solid #999; padding: .6em 0 } h2 { font-size: 15px; margin: 0 }
figure { display: inline-block; margin: .4em 1em 0 0; vertical-align: top }
figure img { border: 1px solid #ccc }
figcaption { color: #555 }
.PASS { color: #070 } .FAIL { color: #b00 } small { color: #666 } ul { margin: .2em 0 }
"""


def page(lines: list[Line], taken: list[Taken]) -> str:
    """The HTML page; failed files come first."""
    ordered = sorted(lines, key=lambda line: line.passed)
    return (
        f"<!doctype html><meta charset='utf-8'><title>Corpus</title><style>{_STYLE}</style>"
        f"<h1>Corpus</h1><p>{escape(summary(lines, taken))}</p>"
        f"{_overview(lines)}{_memory(taken)}{''.join(map(_section, ordered))}"
    )


def _overview(lines: list[Line]) -> str:
    rows = []
    for kind in sorted({line.entry.kind for line in lines}):
        of_kind = [line for line in lines if line.entry.kind == kind]
        good = sum(line.passed for line in of_kind)
        slowest = max(line.seconds for line in of_kind)
        rows.append((kind, len(of_kind), good, len(of_kind) - good, f"{slowest:.1f} s"))
    return _table(("kind", "files", "pass", "fail", "slowest"), rows)


def _memory(taken: list[Taken]) -> str:
    rows = [
        (
            t.function,
            f"{t.peak:.0f} MiB",
            f"{t.limit:.0f} MiB" if t.limit else "",
            _word(t.passed),
        )
        for t in taken
    ]
    return _table(("function", "most memory", "memory size", ""), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table><tr>{cells}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table><br>"


def _section(line: Line) -> str:
    word = _word(line.passed)
    ended = line.status + (f" {line.error_code}: {line.error}" if line.error else "")
    wrong = "".join(
        f"<li class='FAIL'><b>{escape(f.check)}</b> {escape(f.says)}</li>" for f in line.failures
    )
    warned = "".join(f"<li>{escape(warning)}</li>" for warning in line.warnings)
    figures = "".join(
        f"<figure><img src='{uri}'><figcaption>{escape(name)}</figcaption></figure>"
        for name, uri in line.pictures.items()
    )
    return (
        f"<section><h2><span class='{word}'>{word}</span> {escape(line.entry.name)}</h2>"
        f"<small>{escape(line.entry.trait)}</small><br>"
        f"expected {line.entry.expectation}{escape(f': {line.entry.says}' if line.entry.says else '')}; "
        f"{escape(ended)}; {line.seconds:.1f} s<ul>{wrong}{warned}</ul>{figures}</section>"
    )


def _word(passed: bool) -> str:
    return "PASS" if passed else "FAIL"
