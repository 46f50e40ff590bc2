"""What can be asked for: the pipeline or recipe of a request; and the call that lists the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.api.descriptions import Answer, CallDescription, Json
from chalicelib.errors import Unprocessable
from chalicelib.model.job import Pipeline
from chalicelib.operations import OPERATIONS, PRESETS
from chalicelib.operations.choosing import Asked, check
from chalicelib.operations.pipelines import MOST_STEPS
from chalicelib.operations.recipes import Book, read_book
from chalicelib.settings import recipes

# What a request cannot have: both.
EITHER: Json = {
    "required": ["pipeline", "recipe"],
    "properties": {"pipeline": {}, "recipe": {}},
}


class RecipeView(msgspec.Struct):
    """A recipe: what it makes of each kind of media; of one without steps it makes nothing."""

    name: str
    version: str
    description: str
    image: Pipeline
    video: Pipeline
    audio: Pipeline


class DropView(msgspec.Struct):
    """The recipe for files that somebody puts into the bucket, with keys that begin so."""

    prefix: str
    recipe: str


class RecipesView(msgspec.Struct):
    """The recipes of this stage, and the JSON Schema of a pipeline."""

    recipes: list[RecipeView]
    drops: list[DropView]
    schema: dict[str, Any]


def book() -> Book:
    """The recipes of this stage."""
    return read_book(recipes())


def check_asked(pipeline: Sequence[Any] | None, recipe: str | None) -> Asked:
    """What a request asks for. Raises Unprocessable with all that is wrong with its pipeline, or recipe."""
    return check(pipeline, recipe, book(), Unprocessable)


def list_recipes() -> RecipesView:
    found = book()
    return RecipesView(
        [
            RecipeView(
                name,
                found.version_of(name),
                recipe.description,
                recipe.image,
                recipe.video,
                recipe.audio,
            )
            for name, recipe in found.recipes.items()
        ],
        [DropView(drop.prefix, drop.recipe) for drop in found.drops],
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **pipeline_schema("#/$defs/{name}"),
            "$defs": operation_schemas("#/$defs/{name}"),
        },
    )


def pipeline_schema(template: str) -> Json:
    """The JSON Schema of a pipeline; `template` makes references to the schemas of operations."""
    named = {"type": "string", "enum": [step.name for step in PRESETS]}
    shapes = [{"$ref": template.format(name=shape.__name__)} for shape in OPERATIONS]
    return {
        "type": "array",
        "items": {"anyOf": [named, *shapes]},
        "minItems": 1,
        "maxItems": MOST_STEPS,
    }


def operation_schemas(template: str) -> Json:
    """The JSON Schemas of all operations, by their names."""
    _, components = msgspec.json.schema_components(OPERATIONS, ref_template=template)
    # Tuples of defaults become lists.
    schemas: Json = _with_items(msgspec.json.decode(msgspec.json.encode(components)))
    for shape in schemas.values():
        for name, schema in shape["properties"].items():
            if name == "make":
                schema |= {"description": "What to make.", "examples": schema["enum"]}
            if "default" in schema:
                schema.setdefault("examples", [schema["default"]])
            # It may be left out, but not be null: generated clients would send null.
            if schema.get("default", ...) is None:
                del schema["default"]
    return schemas


def _with_items(schema: Any) -> Any:
    """The schema with `items` instead of `prefixItems` that are all alike: many tools know only those."""
    if isinstance(schema, list):
        return [_with_items(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "prefixItems" in schema:
        first, *others = schema["prefixItems"]
        assert all(other == first for other in others)
        schema = {key: value for key, value in schema.items() if key != "prefixItems"}
        schema["items"] = first
    return {key: _with_items(value) for key, value in schema.items()}


DESCRIPTIONS = {
    "list_recipes": CallDescription(
        "listRecipes",
        "Jobs",
        "The recipes of this stage",
        "What a `recipe` can be, what each makes, and the JSON Schema of a `pipeline`.",
        {"200": Answer("The recipes", RecipesView)},
        ("400",),
    ),
}
