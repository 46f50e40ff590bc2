"""Hooks of schemathesis: change generated requests that the schema allows and no client sends."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """JSON Schema counts 1.0 as an integer; the API refuses it, and no client writes integers so."""
    if isinstance(body, dict):
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in body.items()
        }
    return body
