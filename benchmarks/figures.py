"""The result of a benchmark: a figure and its baseline, both measured in one run."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The values of several runs, each paired with the baseline's value of the same run.

    `reduced` names the function that makes one value of them; it is also applied to the ratios of the pairs.
    The values of a "split" are parts of one run, and are shown one by one.
    """

    name: str
    unit: str
    values: list[float]
    baseline: str = ""
    baselines: list[float] = []
    reduced: str = "median"

    def row(self) -> tuple[str, str, str, str]:
        """(name, value, baseline, ratio) as text."""
        if self.reduced == "split":
            return self.name, f"{' + '.join(map(_round, self.values))} {self.unit}", "", ""
        value = f"{_round(self.reduce(self.values))} {self.unit}"
        if not self.baselines:
            return self.name, value, "", ""
        baseline = f"{self.baseline}: {_round(median(self.baselines))} {self.unit}"
        pairs = zip(self.values, self.baselines, strict=True)
        return self.name, value, baseline, f"{self.reduce([v / b for v, b in pairs]):.2f} ×"

    def reduce(self, values: list[float]) -> float:
        return _REDUCE[self.reduced](values)


def p95(values: list[float]) -> float:
    """The 95th percentile, by nearest rank."""
    return sorted(values)[-(-len(values) * 95 // 100) - 1]


_REDUCE: dict[str, Callable[[list[float]], float]] = {
    "median": median,
    "max": max,
    "min": min,
    "p95": p95,
}


def table(figures: list[Figure]) -> str:
    """The figures as a table in Markdown."""
    rows = [("figure", "value", "baseline", "ratio"), *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    head, *rest = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([head, rule, *rest])


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
