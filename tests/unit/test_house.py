"""The house stays in rooms: no module grows into one that knows everything."""

from __future__ import annotations

from statistics import median

import pytest

from testing.prepared import ROOT

MODULES = {
    str(path.relative_to(ROOT)): len(path.read_text().splitlines())
    for package in ("chalicelib", "infra", "sluice")
    for path in sorted((ROOT / package).rglob("*.py"))
}
MOST_LINES = 400
MOST_MEDIAN = 120


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_at_one_sitting(module: str) -> None:
    assert MODULES[module] <= MOST_LINES


def test_most_modules_are_small() -> None:
    assert median(lines for lines in MODULES.values() if lines) <= MOST_MEDIAN
