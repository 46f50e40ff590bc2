"""A page that shows the outputs of jobs; all files lie beside it, so that it needs no cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from sluice.client import Job


@dataclass(frozen=True)
class SavedOutput:
    """An output of a job, what probing found in it, and the file that it was saved to."""

    output: Job
    probed: str
    file: Path


@dataclass(frozen=True)
class ShownJob:
    """A job, its original and its outputs."""

    job: Job
    original: Path
    outputs: list[SavedOutput]


def write(jobs: Sequence[ShownJob], folder: Path) -> Path:
    """Write index.html to `folder`, which must hold all of the files; return its path."""
    page = folder / "index.html"
    sections = "".join(_section(shown, folder) for shown in jobs)
    page.write_text(_PAGE.substitute(sections=sections))
    return page


def _section(shown: ShownJob, folder: Path) -> str:
    job, original = shown.job, shown.original
    usage = job["usage"]
    cost = f"${usage['cost_usd']:.6f}" if usage else "?"
    poster = next(
        (o.file for o in shown.outputs if o.output["content_type"].startswith("image/")), None
    )
    source = SavedOutput(
        {"type": "the original", "content_type": "", "size": original.stat().st_size},
        "",
        original,
    )
    cards = "".join(_card(saved, poster, folder) for saved in [source, *shown.outputs])
    return (
        f"<section><h2>{escape(job['filename'])}</h2>"
        f"<p>{escape(job['status'])} · {escape(job['encoding'] or 'One task for all.')} "
        f"· on AWS it would cost {cost}</p><div class=cards>{cards}</div></section>"
    )


def _card(saved: SavedOutput, poster: Path | None, folder: Path) -> str:
    src = quote(saved.file.relative_to(folder).as_posix())
    match saved.file.suffix:
        case ".mp4" | ".m3u8":
            still = f' poster="{quote(poster.relative_to(folder).as_posix())}"' if poster else ""
            element = f'<video src="{src}" controls preload="metadata" playsinline{still}></video>'
        case _:
            element = f'<a href="{src}"><img src="{src}" alt="{escape(saved.output["type"])}"></a>'
    about = f"{saved.output['size']:,} bytes" + (f" · {saved.probed}" if saved.probed else "")
    return (
        f"<figure>{element}<figcaption><b>{escape(saved.output['type'])}</b> {escape(about)}<br>"
        f'<a href="{src}">{escape(saved.file.name)}</a></figcaption></figure>'
    )


_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sluice: what came out</title>
<style>
  :root { color-scheme: light dark }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
  h2 { margin: 2.5rem 0 0 }
  section > p { margin: 0 0 1rem; opacity: .7 }
  .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.25rem }
  figure { margin: 0; border: 1px solid #8884; border-radius: 8px; overflow: hidden }
  img, video { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #8882 }
  figcaption { padding: .6rem .8rem; font-size: .875rem; overflow-wrap: anywhere }
</style>
<h1>Sluice: what came out</h1>
<p>An image and a film, through every step of <code>make demo</code>. The files are beside this page.</p>
$sections
</html>
""")
