"""Reads pipelines: from items, as clients write them, to steps; or says all that is wrong, and where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import msgspec

from chalicelib.errors import Fault, SluiceError
from chalicelib.operations import OPERATIONS, PRESETS
from chalicelib.operations.explaining import explained, meant, pointer
from chalicelib.operations.hls import Hls
from chalicelib.planning.operation import Item, Operation, Step, tag_of

MOST_STEPS = 16
# As canonical JSON: it lies in the job's row, which is to stay small.
MOST_BYTES = 1024
# More than any operation has: each that is wrong takes a millisecond.
_MOST_PARAMETERS = 40
# Tasks of a plan have these ids.
_RESERVED = frozenset({"captions", "film", "sound", "remux"})

_ANY: Any = Union[OPERATIONS]  # noqa: UP007 - of a tuple
_BY_TAG = {tag_of(shape): shape for shape in OPERATIONS}
_PRESETS = {step.name: step for step in PRESETS}


class _Refused(SluiceError):
    """A pipeline, or an item of one, that has faults."""


def find_steps[E: SluiceError](
    pipeline: Sequence[Any], error: type[E], at: str = "#/pipeline"
) -> tuple[Step, ...]:
    """The steps of a pipeline, whose items are names of presets, and objects.

    Raises `error` with all faults of it; `at` is the pointer of the pipeline.
    """
    try:
        return _steps(pipeline, at)
    except _Refused as refused:
        raise error(refused.code, refused.detail, refused.faults) from None


def are_known(pipeline: Sequence[Any]) -> bool:
    """Whether this version of the code has all steps of a pipeline that another version may have accepted."""
    try:
        return not pipeline or bool(_steps(pipeline, ""))
    except _Refused:
        return False


def canonical(pipeline: Sequence[Item]) -> list[str]:
    """Each item of a pipeline that steps have as text; equal items are equal texts."""
    return [item if isinstance(item, str) else _dumped(item) for item in pipeline]


def _steps(pipeline: Sequence[Any], at: str) -> tuple[Step, ...]:
    if not pipeline:
        detail = f"The pipeline is empty. The steps are: {_all_steps()}."
        raise _Refused("empty_pipeline", detail)
    if len(pipeline) > MOST_STEPS:
        detail = f"A pipeline has at most {MOST_STEPS} steps, and this one has {len(pipeline)}."
        raise _refusal("pipeline_too_long", [Fault(at, detail)])
    steps, refusals = [], []
    for number, item in enumerate(pipeline):
        try:
            steps.append(_step(item, f"{at}/{number}"))
        except _Refused as refused:
            refusals.append(refused)
    if refusals:
        raise _refusal(refusals[0].code, [fault for each in refusals for fault in each.faults])
    if taken := list(_taken_names(steps, at)):
        raise _refusal("repeated_step", taken)
    if len(_dumped([step.item for step in steps])) > MOST_BYTES:
        detail = f"The pipeline has more than {MOST_BYTES} bytes of JSON: say less in one job."
        raise _refusal("pipeline_too_long", [Fault(at, detail)])
    return tuple(steps)


def _refusal(code: str, faults: Sequence[Fault]) -> _Refused:
    detail = " ".join(f"{fault.pointer.removeprefix('#/')}: {fault.detail}" for fault in faults)
    return _Refused(code, detail if len(detail) <= 1000 else f"{detail[:1000]}…", faults)


def _all_steps() -> str:
    objects = (f'{{"make": "{tag}"}}' for tag in _BY_TAG)
    return ", ".join((*_PRESETS, *objects))


def _step(item: Any, at: str) -> Step:
    """The step of an item. Raises _Refused with all faults of it."""
    if isinstance(item, str):
        if item in _PRESETS:
            return _PRESETS[item]
        detail = f"There is no step {item[:100]!r}"
        if item in _BY_TAG:
            detail = f'{detail}; did you mean {{"make": "{item}"}}?'
        else:
            detail = meant(detail, item, list(_PRESETS), "The presets are")
        raise _refusal("unknown_step", [Fault(at, detail)])
    if not isinstance(item, Mapping):
        detail = "A step is the name of a preset, or an object that says what to `make`."
        raise _refusal("invalid_step", [Fault(at, detail)])
    operation = _operation(dict(item), at)
    name = operation.name or tag_of(type(operation))
    return Step(name, item_of(operation), name, dict.fromkeys(operation.kinds, operation))


def _operation(fields: dict[str, Any], at: str) -> Operation:
    """The operation of an object. Raises _Refused with all faults of it.

    msgspec tells of one fault: the parameter that has it is left out, and the others are tried again.
    """
    faults, left_out = list[Fault](), set[str]()
    if len(fields) > _MOST_PARAMETERS:
        detail = (
            f"An object has at most {_MOST_PARAMETERS} parameters, and this one has {len(fields)}."
        )
        raise _refusal("invalid_step", [Fault(at, detail)])
    while True:
        try:
            operation: Operation = msgspec.convert(fields, _ANY)
        except msgspec.ValidationError as error:
            place, detail = explained(str(error), fields, _BY_TAG)
            parameter = place[0] if place else "make"
            if parameter not in left_out:
                faults.append(Fault(pointer(at, place), detail))
            if parameter == "make" or parameter not in fields:
                break
            left_out.add(parameter)
            del fields[parameter]
        else:
            faults += [Fault(f"{at}/{place}", detail) for place, detail in operation.faults()]
            break
    if faults:
        raise _refusal("invalid_step", faults)
    return operation


def item_of(operation: Operation) -> dict[str, Any]:
    """An operation as an object, without the parameters that have their default."""
    given = {
        field.encode_name: value
        for field in msgspec.structs.fields(operation)
        if (value := getattr(operation, field.name)) != field.default
    }
    item: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(given))
    return {"make": tag_of(type(operation)), **item}


def _taken_names(steps: Sequence[Step], at: str) -> Iterator[Fault]:
    """Names that are Sluice's own, and names that would give files the keys of an earlier step's."""
    for number, step in enumerate(steps):
        named = f"{at}/{number}" if isinstance(step.item, str) else f"{at}/{number}/name"
        if step.name in _RESERVED:
            yield Fault(named, f"{step.name!r} is a name of Sluice's own: choose another `name`.")
        streams = [at_number for at_number, other in enumerate(steps[:number]) if _streams(other)]
        if _streams(step) and streams:
            yield Fault(named, f"There is HLS already, {at}/{streams[0]}: once is enough for now.")
            continue
        for earlier, other in enumerate(steps[:number]):
            if step == other and isinstance(step.item, str):
                yield Fault(named, f"{step.name!r} is there already; once is enough.")
                break
            if step.name == other.name or _share_files(step.stem, other.stem):
                detail = f"{step.name!r} would name the files of {at}/{earlier}, too: give it another `name`."
                yield Fault(named, detail)
                break


def _streams(step: Step) -> bool:
    return isinstance(step.operations.get("video"), Hls)


def _share_files(stem: str, other: str) -> bool:
    """Whether files of two steps could have one name: those of several widths end with `_` and a number."""
    shorter, longer = sorted((stem, other), key=len)
    return bool(re.fullmatch(rf"{re.escape(shorter)}(_\d+)?", longer))


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
