"""Which tasks of a retried job are not carried out again: what they made for the earlier job is copied.

A task is the same where it does the same work, by the same commands, with what the same tasks have made. Then
it makes the same files, and they are copied from S3 to S3. Playlists and storyboards are written anew: that
is cheap, and they tell sizes of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from chalicelib.formats.cmaf import INIT
from chalicelib.model.plan import Plan, Task, outputs_prefix, work_prefix
from chalicelib.model.result import Encoded, Result, StepsEnded
from chalicelib.model.step import SUCCESS
from chalicelib.model.work import Audio, Chunk, Hls, Join, Storyboard

# Seconds of a task that only copies, as a weight in the progress.
_COPYING = 0.1


class Former(NamedTuple):
    """What an earlier job on the same source has left."""

    job_id: str
    plan: Plan
    results: Mapping[str, Result]  # of the tasks that ended well, by their ids
    keys: Collection[str]  # of its objects in the output bucket


def reuse(plan: Plan, job_id: str, former: Former) -> Plan:
    """The plan of a job that makes nothing again of what is whole of an earlier one.

    A package that is copied needs no parts: tasks that only made those are left out.
    """
    if not _is_same_source(plan, former.plan):
        return plan
    ours, theirs = fingerprints(plan, job_id), fingerprints(former.plan, former.job_id)
    reused = {
        task.id: ours[task.id]
        for task in plan.tasks
        if ours[task.id] == theirs.get(task.id) and _is_whole(task, plan, job_id, former)
    }
    tasks = [
        msgspec.structs.replace(
            task, cost=_COPYING, needs=() if isinstance(task.work, Join) else task.needs
        )
        if task.id in reused
        else task
        for task in plan.tasks
    ]
    made = msgspec.structs.replace(plan, tasks=tuple(tasks))
    needed = {task_id for step in plan.steps for task_id in made.closure(step)}
    return msgspec.structs.replace(
        made,
        tasks=tuple(task for task in tasks if task.id in needed),
        retry_of=former.job_id,
        reused={name: digest for name, digest in reused.items() if name in needed},
    )


def _is_same_source(plan: Plan, other: Plan) -> bool:
    """Whether both read the source, or copies of it that have the same bytes as far as can be told."""
    return (plan.copy and plan.copy.size) == (other.copy and other.copy.size)


def fingerprints(plan: Plan, job_id: str) -> dict[str, str]:
    """A digest of each task by its id: equal for tasks of two jobs that make the same files."""
    by_id = {task.id: task for task in plan.tasks}
    found = dict(plan.reused)  # the tasks that these needed are not in the plan

    def digest(task: Task) -> str:
        if task.id not in found:
            tracks = [
                (name, moved(track.prefix, job_id, ""))
                for name, track in plan.tracks.items()
                if isinstance(task.work, Chunk | Audio)
            ]
            commands = [plan.commands[name] for name in _commands_of(task)]
            needs = [digest(by_id[need]) for need in task.needs]
            where = moved(task.destination, job_id, "")
            told = msgspec.json.encode((task.work, where, tracks, commands, needs))
            found[task.id] = hashlib.sha256(told).hexdigest()[:16]
        return found[task.id]

    return {task.id: digest(task) for task in plan.tasks}


def _commands_of(task: Task) -> list[str]:
    match task.work:
        case Chunk(command=name):
            return [name]
        case Audio() as audio:
            return [audio.command_of(track) for track in audio.runs]
        case _:
            return []


def _is_whole(task: Task, plan: Plan, job_id: str, former: Former) -> bool:
    result = former.results.get(task.id)
    keys = None if result is None else files_of(task, plan, rebased(result, former.job_id, job_id))
    return keys is not None and all(
        moved(key, job_id, former.job_id) in former.keys for key in keys
    )


def files_of(task: Task, plan: Plan, result: Result) -> list[str] | None:
    """The keys of the files that a task has made; None where they are not to be copied."""
    match result:
        case Encoded(tracks=tracks):
            keys = []
            for name, track in tracks.items():
                prefix = plan.tracks[name].prefix if name in plan.tracks else task.destination
                names = [segment.name for segment in track.segments]
                keys += [prefix + name for name in ([INIT] if track.header else []) + names]
            return keys
        case StepsEnded(steps=steps) if not isinstance(task.work, Hls | Storyboard):
            states = steps.values()
            if all(state.status == SUCCESS for state in states):
                return [output.s3_key for state in states for output in state.outputs]
    return None


def rebased(result: Result, job_id: str, other: str) -> Result:
    """A result of one job as that of another."""
    if not isinstance(result, StepsEnded):
        return result
    return StepsEnded(
        {
            name: msgspec.structs.replace(
                state,
                outputs=tuple(
                    msgspec.structs.replace(output, s3_key=moved(output.s3_key, job_id, other))
                    for output in state.outputs
                ),
            )
            for name, state in result.steps.items()
        }
    )


def moved(key: str, job_id: str, other: str) -> str:
    """The key that another job has for what a job has under `key`."""
    for prefix in (outputs_prefix, work_prefix):
        if key.startswith(prefix(job_id)):
            return prefix(other) + key.removeprefix(prefix(job_id))
    return key
