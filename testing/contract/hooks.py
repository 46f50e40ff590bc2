"""What schemathesis sends is changed where a schema cannot say what no client does."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """To JSON Schema 1.0 is an integer; no client writes it so, and it is refused."""
    if isinstance(body, dict):
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in body.items()
        }
    return body
