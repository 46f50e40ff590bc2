"""Recipes: pipelines with a name, for each kind of media, as recipes.toml has them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import Fault, JobError, SluiceError
from chalicelib.operations.explaining import meant
from chalicelib.operations.pipelines import canonical, find_steps
from chalicelib.planning.operation import Item

DEFAULT = "default"
KINDS = ("image", "video", "audio")

_PLURALS = {"image": "images", "animation": "animations", "video": "videos", "audio": "sound"}

RecipeName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$(?!\n)")]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipeline for each kind of media; an empty one makes nothing of it."""

    description: str = ""
    image: list[Any] = []
    video: list[Any] = []
    audio: list[Any] = []

    def pipeline(self, kind: str) -> list[Item]:
        """What it makes of this kind of media."""
        made: dict[str, list[Item]] = {
            "image": self.image,
            "video": self.video,
            "audio": self.audio,
        }
        return made[kind]


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recipe for files whose keys begin with `prefix`."""

    prefix: Annotated[str, Meta(min_length=1, max_length=1024)]
    recipe: str


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file recipes.toml. `version` is that of its grammar."""

    version: Literal[1]
    recipes: dict[RecipeName, Recipe]
    drops: list[Drop] = []

    def version_of(self, name: str) -> str:
        """A digest of what a recipe makes: `3f2a9c`."""
        recipe = self.recipes[name]
        pipelines = {kind: canonical(recipe.pipeline(kind)) for kind in KINDS}
        digest = hashlib.sha256(json.dumps(pipelines, sort_keys=True).encode())
        return digest.hexdigest()[:6]

    def of_key(self, key: str) -> str:
        """The name of the recipe for a file that says nothing itself."""
        matching = [drop for drop in self.drops if key.startswith(drop.prefix)]
        return max(matching, key=lambda drop: len(drop.prefix)).recipe if matching else DEFAULT


class InvalidRecipes(SluiceError):
    """recipes.toml cannot be used; `faults` says what is wrong, and where."""


@cache
def read_book(text: str) -> Book:
    """The recipes of a recipes.toml, items as steps have them. Raises InvalidRecipes with all faults."""
    try:
        book = msgspec.convert(tomllib.loads(text), Book)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidRecipes("invalid_recipes", f"recipes.toml: {error}.") from None
    faults = list(_faults(book))
    if faults:
        lines = (f"recipes.toml{fault.pointer}: {fault.detail}" for fault in faults)
        raise InvalidRecipes("invalid_recipes", "\n".join(lines), faults)
    recipes = {
        name: msgspec.structs.replace(
            recipe,
            **{
                kind: [step.item for step in find_steps(recipe.pipeline(kind), JobError)]
                for kind in KINDS
                if recipe.pipeline(kind)
            },
        )
        for name, recipe in book.recipes.items()
    }
    return msgspec.structs.replace(book, recipes=recipes)


def _faults(book: Book) -> Iterator[Fault]:
    for name, recipe in book.recipes.items():
        for kind in KINDS:
            at = f"#/recipes/{name}/{kind}"
            pipeline = recipe.pipeline(kind)
            try:
                steps = find_steps(pipeline, InvalidRecipes, at) if pipeline else ()
            except InvalidRecipes as error:
                yield from error.faults
                continue
            for number, step in enumerate(steps):
                if not step.makes_of(kind):
                    others = " and ".join(map(_PLURALS.__getitem__, step.operations))
                    detail = f"{step.name!r} is for {others}, not for {_PLURALS[kind]}."
                    yield Fault(f"{at}/{number}", detail)
    if DEFAULT not in book.recipes:
        yield Fault("#/recipes", f"There is no recipe {DEFAULT!r}, for files that name none.")
    for number, drop in enumerate(book.drops):
        if drop.recipe not in book.recipes:
            yield Fault(f"#/drops/{number}/recipe", no_recipe(drop.recipe, book))


def no_recipe(name: str, book: Book) -> str:
    return meant(f"There is no recipe {name[:100]!r}", name, list(book.recipes), "There is")
