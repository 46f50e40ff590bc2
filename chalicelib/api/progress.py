"""How far jobs are, purely: from what their rows say of tasks, weighted by what each task costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil

from chalicelib.model.job import Progress
from chalicelib.model.plan import group_of
from chalicelib.model.step import SUCCESS, WORKED_OUT, StepState

Costs = Mapping[str, float]  # of groups of tasks, in seconds of work
Shares = Mapping[str, Costs]  # of each step: the groups that it needs


def groups_done(
    states: Mapping[str, StepState], progress: Progress | None, ended: Collection[str]
) -> dict[str, float]:
    """Percent done of each group of tasks. All groups of a step that work has ended are done.

    `ended`: ids of tasks.
    """
    if progress is None:
        return {}
    percents = progress.percents | dict.fromkeys(ended, 100.0)
    done = dict.fromkeys(progress.sizes, 0.0)
    for task, percent in percents.items():
        group = group_of(task)
        if group in done:
            done[group] += percent / progress.sizes[group]
    for name, state in states.items():
        if state.status in WORKED_OUT:
            done |= dict.fromkeys(progress.shares.get(name, {}), 100.0)
    return done


def step_percent(state: StepState, costs: Costs, done: Mapping[str, float]) -> int:
    """Percent done of a step that needs groups of these costs; at most 99 before SUCCESS."""
    return 100 if state.status == SUCCESS else min(99, int(_weighted_mean(costs, done)))


def job_percent(shares: Shares, done: Mapping[str, float]) -> float:
    """Percent done of a job. A group that several steps need counts once."""
    costs = {group: cost for groups in shares.values() for group, cost in groups.items()}
    return _weighted_mean(costs, done)


def eta(percent: float, elapsed: float) -> int | None:
    """Seconds until the end, at the speed of the `elapsed` seconds so far; None below 2 percent."""
    return ceil(elapsed * (100 - percent) / percent) if percent >= 2 else None


def _weighted_mean(costs: Costs, done: Mapping[str, float]) -> float:
    total = sum(costs.values())
    return sum(cost * done.get(group, 0) for group, cost in costs.items()) / total if total else 0.0
