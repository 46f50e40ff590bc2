"""Which pipeline counts for a file.

A pipeline that a client sends counts first, then a recipe that it names; then what the file's own metadata
says; then the recipe of the longest prefix of its key; then the recipe `default`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from chalicelib.errors import Fault, JobError, SluiceError
from chalicelib.formats.sniff import sniff
from chalicelib.operations.pipelines import find_steps
from chalicelib.operations.recipes import Book, no_recipe
from chalicelib.planning.operation import Step


class Asked(NamedTuple):
    """What a client has asked for: a pipeline, or a recipe, or neither."""

    pipeline: Sequence[Any] = ()
    recipe: str = ""


class Chosen(NamedTuple):
    """What is to be made, and the recipe that says so, with its version; "" where it is none."""

    steps: tuple[Step, ...]
    recipe: str = ""

    @property
    def asked(self) -> Asked:
        """The same, as a job remembers it."""
        return Asked(tuple(step.item for step in self.steps), self.recipe)


def choose(asked: Asked, metadata: Mapping[str, str], key: str, kind: str, book: Book) -> Chosen:
    """What is to be made of a file of this kind of media, with its metadata and its key. Raises JobError.

    A recipe's pipeline that was chosen before anybody had looked into the file may be for another kind.
    """
    if asked.pipeline:
        steps = find_steps(asked.pipeline, JobError)
        name, _, version = asked.recipe.partition("@")
        if not version or all(step.makes_of(kind) for step in steps):
            return Chosen(steps, asked.recipe)
        return _by_recipe(name, kind, book)
    if asked.recipe:
        return _by_recipe(asked.recipe, kind, book)
    told = check(
        items_of(metadata.get("pipeline", ""), JobError) or None,
        metadata.get("recipe", "").strip(),
        book,
        JobError,
    )
    if told.pipeline:
        return Chosen(find_steps(told.pipeline, JobError))
    return _by_recipe(told.recipe or book.of_key(key), kind, book)


def _by_recipe(name: str, kind: str, book: Book) -> Chosen:
    check(None, name, book, JobError)  # it may be gone since the job was asked for
    if not (items := book.recipes[name].pipeline(kind)):
        detail = (
            f"The recipe {name!r} makes nothing of {'an' if kind[0] in 'aeiou' else 'a'} {kind}."
        )
        raise JobError("recipe_makes_nothing", detail)
    return Chosen(find_steps(items, JobError), f"{name}@{book.version_of(name)}")


def choose_if_known(
    asked: Asked, metadata: Mapping[str, str], key: str, head: bytes, book: Book
) -> Asked:
    """What a job for a file is to remember; `head` is the file's first bytes, which tell its kind.

    Returns `asked` itself where `choose` raises: intake will say why.
    """
    try:
        return choose(asked, metadata, key, sniff(head).kind, book).asked
    except JobError:
        return asked


def check(
    pipeline: Sequence[Any] | None, recipe: str | None, book: Book, error: type[SluiceError]
) -> Asked:
    """What a client asks for, its items as steps have them. Raises `error` with all that is wrong with it."""
    if pipeline is not None and recipe:
        detail = "There are a recipe and a pipeline: one of them is enough."
        raise error("recipe_and_pipeline", detail, [Fault("#/recipe", detail)])
    if recipe and recipe not in book.recipes:
        detail = no_recipe(recipe, book)
        raise error("unknown_recipe", detail, [Fault("#/recipe", detail)])
    steps = () if pipeline is None else find_steps(pipeline, error)
    return Asked(tuple(step.item for step in steps), recipe or "")


def items_of(text: str, error: type[SluiceError]) -> list[Any]:
    """The pipeline of a text: names with commas between them, or JSON, which begins with [.

    Raises `error` where that is not JSON.
    """
    if not text.lstrip().startswith("["):
        return [name for part in text.split(",") if (name := part.strip())]
    try:
        items = msgspec.json.decode(text, type=list[Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        detail = "A pipeline that begins with [ is JSON, and this one cannot be read."
        raise error("invalid_step", detail, [Fault("#/pipeline", detail)]) from None
    return items
