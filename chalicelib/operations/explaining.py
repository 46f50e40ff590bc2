"""Says what is wrong with an object of a pipeline: from msgspec's message to a place and a sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import inspect

from chalicelib.planning.operation import Operation

type Shapes = Mapping[str, type[Operation]]  # by what `make` calls them

_TYPES = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def explained(message: str, item: Mapping[str, Any], shapes: Shapes) -> tuple[list[str], str]:
    """Where in an item the fault is that msgspec's `message` tells of, and a sentence for it.

    The sentence says what there is instead, and what was probably meant.
    """
    text, _, path = message.partition(" - at ")
    place, makes = _place(path), list(shapes)
    tag = item.get("make")
    shape = shapes.get(tag) if isinstance(tag, str) else None
    if found := re.fullmatch(r"Object missing required field `(.*)`", text):
        if found[1] == "make":
            return [], f"Say what to `make`: {', '.join(makes)}."
        return [*place, found[1]], f"`{'/'.join(place) or tag}` needs `{found[1]}`."
    if place == ["make"]:
        given = str(tag)[:100]
        return place, meant(f"There is nothing called {given!r} to make", given, makes, "There is")
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        of = "/".join(place) or tag
        detail = f"There is no parameter {found[1][:100]!r} of {of!r}"
        return [*place, found[1]], meant(detail, found[1], _fields(shape, place), "It has")
    if found := re.fullmatch(r"Invalid enum value '?(.*?)'?", text, re.DOTALL):
        detail = f"It cannot be {found[1][:100]!r}"
        return place, meant(detail, found[1], _literals(shape, place), "It can be")
    if "matching regex" in text:
        forms = [each.extra["form"] for each in _types(shape, place) if _has_form(each)]
        return place, f"It is {' or '.join(forms)}."
    return place, re.sub(r"`([a-z |]+)`", _in_words, text) + "."


def meant(detail: str, given: str, names: Sequence[str], there_are: str) -> str:
    """A sentence that goes on with the name that was probably meant, or with all names."""
    near = difflib.get_close_matches(given[:100], names, 1)
    return (
        f"{detail}; did you mean {near[0]!r}?"
        if near
        else f"{detail}. {there_are}: {', '.join(names)}."
    )


def pointer(at: str, place: Sequence[str]) -> str:
    """The JSON Pointer of a place within the one of `at`."""
    return "/".join((at, *(part.replace("~", "~0").replace("/", "~1") for part in place)))


def _in_words(found: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in found[1].split(" | "))


def _place(path: str) -> list[str]:
    """The parts of msgspec's path: `$.widths[0]` is ["widths", "0"]."""
    if path.startswith("`key`"):
        path = path.partition(" in ")[2]
    return [part for part in re.split(r"[.\[\]]+", path.strip("`").removeprefix("$")) if part]


def _fields(shape: type[Operation] | None, place: Sequence[str]) -> list[str]:
    """The names of parameters that the object at a place can have."""
    structs = [each for each in _types(shape, place) if isinstance(each, inspect.StructType)]
    return [field.encode_name for each in structs for field in each.fields]


def _literals(shape: type[Operation] | None, place: Sequence[str]) -> list[str]:
    """The words that the value at a place can be, or that its keys can be."""
    found = _types(shape, place)
    keys = [each.key_type for each in found if isinstance(each, inspect.DictType)]
    literals = [each for each in (*found, *keys) if isinstance(each, inspect.LiteralType)]
    return [str(value) for each in literals for value in each.values]


def _has_form(each: inspect.Type) -> bool:
    return isinstance(each, inspect.Metadata) and "form" in (each.extra or {})


def _types(shape: type[Operation] | None, place: Sequence[str]) -> list[Any]:
    """All types that the value at a place may have; with the descriptions of types among them."""
    found = _alternatives(inspect.type_info(shape)) if shape else []
    for part in place:
        inner = [inside for each in found for inside in _inside(each, part)]
        found = [each for one in inner for each in _alternatives(one)]
    return found


def _alternatives(each: inspect.Type) -> list[inspect.Type]:
    if isinstance(each, inspect.Metadata):
        return [each, *_alternatives(each.type)]
    if isinstance(each, inspect.UnionType):
        return [inner for one in each.types for inner in _alternatives(one)]
    return [each]


def _inside(each: inspect.Type, part: str) -> Sequence[inspect.Type]:
    match each:
        case inspect.StructType():
            return [field.type for field in each.fields if field.encode_name == part]
        case inspect.VarTupleType():
            return [each.item_type]
        case inspect.TupleType():
            return each.item_types
        case inspect.DictType():
            return [each.value_type]
        case _:
            return []
