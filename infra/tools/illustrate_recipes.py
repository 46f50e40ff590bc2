"""Draws the pictures of docs/recipes.md by the operations: `python -m infra.tools.illustrate_recipes`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from chalicelib.engines.pillow import draw
from chalicelib.errors import JobError
from chalicelib.jobs.plan_settings import plan_settings
from chalicelib.model.facts import ImageFacts
from chalicelib.model.picture import DrawnPicture
from chalicelib.model.work import Images
from chalicelib.operations.pipelines import find_steps
from chalicelib.settings import Settings
from chalicelib.tasks.workbench import ASSETS
from infra.paths import ROOT
from infra.tools.samples import photo

FOLDER = ROOT / "docs" / "images"
_SIZE, _NARROW = {"size": [240, 240]}, {"size": [140, 240]}
_SHEETS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "fit": [
        ("inside", _SIZE),
        ("cover", {**_SIZE, "fit": "cover"}),
        ("contain", {**_SIZE, "fit": "contain", "background": "#336699"}),
    ],
    "focus": [
        ("center", {**_NARROW, "fit": "cover"}),
        ("attention", {**_NARROW, "fit": "cover", "focus": "attention"}),
        ("[0, 0.5]", {**_NARROW, "fit": "cover", "focus": [0, 0.5]}),
        ("[1, 0.5]", {**_NARROW, "fit": "cover", "focus": [1, 0.5]}),
    ],
    "watermark": [
        ("true", {"box": 320, "watermark": True}),
        ("position: top_left, scale: 0.5", {"box": 320, "watermark": {"position": "top_left", "scale": 0.5}}),
        ("position: center, opacity: 0.3", {"box": 320, "watermark": {"position": "center", "opacity": 0.3}}),
    ],
}  # fmt: skip
_GAP, _LINE = 12, 24


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "photo.jpg"
        for name, tiles in _SHEETS.items():
            (_balloon if name == "focus" else photo)(source)
            drawn = [_drawn(source, parameters) for _, parameters in tiles]
            _sheet([label for label, _ in tiles], drawn).save(FOLDER / f"{name}.png", optimize=True)


def _balloon(path: Path) -> None:
    """A photograph with little in it but for something to its right."""
    picture = Image.linear_gradient("L").resize((1600, 1200)).point(lambda grey: 190 - grey // 5)
    picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for number, colour in enumerate(("crimson", "gold", "crimson", "gold", "crimson")):
        pen.chord((1180 + 30 * number, 300, 1480 - 30 * number, 660), 0, 360, fill=colour)
    pen.polygon(((1290, 700), (1370, 700), (1360, 770), (1300, 770)), fill="saddlebrown")
    picture.save(path, "JPEG", quality=90)


def _drawn(source: Path, parameters: dict[str, Any]) -> Image.Image:
    """The picture that the operation `image` makes with these parameters."""
    with Image.open(source) as image:
        facts = ImageFacts("JPEG", *image.size)
    (step,) = find_steps([{"make": "image", **parameters}], JobError)
    picture = step.image(facts, plan_settings(Settings()))
    with TemporaryDirectory() as scratch:
        made = draw(source, Images("JPEG", {step.name: picture}), ASSETS, Path(scratch))
        assert isinstance(made[step.name], DrawnPicture)
        with Image.open(Path(scratch) / picture.variants[0].output) as image:
            return image.convert("RGB")


def _sheet(labels: list[str], pictures: list[Image.Image]) -> Image.Image:
    """The pictures side by side, each with its label above it."""
    width = sum(picture.width + _GAP for picture in pictures) + _GAP
    height = max(picture.height for picture in pictures) + _LINE + 2 * _GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen, left = ImageDraw.Draw(sheet), _GAP
    font = ImageFont.load_default(14)
    for label, picture in zip(labels, pictures, strict=True):
        pen.text((left, _GAP), label, fill="black", font=font)
        sheet.paste(picture, (left, _GAP + _LINE))
        left += picture.width + _GAP
    return sheet


if __name__ == "__main__":
    main()
