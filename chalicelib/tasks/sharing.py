"""Which step the work of a plan is for: how what its tasks use is divided among the steps; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from chalicelib.model.plan import FILM, Plan, group_of
from chalicelib.model.usage import Used
from chalicelib.model.work import Images, renditions_of
from chalicelib.tasks.prediction import encoding

Weights = Mapping[str, float]  # of steps


def parts_by_step(plan: Plan, used: Iterable[tuple[str, Used]]) -> dict[str, float]:
    """The part of each step, in pipeline order, in what a job used; they sum to 1, {} where it used nothing.

    `used` is what tasks used, with their ids; GB-seconds count. What was made for several steps is divided by
    the encoding that each of them needed. What was done for all of them, like looking into the file or
    copying it, follows that division.
    """
    by_group: dict[str, float] = {}
    for task_id, one in used:
        group = group_of(task_id)
        by_group[group] = by_group.get(group, 0.0) + one.gb_seconds
    needed = plan.shares()
    sums = dict.fromkeys(plan.steps, 0.0)
    for group, amount in by_group.items():
        weights = _weights(plan, group, [step for step in needed if group in needed[step]])
        together = sum(weights.values())
        for step, weight in weights.items():
            sums[step] += amount * weight / together
    total = sum(sums.values())
    return {step: round(amount / total, 5) for step, amount in sums.items()} if total else {}


def _weights(plan: Plan, group: str, steps: Sequence[str]) -> Weights:
    """How what a group made is divided among `steps`, all of which need it."""
    if group == FILM:
        renditions = {step: renditions_of(plan.task(plan.steps[step]).work) for step in steps}
        sharing = Counter(name for names in renditions.values() for name in names)
        return {
            step: sum(plan.tracks[name].work / sharing[name] for name in names)
            for step, names in renditions.items()
        }
    if {plan.steps[step] for step in steps} == {group}:
        work = plan.task(group).work
        if isinstance(work, Images):
            return {step: encoding(work.made[step].variants)[0] for step in steps}
    return dict.fromkeys(steps, 1.0)
