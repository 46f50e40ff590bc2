"""Two versions of the code at once: they differ by the name of the plans that they write and read.

A deployment changes one function after the other, while jobs are at work. The name is a constant that many
modules of the product import; here each of them has that of the worker which runs.
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
    """The code is of this version; as this process has it, where there is no name."""
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
