"""Two versions of the code at the same time: they differ in the generation of the plans that they use.

A deployment changes one function after the other while jobs run. The generation is a constant that many
modules of the product import; here it is set in each of them to that of the running worker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from chalicelib.model import plan
from chalicelib.store import table

OTHER = "another-version"
_ATTRIBUTE = "GENERATION"


@contextmanager
def version(name: str | None) -> Iterator[None]:
    """Run the code as this version; None: as this process's own version."""
    if name is None:
        yield
        return
    before = plan.GENERATION
    _set(name)
    try:
        yield
    finally:
        _set(before)


def _set(name: str) -> None:
    for module in _modules():
        setattr(module, _ATTRIBUTE, name)
    table.EndedRow.SK = f"ended#{name}"


def _modules() -> list[ModuleType]:
    return [
        module
        for imported, module in sys.modules.items()
        if imported.startswith("chalicelib.") and hasattr(module, _ATTRIBUTE)
    ]
