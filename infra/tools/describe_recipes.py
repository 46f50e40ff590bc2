"""Writes the tables of docs/recipes.md from the operations: `python -m infra.tools.describe_recipes`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chalicelib.api.recipes import operation_schemas
from chalicelib.operations import OPERATIONS, PRESETS
from chalicelib.operations.pipelines import item_of
from chalicelib.planning.operation import tag_of
from infra.paths import ROOT

PAGE = ROOT / "docs" / "recipes.md"
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true, false"}


def described(page: str) -> str:
    """The page with its tables as they are now: between `<!-- table of … -->` and `<!-- end -->`."""
    tables = {tag_of(shape): _table(shape.__name__) for shape in OPERATIONS}
    tables |= {"watermark": _table("Watermark"), "rung": _table("Rung"), "presets": _presets()}
    return re.sub(
        r"(<!-- table of (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{tables[found[2]]}{found[3]}",
        page,
        flags=re.DOTALL,
    )


def _table(shape: str) -> str:
    schemas = operation_schemas("{name}")
    rows = ["| parameter | values | default | what it says |", "| --- | --- | --- | --- |"]
    for name, schema in schemas[shape]["properties"].items():
        if name not in ("make", "name"):
            values = ", ".join(dict.fromkeys(_values(schema, schemas)))
            default = json.dumps(schema["default"]) if schema.get("default") is not None else ""
            rows.append(
                f"| `{name}` | {values} | {default and f'`{default}`'} | {schema['description']} |"
            )
    return "\n".join(rows) + "\n"


def _presets() -> str:
    rows = ["| preset | of an image | of a film |", "| --- | --- | --- |"]
    for step in PRESETS:
        cells = (_object(step.operations.get(kind)) for kind in ("image", "video"))
        rows.append(f"| `{step.name}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _object(operation: Any) -> str:
    if operation is None:
        return ""
    return f"`{json.dumps(item_of(operation))}`"


def _values(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    """What a parameter can be, in words."""
    if "$ref" in schema:
        yield f"[an object](#{schema['$ref'].lower()})"
    elif "anyOf" in schema:
        for choice in schema["anyOf"]:
            if choice.get("type") != "null":
                yield from _values(choice, schemas)
    elif "enum" in schema:
        yield from (f"`{value}`" for value in schema["enum"] if value is not None)
    elif schema["type"] == "array":
        inner = schema.get("items") or schema["prefixItems"][0]
        of = " or ".join(_values(inner, schemas))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        yield f"list of {least if least == most else f'{least} to {most}'}: {of}"
    elif schema["type"] == "object":
        of_text = schema["additionalProperties"].get("type") == "string"
        yield "an object of texts" if of_text else "an object with one for each format"
    else:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum")
        ends = [
            *(
                [f"from {least}" if "minimum" in schema else f"above {least}"]
                if least is not None
                else []
            ),
            *([f"to {most}"] if most is not None else []),
        ]
        yield " ".join((_TYPES[schema["type"]], *ends))


if __name__ == "__main__":
    PAGE.write_text(described(PAGE.read_text()))
